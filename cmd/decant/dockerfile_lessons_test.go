package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// What hurts users of other builders, as far as the conformance suite cannot show it.
// The table in testdata/dockerfile/README.md says which test holds what.

// keysDockerfile says on its output which of its RUNs are executed.
const keysDockerfile = `FROM nginx AS first
COPY lock /lock
RUN echo run-deps; cp /lock /installed
FROM first AS build
ARG MODE=one
COPY src /src
RUN echo run-build; mkdir /out; sed /^#/d /src/f > /out/f; stat -c %a /src/g > /out/modes; echo $MODE > /out/mode
FROM nginx AS other
ENV SEEN=yes
RUN --mount=target=/m,source=bound --mount=type=secret,id=token --mount=type=cache,target=/c echo run-other; cp /m/f /other
FROM nginx
COPY --from=build /out /srv
COPY --from=other /other /srv/other
COPY page /srv/page
CMD ["nginx"]
`

// A keysCase is a change to the files of keysDockerfile, or of the command line.
type keysCase struct {
	name     string
	file     string // that is written, made if it is not there, or
	old, new string // replaced in the Dockerfile
	change   func(dir string) error
	args     []string
	executed string // which RUNs
	same     bool   // the image
}

var keysCases = []keysCase{
	{name: "nothing", same: true},
	{name: "times", same: true, change: func(dir string) error {
		then := time.Unix(1e9, 0)
		return errors.Join(os.Chtimes(filepath.Join(dir, "src/f"), then, then), os.Chtimes(filepath.Join(dir, "lock"), then, then))
	}},
	{name: "a file that nothing copies", file: "unused", same: true},
	{name: "a file that is ignored", file: "src/ignored", same: true},
	{name: "the file that is copied last", file: "page"},
	{name: "a byte of the source", file: "src/f", executed: "build"},
	{name: "a byte of the source that the result lacks", executed: "build", same: true,
		change: func(dir string) error { return os.WriteFile(filepath.Join(dir, "src/f"), []byte("#x\nf\n"), 0o644) }},
	{name: "a byte of the source, at the same time", executed: "build", change: sameTime},
	{name: "a mode", executed: "build", change: func(dir string) error { return os.Chmod(filepath.Join(dir, "src/g"), 0o755) }},
	{name: "a name", executed: "build", same: true,
		change: func(dir string) error { return os.Rename(filepath.Join(dir, "src/h"), filepath.Join(dir, "src/i")) }},
	{name: "an empty directory", executed: "build", same: true,
		change: func(dir string) error { return os.Mkdir(filepath.Join(dir, "src/d"), 0o755) }},
	{name: "the lock", file: "lock", executed: "build deps", same: true},
	{name: "a file that is mounted", file: "bound/f", executed: "other"},
	{name: "an argument", args: []string{"--build-arg", "MODE=two"}, executed: "build"},
	{name: "a proxy", args: []string{"--build-arg", "http_proxy=http://127.0.0.1:1"}, same: true},
	{name: "a secret", args: []string{"--secret", "id=token,env=PATH"}, same: true},
	{name: "a comment", old: "FROM first", new: "# comment\nFROM first", same: true},
	{name: "the name of a stage", old: "first", new: "renamed", same: true},
	{name: "the command of the image", old: `["nginx"]`, new: `["sh"]`},
	{name: "a variable", old: "SEEN=yes", new: "SEEN=no", executed: "other", same: true},
	{name: "the text of a RUN", old: "cp /lock", new: "cp  /lock", executed: "build deps", same: true},
	{name: "the user", old: "ARG MODE", new: "USER nobody\nUSER 0\nARG MODE", executed: "build", same: true},
	{name: "the directory", old: "ARG MODE", new: "WORKDIR /srv\nARG MODE", executed: "build", same: true},
	{name: "a base", old: "FROM nginx AS first", new: "FROM nginx:two AS first", executed: "build deps", same: true},
}

// sameTime changes a file, but neither its size nor its time.
func sameTime(dir string) error {
	name := filepath.Join(dir, "src/f")
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(name, []byte("#c\nF\n"), 0o644), os.Chtimes(name, info.ModTime(), info.ModTime()))
}

