package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/decant-build/decant/registry/registrytest"
)

// A flake is what a registry does to who pulls bases and pushes images. LAYER in the
// path of a fault is the digest of the base's layer.
type flake struct {
	name    string
	options registrytest.Options
	fault   registrytest.Fault
}

// wait is the answer of a registry that has too many guests.
func wait(method, path string) registrytest.Fault {
	return registrytest.Fault{Method: method, Path: path, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}}
}

var flakes = []flake{
	{name: "too many requests for the manifest", fault: wait("GET", "/base/manifests/")},
	{name: "too many requests for the layer", fault: wait("GET", "LAYER")},
	{name: "the layer is cut", fault: registrytest.Fault{Method: "GET", Path: "LAYER", Cut: 100_000, Times: 2}},
	{name: "the layer is cut and there are no ranges", options: registrytest.Options{NoRange: true},
		fault: registrytest.Fault{Method: "GET", Path: "LAYER", Cut: 100_000}},
	{name: "a proxy has a page of its own", fault: registrytest.Fault{Method: "GET", Path: "LAYER", Status: http.StatusBadGateway, Body: "<html>"}},
	{name: "the connection breaks", fault: registrytest.Fault{Method: "GET", Path: "/base/manifests/", Reset: true}},
	{name: "tokens end early", options: registrytest.Options{Token: true, TokenUses: 3}},
	{name: "too many requests to push", fault: wait("POST", "/web/")},
	{name: "an upload is cut", fault: registrytest.Fault{Method: "PATCH|PUT", Path: "/web/blobs/", Cut: 50}},
	{name: "the manifest is not taken at first", fault: registrytest.Fault{Method: "PUT", Path: "/web/manifests/", Status: http.StatusBadGateway}},
}

// flakyDockerfile has the layer of its base indexed, and unpacked for a RUN.
const flakyDockerfile = "FROM HOST/base AS a\nCOPY --chown=web f /link/f\nRUN cp -p /srv/f /srv/g\n" +
	"FROM HOST/base\nCOPY --from=a /srv /\nCOPY --chown=web f /link/\n"

// TestRegistriesMayFlake builds with registries that fail for a while, each time from
// nothing: the image is that of the registry that does not, and nothing else is written.
func TestRegistriesMayFlake(t *testing.T) {
	base := flakyBase(t)
	u := user{bin: buildDecant(t)}
	clean, _ := base.build(t, u, flake{})
	for _, f := range flakes {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			got, requests := base.build(t, u, f)
			if got != clean {
				t.Errorf("%s, want %s", got, clean)
			}
			if n := base.hits(t, f, requests); n < 2 {
				t.Errorf("%d requests, as if nothing had failed", n)
			}
		})
	}
}

// hits counts the requests that the fault is about; of tokens, those for them.
func (b *flakyImage) hits(t *testing.T, f flake, requests []registrytest.Request) (n int) {
	t.Helper()
	method, path := regexp.MustCompile(f.fault.Method), regexp.MustCompile(b.path(t, f.fault.Path))
	if f.options.Token {
		path = regexp.MustCompile("^/token")
	}
	for _, q := range requests {
		if method.MatchString(q.Method) && path.MatchString(q.Path) {
			n++
		}
	}
	return n
}

// path is a fault's, with the digest in it.
func (b *flakyImage) path(t *testing.T, path string) string {
	t.Helper()
	digest, err := b.layer.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(path, "LAYER", digest.String())
}

// build makes a registry and builds in it. It returns the digest of the image, and what
// was asked for.
func (b *flakyImage) build(t *testing.T, u user, f flake) (digest string, requests []registrytest.Request) {
	t.Helper()
	r := b.serve(t, f)
	u.home = t.TempDir()
	got := b.buildAt(t, u, r)
	if got.code != 0 {
		t.Fatalf("exit code %d\n%s", got.code, got.stderr)
	}
	for _, q := range r.Requests() {
		if q.Method != http.MethodGet && q.Method != http.MethodHead && !strings.HasPrefix(q.Path, "/v2/web/") {
			t.Errorf("%s %s, and only web is to be written", q.Method, q.Path)
		}
	}
	_, digest, _ = strings.Cut(got.stdout, "@")
	return digest, r.Requests()
}

