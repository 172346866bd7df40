package output

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// writer is one of the ways to write an image.
type writer struct {
	kind  string // as Open knows it
	path  string // below a temporary directory
	write func(context.Context, string, []string, Manifest, WriteOptions) error
}

var writers = []writer{
	{"oci", "layout", putLayout},
	{"oci-archive", "oci.tar", putOCIArchive},
	{"docker-archive", "docker.tar", putDockerArchive},
}

func putLayout(ctx context.Context, dir string, names []string, m Manifest, o WriteOptions) error {
	return put(ctx, Target{Layout, dir, names}, m, o)
}

func putOCIArchive(ctx context.Context, file string, names []string, m Manifest, o WriteOptions) error {
	return put(ctx, Target{OCIArchive, file, names}, m, o)
}

func putDockerArchive(ctx context.Context, file string, names []string, m Manifest, o WriteOptions) error {
	return put(ctx, Target{DockerArchive, file, names}, m, o)
}

func putInStore(ctx context.Context, dir string, names []string, m Manifest) error {
	return put(ctx, Target{InStore, dir, names}, m, WriteOptions{})
}

// put stages and commits.
func put(ctx context.Context, t Target, m Manifest, o WriteOptions) error {
	s, err := t.Stage(ctx, m, o)
	if err != nil {
		return err
	}
	return errors.Join(s.Commit(), s.Abort())
}

// dockerImageOf is an image of n layers with Docker media types.
func dockerImageOf(t testing.TB, n int64) v1.Image {
	t.Helper()
	img, err := random.Image(2000, n)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// ociImageOf is an image with OCI media types, made for a platform.
func ociImageOf(t testing.TB, architecture string) v1.Image {
	t.Helper()
	layer, err := random.Layer(3000, types.OCILayer)
	if err != nil {
		t.Fatal(err)
	}
	config := &v1.ConfigFile{OS: "linux", Architecture: architecture, RootFS: v1.RootFS{Type: "layers"}}
	img, err := mutate.ConfigFile(
		mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON),
		config)
	if err == nil {
		img, err = mutate.AppendLayers(img, layer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// indexOf is an OCI index of images for platforms.
func indexOf(t testing.TB, architectures ...string) v1.ImageIndex {
	t.Helper()
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, a := range architectures {
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{
			Add:        ociImageOf(t, a),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: a}},
		})
	}
	return idx
}

func mustDigest(t testing.TB, m interface{ Digest() (v1.Hash, error) }) v1.Hash {
	t.Helper()
	h, err := m.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mustOpen(t testing.TB, ref string) *Source {
	t.Helper()
	s, err := Open(t.Context(), ref, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// manifest is what a Source holds.
func (s *Source) manifest() Manifest {
	if s.Index != nil {
		return s.Index
	}
	return s.Image
}

// tree is every file below dir with its content.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if d.IsDir() {
			files[name+"/"] = ""
			return nil
		}
		raw, err := os.ReadFile(path)
		files[name] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func writeFile(t testing.TB, path string, raw []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

// tarOf is an archive of headers; a regular file's content stands in Linkname.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := ""
		if h.Typeflag == 0 || h.Typeflag == tar.TypeReg {
			h.Typeflag = tar.TypeReg
			content, h.Linkname = h.Linkname, ""
			h.Size = int64(len(content))
		}
		h.Mode = 0o644
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tool skips the test where a program is missing, or fails it in CI.
func tool(t testing.TB, name string) {
	t.Helper()
	_, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("DECANT_TEST_REQUIRE_ALL") == "1":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// run runs a program and returns what it prints.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.String())
	}
	return string(out)
}

// faultyImage is an image whose last layer reads as a test wants.
type faultyImage struct {
	v1.Image
	layer faultyLayer
}

type faultyLayer struct {
	v1.Layer
	read func(io.ReadCloser) io.ReadCloser
}

func (l faultyLayer) Compressed() (io.ReadCloser, error) {
	rc, err := l.Layer.Compressed()
	if err != nil {
		return nil, err
	}
	return l.read(rc), nil
}

func (i faultyImage) Layers() ([]v1.Layer, error) {
	layers, err := i.Image.Layers()
	if err != nil {
		return nil, err
	}
	return append(slices.Clone(layers[:len(layers)-1]), i.layer), nil
}

func faulty(t testing.TB, img v1.Image, read func(io.ReadCloser) io.ReadCloser) v1.Image {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	return faultyImage{img, faultyLayer{layers[len(layers)-1], read}}
}

var errInjected = errors.New("injected")
