package main

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/decant-build/decant/testdata/bed"
)

// nodeVersion is that of the test bed's node image which the machine's own is
// compared with.
const nodeVersion = "20"

// TestProjectsBuildAsOnBareMetal builds real projects in the sandbox, as the
// test's user and as a plain one, from the npm registry. What comes out is what
// the machine's own node makes of them, byte for byte, and the user's directory
// stays as it was.
func TestProjectsBuildAsOnBareMetal(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	b := openBed(t)
	nginx := needed[string](t)(b.Nginx(t.Context()))
	node := needed[string](t)(b.Node(t.Context(), nodeVersion))
	registry := needed[*bed.Registry](t)(b.Registry(t.Context()))
	defer registry.Stop()
	w := &projectWorld{nginx: registry.Host() + "/nginx:stable", node: registry.Host() + "/node:" + nodeVersion}
	for ref, dir := range map[string]string{w.nginx: nginx, w.node: node} {
		if _, err := b.Push(t.Context(), dir, ref); err != nil {
			t.Fatal(err)
		}
	}
	bin := buildDecant(t)
	openPath(t, bin)
	for _, u := range users(t, bin) {
		apps := []string{"eleventy"}
		if u.name == "plain" || len(users(t, bin)) == 1 {
			apps = []string{"eleventy", "vue-ts", "workspace", "pnpm-app", "yarn-app"}
		}
		for _, app := range apps {
			t.Run(u.name+"/"+app, func(t *testing.T) { w.build(t, u, app) })
		}
	}
}

// projectWorld is what the builds share: the references of the two bases.
type projectWorld struct{ nginx, node string }

func (w *projectWorld) build(t *testing.T, u user, app string) {
	dir := filepath.Join(u.home, app)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("../../testdata/apps", app))); err != nil {
		t.Fatal(err)
	}
	before := treeOf(t, dir)
	out := filepath.Join(u.home, app+"-out")
	u.run(t, "build", dir, "--base", w.nginx, "--builder", w.node, "-o", "oci:"+out,
		"--progress", "plain", "--serve", "off")
	if diff := cmp.Diff(before, treeOf(t, dir)); diff != "" {
		t.Errorf("the project's directory changed: %s", diff)
	}
	site := siteOf(t, out)
	if site["index.html"] == "" {
		t.Fatalf("no index.html in %d files", len(site))
	}
	if app == "eleventy" || app == "vue-ts" {
		if diff := cmp.Diff(bareMetal(t, app), site); diff != "" {
			t.Errorf("not what bare metal makes: %s", diff)
		}
	}
	for _, pattern := range []string{".cache/decant/temp/*", "build-*", "decant-*"} {
		if left, _ := filepath.Glob(filepath.Join(u.home, pattern)); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// treeOf reads all files of a directory.
func treeOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		files[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// siteOf reads the files of the top layer of a layout's image.
func siteOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	img := firstImage(t, index)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	r, err := layers[len(layers)-1].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	files := map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			files[strings.TrimPrefix(h.Name, "usr/share/nginx/html/")] = string(data)
		}
	}
}

// firstImage goes down into nested indexes.
func firstImage(t *testing.T, index v1.ImageIndex) v1.Image {
	t.Helper()
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) == 0 {
		t.Fatalf("no image: %v", err)
	}
	first := manifest.Manifests[0]
	if first.MediaType.IsIndex() {
		child, err := index.ImageIndex(first.Digest)
		if err != nil {
			t.Fatal(err)
		}
		return firstImage(t, child)
	}
	img, err := index.Image(first.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// bareMetal builds an app with this machine's node, if it is the image's.
func bareMetal(t *testing.T, app string) map[string]string {
	t.Helper()
	version, err := exec.CommandContext(t.Context(), "node", "--version").Output()
	if err != nil || !strings.HasPrefix(string(version), "v"+nodeVersion+".") {
		missing(t, "node "+nodeVersion+" on this machine, to compare with")
	}
	dir := filepath.Join(t.TempDir(), "app") // of the same name, whatever a build makes of that
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("../../testdata/apps", app))); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", "npm ci --no-audit --no-fund && npm run build")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CI=true")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return treeOf(t, filepath.Join(dir, map[string]string{"eleventy": "_site", "vue-ts": "dist"}[app]))
}
