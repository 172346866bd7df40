package bed

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// apply applies a layer to dir.
func apply(t *testing.T, dir string, entries ...tar.Header) error {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, h := range entries {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(h.Name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	return applyTar(t.Context(), root, tar.NewReader(&layer))
}

func list(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if path != dir {
			names = append(names, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func TestUnpackAppliesWhiteouts(t *testing.T) {
	dir := t.TempDir()
	if err := apply(t, dir, tar.Header{Typeflag: tar.TypeDir, Name: "a/"}, tar.Header{Typeflag: tar.TypeReg, Name: "a/gone"},
		tar.Header{Typeflag: tar.TypeReg, Name: "a/kept"}, tar.Header{Typeflag: tar.TypeReg, Name: "b/old"},
		tar.Header{Typeflag: tar.TypeReg, Name: "c"}); err != nil {
		t.Fatal(err)
	}
	if err := apply(t, dir, tar.Header{Typeflag: tar.TypeReg, Name: "a/.wh.gone"},
		tar.Header{Typeflag: tar.TypeReg, Name: "b/.wh..wh..opq"}, tar.Header{Typeflag: tar.TypeReg, Name: "b/new"},
		tar.Header{Typeflag: tar.TypeDir, Name: "c/"}, tar.Header{Typeflag: tar.TypeLink, Name: "d", Linkname: "a/kept"},
	); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("a a/kept b b/new c d", list(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestUnpackWritesNothingOutside(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries []tar.Header
	}{
		{"parent", []tar.Header{{Typeflag: tar.TypeReg, Name: "../x"}}},
		{"link", []tar.Header{{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "../"}, {Typeflag: tar.TypeReg, Name: "l/x"}}},
		{"absolute link", []tar.Header{{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/tmp"},
			{Typeflag: tar.TypeReg, Name: "l/decant-bed-x"}}},
		{"hard link", []tar.Header{{Typeflag: tar.TypeLink, Name: "x", Linkname: "../../outside"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "root")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			err := apply(t, dir, c.entries...)
			if c.name == "parent" { // such a name means one at the root
				if err != nil || list(t, parent) != "root root/x" {
					t.Errorf("%v, %s", err, list(t, parent))
				}
				return
			}
			if err == nil {
				t.Error("no error")
			}
			if got := list(t, parent); strings.Contains(strings.ReplaceAll(got, "root", ""), "x") {
				t.Errorf("left %s", got)
			}
		})
	}
}

func TestUnpackDropsSetIDBits(t *testing.T) {
	dir := t.TempDir()
	if err := apply(t, dir, tar.Header{Typeflag: tar.TypeReg, Name: "su", Mode: 0o4755},
		tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"su": 0o755, "tmp": 0o777 | fs.ModeSticky | fs.ModeDir} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}
