package output

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// TestRoundTrip writes, reads and writes again: what is read is valid and the
// same, and both writes are identical to the byte.
func TestRoundTrip(t *testing.T) {
	nested := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: indexOf(t, "amd64", "arm64")})
	images := map[string]Manifest{
		"docker image": dockerImageOf(t, 3),
		"no layers":    dockerImageOf(t, 0),
		"oci image":    ociImageOf(t, "amd64"),
		"one platform": indexOf(t, "amd64"),
		"index":        indexOf(t, "amd64", "arm64"),
		"nested index": nested,
	}
	for _, w := range writers {
		for name, m := range images {
			if w.kind == "docker-archive" && strings.Contains(name, "index") {
				continue
			}
			t.Run(w.kind+" "+name, func(t *testing.T) {
				roundTrip(t, w, m)
			})
		}
	}
}

func roundTrip(t *testing.T, w writer, m Manifest) {
	dir := t.TempDir()
	names := []string{"registry.example.com/shop/web:1.4", "my-app"}
	first, second := filepath.Join(dir, "1", w.path), filepath.Join(dir, "2", w.path)
	for _, path := range []string{first, second} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.write(t.Context(), first, names, m, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, w.kind+":"+first+":1.4")
	if s.Index != nil {
		if err := validate.Index(s.Index); err != nil {
			t.Error(err)
		}
	} else if err := validate.Image(s.Image); err != nil {
		t.Error(err)
	}
	if w.kind != "docker-archive" && s.Digest != mustDigest(t, m) {
		t.Errorf("read %s, wrote %s", s.Digest, mustDigest(t, m))
	}
	if s.Digest != mustDigest(t, s.manifest()) || s.Name != names[0] {
		t.Errorf("the source says %s and %q of %s", s.Digest, s.Name, mustDigest(t, s.manifest()))
	}
	if err := w.write(t.Context(), second, names, s.manifest(), WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	a, b := tree(t, filepath.Dir(first)), tree(t, filepath.Dir(second))
	if !maps.Equal(a, b) {
		t.Errorf("files %q, then %q, or their contents differ",
			slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b)))
	}
}

