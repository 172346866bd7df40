package image

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/klauspost/compress/gzip"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var created = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// tarLayer is a v1.Layer of a fixed, valid gzip.
type tarLayer struct {
	v1.Layer
	diffID v1.Hash
}

func (l tarLayer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// newLayer makes a layer whose tar is empty but for padding, which tells two
// layers apart.
func newLayer(t testing.TB, blocks int, mediaType types.MediaType) v1.Layer {
	t.Helper()
	raw := make([]byte, 512*(blocks+2))
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return tarLayer{static.NewLayer(b.Bytes(), mediaType), digestOf(raw)}
}

func (l tarLayer) Uncompressed() (rc io.ReadCloser, err error) {
	compressed, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	return gzip.NewReader(compressed)
}

// fakeBase is a base with documents as a test wrote them.
type fakeBase struct {
	v1.Image // nil: what Append must not call
	media    types.MediaType
	manifest []byte
	config   []byte
	layers   []v1.Layer
}

func (f *fakeBase) MediaType() (types.MediaType, error) { return f.media, nil }
func (f *fakeBase) RawManifest() ([]byte, error)        { return f.manifest, nil }
func (f *fakeBase) RawConfigFile() ([]byte, error)      { return f.config, nil }
func (f *fakeBase) Layers() ([]v1.Layer, error)         { return f.layers, nil }
func (f *fakeBase) Digest() (v1.Hash, error)            { return digestOf(f.manifest), nil }
func (f *fakeBase) Size() (int64, error)                { return int64(len(f.manifest)), nil }
func (f *fakeBase) Manifest() (*v1.Manifest, error) {
	return v1.ParseManifest(bytes.NewReader(f.manifest))
}
func (f *fakeBase) ConfigFile() (*v1.ConfigFile, error) {
	return v1.ParseConfigFile(bytes.NewReader(f.config))
}

// dockerBase is a base with all that is easily lost.
func dockerBase(t testing.TB) *fakeBase {
	l := newLayer(t, 1, types.DockerLayer)
	diffID, _ := l.DiffID()
	config := `{
 "architecture": "arm64", "variant": "v8", "os": "linux", "author": "someone <a@b>",
 "created": "2020-01-02T03:04:05.678Z", "docker_version": "20.10",
 "config": {
  "Env": ["PATH=/bin", "A=1", "B=2"], "Cmd": ["nginx"], "Labels": {"maintainer": "x <y@z>"},
  "ExposedPorts": {"80/tcp": {}}, "Healthcheck": {"Test": ["CMD", "true"], "StartInterval": 5},
  "OnBuild": ["RUN a && b"], "Shell": ["/bin/ash"], "Unknown": 12345678901234567890
 },
 "history": [{"created": "2020-01-02T03:04:05Z", "created_by": "ADD x", "future": 1},
  {"created": "2020-01-02T03:04:05Z", "created_by": "CMD", "empty_layer": true}],
 "moby.buildkit.buildinfo.v1": "e30=",
 "rootfs": {"type": "layers", "diff_ids": ["` + diffID.String() + `"], "extra": true}
}`
	return withManifest(t, types.DockerManifestSchema2, types.DockerConfigJSON, config, []v1.Layer{l},
		`,"urls":["https://example.com/?a=1&b=2"],"annotations":{"k":"<v>"},"future":[1, 2]`)
}

// withManifest makes the manifest that fits; extra goes into each descriptor.
func withManifest(t testing.TB, media, configMedia types.MediaType, config string, layers []v1.Layer, extra string) *fakeBase {
	t.Helper()
	f := &fakeBase{media: media, config: []byte(config), layers: layers}
	var list []json.RawMessage
	for _, l := range layers {
		digest, _ := l.Digest()
		size, _ := l.Size()
		m, _ := l.MediaType()
		d, err := encode(descriptorJSON{MediaType: m, Digest: digest, Size: size})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, json.RawMessage(string(d[:len(d)-1])+extra+"}"))
	}
	var err error
	f.manifest, err = encode(manifestJSON{
		SchemaVersion: 2, MediaType: media, Layers: list,
		Config: descriptorJSON{
			MediaType: configMedia, Digest: digestOf(f.config), Size: int64(len(config)),
		},
		Annotations: map[string]string{"org.opencontainers.image.revision": "the base's"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mustAppend(t testing.TB, base v1.Image, o Options) v1.Image {
	t.Helper()
	img, err := Append(base, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Fatal(err)
	}
	return img
}

// golden compares a document, indented, with testdata/name.
func golden(t *testing.T, name string, raw []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it)\n%s", path, diff)
	}
}

func mustRaw(t testing.TB, get func() ([]byte, error)) []byte {
	t.Helper()
	raw, err := get()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
