package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/decant-build/decant/registry/registrytest"
)

// cutter is a transport that fails once, when a request's body has got so far.
type cutter struct {
	http.RoundTripper
	after int64
	cut   atomic.Bool
}

func newCutter(after int64) *cutter {
	return &cutter{RoundTripper: &http.Transport{}, after: after}
}

func (c *cutter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.ContentLength > c.after && c.cut.CompareAndSwap(false, true) {
		r.Body = &cutReader{r.Body, c.after}
		r.GetBody = nil
	}
	return c.RoundTripper.RoundTrip(r)
}

func (c *cutter) CloseIdleConnections() { c.RoundTripper.(*http.Transport).CloseIdleConnections() }

type cutReader struct {
	io.ReadCloser
	left int64
}

func (r *cutReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := r.ReadCloser.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	return n, err
}

// TestUploadSurvives sends 8 MiB through what goes wrong on the way.
func TestUploadSurvives(t *testing.T) {
	const size = 8 << 20
	put := func(f registrytest.Fault) registrytest.Options {
		f.Method, f.Path = "PUT", "/blobs/uploads/"
		return registrytest.Options{Faults: []registrytest.Fault{f}}
	}
	second := http.Header{"Retry-After": {"0"}}
	tests := []struct {
		name string
		o    registrytest.Options
		max  int64 // bytes that may have been sent
	}{
		{"a cut body", put(registrytest.Fault{Cut: 5 << 20}), 11 << 20},
		{"a reset", put(registrytest.Fault{Reset: true}), 17 << 20},
		{"three resets", put(registrytest.Fault{Reset: true, Times: 3}), 40 << 20},
		{"429", put(registrytest.Fault{Status: 429, Header: second}), 17 << 20},
		{"503", put(registrytest.Fault{Status: 503}), 17 << 20},
		{"408", put(registrytest.Fault{Status: 408}), 17 << 20},
		{"a stall", put(registrytest.Fault{Stall: true}), 17 << 20},
		{"a session that is gone", put(registrytest.Fault{Status: 404,
			Body: `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}`}), 17 << 20},
		{"a digest that is refused once", put(registrytest.Fault{Status: 400,
			Body: `{"errors":[{"code":"DIGEST_INVALID"}]}`}), 17 << 20},
		{"a limit of 6 MiB", registrytest.Options{MaxBody: 6 << 20}, 17 << 20},
		{"no monolithic PUT", registrytest.Options{NoMonolithic: true}, 17 << 20},
		{"a token that ends before the PUT", registrytest.Options{Token: true, TokenUses: 3}, 17 << 20},
		{"a POST that fails", registrytest.Options{Faults: []registrytest.Fault{
			{Method: "POST", Status: 500, Times: 2}}}, size},
		{"a HEAD that fails", registrytest.Options{Faults: []registrytest.Fault{
			{Method: "HEAD", Path: "/blobs/", Reset: true}}}, size},
		{"a ping that fails", registrytest.Options{Faults: []registrytest.Fault{
			{Path: "/v2/$", Status: 502}}}, size},
	}
	top := layerOf(t, size)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // a server that has not read a body closes slowly
			r := registrytest.New(t, tt.o)
			c, _ := newClient(t, Options{Keychain: keys{}})
			c.timing.stall = 300 * time.Millisecond
			target, err := c.Target(r.Host + "/web:1")
			if err != nil {
				t.Fatal(err)
			}
			if err := target.Upload(context.Background(), top); err != nil {
				t.Fatalf("%v (%s)", err, hintOf(err))
			}
			if !r.HasBlob("web", digestOf(t, top).String()) {
				t.Error("the layer is not there")
			}
			if s := target.Stats(); s.BytesUp > tt.max || s.Uploaded != 1 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// After the answer to the last request was lost, the blob is found instead of
// sent again.
func TestUploadFindsThatItWasDone(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	rt := &lost{RoundTripper: &http.Transport{}}
	c, _ := newClient(t, Options{Transport: rt})
	target, err := c.Target(r.Host + "/web:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Upload(context.Background(), layerOf(t, 100_000)); err != nil {
		t.Fatal(err)
	}
	if n := r.Count("PUT", "digest="); n != 1 {
		t.Errorf("sent %d times", n)
	}
}

// lost drops the first answer to a PUT.
type lost struct {
	http.RoundTripper
	done atomic.Bool
}

func (l *lost) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil && r.Method == http.MethodPut && l.done.CompareAndSwap(false, true) {
		resp.Body.Close()
		return nil, io.ErrUnexpectedEOF
	}
	return resp, err
}

