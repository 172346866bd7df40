package rootfs

import (
	"archive/tar"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func openStore(t testing.TB) *Store {
	t.Helper()
	// Not t.TempDir, which cannot remove what a plain user may not enter.
	dir, err := os.MkdirTemp("", "rootfs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeTree(dir); err != nil {
			t.Error(err)
		}
	})
	s, err := OpenStore(filepath.Join(dir, "rootfs"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func unpack(t testing.TB, s *Store, layers ...v1.Layer) *Rootfs {
	t.Helper()
	r, err := s.Unpack(context.Background(), imageOf(t, layers...), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// flattened lists a copy of the image, without its root.
func flattened(t testing.TB, s *Store, r *Rootfs) listing {
	t.Helper()
	dst := filepath.Join(filepath.Dir(s.dir), "flat")
	if err := r.Flatten(context.Background(), dst); err != nil {
		t.Fatal(err)
	}
	defer removeTree(dst)
	l, err := list(dst)
	if err != nil {
		t.Fatal(err)
	}
	delete(l, ".")
	return l
}

// show drops times and modes of what a test does not care for, and sorts.
func (l listing) names() string {
	var names []string
	for name, what := range l {
		if i := strings.Index(what, " -> "); i >= 0 {
			name += what[i:]
		}
		if i := strings.Index(what, " = "); i >= 0 && what[i+3:] != name {
			name += what[i:]
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestUnpackShowsWhatTheLayersSay(t *testing.T) {
	tests := []struct {
		name   string
		layers [][]tar.Header
		want   string
	}{
		{"files, links and directories", [][]tar.Header{{
			dir("./", 0o755), dir("a/", 0o755), file("a/f", "1"), symlink("a/l", "/a/f"),
			hardlink("a/h", "a/f"),
		}}, "a a/f a/h = a/f a/l -> /a/f"},
		{"a whiteout", [][]tar.Header{
			{file("a/f", "1"), file("a/g", "1")},
			{whiteout("a/.wh.f")},
		}, "a a/g"},
		{"a whiteout of nothing", [][]tar.Header{
			{dir("a", 0o755), whiteout("a/.wh.f"), whiteout(".wh.x")},
			{whiteout("b/c/.wh.f"), whiteout("a/.wh.g")},
		}, "a b b/c"},
		{"a whiteout does not touch its own layer, before or after", [][]tar.Header{
			{file("f", "1"), file("g", "1"), file("d/x", "1"), file("e/x", "1")},
			{
				file("f", "2"), whiteout(".wh.f"), whiteout(".wh.g"), file("g", "2"),
				file("d/y", "2"), whiteout(".wh.d"), whiteout(".wh.e"), file("e/y", "2"),
			},
		}, "d d/y e e/y f g"},
		{"an opaque directory, before or after", [][]tar.Header{
			{file("d/x", "1"), file("e/x", "1"), file("e/s/x", "")},
			{file("d/y", "2"), whiteout("d/.wh..wh..opq"), whiteout("e/.wh..wh..opq"), file("e/y", "2")},
		}, "d d/y e e/y"},
		{"an opaque root", [][]tar.Header{
			{file("d/x", "1")}, {whiteout(".wh..wh..opq"), file("e/y", "2")}, {file("z", "")},
		}, "e e/y z"},
		{"other files of AUFS", [][]tar.Header{{
			whiteout(".wh..wh.aufs"), dir(".wh..wh.plnk", 0o700), file(".wh..wh.plnk/1.2", ""),
			file("f", ""),
		}}, "f"},
		{"a file takes the place of a directory, and back", [][]tar.Header{
			{file("a/x", "1"), file("b", "1"), file("c/x", "1")},
			{file("a", "2"), file("b/x", "2"), file("c", "2"), file("c", "3")},
			{file("a/y", "3")},
		}, "a a/y b b/x c"},
		{"within one layer, too", [][]tar.Header{
			{file("a/lower", "1"), file("b/lower", "1"), file("c/lower", "1")},
			{
				file("a/x/y", "1"), file("a", "2"), dir("a", 0o755), file("a/z", "3"),
				symlink("b", "c"), dir("b", 0o755), file("b/z", "3"),
				file("d", ""), symlink("d", "b"), file("d/w", ""),
			},
		}, "a a/z b b/w b/z c c/lower d -> b"},
		{"names that repeat: the last one counts", [][]tar.Header{{
			file("f", "1"), hardlink("g", "f"), file("f", "22"), symlink("f2", "x"), file("f2", "1"),
		}}, "f f2 g"},
		{"a name below a symlink of the same layer", [][]tar.Header{{
			symlink("lib", "usr/lib"), file("lib/f", "1"), symlink("abs", "/opt/../usr"),
			file("abs/g", "1"),
		}}, "abs -> /opt/../usr lib -> usr/lib opt usr usr/g usr/lib usr/lib/f"},
		{"a name below a symlink of a layer below", [][]tar.Header{
			{symlink("lib", "usr/lib"), file("usr/lib/old", "1"), symlink("var/run", "/run"),
				dir("run", 0o755)},
			{file("lib/f", "1"), file("lib/x/g", "1"), whiteout("lib/.wh.old"), file("var/run/p", "1")},
			{dir("lib/", 0o755), file("lib/h", "1")},
		}, "lib lib/h run run/p usr usr/lib usr/lib/f usr/lib/x usr/lib/x/g var var/run -> /run"},
		{"through several symlinks of layers below", [][]tar.Header{
			{symlink("a", "b"), symlink("b", "c/d"), symlink("c", "e"), dir("e/d", 0o755)},
			{file("a/f", "1"), hardlink("a/g", "a/f"), hardlink("h", "b/f")},
		}, "a -> b b -> c/d c -> e e e/d e/d/f e/d/g = e/d/f h = e/d/f"},
		{"a symlink of a layer below that leads nowhere", [][]tar.Header{
			{symlink("a", "/n/m")}, {file("a/f", "1")},
		}, "a -> /n/m n n/m n/m/f"},
		{"a hard link into a layer below is a copy", [][]tar.Header{
			{fileMode("d/f", "content", 0o4751), symlink("l", "d/f"), symlink("e", "d")},
			{file("x", "")},
			{hardlink("g", "d/f"), hardlink("h", "g"), hardlink("k", "l"), hardlink("m", "e/f"),
				file("n", "")},
		}, "d d/f e -> d g h = g k -> d/f l -> d/f m n x"},
		{"a borrowed name that is replaced", [][]tar.Header{
			{file("f", "1")}, {hardlink("g", "f"), hardlink("h", "g"), dir("g", 0o755), file("g/x", "")},
		}, "f g g/x h"},
		{"names that want out", [][]tar.Header{{
			file("../../a", "1"), file("/b", "1"), file("c/../../../d", "1"), symlink("up", "../../.."),
			file("up/e", "1"), hardlink("g", "../../a"), symlink("etc", "/../../x/etc"),
			file("etc/passwd", "1"),
		}}, "a b d e etc -> /../../x/etc g = a up -> ../../.. x x/etc x/etc/passwd"},
		{"devices and pipes", [][]tar.Header{{
			{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3},
			{Typeflag: tar.TypeBlock, Name: "sda", Devmajor: 8}, {Typeflag: tar.TypeChar, Name: "w"},
			{Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o622},
		}}, "pipe"},
		{"nothing", [][]tar.Header{{}}, ""},
		{"no layers", nil, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := openStore(t)
			var layers []v1.Layer
			for _, entries := range test.layers {
				layers = append(layers, layerOf(t, entries...))
			}
			r := unpack(t, s, layers...)
			flat := flattened(t, s, r)
			if d := mounted(t, r).diff(flat); d != "" {
				t.Errorf("mounted (-) and flattened (+) differ:\n%s", d)
			}
			if got := flat.names(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