// TestFailedWriteLeavesNothing injects faults into every writer, with nothing at
// the target and with an earlier image: both must be as before.
func TestFailedWriteLeavesNothing(t *testing.T) {
	flip := func(rc io.ReadCloser) io.ReadCloser {
		raw, _ := io.ReadAll(rc)
		raw[len(raw)/2] ^= 1
		return io.NopCloser(bytes.NewReader(raw))
	}
	faults := map[string]func(io.ReadCloser) io.ReadCloser{
		"reader fails": func(rc io.ReadCloser) io.ReadCloser {
			return readCloser{io.MultiReader(io.LimitReader(rc, 100), failing{}), rc}
		},
		"wrong bytes": flip,
		"too short":   func(rc io.ReadCloser) io.ReadCloser { return readCloser{io.LimitReader(rc, 100), rc} },
		"too long": func(rc io.ReadCloser) io.ReadCloser {
			return readCloser{io.MultiReader(rc, strings.NewReader("x")), rc}
		},
		"close fails": func(rc io.ReadCloser) io.ReadCloser { return readCloser{rc, failing{}} },
	}
	for _, w := range writers {
		for name, fault := range faults {
			for _, before := range []bool{false, true} {
				t.Run(w.kind+" "+name, func(t *testing.T) {
					img := faulty(t, dockerImageOf(t, 3), fault)
					failedWrite(t, w, before, func(path string) error {
						return w.write(t.Context(), path, []string{"a"}, img, WriteOptions{})
					})
				})
			}
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errInjected }
func (failing) Close() error             { return errInjected }

func failedWrite(t *testing.T, w writer, before bool, write func(string) error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, w.path)
	if before {
		if err := w.write(t.Context(), path, []string{"a"}, dockerImageOf(t, 1), WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	want := tree(t, dir)
	if err := write(path); err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("the failed write left something (-before +after)\n%s", diff)
	}
}

func TestCancelledWriteLeavesNothing(t *testing.T) {
	for _, w := range writers {
		for _, before := range []bool{false, true} {
			t.Run(w.kind, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				img := dockerImageOf(t, 3)
				var calls atomic.Int32
				o := WriteOptions{Progress: func(v1.Hash, int64, int64) {
					if calls.Add(1) == 2 {
						cancel(errInjected)
					}
				}}
				failedWrite(t, w, before, func(path string) error {
					err := w.write(ctx, path, []string{"a"}, img, o)
					if !errors.Is(err, errInjected) {
						t.Errorf("got %v, want the cause of the cancellation", err)
					}
					return err
				})
			})
		}
	}
}

func TestProgressReachesTheTotal(t *testing.T) {
	for _, w := range writers {
		img := dockerImageOf(t, 3)
		var mu sync.Mutex
		done := map[v1.Hash]bool{}
		o := WriteOptions{Progress: func(d v1.Hash, n, total int64) {
			mu.Lock()
			defer mu.Unlock()
			done[d] = n == total
		}}
		if err := w.write(t.Context(), filepath.Join(t.TempDir(), "x"), nil, img, o); err != nil {
			t.Fatal(err)
		}
		layers, _ := img.Layers()
		for _, l := range layers {
			if d := mustDigest(t, l); !done[d] {
				t.Errorf("%s: layer %s never reached its total", w.kind, d)
			}
		}
	}
}

func TestWritersRefuseWhatIsNotTheirs(t *testing.T) {
	for _, w := range writers {
		for name, prepare := range map[string]func(path string){
			"directory with a file": func(p string) { writeFile(t, filepath.Join(p, "precious"), []byte("x")) },
			"file":                  func(p string) { writeFile(t, p, []byte("precious")) },
			"other tar":             func(p string) { writeFile(t, p, tarOf(t)) },
			"layout of a future": func(p string) {
				writeFile(t, filepath.Join(p, layoutFile), []byte(`{"imageLayoutVersion":"2.0"}`))
			},
		} {
			t.Run(w.kind+" "+name, func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "x")
				prepare(path)
				want := tree(t, dir)
				err := w.write(t.Context(), path, nil, dockerImageOf(t, 1), WriteOptions{})
				var exists *ExistsError
				if !errors.As(err, &exists) || exists.Hint() == "" {
					t.Errorf("got %v, want an ExistsError", err)
				}
				if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestArchivesReplaceTheirOwnKindOnly(t *testing.T) {
	img := dockerImageOf(t, 1)
	for _, old := range writers[1:] {
		for _, w := range writers[1:] {
			path := filepath.Join(t.TempDir(), "x.tar")
			if err := old.write(t.Context(), path, nil, dockerImageOf(t, 1), WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			err := w.write(t.Context(), path, nil, img, WriteOptions{})
			if same := old.kind == w.kind; same != (err == nil) {
				t.Errorf("%s over %s: %v", w.kind, old.kind, err)
			}
		}
	}
	empty := filepath.Join(t.TempDir(), "made-by-mktemp")
	writeFile(t, empty, nil)
	if err := putOCIArchive(t.Context(), empty, nil, img, WriteOptions{}); err != nil {
		t.Errorf("an empty file was not replaced: %v", err)
	}
}

func TestMissingParentIsNamed(t *testing.T) {
	for _, w := range writers {
		dir := filepath.Join(t.TempDir(), "missing")
		err := w.write(t.Context(), filepath.Join(dir, "x"), nil, dockerImageOf(t, 1), WriteOptions{})
		var parent *ParentError
		if !errors.As(err, &parent) || parent.Dir != dir || !strings.Contains(parent.Hint(), "mkdir") {
			t.Errorf("%s: got %v, want a ParentError", w.kind, err)
		}
	}
}

func TestBadNamesTouchNothing(t *testing.T) {
	for _, w := range writers {
		for _, name := range []string{"", "UPPER", "a:b:c", "a@sha256:" + strings.Repeat("0", 64)} {
			dir := t.TempDir()
			err := w.write(t.Context(), filepath.Join(dir, "x"), []string{name}, dockerImageOf(t, 1), WriteOptions{})
			if err == nil || len(tree(t, dir)) != 1 {
				t.Errorf("%s %q: error %v, files %v", w.kind, name, err, tree(t, dir))
			}
		}
	}
}

func TestDockerArchiveRefusesWhatItCannotHold(t *testing.T) {
	zstd, err := random.Layer(100, types.OCILayerZStd)
	if err != nil {
		t.Fatal(err)
	}
	withZstd, err := mutate.AppendLayers(ociImageOf(t, "amd64"), zstd)
	if err != nil {
		t.Fatal(err)
	}
	for hint, m := range map[string]Manifest{
		"--platform":    indexOf(t, "amd64", "arm64"),
		"--compression": withZstd,
	} {
		dir := t.TempDir()
		err := putDockerArchive(t.Context(), filepath.Join(dir, "x"), nil, m, WriteOptions{})
		var unsupported *UnsupportedError
		if !errors.As(err, &unsupported) || !strings.Contains(unsupported.Hint(), hint) ||
			!strings.Contains(unsupported.Hint(), "oci-archive") {
			t.Errorf("got %v, want an UnsupportedError with hint %s", err, hint)
		}
	}
}

func TestDockerArchiveTakesTheOneRealPlatform(t *testing.T) {
	idx := mutate.AppendManifests(indexOf(t, "arm64"), mutate.IndexAddendum{
		Add:        ociImageOf(t, "unknown"),
		Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}},
	})
	path := filepath.Join(t.TempDir(), "x.tar")
	if err := putDockerArchive(t.Context(), path, nil, idx, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	config, err := mustOpen(t, "docker-archive:"+path).Image.ConfigFile()
	if err != nil || config.Architecture != "arm64" {
		t.Errorf("got %+v, %v", config, err)
	}
}

func TestNonDistributableLayersAreLeftOut(t *testing.T) {
	layer, err := random.Layer(100, types.DockerForeignLayer)
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(dockerImageOf(t, 1), layer)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "x")
	if err := putLayout(t.Context(), dir, nil, img, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(dir, filepath.FromSlash(blobPath(mustDigest(t, layer))))
	if _, err := os.Stat(blob); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the layer was written: %v", err)
	}
	if s := mustOpen(t, "oci:"+dir); s.Digest != mustDigest(t, img) {
		t.Errorf("got %s", s.Digest)
	}
}