func (l *lost) CloseIdleConnections() { l.RoundTripper.(*http.Transport).CloseIdleConnections() }

func TestDownloadSurvives(t *testing.T) {
	get := func(f registrytest.Fault) registrytest.Options {
		f.Method, f.Path = "GET", "/blobs/"
		return registrytest.Options{Faults: []registrytest.Fault{f}}
	}
	noRange := get(registrytest.Fault{Cut: 1 << 20})
	noRange.NoRange = true
	for name, o := range map[string]registrytest.Options{
		"a cut body":              get(registrytest.Fault{Cut: 1 << 20}),
		"three cuts":              get(registrytest.Fault{Cut: 100_000, Times: 3}),
		"many cuts with progress": get(registrytest.Fault{Cut: 1<<20 + 1, Times: 20}),
		"a cut, and no ranges":    noRange,
		"503":                     get(registrytest.Fault{Status: 503, Times: 2}),
		"a stall":                 get(registrytest.Fault{Stall: true}),
		"a reset":                 get(registrytest.Fault{Reset: true}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := registrytest.New(t, o)
			c, _ := newClient(t, Options{Keychain: keys{}})
			c.timing.stall = 300 * time.Millisecond
			l := pulledLayer(t, c, r, 4<<20)
			if got := readAll(t, l.Compressed); len(got) != int(l.desc.Size) {
				t.Errorf("%d bytes", len(got))
			}
		})
	}
}

// pulledLayer puts a layer into a registry and returns it as pulled.
func pulledLayer(t *testing.T, c *Client, r *registrytest.Registry, size int) *Layer {
	t.Helper()
	top := layerOf(t, size)
	data := readAll(t, top.Compressed)
	r.PutBlob("a", data)
	img := &siteImage{Image: ociImage(t, 1, 1), top: top}
	d := document{raw: []byte(`{}`), mediaType: types.OCIManifestSchema1}
	i := &image{origin: origin{c: c, ctx: context.Background(), from: []place{{r.Host, "a"}}, ref: r.Host + "/a:1"},
		document: d}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	i.manifest = *m
	i.manifest.Layers[0].Digest, i.manifest.Layers[0].Size = digestOf(t, top), int64(len(data))
	return i.layer(0)
}

