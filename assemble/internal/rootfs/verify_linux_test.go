package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"golang.org/x/sys/unix"
)

func TestUnpackReadsEveryCompression(t *testing.T) {
	plain := tarOf(t, file("a", "1"), file("b", strings.Repeat("x", 1<<20)))
	padded := append(bytes.Clone(plain), make([]byte, 300<<10)...)
	garbage := append(bytes.Clone(plain), "garbage behind the end"...)
	members := blobOf(t, plain[:1000], "gzip")
	rest := blobOf(t, plain[1000:], "gzip")
	members.data = append(members.data, rest.data...)
	members.digest, members.diffID, members.size = sha(members.data), sha(plain),
		int64(len(members.data))
	for name, b := range map[string]*blob{
		"gzip": blobOf(t, plain, "gzip"), "zstd": blobOf(t, plain, "zstd"), "none": blobOf(t, plain, ""),
		"padding behind the end": blobOf(t, padded, "gzip"), "garbage there": blobOf(t, garbage, "zstd"),
		"two gzip members": members,
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t)
			r := unpack(t, s, b)
			if got, err := r.ReadFile("/a", 1); err != nil || string(got) != "1" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	if err := validate.Image(imageOf(t, &whole{blobOf(t, plain, "gzip"), plain})); err != nil {
		t.Errorf("the images of these tests are bad: %v", err)
	}
}

// whole is a blob that can be read uncompressed, as validate.Image does.
type whole struct {
	*blob
	plain []byte
}

func (w *whole) Uncompressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(w.plain)), nil
}

func TestUnpackRefusesDamage(t *testing.T) {
	entries := []tar.Header{file("a", strings.Repeat("0123456789abcdef", 1<<16)), file("b", "2")}
	tests := []struct {
		name  string
		spoil func(*blob)
		what  string // of a DigestError, or ""
	}{
		{"a flipped bit", func(b *blob) { b.data[len(b.data)/2] ^= 4 }, "digest"},
		{"a flipped bit in front", func(b *blob) { b.data[0] ^= 1 }, "digest"},
		{"a cut blob", func(b *blob) { b.data = b.data[:len(b.data)/2] }, "size"},
		{"an empty blob", func(b *blob) { b.data = nil }, "size"},
		{"a longer blob", func(b *blob) { b.data = append(b.data, 0) }, "size"},
		{"a wrong digest", func(b *blob) { b.digest.Hex = strings.Repeat("0", 64) }, "digest"},
		{"a wrong diffID", func(b *blob) { b.diffID.Hex = strings.Repeat("0", 64) }, "diffID"},
		{"a smaller size", func(b *blob) { b.size-- }, "size"},
		{"a larger size", func(b *blob) { b.size++ }, "size"},
		{"a cut tar", func(b *blob) { recompress(b, tarOf(t, entries...)[:700]) }, ""},
		{"no tar", func(b *blob) { recompress(b, bytes.Repeat([]byte("no tar"), 300)) }, ""},
		{"a source that breaks", func(b *blob) {
			b.open = func() (io.ReadCloser, error) {
				return io.NopCloser(io.MultiReader(bytes.NewReader(b.data[:40]), broken{})), nil
			}
		}, ""},
		{"a source that does not open", func(b *blob) {
			b.open = func() (io.ReadCloser, error) { return nil, unix.ECONNREFUSED }
		}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := openStore(t)
			b := layerOf(t, entries...)
			test.spoil(b)
			img := imageOf(t, layerOf(t, file("ok", "")), b)
			_, err := s.Unpack(context.Background(), img, Options{Concurrency: 1})
			var layer *LayerError
			if !errors.As(err, &layer) || layer.Index != 1 || layer.Digest != b.digest {
				t.Fatalf("got %v", err)
			}
			var digest *DigestError
			if errors.As(err, &digest); test.what != "" && (digest == nil || digest.What != test.what) {
				t.Errorf("got %v, want a wrong %s", err, test.what)
			} else if test.what == "" && digest != nil {
				t.Errorf("got %v", err)
			}
			expectClean(t, s)
			if u, err := s.Usage(context.Background()); err != nil || u.Layers != 1 || u.InUse != 0 {
				t.Errorf("usage is %+v, %v", u, err)
			}
		})
	}
}

func recompress(b *blob, plain []byte) {
	b.data = plain
	b.digest, b.diffID, b.size = sha(plain), sha(plain), int64(len(plain))
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, unix.ECONNRESET }

// A liar is an image with another configuration than its manifest says.
type liar struct {
	v1.Image
	raw []byte
}

func (l liar) RawConfigFile() ([]byte, error) { return l.raw, nil }

func TestUnpackChecksTheConfiguration(t *testing.T) {
	img := imageOf(t, layerOf(t, file("a", "")))
	raw, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t)
	_, err = s.Unpack(context.Background(), liar{img, append(raw, ' ')}, Options{})
	var digest *DigestError
	if !errors.As(err, &digest) || digest.What != "configuration" {
		t.Errorf("got %v", err)
	}
}

