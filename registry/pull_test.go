package registry

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/decant-build/decant/registry/registrytest"
)

const (
	ociIndexText = `{"schemaVersion":2,"manifests":[]}`
	hash0        = `"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":2`
	ociImageText = `{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json",` + hash0 + `},"layers":[]}`
	helmText     = `{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json",` + hash0 + `},"layers":[]}`
)

func TestManifestType(t *testing.T) {
	index, image := string(types.OCIImageIndex), string(types.OCIManifestSchema1)
	tests := []struct {
		name, raw, header string
		want              types.MediaType
		err               string
	}{
		{"an index", ociIndexText, index, types.OCIImageIndex, ""},
		{"an index from the cache", ociIndexText, "", types.OCIImageIndex, ""},
		{"an image", ociImageText, image + "; charset=utf-8", types.OCIManifestSchema1, ""},
		{"an image from the cache", ociImageText, "", types.OCIManifestSchema1, ""},
		{"served as JSON", ociImageText, "application/json", types.OCIManifestSchema1, ""},
		{"a chart", helmText, image, "", `its type is "application/vnd.cncf.helm.config.v1+json"`},
		{"an artifact", `{"schemaVersion":2,"artifactType":"text/sbom","config":{"mediaType":"application/vnd.oci.empty.v1+json"}}`,
			image, "", `its type is "text/sbom"`},
		{"schema 1", `{"schemaVersion":1,"fsLayers":[]}`, string(types.DockerManifestSchema1Signed), "", "schema 1"},
		{"an index that is called an image", ociIndexText, image, "", "is not the"},
		{"both", `{"manifests":[],"config":{},"layers":[]}`, index, "", "is not the"},
		{"header and text disagree", `{"mediaType":"` + index + `","manifests":[]}`, image, "", "calls itself"},
		{"nothing", `{}`, "application/json", "", "this is no image"},
		{"no JSON", `hello`, image, "", "not JSON"},
		{"unknown", ociImageText, "application/x-thing", "", `its type is "application/x-thing"`},
		{"too many images", `{"manifests":[` + strings.Repeat("{},", maxChildren) + `{}]}`, index, "", "1001 entries"},
		{"too many layers", strings.Replace(ociImageText, "[]", "["+strings.Repeat("{},", maxLayers)+"{}]", 1), image, "", "501 layers"},
	}
	for _, tt := range tests {
		got, err := manifestType([]byte(tt.raw), tt.header)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}

func TestPullRefusesWhatIsNotAsItsDigest(t *testing.T) {
	for name, f := range map[string]registrytest.Fault{
		"changed": {Corrupt: true}, "announced wrongly": {WrongDigest: true},
	} {
		r := registrytest.New(t, registrytest.Options{})
		c, _ := newClient(t, Options{})
		img := ociImage(t, 10, 1)
		push(t, c, img, r.Host+"/a:1")
		f.Method, f.Path, f.Times = "GET", "/manifests/", -1
		r.Fail(f)
		var wrong *DigestError
		if _, err := c.Pull(context.Background(), r.Host+"/a@"+digestOf(t, img).String()); !errors.As(err, &wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPullRefusesWhatIsTooLong(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c, _ := newClient(t, Options{})
	r.PutManifest("a", "1", string(types.OCIImageIndex), []byte(ociIndexText+strings.Repeat(" ", maxManifest)))
	if _, err := c.Pull(context.Background(), r.Host+"/a:1"); err == nil || !strings.Contains(err.Error(), "more than the") {
		t.Error(err)
	}
	r.PutManifest("a", "2", string(types.OCIManifestSchema1),
		[]byte(strings.Replace(ociImageText, `"size":2`, `"size":9000000000`, 1)))
	if _, err := c.Pull(context.Background(), r.Host+"/a:2"); err == nil || !strings.Contains(err.Error(), "9000000000 bytes") {
		t.Error(err)
	}
}

func TestPullSurvivesACutManifest(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c, _ := newClient(t, Options{})
	push(t, c, ociImage(t, 10, 1), r.Host+"/a:1")
	r.Fail(registrytest.Fault{Method: "GET", Path: "/manifests/", Cut: 20, Times: 2})
	pull(t, c, r.Host+"/a:1")
}

func TestCacheSparesRequests(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	dir := t.TempDir()
	base := baseIndex(t, 100, 1)
	seed, _ := newClient(t, Options{})
	push(t, seed, base, r.Host+"/base:1")
	open := func(ref string) (requests int) {
		t.Helper()
		c, _ := newClient(t, Options{CacheDir: dir})
		r.Reset()
		p := pull(t, c, ref)
		for _, d := range must(p.Index.IndexManifest())(t).Manifests {
			img := must(p.Index.Image(d.Digest))(t)
			must(img.ConfigFile())(t)
		}
		return len(r.Requests())
	}
	if n := open(r.Host + "/base:1"); n != 6 { // ping, index, manifests, configs
		t.Errorf("a cold pull needs %d requests", n)
	}
	if n := open(r.Host + "/base:1"); n != 2 { // ping, HEAD
		t.Errorf("a warm pull needs %d requests", n)
	}
	if n := open(r.Host + "/base@" + digestOf(t, base).String()); n != 0 {
		t.Errorf("a warm pull by digest needs %d requests", n)
	}
	// The tag moves.
	push(t, seed, baseIndex(t, 100, 1), r.Host+"/base:1")
	if n := open(r.Host + "/base:1"); n != 7 {
		t.Errorf("a pull of a moved tag needs %d requests", n)
	}
}

// must is for a call of two results: must(f())(t).
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestDamagedCacheIsNotBelieved(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	dir := t.TempDir()
	c, _ := newClient(t, Options{CacheDir: dir})
	push(t, c, ociImage(t, 10, 1), r.Host+"/a:1")
	files := must(filepath.Glob(filepath.Join(dir, "manifests", "*")))(t)
	if len(files) != 3 {
		t.Fatalf("the cache has %q", files)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, _ = newClient(t, Options{CacheDir: dir})
	if err := validate.Image(pull(t, c, r.Host+"/a:1").Image); err != nil {
		t.Error(err)
	}
}

func TestOfflineAnswersFromTheCache(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	dir := t.TempDir()
	c, _ := newClient(t, Options{CacheDir: dir})
	push(t, c, ociImage(t, 10, 1), r.Host+"/a:1")
	fresh, _ := newClient(t, Options{CacheDir: dir})
	must(pull(t, fresh, r.Host+"/a:1").Image.ConfigFile())(t)
	r.Reset()
	off, _ := newClient(t, Options{CacheDir: dir, Offline: true})
	p := pull(t, off, r.Host+"/a:1")
	must(p.Image.ConfigFile())(t)
	var missing *OfflineError
	if _, err := off.Pull(context.Background(), r.Host+"/a:2"); !errors.As(err, &missing) ||
		missing.Ref != r.Host+"/a:2" || missing.Hint() == "" {
		t.Error(err)
	}
	layers := must(p.Image.Layers())(t)
	if _, err := layers[0].Compressed(); !errors.As(err, &missing) {
		t.Error(err)
	}
	target := must(off.Target(r.Host + "/a:3"))(t)
	if _, err := target.Push(context.Background(), p.Image); !errors.As(err, &missing) {
		t.Error(err)
	}
	if n := len(r.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestMirrorIsAskedFirst(t *testing.T) {
	mirror := registrytest.New(t, registrytest.Options{})
	hub := registrytest.New(t, registrytest.Options{})
	c, _ := newClient(t, Options{})
	img := ociImage(t, 5000, 2)
	push(t, c, img, mirror.Host+"/cache/hub/lib/nginx:1", hub.Host+"/lib/nginx:1", hub.Host+"/lib/only:1")
	gone := "127.0.0.1:1/x"
	c, log := newClient(t, Options{Mirrors: map[string][]string{hub.Host: {gone, mirror.Host + "/cache/hub"}}})
	hub.Reset()
	p := pull(t, c, hub.Host+"/lib/nginx:1")
	if err := validate.Image(p.Image); err != nil {
		t.Error(err)
	}
	if n := len(hub.Requests()); n != 0 || !log.has("from mirror "+mirror.Host+"/cache/hub/lib/nginx") {
		t.Errorf("%d requests, log %q", n, log.all)
	}
	if p.Name.String() != hub.Host+"/lib/nginx:1" {
		t.Errorf("name %s", p.Name)
	}
	// What the mirror lacks comes from the registry; layers are mounted on the mirror.
	if err := validate.Image(pull(t, c, hub.Host+"/lib/only:1").Image); err != nil {
		t.Error(err)
	}
	_, target := push(t, c, p.Image, mirror.Host+"/web:1")
	if s := target.Stats(); s.Mounted != 2 {
		t.Errorf("stats %+v", s)
	}
}

func TestMirrorsMustBeHosts(t *testing.T) {
	for _, prefix := range []string{"", "hub", "UPPER/x y", "https://a.example.com"} {
		if _, err := New(Options{Mirrors: map[string][]string{"docker.io": {prefix}}}); err == nil {
			t.Errorf("%q was taken", prefix)
		}
	}
	if _, err := New(Options{Mirrors: map[string][]string{"docker.io": {"mirror.corp:5000", "mirror.corp/hub/"}}}); err != nil {
		t.Error(err)
	}
}

func TestUncompressedFindsTheCompression(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c, _ := newClient(t, Options{})
	img := ociImage(t, 5000, 1)
	push(t, c, img, r.Host+"/a:1")
	l := must(pull(t, c, r.Host+"/a:1").Image.Layers())(t)[0]
	want := must(img.Layers())(t)[0]
	if got := readAll(t, l.Uncompressed); string(got) != string(readAll(t, want.Uncompressed)) {
		t.Error("another content")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-1": 0, "soon": 0,
		"Thu, 01 Jan 2026 00:00:30 GMT": 30 * time.Second, "Thu, 01 Jan 2015 00:00:30 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %s", value, got)
		}
	}
}

func TestParseUploadRange(t *testing.T) {
	for in, want := range map[string]int64{
		"": 0, "0-0": 0, "0-9": 10, "bytes=0-9": 10, "5-9": -1, "0-": -1, "x": -1, "0--5": -1, "0-9223372036854775807": -1,
	} {
		got, ok := parseUploadRange(in)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %d %v", in, got, ok)
		}
	}
}

func TestParseContentRange(t *testing.T) {
	tests := map[string][2]int64{
		"bytes 5-9/10": {5, 10}, "bytes 0-0/*": {0, -1}, "bytes 5-9/9": {-1, 0}, "5-9/10": {-1, 0},
		"bytes 9-5/10": {-1, 0}, "bytes */10": {-1, 0}, "": {-1, 0},
	}
	for in, want := range tests {
		start, total, ok := parseContentRange(in)
		if ok != (want[0] >= 0) || ok && (start != want[0] || total != want[1]) {
			t.Errorf("%q: %d %d %v", in, start, total, ok)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"nginx", "a.example.com:5000/b/c:d", "a@sha256:" + strings.Repeat("0", 64), "A/b", "://", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseRef(s)
		if err != nil {
			var bad *RefError
			if !errors.As(err, &bad) || bad.Hint() == "" {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		// What is printed means the same when it is read back.
		again, err := parseRef(nameText(r))
		if err != nil || again.Name() != r.Name() {
			t.Fatalf("%q becomes %q: %v", s, nameText(r), err)
		}
	})
}

func FuzzParseChallenges(f *testing.F) {
	f.Add(`Bearer realm="https://a/t",service="s", scope="repository:a:pull,push"`)
	f.Add(`Negotiate, Basic realm=plain, x="\`)
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range parseChallenges(s) {
			if c.scheme == "" || c.params == nil {
				t.Fatalf("%q: %+v", s, c)
			}
		}
	})
}

func FuzzRanges(f *testing.F) {
	f.Add("bytes 5-9/10")
	f.Add("0-9")
	f.Fuzz(func(t *testing.T, s string) {
		if start, total, ok := parseContentRange(s); ok && (start < 0 || total >= 0 && total <= start) {
			t.Fatalf("%q: %d %d", s, start, total)
		}
		if off, ok := parseUploadRange(s); ok && off < 0 {
			t.Fatalf("%q: %d", s, off)
		}
	})
}

func FuzzManifestType(f *testing.F) {
	f.Add([]byte(ociImageText), string(types.OCIManifestSchema1))
	f.Add([]byte(ociIndexText), "")
	f.Add([]byte(helmText), "application/json")
	f.Fuzz(func(t *testing.T, raw []byte, header string) {
		kind, err := manifestType(raw, header)
		if err != nil {
			return
		}
		d := document{raw: raw, mediaType: kind}
		switch {
		case kind.IsIndex():
			_, _ = newIndex(origin{}, d)
		case kind.IsImage():
			_, _ = newImage(origin{}, d)
		default:
			t.Fatalf("%q", kind)
		}
	})
}

func FuzzDockerConfig(f *testing.F) {
	f.Add(`{"auths":{"a":{"auth":"eDp5"}},"x" : [1, 2]}`)
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, text string) {
		o, err := parseObject([]byte(text))
		if err != nil {
			return
		}
		again, err := parseObject(o.with("auths", []byte("{}")).text(""))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		for _, m := range o {
			if got := again.get(m.key); m.key != "auths" && string(got) != string(o.get(m.key)) {
				t.Fatalf("%q: %q became %q", m.key, m.value, got)
			}
		}
	})
}
