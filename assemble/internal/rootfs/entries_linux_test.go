package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/decant-build/decant/assemble/internal/filetree"
	"github.com/decant-build/decant/assemble/internal/layer"
)

// treeOfTars merges the indexes of layers.
func treeOfTars(layers []v1.Layer) (*filetree.Tree, error) {
	tree := filetree.New()
	for i, l := range layers {
		raw, err := l.(*blob).plain()
		if err != nil {
			return nil, err
		}
		entries, err := filetree.ReadIndex(context.Background(), raw)
		if err != nil {
			return nil, err
		}
		if err := tree.Apply(entries, i); err != nil {
			return nil, err
		}
	}
	return tree, nil
}

// TestEntriesMergeAsTheTarsDo compares the trees that are merged from the tars of
// random images with those that are merged from their directories.
func TestEntriesMergeAsTheTarsDo(t *testing.T) {
	images, good := 120, 0
	if testing.Short() {
		images = 40
	}
	for seed := range images {
		r := rand.New(rand.NewPCG(uint64(seed), 2))
		var layers []v1.Layer
		var all [][]tar.Header
		for range 1 + r.IntN(4) {
			var entries []tar.Header
			for _, h := range randomLayer(r) {
				h.Uid = r.IntN(3)
				if name, ok := strings.CutSuffix(h.Name, "/.wh..wh..opq"); ok {
					// Without it the marker of a symlink below is a case of its own.
					entries = append(entries, dir(name, 0o755))
				}
				entries = append(entries, h)
			}
			all, layers = append(all, entries), append(layers, layerOf(t, entries...))
		}
		want, err := treeOfTars(layers)
		if err != nil {
			continue
		}
		s := openStore(t)
		rootfs, err := s.Unpack(context.Background(), imageOf(t, layers...), Options{})
		var refused *LayerError
		if errors.As(err, &refused) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		good++
		tars, dirs := want.Entries("/"), stackOf(t, rootfs).tree.Entries("/")
		for i := range tars {
			tars[i].Opaque = false // what it hid is gone
		}
		for i := range dirs {
			dirs[i].Opaque = false
		}
		if d := cmp.Diff(text(tars), text(dirs)); d != "" {
			t.Errorf("seed %d, -tars +directories:\n%s%s", seed, d, show(all))
		}
		if err := rootfs.Close(); err != nil {
			t.Error(err)
		}
	}
	if good < images/4 {
		t.Errorf("only %d of %d images could be compared", good, images)
	}
}