// TestOneChangeRunsWhatDependsOnIt changes one thing at a time: that is executed again
// which could see the change, and nothing else; and equal results are the same image.
func TestOneChangeRunsWhatDependsOnIt(t *testing.T) {
	w := newHub(t, false)
	u := w.users[len(w.users)-1]
	u.write(t, "two/Dockerfile", "FROM nginx\nLABEL two=2\n")
	w.mustBuild(t, u, "two", "-t", w.host+"/library/nginx:two", "--platform", "linux/amd64")
	files := map[string]string{"Dockerfile": keysDockerfile, ".dockerignore": "**/ignored\n", "lock": "1\n", "page": "p\n",
		"src/f": "#c\nf\n", "src/g": "g\n", "src/h": "h\n", "bound/f": "b\n", "src/ignored": "i\n"}
	for name, text := range files {
		u.write(t, "ctx/"+name, text)
	}
	first := w.mustBuild(t, u, "ctx", "-t", w.host+"/keys:1", "--platform", "linux/amd64")
	if got := executedIn(first); got != "build deps other" {
		t.Fatalf("first build: %q was executed\n%s", got, first.stderr)
	}
	for i, c := range keysCases {
		t.Run(c.name, func(t *testing.T) {
			dir := fmt.Sprintf("ctx%d", i)
			for name, text := range files {
				if name == c.file {
					text += "changed\n"
				}
				u.write(t, dir+"/"+name, text)
			}
			if _, known := files[c.file]; !known && c.file != "" {
				u.write(t, dir+"/"+c.file, "changed\n")
			}
			if c.old != "" {
				u.write(t, dir+"/Dockerfile", strings.ReplaceAll(keysDockerfile, c.old, c.new))
			}
			if c.change != nil {
				if err := c.change(filepath.Join(u.home, dir)); err != nil {
					t.Fatal(err)
				}
			}
			args := append([]string{dir, "-t", w.host + "/keys:1", "--platform", "linux/amd64"}, c.args...)
			got := w.mustBuild(t, u, args...)
			if is := executedIn(got); is != c.executed {
				t.Errorf("executed %q, want %q\n%s", is, c.executed, got.stderr)
			}
			if same := got.stdout == first.stdout; same != c.same {
				t.Errorf("%s, was %s; the same: %t, want %t", got.stdout, first.stdout, same, c.same)
			}
		})
	}
}