func TestLayerIsVerifiedWhileRead(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Faults: []registrytest.Fault{
		{Method: "GET", Path: "/blobs/", Corrupt: true}}})
	c, _ := newClient(t, Options{})
	rc, err := pulledLayer(t, c, r, 100_000).Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	n, err := io.Copy(io.Discard, rc)
	var wrong *DigestError
	if !errors.As(err, &wrong) || n >= 100_000 || wrong.Hint() == "" {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestLayerOfAnotherSizeIsAnError(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c, _ := newClient(t, Options{})
	for _, by := range []int64{-1, 1} {
		l := pulledLayer(t, c, r, 1000)
		l.desc.Size += by
		rc, err := l.Compressed()
		if err == nil {
			_, err = io.Copy(io.Discard, rc)
			rc.Close()
		}
		if err == nil {
			t.Errorf("size off by %d: no error", by)
		}
	}
}

func TestPullGivesUp(t *testing.T) {
	tests := []struct {
		name  string
		fault registrytest.Fault
		want  string
		hint  string
		tries int
	}{
		{"404", registrytest.Fault{Status: 404, Body: `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no"}]}`, Times: -1},
			`404 Not Found: MANIFEST_UNKNOWN: "no"`, "check the name and the tag", 1},
		{"403", registrytest.Fault{Status: 403, Times: -1}, "403 Forbidden", "decant login", 1},
		{"500", registrytest.Fault{Status: 500, Body: "boom\x1b[31m", Times: -1}, `"boom\x1b[31m"`, "try again later", 5},
		{"501", registrytest.Fault{Status: 501, Times: -1}, "501", "", 1},
		{"429", registrytest.Fault{Status: 429, Header: http.Header{"Retry-After": {"600"}}, Times: -1},
			"429 Too Many Requests", "asks to wait 10m0s; a login may have a higher limit", 1},
		{"507", registrytest.Fault{Status: 507, Times: -1}, "507", "no room left", 1},
		{"quota", registrytest.Fault{Status: 403, Body: `{"errors":[{"code":"DENIED","message":"Quota exceeded"}]}`, Times: -1},
			"Quota", "no room left", 1},
		{"413", registrytest.Fault{Status: 413, Times: -1}, "413", "client_max_body_size", 1},
		{"a web page", registrytest.HTML(200), "", "a web page answered", 1},
		{"a web page for 403", registrytest.HTML(403), "403", "decant login", 1},
		{"a web page for 404", registrytest.HTML(404), "404", "check the name and the tag", 1},
		{"a web page for 405", registrytest.HTML(405), "405", "a web page answered", 1},
		{"a limit called quota", registrytest.Fault{Status: 429, Header: http.Header{"Retry-After": {"600"}},
			Body: `{"errors":[{"code":"TOOMANYREQUESTS","message":"pull quota"}]}`, Times: -1},
			"429", "a login may have a higher limit", 1},
		{"a name with quota", registrytest.Fault{Status: 404,
			Body: `{"errors":[{"code":"NAME_UNKNOWN","message":"no shop/quota"}]}`, Times: -1},
			"404", "check the name and the tag", 1},
		{"stalls", registrytest.Fault{Stall: true, Times: -1}, "silent", "does not answer", 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.fault.Path = "/manifests/"
			r := registrytest.New(t, registrytest.Options{Faults: []registrytest.Fault{tt.fault}})
			c, _ := newClient(t, Options{})
			c.timing.stall = 20 * time.Millisecond
			if tt.name != "stalls" {
				c.timing.stall = time.Minute // a busy machine is no silent registry
			}
			_, err := c.Pull(context.Background(), r.Host+"/a:1")
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(hintOf(err), tt.hint) {
				t.Errorf("error %v\nhint %q", err, hintOf(err))
			}
			if n := r.Count("", "/manifests/"); n != tt.tries {
				t.Errorf("%d tries instead of %d", n, tt.tries)
			}
			if err != nil && !strings.HasPrefix(err.Error(), "pulling "+r.Host+"/a:1: ") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c, log := newClient(t, Options{})
	push(t, c, ociImage(t, 10, 1), r.Host+"/a:1")
	r.Fail(registrytest.Fault{Path: "/manifests/", Status: 429, Header: http.Header{"Retry-After": {"1"}}})
	start := time.Now()
	pull(t, c, r.Host+"/a:1")
	if took := time.Since(start); took < time.Second {
		t.Errorf("it took %s", took)
	}
	if !log.has("trying again in 1s") {
		t.Errorf("log %q", log.all)
	}
}

func TestCancelStopsPromptly(t *testing.T) {
	for _, stage := range []struct{ method, path string }{
		{"GET", "/v2/$"}, {"HEAD", "/manifests/"}, {"POST", "/uploads/"}, {"PUT", "/uploads/"}, {"PUT", "/manifests/"},
	} {
		r := registrytest.New(t, registrytest.Options{Faults: []registrytest.Fault{
			{Method: stage.method, Path: stage.path, Stall: true, Times: -1}}})
		c, _ := newClient(t, Options{})
		target, err := c.Target(r.Host + "/a:1")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		start := time.Now()
		_, err = target.Push(ctx, ociImage(t, 100_000, 1))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 2*time.Second {
			t.Errorf("%v: %v after %s", stage, err, time.Since(start))
		}
		if tag := r.Tag("a", "1"); tag != "" {
			t.Errorf("%v: the tag moved", stage)
		}
	}
}

func TestConnectionErrorsHaveHints(t *testing.T) {
	c, _ := newClient(t, Options{})
	tls := registrytest.New(t, registrytest.Options{TLS: true})
	closed := registrytest.New(t, registrytest.Options{})
	closed.Close()
	for _, tt := range []struct{ host, hint string }{
		{tls.Host, "--ca-file"},
		{closed.Host, "nothing listens at"},
		{"registry.invalid", "check the spelling of registry.invalid"},
	} {
		_, err := c.Pull(context.Background(), tt.host+"/a:1")
		if err == nil || !strings.Contains(hintOf(err), tt.hint) {
			t.Errorf("%v, hint %q", err, hintOf(err))
		}
	}
}

func TestInsecureHostsMayShowAnyCertificate(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{TLS: true})
	c, _ := newClient(t, Options{Insecure: []string{r.Host}})
	push(t, c, ociImage(t, 10, 1), r.Host+"/a:1")
}

// A registry may keep uploads on another host. That one gets no credentials.
func TestUploadLocationOnAnotherHost(t *testing.T) {
	store := registrytest.New(t, registrytest.Options{})
	var foreign atomic.Int32
	front := &http.Transport{}
	rt := roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host == store.Host {
			if r.Header.Get("Authorization") != "" {
				t.Error("the other host got credentials")
			}
			foreign.Add(1)
			return front.RoundTrip(r)
		}
		if r.Header.Get("Authorization") == "" {
			return answer(401, map[string]string{"WWW-Authenticate": "Basic realm=x"}, ""), nil
		}
		inner := r.Clone(r.Context())
		inner.URL.Scheme, inner.URL.Host, inner.Host = "http", store.Host, store.Host
		inner.Header.Del("Authorization")
		resp, err := front.RoundTrip(inner)
		if err == nil && r.Method == http.MethodPost {
			resp.Header.Set("Location", "http://"+store.Host+resp.Header.Get("Location"))
		}
		return resp, err
	})
	t.Cleanup(front.CloseIdleConnections)
	c, _ := newClient(t, Options{Transport: rt, Keychain: keys{"u", "p"}})
	push(t, c, ociImage(t, 1000, 1), "registry.example.com/a:1")
	if foreign.Load() != 2 {
		t.Errorf("%d requests to the other host", foreign.Load())
	}
}

