package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/decant-build/decant/testdata/bed"
)

// missing skips a test for want of a real part, or fails it where none may be
// missing.
func missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("DECANT_TEST_REQUIRE_ALL") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// openBed gives the test bed, on the systems that can have one.
func openBed(t testing.TB) *bed.Bed {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the bed is made of Debian packages")
	}
	b, err := bed.Open(t.Context(), "", func(s string) { t.Log(s) })
	if err != nil {
		missing(t, err.Error())
	}
	return b
}

// needed unwraps what the bed made, or skips.
func needed[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		var m *bed.MissingError
		if errors.As(err, &m) {
			missing(t, m.Error()+": "+m.Hint())
		}
		if err != nil {
			missing(t, err.Error())
		}
		return v
	}
}

// user is who runs decant in a test.
type user struct {
	name string
	bin  string
	home string
	attr *syscall.SysProcAttr
}

// run executes decant and returns its standard output.
func (u user) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(u.bin, "decant"), args...)
	cmd.Dir = u.home
	cmd.Env = []string{"HOME=" + u.home, "PATH=/usr/bin:/bin", "TMPDIR=" + u.home}
	cmd.SysProcAttr = u.attr
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("decant %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// TestSiteReachesTheBrowser is the main job with real parts, as root and as a
// plain user: Debian's registry, an nginx base of Debian packages, the image read
// back by skopeo and umoci and served by its own nginx.
func TestSiteReachesTheBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	b := openBed(t)
	base := needed[string](t)(b.Nginx(t.Context()))
	bin := buildDecant(t)
	openPath(t, bin)
	for _, u := range users(t, bin) {
		t.Run(u.name, func(t *testing.T) { siteReachesTheBrowser(t, b, u, base) })
	}
}

func siteReachesTheBrowser(t *testing.T, b *bed.Bed, u user, base string) {
	registry := needed[*bed.Registry](t)(b.Registry(t.Context()))
	defer registry.Stop()
	host := registry.Host()
	baseRef := host + "/nginx:stable"
	if _, err := b.Push(t.Context(), base, baseRef); err != nil {
		t.Fatal(err)
	}
	site := filepath.Join(u.home, "dist")
	writeSite(t, u, site, "<!doctype html><title>one</title>")

	image := u.run(t, "build", site, "--base", baseRef, "-t", host+"/shop/web:1", "-q")
	readBack(t, b, image)
	first := serveAndGet(t, b, image, "")
	if first.status != http.StatusOK || !strings.Contains(first.body, "<title>one</title>") {
		t.Fatalf("served %+v", first)
	}

	if again := u.run(t, "build", site, "--base", baseRef, "-t", host+"/shop/web:1", "-q"); again != image {
		t.Errorf("unchanged site: %s, was %s", again, image)
	}

	writeSite(t, u, site, "<!doctype html><title>two</title>")
	changed := u.run(t, "build", site, "--base", baseRef, "-t", host+"/shop/web:1", "-q")
	second := serveAndGet(t, b, changed, first.etag)
	if second.status != http.StatusOK || second.etag == first.etag {
		t.Errorf("new content of equal length: status %d, ETag %s, was %s", second.status, second.etag, first.etag)
	}
	if same := serveAndGet(t, b, changed, second.etag); same.status != http.StatusNotModified {
		t.Errorf("same content: status %d, want 304", same.status)
	}
}

func writeSite(t *testing.T, u user, dir, index string) {
	t.Helper()
	for name, text := range map[string]string{
		"index.html": index, "assets/app-1a2b3c4d.js": "console.log(1)", "über uns.html": "<p>ü",
	} {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// readBack lets skopeo inspect the image and umoci unpack it.
func readBack(t *testing.T, b *bed.Bed, image string) {
	t.Helper()
	skopeo := needed[*bed.Tool](t)(b.Tool(t.Context(), "skopeo"))
	umoci := needed[*bed.Tool](t)(b.Tool(t.Context(), "umoci"))
	layout := filepath.Join(t.TempDir(), "layout")
	command(t, skopeo.Command(t.Context(), "copy", "-q", "--src-tls-verify=false", "--all",
		"docker://"+image, "oci:"+layout+":all"))
	raw := command(t, skopeo.Command(t.Context(), "inspect", "--tls-verify=false", "--raw", "docker://"+image))
	var index struct {
		Manifests []struct{ Platform struct{ Architecture string } }
	}
	if err := json.Unmarshal(raw, &index); err != nil || len(index.Manifests) != 2 {
		t.Fatalf("skopeo sees %s (%v), want an index of two", raw, err)
	}
	command(t, skopeo.Command(t.Context(), "copy", "-q", "--src-tls-verify=false", "--override-arch", "amd64",
		"docker://"+image, "oci:"+layout+":one"))
	bundle := filepath.Join(t.TempDir(), "bundle")
	command(t, umoci.Command(t.Context(), "unpack", "--rootless", "--image", layout+":one", bundle))
	page := filepath.Join(bundle, "rootfs/usr/share/nginx/html/index.html")
	if data, err := os.ReadFile(page); err != nil || !strings.Contains(string(data), "<title>one") {
		t.Errorf("umoci unpacked %q, %v", data, err)
	}
}

func command(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, stderr.String())
	}
	return out
}

// answer is what a browser gets.
type answer struct {
	status     int
	etag, body string
}

// serveAndGet pulls the image with another client, serves it with its own nginx
// and asks for the first page.
func serveAndGet(t *testing.T, b *bed.Bed, image, etag string) answer {
	t.Helper()
	ref, err := name.ParseReference(image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := bed.UnpackImage(t.Context(), img, root); err != nil {
		t.Fatal(err)
	}
	server, err := b.Serve(t.Context(), root, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	return get(t, t.Context(), server.URL()+"/index.html", etag)
}

func get(t *testing.T, ctx context.Context, url, etag string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: resp.StatusCode, etag: resp.Header.Get("ETag"), body: string(body)}
}
