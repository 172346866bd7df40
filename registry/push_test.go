package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/decant-build/decant/registry/registrytest"
)

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// behaviours are registries that a push and a pull must get along with.
func behaviours() map[string]registrytest.Options {
	return map[string]registrytest.Options{
		"plain":              {},
		"TLS":                {TLS: true},
		"basic":              {User: "u", Password: "p"},
		"tokens":             {Token: true, User: "u", Password: "p"},
		"short tokens":       {Token: true, User: "u", Password: "p", TokenUses: 3},
		"no mount":           {NoMount: true},
		"no monolithic PUT":  {NoMonolithic: true},
		"absolute locations": {AbsoluteLocations: true, TLS: true},
		"redirects":          {RedirectBlobs: true, User: "u", Password: "p"},
	}
}

func TestPushAndPull(t *testing.T) {
	for name, o := range behaviours() {
		t.Run(name, func(t *testing.T) {
			r := registrytest.New(t, o)
			opts := Options{Keychain: keys{"u", "p"}, CAFile: r.CAFile}
			if o.TokenUses > 0 {
				opts.Jobs = 1 // others would use up the token that one has just fetched
			}
			c, _ := newClient(t, opts)
			base := baseIndex(t, 2000, 2)
			push(t, c, base, r.Host+"/base:1")
			pulled := pull(t, c, r.Host+"/base:1")
			if pulled.Digest != digestOf(t, base) || pulled.MediaType != types.OCIImageIndex {
				t.Fatalf("pulled %s %s", pulled.Digest, pulled.MediaType)
			}
			if err := validate.Index(pulled.Index); err != nil {
				t.Fatal(err)
			}
			site := siteIndex(t, pulled.Index, layerOf(t, 100_000))
			done, target := push(t, c, site, r.Host+"/shop/web:1", r.Host+"/shop/web:2", r.Host+"/other:1")
			want := r.Host + "/shop/web@" + digestOf(t, site).String()
			if len(done) != 3 || done[0].Ref.String() != want || done[1].Tag != "2" || done[2].Existing {
				t.Errorf("pushed %+v", done)
			}
			stats := target.Stats()
			if mounts := stats.Mounted; o.NoMount == (mounts > 0) {
				t.Errorf("%d mounts", mounts)
			}
			for _, repo := range []string{"shop/web", "other"} {
				if got := r.Tag(repo, "1"); got != digestOf(t, site).String() {
					t.Errorf("%s:1 is %s", repo, got)
				}
			}
			if err := validate.Index(pull(t, c, r.Host+"/other:1").Index, validate.Fast); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPushOfAnImageKeepsItsType(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c, _ := newClient(t, Options{})
	img := ociImage(t, 100, 1)
	push(t, c, img, r.Host+"/a:1")
	p := pull(t, c, r.Host+"/a@"+digestOf(t, img).String())
	if p.Index != nil || p.MediaType != types.OCIManifestSchema1 {
		t.Fatalf("pulled %+v", p)
	}
	if err := validate.Image(p.Image); err != nil {
		t.Error(err)
	}
}

// The budget of the design: 12 requests for a changed site of two platforms on
// the base's registry, with what the client remembers from the push before.
func TestPushNeedsFewRequests(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	dir := t.TempDir()
	fresh := func() *Client {
		c, _ := newClient(t, Options{CacheDir: dir})
		return c
	}
	push(t, fresh(), baseIndex(t, 2000, 7), r.Host+"/nginx:stable")
	// build is what a build does: resolve the base, lay a layer on it, push.
	build := func(top v1.Layer) (requests int, existing bool) {
		r.Reset()
		c := fresh()
		base := pull(t, c, r.Host+"/nginx:stable")
		done, _ := push(t, c, siteIndex(t, base.Index, top), r.Host+"/web:1")
		if t.Failed() {
			for _, q := range r.Requests() {
				t.Log(q.Method, q.Path)
			}
		}
		return len(r.Requests()), done[0].Existing
	}
	first := layerOf(t, 200_000)
	if n, _ := build(first); n > 27 { // 14 mounts and a HEAD more than a changed site
		t.Errorf("the first push needs %d requests", n)
	}
	if n, existing := build(first); n != 3 || !existing {
		t.Errorf("an identical push needs %d requests, existing %v", n, existing)
	}
	if n, _ := build(layerOf(t, 200_000)); n > 12 {
		for _, q := range r.Requests() {
			t.Log(q.Method, q.Path)
		}
		t.Errorf("a changed push needs %d requests", n)
	}
}

func TestPushToTheBasesRepositorySendsNoBaseLayer(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c, _ := newClient(t, Options{})
	push(t, c, baseIndex(t, 2000, 3), r.Host+"/web:base")
	c, _ = newClient(t, Options{})
	base := pull(t, c, r.Host+"/web:base")
	r.Reset()
	_, target := push(t, c, siteIndex(t, base.Index, layerOf(t, 100)), r.Host+"/web:1")
	if s := target.Stats(); s.Uploaded != 3 || s.Skipped != 6 || s.Mounted+s.Copied != 0 {
		t.Errorf("stats %+v", s)
	}
	if n := r.Count("GET", "/blobs/sha256"); n != 2 { // the configs
		t.Errorf("%d blobs were read", n)
	}
}

func TestPushCopiesBetweenRegistries(t *testing.T) {
	from := registrytest.New(t, registrytest.Options{})
	to := registrytest.New(t, registrytest.Options{Token: true, User: "u", Password: "p", TokenUses: 2})
	c, _ := newClient(t, Options{Keychain: keys{"u", "p"}, Jobs: 1})
	push(t, c, baseIndex(t, 300_000, 2), from.Host+"/base:1")
	base := pull(t, c, from.Host+"/base:1")
	_, target := push(t, c, siteIndex(t, base.Index, layerOf(t, 1000)), to.Host+"/web:1")
	if s := target.Stats(); s.Copied != 4 || s.Uploaded != 3 {
		t.Errorf("stats %+v", s)
	}
	if err := validate.Index(pull(t, c, to.Host+"/web:1").Index, validate.Fast); err != nil {
		t.Error(err)
	}
}

func TestPushRefusesACopyWithTheWrongDigest(t *testing.T) {
	from := registrytest.New(t, registrytest.Options{})
	to := registrytest.New(t, registrytest.Options{})
	c, _ := newClient(t, Options{})
	push(t, c, ociImage(t, 300_000, 1), from.Host+"/base:1")
	base := pull(t, c, from.Host+"/base:1")
	if _, err := base.Image.ConfigFile(); err != nil {
		t.Fatal(err)
	}
	from.Fail(registrytest.Fault{Method: "GET", Path: "/blobs/", Corrupt: true, Times: -1})
	target, err := c.Target(to.Host + "/web:1")
	if err != nil {
		t.Fatal(err)
	}
	var wrong *DigestError
	if _, err = target.Push(context.Background(), base.Image); !errors.As(err, &wrong) {
		t.Errorf("error %v", err)
	}
	if tag := to.Tag("web", "1"); tag != "" {
		t.Errorf("the tag moved to %s", tag)
	}
}

func TestUploadAheadOfPushIsNotRepeated(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c, _ := newClient(t, Options{})
	push(t, c, baseIndex(t, 2000, 2), r.Host+"/base:1")
	base := pull(t, c, r.Host+"/base:1")
	top := layerOf(t, 100)
	site := siteIndex(t, base.Index, top)
	target, err := c.Target(r.Host + "/web:1")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := target.Check(ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := target.Upload(ctx, top); err != nil {
			t.Fatal(err)
		}
	}
	r.Reset()
	if _, err := target.Push(ctx, site); err != nil {
		t.Fatal(err)
	}
	if n := r.Count("POST", "uploads"); n != 4+2 { // base layers, configs
		t.Errorf("%d uploads", n)
	}
	if n := r.Count("HEAD", "manifests"); n != 0 {
		t.Errorf("%d questions about the tag that Check had asked", n)
	}
}

func TestCheckLeavesNoSessionBehind(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c, _ := newClient(t, Options{})
	img := ociImage(t, 100, 1)
	push(t, c, img, r.Host+"/a:1")
	target, err := c.Target(r.Host + "/a:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	if p, err := target.Push(context.Background(), img); err != nil || !p[0].Existing {
		t.Fatal(p, err)
	}
	if n := r.Count("DELETE", "uploads"); n != 1 {
		t.Errorf("%d sessions closed", n)
	}
}

func TestStreamSendsALayerOnce(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c, _ := newClient(t, Options{})
	top := layerOf(t, 300_000)
	img := ociImage(t, 100, 1)
	target, err := c.Target(r.Host+"/web:1", r.Host+"/two:1")
	if err != nil {
		t.Fatal(err)
	}
	rc, err := top.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	ctx := context.Background()
	err = target.Stream(ctx, rc, func() (v1.Hash, int64, error) {
		size, err := top.Size()
		return digestOf(t, top), size, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !r.HasBlob("web", digestOf(t, top).String()) {
		t.Fatal("the layer is not there")
	}
	r.Reset()
	if err := target.Upload(ctx, top); err != nil {
		t.Fatal(err)
	}
	if n := len(r.Requests()); n != 2 || r.Count("POST", "mount=") != 1 { // and HEAD of the second tag
		t.Errorf("%d requests %+v", n, r.Requests())
	}
	if _, err := target.Push(ctx, img); err != nil {
		t.Fatal(err)
	}
}

func TestPushSendsWhatTheRegistryLostAfterAll(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c, log := newClient(t, Options{CacheDir: t.TempDir()})
	base := baseIndex(t, 2000, 1)
	push(t, c, base, r.Host+"/web:1")
	// The registry's garbage collection was wrong about the layers.
	m, err := base.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := base.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	r.DropBlob("web", digestOf(t, layers[0]).String())
	site := siteIndex(t, base, layerOf(t, 100))
	push(t, c, site, r.Host+"/web:1")
	if got := r.Tag("web", "1"); got != digestOf(t, site).String() {
		t.Errorf("the tag is %s", got)
	}
	if !log.has("sending what is missing") {
		t.Error("the log says nothing about it")
	}
}

func TestTagsMoveLast(t *testing.T) {
	good := registrytest.New(t, registrytest.Options{})
	bad := registrytest.New(t, registrytest.Options{Faults: []registrytest.Fault{
		{Method: "PUT", Path: "/manifests/sha256", Status: 403, Times: -1},
	}})
	c, _ := newClient(t, Options{})
	target, err := c.Target(good.Host+"/a:1", bad.Host+"/a:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.Push(context.Background(), baseIndex(t, 100, 1)); statusOf(err) != 403 {
		t.Fatalf("error %v", err)
	}
	if tag := good.Tag("a", "1"); tag != "" {
		t.Errorf("a tag moved to %s", tag)
	}
}

func TestTargetRefusesMalformedReferences(t *testing.T) {
	c, _ := newClient(t, Options{})
	tests := []struct{ ref, hint string }{
		{"localhost:5000/Shop/web:1", "localhost:5000/shop/web:1"},
		{"", "HOST/REPOSITORY"},
		{"https://example.com/web", "leave the https:// out"},
		{"example.com/web:a b", "HOST/REPOSITORY"},
	}
	for _, tt := range tests {
		_, err := c.Target(tt.ref)
		var bad *RefError
		if !errors.As(err, &bad) || !bad.Usage() || !strings.Contains(bad.Hint(), tt.hint) {
			t.Errorf("%q: %v, hint %q", tt.ref, err, hintOf(err))
		}
	}
	d := digestOf(t, ociImage(t, 1, 1)).String()
	target, err := c.Target("127.0.0.1:1/a@" + d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.Push(context.Background(), ociImage(t, 1, 1)); err == nil {
		t.Error("an image was pushed under the digest of another")
	}
}

// While a long build ran, somebody else has moved the tag.
func TestPushLooksAgainAfterALongBuild(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c, _ := newClient(t, Options{})
	img := ociImage(t, 100, 1)
	push(t, c, img, r.Host+"/web:1")
	target, err := c.Target(r.Host + "/web:1")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := target.Check(ctx); err != nil {
		t.Fatal(err)
	}
	other, _ := newClient(t, Options{})
	push(t, other, ociImage(t, 100, 1), r.Host+"/web:1")
	target.repos[0].seen.at = time.Now().Add(-time.Minute)
	if done, err := target.Push(ctx, img); err != nil || done[0].Existing {
		t.Fatal(done, err)
	}
	if got := r.Tag("web", "1"); got != digestOf(t, img).String() {
		t.Errorf("the tag is %s", got)
	}
}

func TestPushSendsWhatAStreamCouldNot(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Faults: []registrytest.Fault{
		{Method: "PATCH", Status: 500}}})
	c, _ := newClient(t, Options{})
	base := ociImage(t, 100, 1)
	top := layerOf(t, 100_000)
	target, err := c.Target(r.Host + "/web:1")
	if err != nil {
		t.Fatal(err)
	}
	rc, err := top.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	ctx := context.Background()
	err = target.Stream(ctx, rc, func() (v1.Hash, int64, error) {
		t.Error("wait was called after a failure")
		return v1.Hash{}, 0, nil
	})
	if statusOf(err) != 500 {
		t.Errorf("error %v", err)
	}
	if err := target.Upload(ctx, top); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Push(ctx, base); err != nil || !r.HasBlob("web", digestOf(t, top).String()) {
		t.Error(err)
	}
}