// executedIn are the RUNs of keysDockerfile that said something.
func executedIn(o outcome) string {
	var names []string
	for line := range strings.Lines(o.stderr) {
		if name, ok := strings.CutPrefix(line, "run-"); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// imageAt is what a registry has for amd64, read by another client.
func imageAt(t *testing.T, ref string) (v1.Image, *v1.Manifest, *v1.ConfigFile) {
	t.Helper()
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(r, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return img, manifest, config
}

// TestBaseLayersStayAsTheyAre builds over a base in the three ways there are, with a
// date and without: layers, history and dates of the base are as they were.
func TestBaseLayersStayAsTheyAre(t *testing.T) {
	w := newHub(t, false)
	_, base, baseConfig := imageAt(t, w.host+"/library/nginx")
	for _, u := range w.users {
		u.write(t, "ctx/f", "f\n")
		for kind, text := range map[string]string{
			"copy": "COPY f /\n", "chown": "COPY --chown=nginx f /etc/nginx/\n",
			"run": "RUN rm -r /etc/nginx && echo x > /usr/share/nginx/html/index.html\n",
		} {
			u.write(t, "ctx/Dockerfile", "FROM nginx\n"+text)
			for _, env := range [][]string{nil, {"SOURCE_DATE_EPOCH=1000000000"}} {
				got := w.build(t, u, env, "ctx", "-t", w.host+"/stays:1", "--platform", "linux/amd64")
				if got.code != 0 {
					t.Fatal(got.stderr)
				}
				_, manifest, config := imageAt(t, got.stdout)
				n := len(base.Layers)
				if diff := cmp.Diff(base.Layers, manifest.Layers[:n]); diff != "" || len(manifest.Layers) != n+1 {
					t.Errorf("%s: %d layers, %d of the base: %s", kind, len(manifest.Layers), n, diff)
				}
				if diff := cmp.Diff(baseConfig.RootFS.DiffIDs, config.RootFS.DiffIDs[:n]); diff != "" {
					t.Errorf("%s: diffIDs: %s", kind, diff)
				}
				if diff := cmp.Diff(baseConfig.History, config.History[:len(baseConfig.History)]); diff != "" {
					t.Errorf("%s: history: %s", kind, diff)
				}
			}
		}
	}
}

// shapesDockerfile has things take each other's place.
const shapesDockerfile = `FROM nginx
RUN ln /etc/nginx/nginx.conf /linked && echo x > /one && ln /one /two && ln -s /one /abs
RUN rm -r /etc/nginx && ln -s usr /etc/nginx
RUN rm /etc/nginx && mkdir /etc/nginx && echo y > /etc/nginx/nginx.conf
RUN rm -r /etc/nginx && echo file > /etc/nginx
RUN rm /etc/nginx /two && mkdir -p /etc/nginx/conf.d && mv /usr/share/nginx /two
COPY f /two/html/f
`

// TestLayersAreOnesThatAllUnpackersTake reads the raw headers: what unpackers of
// images stumble over is not in them.
func TestLayersAreOnesThatAllUnpackersTake(t *testing.T) {
	w := newHub(t, false)
	for _, u := range w.users {
		u.write(t, "ctx/Dockerfile", shapesDockerfile)
		u.write(t, "ctx/f", "f\n")
		w.mustBuild(t, u, "ctx", "-o", "oci:out")
		for n, l := range layersOf(t, filepath.Join(u.home, "out")) {
			for _, fault := range shapeFaults(t, l) {
				t.Errorf("%s, layer %d: %s", u.name, n, fault)
			}
		}
	}
}

func shapeFaults(t *testing.T, l v1.Layer) (faults []string) {
	t.Helper()
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	kinds := map[string]byte{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return faults
		}
		if err != nil {
			t.Fatal(err)
		}
		clean := strings.TrimSuffix(h.Name, "/")
		dir, last := filepath.Split(clean)
		dir = strings.TrimSuffix(dir, "/")
		switch _, twice := kinds[clean]; {
		case twice:
			faults = append(faults, h.Name+" is there twice")
		case strings.HasPrefix(clean, "/") || strings.Contains("/"+clean+"/", "/../"):
			faults = append(faults, h.Name+" is no plain name")
		case h.Typeflag == tar.TypeLink && (strings.HasPrefix(h.Linkname, "/") || kinds[h.Linkname] != tar.TypeReg):
			faults = append(faults, h.Name+" is a hard link to "+h.Linkname)
		case dir != "" && kinds[dir] != 0 && kinds[dir] != tar.TypeDir:
			faults = append(faults, h.Name+" lies below what is no directory")
		}
		if hidden, ok := strings.CutPrefix(last, ".wh."); ok && kinds[strings.TrimPrefix(dir+"/"+hidden, "/")] != 0 {
			faults = append(faults, h.Name+" hides what comes before it")
		}
		kinds[clean] = h.Typeflag
	}
}

// TestContextIsOnlyRead has RUNs and COPYs do what they can to a context that decant
// cannot write either, as far as it is a plain user's.
func TestContextIsOnlyRead(t *testing.T) {
	w := newHub(t, false)
	dir := t.TempDir()
	openPath(t, dir)
	for name, text := range map[string]string{
		".git/HEAD": "ref\n", "f": "f\n", "ignored/f": "i\n", ".dockerignore": "ignored\n.git\n",
		"Dockerfile": "FROM nginx\nRUN --mount=target=/m,rw cd /m && rm -rf * .[a-z]* && echo new > f\n" +
			"RUN --mount=target=/m ! rm -rf /m/f 2>/dev/null && ! touch /m/new 2>/dev/null\nWORKDIR /srv\nCOPY . .\nRUN rm -r /srv/f\n",
	} {
		(user{home: dir}).write(t, name, text)
	}
	before := treeOf(t, dir)
	for _, u := range w.users {
		w.mustBuild(t, u, dir, "-o", "oci:out")
		if diff := cmp.Diff(before, treeOf(t, dir)); diff != "" {
			t.Errorf("%s: the context changed: %s", u.name, diff)
		}
	}
}

// TestBuildersRaceOnOneStep starts four builds of a RUN that never does the same twice:
// each image is whole, and the builds after them agree on one of the results.
func TestBuildersRaceOnOneStep(t *testing.T) {
	w := newHub(t, false)
	for _, u := range w.users {
		u.write(t, "ctx/Dockerfile", "FROM nginx\nRUN echo run-race; head -c 300000 /dev/urandom > /a; cp /a /b\nRUN busybox cmp /a /b && cp /b /c\n")
		var builds [4]*exec.Cmd
		var stdouts, stderrs [4]bytes.Buffer
		for i := range builds {
			builds[i] = exec.CommandContext(t.Context(), filepath.Join(u.bin, "decant"), "build", "ctx",
				"--mirror", "docker.io="+w.host, "-t", fmt.Sprintf("%s/race%d:1", w.host, i))
			builds[i].Dir, builds[i].SysProcAttr = u.home, u.attr
			builds[i].Env = []string{"HOME=" + u.home, "PATH=/usr/bin:/bin", "TMPDIR=" + u.home}
			builds[i].Stdout, builds[i].Stderr = &stdouts[i], &stderrs[i]
			if err := builds[i].Start(); err != nil {
				t.Fatal(err)
			}
		}
		for i, cmd := range builds {
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s, build %d: %v\n%s", u.name, i, err, &stderrs[i])
			}
		}
		if t.Failed() {
			return
		}
		last := w.mustBuild(t, u, "ctx", "-t", w.host+"/race:1")
		if executedIn(last) != "" {
			t.Errorf("executed after four builds:\n%s", last.stderr)
		}
		_, digest, _ := strings.Cut(last.stdout, "@")
		found := false
		for i := range builds {
			ref := strings.TrimSpace(stdouts[i].String())
			found = found || strings.HasSuffix(ref, digest)
			img, _, _ := imageAt(t, ref)
			sameInAllLayers(t, fmt.Sprintf("%s, build %d", u.name, i), img)
		}
		if !found {
			t.Errorf("%s is the image of none of the four builds", last.stdout)
		}
	}
}

// sameInAllLayers compares /a, /b and /c, which two steps wrote.
func sameInAllLayers(t *testing.T, what string, img v1.Image) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	for _, l := range layers[len(layers)-2:] {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			content[h.Name] = string(data)
		}
	}
	if a := content["a"]; len(a) != 300000 || content["b"] != a || content["c"] != a {
		t.Errorf("%s has files of several runs", what)
	}
}
