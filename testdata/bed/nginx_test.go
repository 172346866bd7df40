package bed

import (
	"debug/elf"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestNginxIsAnIndexOfValidImages(t *testing.T) {
	b := open(t)
	dir, err := b.Nginx(t.Context())
	need(t, err)
	index, err := readLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, d := range manifest.Manifests {
		platforms = append(platforms, d.Platform.String())
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64/v8"}, platforms); diff != "" {
		t.Error(diff)
	}
}

func TestNginxConfigIsThatOfTheOfficialImages(t *testing.T) {
	b := open(t)
	for _, c := range []struct {
		name, port, user string
		make             func() (string, error)
	}{
		{"nginx", "80/tcp", "", func() (string, error) { return b.Nginx(t.Context()) }},
		{"unprivileged", "8080/tcp", "101", func() (string, error) { return b.NginxUnprivileged(t.Context()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := c.make()
			need(t, err)
			config := imageConfig(t, dir, "amd64")
			version := strings.TrimPrefix(config.Env[1], "NGINX_VERSION=")
			if !strings.HasPrefix(version, "1.") {
				t.Errorf("the environment is %q", config.Env)
			}
			config.Env = nil
			want := v1.Config{User: c.user, ExposedPorts: map[string]struct{}{c.port: {}},
				Entrypoint: []string{"/docker-entrypoint.sh"}, Cmd: []string{"nginx", "-g", "daemon off;"},
				StopSignal: "SIGQUIT"}
			if diff := cmp.Diff(want, config); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func imageConfig(t *testing.T, dir, arch string) v1.Config {
	t.Helper()
	index, err := readLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	img, err := platformImage(index, arch)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return file.Config
}

// unpack unpacks a layout to a temporary directory.
func unpack(t *testing.T, layoutDir, arch string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Unpack(t.Context(), layoutDir, arch, root); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestNginxHasTheLibrariesOfItsPrograms(t *testing.T) {
	b := open(t)
	dir, err := b.Nginx(t.Context())
	need(t, err)
	for _, arch := range architectures() {
		t.Run(arch, func(t *testing.T) { checkLibraries(t, unpack(t, dir, arch), arch) })
	}
}

// checkLibraries looks for the libraries that the programs and libraries of an
// unpacked image need, which also tells that it is complete where the host cannot
// run it.
func checkLibraries(t *testing.T, root, arch string) {
	t.Helper()
	lib, _, err := libraries(arch)
	if err != nil {
		t.Fatal(err)
	}
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]
	programs := 0
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := elf.Open(path)
		if err != nil {
			return nil // no program
		}
		defer f.Close()
		programs++
		if f.Machine != machine {
			t.Errorf("%s is for %s", path, f.Machine)
		}
		needed, err := f.ImportedLibraries()
		for _, name := range needed {
			if _, err := os.Stat(filepath.Join(root, "usr/lib", lib, name)); err != nil {
				t.Errorf("%s needs %s, which is not there", path, name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if programs < 5 {
		t.Errorf("only %d programs found", programs)
	}
}

func TestNginxServesItsPage(t *testing.T) {
	b := open(t)
	for _, c := range []struct {
		name string
		make func() (string, error)
	}{
		{"nginx", func() (string, error) { return b.Nginx(t.Context()) }},
		{"unprivileged", func() (string, error) { return b.NginxUnprivileged(t.Context()) }},
	} {
		dir, err := c.make()
		need(t, err)
		root := unpack(t, dir, hostArch(t))
		for _, isolation := range isolations() {
			t.Run(c.name+"/"+string(isolation), func(t *testing.T) { checkServes(t, b, root, isolation) })
		}
	}
}

func checkServes(t *testing.T, b *Bed, root string, isolation Isolation) {
	s, err := b.serve(t.Context(), root, 0, isolation)
	if err != nil && forbidden(err) {
		need(t, &MissingError{What: "the isolation " + string(isolation), Fix: err.Error()})
	}
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	defer func() {
		if !stopped {
			t.Error(s.Stop())
		}
	}()
	want, err := os.ReadFile(filepath.Join(root, "usr/share/nginx/html/index.html"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Get(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != string(want) {
		t.Errorf("got %q, %v", got, err)
	}
	if log := s.Log(); isolation != IsolationNone && !strings.Contains(log, "20-envsubst-on-templates.sh") {
		t.Errorf("the entry point did not run: %s", log)
	}
	copyDir := s.copy
	stopped = true
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if isDir(copyDir) {
		t.Errorf("%s is left", copyDir)
	}
	if resp, err := s.Get(t.Context(), "/"); err == nil {
		resp.Body.Close()
		t.Error("it still answers after Stop")
	}
}

func TestNginxIsReproducible(t *testing.T) {
	t.Parallel()
	b := open(t)
	first, err := b.nginxLayers(t.Context(), "amd64")
	need(t, err)
	other := private(t)
	second, err := other.nginxLayers(t.Context(), "amd64")
	need(t, err)
	for _, name := range []string{"os.versions", "nginx.versions"} {
		if read(t, first, name) != read(t, second, name) {
			t.Skipf("Debian has published newer packages meanwhile (%s)", name)
		}
	}
	for _, name := range []string{"os.tar.gz", "nginx.tar.gz"} {
		if read(t, first, name) != read(t, second, name) {
			t.Errorf("%s differs", name)
		}
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestVariantsShareTheirLayers(t *testing.T) {
	b := open(t)
	first, err := b.Nginx(t.Context())
	need(t, err)
	second, err := b.NginxUnprivileged(t.Context())
	need(t, err)
	a, z := layerDigests(t, first), layerDigests(t, second)
	if len(a) != 3 || !slices.Equal(a[:2], z[:2]) || a[2] == z[2] {
		t.Errorf("layers %v and %v", a, z)
	}
}

func layerDigests(t *testing.T, dir string) []v1.Hash {
	t.Helper()
	index, err := readLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	img, err := platformImage(index, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var digests []v1.Hash
	for _, l := range manifest.Layers {
		digests = append(digests, l.Digest)
	}
	return digests
}

func hostArch(t *testing.T) string {
	t.Helper()
	arch := runtime.GOARCH
	if _, _, err := libraries(arch); err != nil {
		need(t, err)
	}
	return arch
}
