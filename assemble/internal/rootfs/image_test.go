//go:build linux

package rootfs

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

var noon = time.Date(2020, 2, 3, 12, 0, 0, 123456789, time.UTC)

// A blob is a layer whose every statement a test can make a lie.
type blob struct {
	data   []byte
	digest v1.Hash
	diffID v1.Hash
	size   int64
	media  types.MediaType
	open   func() (io.ReadCloser, error)
}

var _ v1.Layer = (*blob)(nil)

func (b *blob) Digest() (v1.Hash, error)             { return b.digest, nil }
func (b *blob) DiffID() (v1.Hash, error)             { return b.diffID, nil }
func (b *blob) Size() (int64, error)                 { return b.size, nil }
func (b *blob) MediaType() (types.MediaType, error)  { return b.media, nil }
func (b *blob) Uncompressed() (io.ReadCloser, error) { panic("a layer is read compressed") }

func (b *blob) Compressed() (io.ReadCloser, error) {
	if b.open != nil {
		return b.open()
	}
	return io.NopCloser(bytes.NewReader(b.data)), nil
}

func sha(b []byte) v1.Hash {
	sum := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// blobOf compresses a tar: "gzip", "zstd" or "".
func blobOf(t testing.TB, plain []byte, compression string) *blob {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	media := types.OCILayer
	switch compression {
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "zstd":
		z, err := zstd.NewWriter(&buf)
		if err != nil {
			t.Fatal(err)
		}
		w, media = z, types.OCILayerZStd
	default:
		buf.Write(plain)
		media = types.OCIUncompressedLayer
	}
	if w != nil {
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	b := &blob{data: buf.Bytes(), diffID: sha(plain), size: int64(buf.Len()), media: media}
	b.digest = sha(b.data)
	return b
}

func imageOf(t testing.TB, layers ...v1.Layer) v1.Image {
	t.Helper()
	base := mutate.ConfigMediaType(
		mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	base, err := mutate.ConfigFile(base, &v1.ConfigFile{
		OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"},
	})
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(base, layers...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// tarOf writes entries as they are, with the content of the files in body.
func tarOf(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range entries {
		body := h.PAXRecords["body"]
		if body != "" {
			h.PAXRecords = nil
		}
		h.Size = int64(len(body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// layerOf is a gzip layer of entries.
func layerOf(t testing.TB, entries ...tar.Header) *blob {
	t.Helper()
	return blobOf(t, tarOf(t, entries...), "gzip")
}

func dir(name string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode, ModTime: noon}
}

func file(name, body string) tar.Header { return fileMode(name, body, 0o644) }

func fileMode(name, body string, mode int64) tar.Header {
	h := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, ModTime: noon}
	if body != "" {
		h.PAXRecords = map[string]string{"body": body}
	}
	return h
}

func symlink(name, target string) tar.Header {
	return tar.Header{
		Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: noon,
	}
}

func hardlink(name, target string) tar.Header {
	return tar.Header{
		Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644, ModTime: noon,
	}
}

func whiteout(name string) tar.Header { return file(name, "") }

func xattr(h tar.Header, name, value string) tar.Header {
	if h.PAXRecords == nil {
		h.PAXRecords = map[string]string{}
	}
	h.PAXRecords[xattrRecord+name] = value
	return h
}

// plain reads the tar of a gzip layer.
func (b *blob) plain() (io.Reader, error) { return gzip.NewReader(bytes.NewReader(b.data)) }