func (b *flakyImage) buildAt(t *testing.T, u user, r *registrytest.Registry) outcome {
	t.Helper()
	u.write(t, "ctx/Dockerfile", strings.ReplaceAll(flakyDockerfile, "HOST", r.Host))
	u.write(t, "ctx/f", "f\n")
	return (&hubWorld{host: r.Host}).build(t, u, nil, "ctx", "-t", r.Host+"/web:1")
}

// TestWrongBytesAreNotBuiltOn has a registry send another layer than it says: nothing
// is built on it, and nothing is kept of it for when the registry is well again.
func TestWrongBytesAreNotBuiltOn(t *testing.T) {
	base := flakyBase(t)
	u := user{bin: buildDecant(t)}
	clean, _ := base.build(t, u, flake{})
	r := base.serve(t, flake{fault: registrytest.Fault{Method: "GET", Path: "LAYER", Corrupt: true, Times: 20}})
	u.home = t.TempDir()
	for range 20 {
		got := base.buildAt(t, u, r)
		if got.code == 0 {
			if !strings.HasSuffix(got.stdout, clean) {
				t.Errorf("%s, want %s", got.stdout, clean)
			}
			return
		}
		if got.code != 1 || got.stdout != "" || r.Tag("web", "1") != "" {
			t.Fatalf("exit code %d, %q, tag %q\n%s", got.code, got.stdout, r.Tag("web", "1"), got.stderr)
		}
	}
	t.Error("the registry is well again, and the build fails all the same")
}

// TestPushIsCheckedBeforeARunExecutes builds for a registry that wants a password which
// nobody has.
func TestPushIsCheckedBeforeARunExecutes(t *testing.T) {
	r := flakyBase(t).serve(t, flake{})
	private := registrytest.New(t, registrytest.Options{User: "u", Password: "p"})
	u := user{bin: buildDecant(t), home: t.TempDir()}
	u.write(t, "ctx/Dockerfile", "FROM "+r.Host+"/base\nRUN echo run-all\n")
	got := (&hubWorld{host: r.Host}).build(t, u, nil, "ctx", "-t", private.Host+"/web:1")
	if got.code != 1 || got.stdout != "" || executedIn(got) != "" || !strings.Contains(got.stderr, "401") {
		t.Errorf("exit code %d, %q\n%s", got.code, got.stdout, got.stderr)
	}
}

// flakyImage is a base of one layer, large enough to be cut.
type flakyImage struct {
	image v1.Image
	layer v1.Layer
}

func flakyBase(t *testing.T) *flakyImage {
	t.Helper()
	if testing.Short() {
		t.Skip("-short")
	}
	program, err := os.ReadFile(needed[string](t)(openBed(t).Busybox(t.Context())))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "bin/busybox", Mode: 0o755, Size: int64(len(program))},
		{Name: "bin/sh", Typeflag: tar.TypeSymlink, Linkname: "busybox"}, {Name: "bin/cp", Typeflag: tar.TypeSymlink, Linkname: "busybox"},
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "etc/passwd", Mode: 0o644, Size: int64(len(flakyUsers))},
		{Name: "srv/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "link", Typeflag: tar.TypeSymlink, Linkname: "srv"},
	} {
		content := program
		if h.Name == "etc/passwd" {
			content = []byte(flakyUsers)
		}
		err := tw.WriteHeader(&h)
		if h.Size > 0 {
			err = errors.Join(err, second(tw.Write(content)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b.Bytes())), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config.Env = "linux", runtime.GOARCH, []string{"PATH=/bin"}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return &flakyImage{img, layer}
}

const flakyUsers = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:web:/srv:/bin/sh\n"

// serve starts a registry with the base in it, and with the fault.
func (b *flakyImage) serve(t *testing.T, f flake) *registrytest.Registry {
	t.Helper()
	r := registrytest.New(t, f.options)
	compressed, err := b.layer.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer compressed.Close()
	data, err := io.ReadAll(compressed)
	if err != nil {
		t.Fatal(err)
	}
	config, err := b.image.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := b.image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	r.PutBlob("base", data)
	r.PutBlob("base", config)
	r.PutManifest("base", "latest", "application/vnd.docker.distribution.manifest.v2+json", manifest)
	if f.fault.Path != "" {
		f.fault.Path = b.path(t, f.fault.Path)
		for method := range strings.SplitSeq(f.fault.Method, "|") {
			f.fault.Method = method
			r.Fail(f.fault)
		}
	}
	return r
}