func TestWriteRefuses(t *testing.T) {
	outside := t.TempDir()
	base := t.TempDir()
	if err := errors.Join(
		os.WriteFile(filepath.Join(outside, "secret"), []byte("1"), 0o600),
		os.WriteFile(filepath.Join(base, "f"), []byte("12"), 0o600),
		os.Symlink(outside, filepath.Join(base, "dir")),
		os.Symlink(filepath.Join(outside, "secret"), filepath.Join(base, "link")),
		os.Mkdir(filepath.Join(base, "d"), 0o755),
	); err != nil {
		t.Fatal(err)
	}
	from := func(source string, size int64) layer.Entry {
		return layer.Entry{Name: "f", Base: base, Source: source, Size: size, Mode: 0o644}
	}
	named := func(name string) layer.Entry { return layer.Entry{Name: name, Mode: 0o644} }
	tests := []struct {
		name    string
		entries []layer.Entry
		want    string
	}{
		{"a source that is a link", []layer.Entry{from("link", 1)}, "link"},
		{"a source behind a link", []layer.Entry{from("dir/secret", 1)}, "dir/secret"},
		{"a source outside", []layer.Entry{from("../x", 1)}, "cross-device"},
		{"a source that is a directory", []layer.Entry{from("d", 4096)}, "changed since"},
		{"a source that is gone", []layer.Entry{from("x", 1)}, "no such file"},
		{"a source that grew", []layer.Entry{from("f", 1)}, "changed since"},
		{"a source that shrank", []layer.Entry{from("f", 3)}, "changed since"},
		{"a source of no directory", []layer.Entry{{Name: "f", Source: "f", Size: 2}}, "not known"},
		{"a content that is elsewhere", []layer.Entry{{Name: "f", Size: 2}}, "not here"},
		{"a name outside", []layer.Entry{named("../f")}, "clean relative"},
		{"an absolute name", []layer.Entry{named("/f")}, "clean relative"},
		{"the root", []layer.Entry{named(".")}, "clean relative"},
		{"a name twice", []layer.Entry{named("f"), named("f")}, "after the one before"},
		{"names in another order", []layer.Entry{named("b"), named("a")}, "after the one before"},
		{"a name below a file", []layer.Entry{named("f"), named("f/g")}, "exists"},
		{"a name below a link", []layer.Entry{
			{Name: "l", Kind: layer.Link, Target: outside}, named("l/g")}, "l/g"},
		{"a hard link to nothing", []layer.Entry{
			{Name: "h", Kind: layer.HardLink, Target: "x"}}, "no file of the same step"},
		{"a hard link to what lies outside", []layer.Entry{
			{Name: "h", Kind: layer.HardLink, Target: "../../f"}}, "no file of the same step"},
		{"a kind that there is not", []layer.Entry{{Name: "k", Kind: 99}}, "unknown kind"},
		{"an owner that there is not", []layer.Entry{{Name: "k", UID: 1<<32 - 1}}, "owner"},
	}
	s := openStore(t)
	for _, test := range tests {
		_, err := s.Write(context.Background(), keyOf("a"), test.entries, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
		expectClean(t, s)
	}
	a := keyOf("a")
	for _, key := range []string{"", "x", strings.ToUpper(a), a + "00", "../" + a, "g" + a[1:]} {
		if _, err := s.Write(context.Background(), key, nil, nil); err == nil {
			t.Errorf("the key %q is taken", key)
		}
		if _, ok := s.Step(key); ok {
			t.Errorf("the key %q is found", key)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 1 {
		t.Errorf("outside there are %v, %v", left, err)
	}
}

func TestWriteEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := openStore(t)
	_, err := s.Write(ctx, keyOf("a"), []layer.Entry{{Name: "d/f"}}, func(string) uint32 {
		cancel()
		return 0o755
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	expectClean(t, s)
	o := upperIn(t, s)
	if err := os.Mkdir(filepath.Join(o.Upper, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = s.Adopt(ctx, keyOf("a"), o.Upper, AdoptOptions{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	expectClean(t, s)
}

// FuzzDecodeIndex looks for indexes that are taken for whole and would not be
// written so.
func FuzzDecodeIndex(f *testing.F) {
	entries := []layer.Entry{
		{Name: "a", Kind: layer.Dir, Mode: 0o755, UID: 7, Opaque: true},
		{Name: "a/f", Size: 3, MTime: 1, CTime: -2, Inode: 3, Base: "/h/aside", Source: "0",
			Xattrs: []layer.Xattr{{Name: "user.a", Value: []byte{0, 1}}}},
		{Name: "a/l", Kind: layer.Link, Target: "f"}, {Name: "n", Kind: layer.CharDevice, Major: 1},
	}
	f.Add(encodeIndex(entries, "/h"))
	f.Add(encodeIndex(nil, "/h"))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The sum keeps damage out, not what somebody writes on purpose.
		for _, index := range [][]byte{b, sealed(b)} {
			got, err := decodeIndex(index, "/h")
			if err != nil {
				continue
			}
			again, err := decodeIndex(encodeIndex(got, "/h"), "/h")
			if d := cmp.Diff(got, again); d != "" || err != nil {
				t.Errorf("%v\n%s", err, d)
			}
		}
	})
}

// sealed gives an index the sum that it should have.
func sealed(b []byte) []byte {
	if len(b) < sha256.Size {
		return b
	}
	body := bytes.Clone(b[:len(b)-sha256.Size])
	sum := sha256.Sum256(body)
	return append(body, sum[:]...)
}

// FuzzOwners reads tables of owners, and notes of them on files.
func FuzzOwners(f *testing.F) {
	f.Add("1 2 \"a\\nb\" \"security.capability\" \"x\"\nimplied \"d\"\n")
	f.Add("device 6 1 3 438 0 0 \"null\"\n")
	f.Add("7:-1")
	f.Fuzz(func(t *testing.T, s string) {
		if o := parseOwner(s); o != nil {
			if text := fmt.Sprintf("%d:%d", o.UID, o.GID); o.UID < -1 || o.GID >= 1<<32-1 {
				t.Errorf("%q is %s", s, text)
			}
		}
		name := filepath.Join(t.TempDir(), "owners")
		if err := os.WriteFile(name, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		table, err := readOwners(name)
		if err != nil {
			return
		}
		for _, d := range table.present(t.TempDir()) {
			if strings.Contains(d.Name, "/") {
				t.Errorf("a device in a directory that is not there: %q", d.Name)
			}
		}
	})
}