func TestUnpackKeepsItsLimits(t *testing.T) {
	deep := dir(strings.Repeat("d/", maxDepth+1), 0o755)
	tests := []struct {
		name    string
		limits  Limits
		entries []tar.Header
	}{
		{"bytes of the tar", Limits{Bytes: 2000}, []tar.Header{file("a", ""), file("b", ""),
			file("c", "")}},
		{"bytes of a file", Limits{Bytes: 4000}, []tar.Header{file("a", strings.Repeat("x", 5000))}},
		{"entries", Limits{Entries: 2}, []tar.Header{file("a", ""), file("b", ""), file("c", "")}},
		{"a path", Limits{PathLength: 9}, []tar.Header{file("aaaa/bbbbb", "")}},
		{"a path through links", Limits{PathLength: 9},
			[]tar.Header{symlink("a", "aaaa/bbbb"), file("a/c", "")}},
		{"depth", Limits{}, []tar.Header{deep}},
		{"extended attributes", Limits{XattrBytes: 10},
			[]tar.Header{xattr(file("a", ""), "user.x", "12345")}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := openStore(t)
			img := imageOf(t, layerOf(t, test.entries...))
			_, err := s.Unpack(context.Background(), img, Options{Limits: test.limits})
			var limit *LimitError
			if !errors.As(err, &limit) || limit.Hint() == "" {
				t.Errorf("got %v", err)
			}
			expectClean(t, s)
		})
	}
}

// The bomb is a zstd frame with one file of RLE blocks, which cost 4 bytes for each
// 128 KiB.
func TestUnpackRefusesABomb(t *testing.T) {
	const block = 128 << 10
	var plainHead bytes.Buffer
	w := tar.NewWriter(&plainHead)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Size: 64 << 20,
		Mode: 0o644})
	if err != nil {
		t.Fatal(err)
	}
	head := plainHead.Bytes()
	bomb := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38} // no content size, window of 128 KiB
	raw := len(head) << 3
	bomb = append(bomb, byte(raw), byte(raw>>8), byte(raw>>16))
	bomb = append(bomb, head...)
	const rle = block<<3 | 1<<1
	for range (64 << 20) / block {
		bomb = append(bomb, byte(rle&0xff), byte(rle>>8&0xff), byte(rle>>16), 0)
	}
	b := blobOf(t, nil, "")
	b.data, b.size, b.digest = bomb, int64(len(bomb)), sha(bomb)
	s := openStore(t)
	limits := Limits{RatioFrom: 4 << 20}
	_, err = s.Unpack(context.Background(), imageOf(t, b), Options{Limits: limits})
	var limit *LimitError
	if !errors.As(err, &limit) || limit.Limit != 250 {
		t.Errorf("got %v", err)
	}
	expectClean(t, s)
}

func TestUnpackRefusesEntriesWithoutMeaning(t *testing.T) {
	tests := []struct {
		name   string
		layers [][]tar.Header
		entry  string
	}{
		{"a hard link to nothing", [][]tar.Header{{hardlink("a", "b")}}, "a"},
		{"a hard link to a directory", [][]tar.Header{{dir("d", 0o755), hardlink("a", "d")}}, "a"},
		{"a hard link to a directory below", [][]tar.Header{{dir("d", 0o755)}, {hardlink("x/a", "d")}},
			"x/a"},
		{"a hard link to a deleted file", [][]tar.Header{
			{file("f", "")}, {whiteout(".wh.f"), hardlink("a", "f")}}, "a"},
		{"a hard link to a name that was deleted below", [][]tar.Header{
			{file("f", "")}, {whiteout(".wh.f")}, {hardlink("a", "f")}}, "a"},
		{"a loop of symlinks", [][]tar.Header{{symlink("a", "b"), symlink("b", "a"), file("a/f", "")}},
			"a/f"},
		{"a file below a file", [][]tar.Header{{file("a", ""), file("a/f", "")}}, "a/f"},
		{"a root that is a file", [][]tar.Header{{file("../.", "")}}, "../."},
		{"a whiteout of no name", [][]tar.Header{{whiteout("a/.wh.")}}, "a/.wh."},
		{"a whiteout of ..", [][]tar.Header{{whiteout("a/.wh...")}}, "a/.wh..."},
		{"a name below a whiteout", [][]tar.Header{{file("a/.wh.b/c", "")}}, "a/.wh.b/c"},
		{"an unknown type", [][]tar.Header{{{Typeflag: 'Z', Name: "z"}}}, "z"},
		{"a name too long", [][]tar.Header{{file(strings.Repeat("x", 256), "")}},
			strings.Repeat("x", 256)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := openStore(t)
			var layers []v1.Layer
			for _, entries := range test.layers {
				layers = append(layers, layerOf(t, entries...))
			}
			_, err := s.Unpack(context.Background(), imageOf(t, layers...), Options{})
			var layer *LayerError
			if !errors.As(err, &layer) || layer.Entry != test.entry || layer.Index != len(layers)-1 {
				t.Errorf("got %v", err)
			}
			expectClean(t, s)
		})
	}
}