// A push that is cancelled in the middle leaves no goroutine.
func TestCancelLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, path := range []string{"/uploads/", "/manifests/"} {
		r := registrytest.Start(registrytest.Options{Faults: []registrytest.Fault{
			{Method: "PUT", Path: path, Stall: true, Times: -1}}})
		c, _ := newClient(t, Options{})
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		target, err := c.Target(r.Host + "/a:1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err = target.Push(ctx, ociImage(t, 3<<20, 3)); err == nil {
			t.Error("the push did not stall")
		}
		cancel()
		c.strict.(*http.Transport).CloseIdleConnections()
		r.Close()
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%s", stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func TestMissingCredentialHelperSaysWhatToDo(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{User: "u", Password: "p"})
	c, _ := newClient(t, Options{})
	writeJSON(t, filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), `{"credsStore":"nowhere"}`)
	_, err := c.Pull(context.Background(), r.Host+"/a:1")
	if err == nil || !strings.Contains(hintOf(err), "install docker-credential-nowhere") {
		t.Errorf("%v, hint %q", err, hintOf(err))
	}
}

// The file of a layer is cut or grows while it is sent.
func TestUploadOfALayerThatIsNotAsItSays(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	for _, by := range []int64{-10, 10} {
		c, _ := newClient(t, Options{})
		target, err := c.Target(r.Host + "/a:1")
		if err != nil {
			t.Fatal(err)
		}
		err = target.Upload(context.Background(), &lying{Layer: layerOf(t, 1000), by: by})
		if err == nil || !strings.Contains(err.Error(), "reading layer sha256:") {
			t.Errorf("off by %d: %v", by, err)
		}
	}
}

type lying struct {
	v1.Layer
	by int64
}

func (l *lying) Size() (int64, error) {
	n, err := l.Layer.Size()
	return n + l.by, err
}
