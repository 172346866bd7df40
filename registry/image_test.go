package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// lines collects what a client logs.
type lines struct {
	mu  sync.Mutex
	all []string
	t   testing.TB
}

func (l *lines) has(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(strings.Join(l.all, "\n"), part)
}

// newClient returns a client without patience and without the credentials of
// whoever runs the tests.
func newClient(t testing.TB, o Options) (*Client, *lines) {
	t.Helper()
	if o.Keychain == nil {
		isolate(t)
	}
	log := &lines{t: t}
	o.Log = func(format string, args ...any) {
		log.mu.Lock()
		defer log.mu.Unlock()
		log.all = append(log.all, sprintf(format, args...))
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c.timing.pause, c.timing.stall = time.Millisecond, 5*time.Second
	t.Cleanup(func() {
		if tr, ok := c.strict.(interface{ CloseIdleConnections() }); ok {
			tr.CloseIdleConnections()
		}
	})
	return c, log
}

// isolate hides the environment's credentials. Tests that run in parallel give a
// keychain instead.
func isolate(t testing.TB) {
	t.Helper()
	for _, v := range []string{"DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"} {
		t.Setenv(v, "")
	}
	for _, v := range []string{"DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "HOME"} {
		t.Setenv(v, t.TempDir())
	}
}

// randomBytes are different each time, as tests share caches.
func randomBytes(t testing.TB, n int) []byte {
	t.Helper()
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, n)
	_, _ = mathrand.NewChaCha8(seed).Read(data) // it never fails
	return data
}

// layerOf is a layer of our own; its content need not be a tar to be pushed.
func layerOf(t testing.TB, n int) v1.Layer {
	t.Helper()
	return static.NewLayer(randomBytes(t, n), types.OCILayer)
}

// ociImage is a random image of the OCI types.
func ociImage(t testing.TB, size int64, layers int64) v1.Image {
	t.Helper()
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"},
	})
	if err != nil {
		t.Fatal(err)
	}
	img = mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
	for range layers {
		l, err := random.Layer(size, types.OCILayer)
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

// baseIndex is an index of two images with layers of their own.
func baseIndex(t testing.TB, size, layers int64) v1.ImageIndex {
	t.Helper()
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for range 2 {
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: ociImage(t, size, layers),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	}
	return idx
}

// siteImage is what a build makes: one layer on every image of a pulled base. The
// base's layers stay *Layer.
type siteImage struct {
	v1.Image
	base v1.Image
	top  v1.Layer
}

func (s *siteImage) Layers() ([]v1.Layer, error) {
	layers, err := s.base.Layers()
	return append(layers, s.top), err
}

func siteIndex(t testing.TB, base v1.ImageIndex, top v1.Layer) v1.ImageIndex {
	t.Helper()
	m, err := base.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	idx := &siteIdx{images: map[v1.Hash]v1.Image{}}
	idx.indexOf = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, d := range m.Manifests {
		img, err := base.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		mutated, err := mutate.AppendLayers(img, top)
		if err != nil {
			t.Fatal(err)
		}
		site := &siteImage{Image: mutated, base: img, top: top}
		digest, err := mutated.Digest()
		if err != nil {
			t.Fatal(err)
		}
		idx.images[digest] = site
		idx.indexOf = mutate.AppendManifests(idx.indexOf, mutate.IndexAddendum{Add: mutated,
			Descriptor: v1.Descriptor{Platform: d.Platform}})
	}
	return idx
}

// indexOf is v1.ImageIndex under a name that does not hide its method ImageIndex.
type indexOf = v1.ImageIndex

type siteIdx struct {
	indexOf
	images map[v1.Hash]v1.Image
}

func (s *siteIdx) Image(h v1.Hash) (v1.Image, error) { return s.images[h], nil }

func pull(t testing.TB, c *Client, ref string) *Pulled {
	t.Helper()
	p, err := c.Pull(context.Background(), ref)
	if err != nil {
		t.Fatalf("%v (%s)", err, hintOf(err))
	}
	return p
}

func push(t testing.TB, c *Client, m Manifest, refs ...string) ([]Pushed, *Target) {
	t.Helper()
	target, err := c.Target(refs...)
	if err != nil {
		t.Fatal(err)
	}
	p, err := target.Push(context.Background(), m)
	if err != nil {
		t.Fatalf("%v (%s)", err, hintOf(err))
	}
	return p, target
}

func digestOf(t testing.TB, m interface{ Digest() (v1.Hash, error) }) v1.Hash {
	t.Helper()
	d, err := m.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func readAll(t testing.TB, open func() (io.ReadCloser, error)) []byte {
	t.Helper()
	rc, err := open()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(rc); err != nil {
		t.Fatal(err)
	}
	if err := rc.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
