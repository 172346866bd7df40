package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A canary is a directory beside a store that no tar may touch, and that links in
// the tars name.
func canary(t testing.TB, s *Store) (dir string, intact func()) {
	t.Helper()
	dir = filepath.Join(filepath.Dir(s.dir), "canary")
	if err := os.MkdirAll(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := list(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, func() {
		t.Helper()
		after, err := list(dir)
		if err != nil {
			t.Fatal(err)
		}
		if d := after.diff(before); d != "" {
			t.Errorf("the canary has changed:\n%s", d)
		}
		beside, err := os.ReadDir(filepath.Dir(s.dir))
		if err != nil {
			t.Fatal(err)
		}
		if len(beside) != 2 {
			t.Errorf("beside the store: %v", beside)
		}
	}
}

// noSecret fails if a file of an image has the canary's content.
func noSecret(t testing.TB, r *Rootfs) {
	t.Helper()
	for _, layer := range r.Layers {
		err := filepath.WalkDir(layer, func(name string, d os.DirEntry, err error) error {
			if errors.Is(err, os.ErrPermission) {
				return filepath.SkipDir
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(name)
			if string(b) == "secret" {
				t.Errorf("%s has the content of a file of the host", name)
			}
			if errors.Is(err, os.ErrPermission) {
				return nil
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestUnpackNeverLeavesItsDirectory(t *testing.T) {
	up := strings.Repeat("../", 12)
	tests := []struct {
		name   string
		layers func(canary string) [][]tar.Header
	}{
		{"dots", func(c string) [][]tar.Header {
			return [][]tar.Header{{file(up+c+"/new", "x"), dir(up+c, 0), whiteout(up + c + "/.wh.f")}}
		}},
		{"an absolute name", func(c string) [][]tar.Header {
			return [][]tar.Header{{file(c+"/f", "x"), whiteout(c + "/.wh..wh..opq")}}
		}},
		{"a symlink in the same layer", func(c string) [][]tar.Header {
			return [][]tar.Header{{
				symlink("l", c), file("l/f", "x"), dir("l/", 0), symlink("m", up+c), file("m/g", "x"),
				dir("m/d", 0), whiteout("m/.wh.d"),
			}}
		}},
		{"a symlink in a layer below", func(c string) [][]tar.Header {
			return [][]tar.Header{
				{symlink("l", c), symlink("m", up+c)},
				{file("l/f", "x"), dir("m/d", 0), hardlink("n", "l/f"), whiteout("m/.wh.x")},
			}
		}},
		{"a file over a symlink", func(c string) [][]tar.Header {
			return [][]tar.Header{{symlink("l", c+"/f"), file("l", "x"), symlink("p", c+"/f"),
				fileMode("p", "", 0)}}
		}},
		{"a hard link to a symlink", func(c string) [][]tar.Header {
			return [][]tar.Header{
				{symlink("l", c+"/f"), hardlink("h", "l"), file("h", "x"), symlink("d", c),
					hardlink("e", "d")},
				{hardlink("k", "l"), file("e/f", "x")},
			}
		}},
		{"a hard link out of it", func(c string) [][]tar.Header {
			return [][]tar.Header{{hardlink("h", c+"/f")}}
		}},
		{"a hard link out of it, through dots", func(c string) [][]tar.Header {
			return [][]tar.Header{{hardlink("h", up+c+"/f"), file("h", "x")}}
		}},
		{"a directory that becomes a symlink", func(c string) [][]tar.Header {
			return [][]tar.Header{{
				dir("d", 0o755), file("d/x", ""), symlink("d", c), file("d/f", "x"), dir("d", 0o700),
				file("d/f", "y"), symlink("d", c), whiteout("d/.wh.f"),
			}}
		}},
		{"links of the kernel", func(c string) [][]tar.Header {
			return [][]tar.Header{{symlink("l", "/proc/self/root"+c), file("l/f", "x"),
				symlink("k", "/proc/self/cwd"),
				file("k/f", "x")}}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := openStore(t)
			dir, intact := canary(t, s)
			var images [][]byte
			for _, entries := range test.layers(dir) {
				images = append(images, tarOf(t, entries...))
			}
			tryHostile(t, s, images)
			intact()
		})
	}
}

// tryHostile unpacks layers and uses what comes of it. An error is fine.
func tryHostile(t testing.TB, s *Store, layers [][]byte) {
	t.Helper()
	blobs := make([]*blob, len(layers))
	for i, plain := range layers {
		blobs[i] = blobOf(t, plain, "")
	}
	ctx := context.Background()
	limits := Limits{Bytes: 1 << 20, Entries: 1000}
	img := imageOf(t)
	switch len(blobs) {
	case 1:
		img = imageOf(t, blobs[0])
	case 2:
		img = imageOf(t, blobs[0], blobs[1])
	}
	r, err := s.Unpack(ctx, img, Options{Limits: limits})
	if err != nil {
		left, rerr := os.ReadDir(s.path("tmp"))
		if rerr != nil || len(left) > 0 {
			t.Errorf("left after %v: %v, %v", err, left, rerr)
		}
		return
	}
	noSecret(t, r)
	if _, _, _, err := r.LookupUser("root"); err != nil {
		t.Log(err)
	}
	flat := s.path("flat")
	err = r.Flatten(ctx, flat)
	if err != nil && !(os.Geteuid() != 0 && errors.Is(err, os.ErrPermission)) {
		t.Errorf("flattening: %v", err)
	}
	if err := errors.Join(removeTree(flat), r.Close()); err != nil {
		t.Error(err)
	}
	if _, err := s.Prune(ctx, PruneOptions{}); err != nil {
		t.Error(err)
	}
}

// FuzzUnpack unpacks tars as they come, above a layer whose links lead out.
func FuzzUnpack(f *testing.F) {
	up := strings.Repeat("../", 12)
	f.Add(tarOf(f, file("../../a", "1"), symlink("l", "/"), file("l/etc/x", "1"), hardlink("h", "l")))
	f.Add(tarOf(f, whiteout("a/.wh..wh..opq"), whiteout("a/.wh.b"), dir("a", 0),
		fileMode("a/c", "", 0)))
	f.Add(tarOf(f, hardlink("out/f", "out/f"), file("out/g", "1"), dir("up", 0o755),
		dir("up/d", 0o755)))
	f.Add(tarOf(f, xattr(file("x", "1"), "user.overlay.opaque", "y"),
		dir(strings.Repeat("n/", 60), 0)))
	f.Add(sparseTar)
	f.Add(bytes.Repeat([]byte{0}, 1024))
	f.Fuzz(func(t *testing.T, plain []byte) {
		s := openStore(t)
		dir, intact := canary(t, s)
		below := tarOf(t, symlink("out", dir), symlink("up", up+dir), symlink("etc", up),
			file("passwd", "root:x:0:0"))
		tryHostile(t, s, [][]byte{below, plain})
		intact()
	})
}

// sparseTar holds an old GNU sparse file of 1 TiB, of which it has one byte.
var sparseTar = func() []byte {
	var b [512]byte
	copy(b[:], "sparse")
	copy(b[100:], "0000644\x00")
	copy(b[124:], "00000001000\x00")
	copy(b[136:], "00000000000\x00")
	b[156] = 'S'
	copy(b[257:], "ustar  \x00")
	copy(b[386:], "00000000000\x0000000001000\x00")
	copy(b[483:], "\x80\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00")
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], []byte{
		'0', byte('0' + sum>>12&7), byte('0' + sum>>9&7), byte('0' + sum>>6&7), byte('0' + sum>>3&7),
		byte('0' + sum&7), 0, ' ',
	})
	return append(append(b[:], make([]byte, 512)...), make([]byte, 1024)...)
}()

// TestOpenBeneathFollowsNothing tests both ways in which a directory is opened:
// whatever extraction believes, no symlink is followed.
func TestOpenBeneathFollowsNothing(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a/b", "out"} {
		if err := os.MkdirAll(filepath.Join(root, "in", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/", filepath.Join(root, "in", "a", "link")); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(filepath.Join(root, "in"), dirFlags, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for name, open := range map[string]func(int, string) (int, error){
		"openat2": openBeneath, "openat": openStepwise,
	} {
		for path, want := range map[string]bool{
			".": true, "a": true, "a/b": true, "a/link": false, "a/link/etc": false, "..": false,
			"a/../../in": false, "none": false,
		} {
			got, err := open(fd, path)
			if (err == nil) != want {
				t.Errorf("%s: %s: %v", name, path, err)
			}
			if err == nil {
				unix.Close(got)
			}
		}
	}
}

func TestRemoveTreeCopesWithModes(t *testing.T) {
	root := filepath.Join(t.TempDir(), "r")
	if err := os.MkdirAll(filepath.Join(root, "a/b/c"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "a/b/f"), nil, 0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/b/c", "a/b", "a", ""} {
		if err := os.Chmod(filepath.Join(root, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(removeTree(root), removeTree(root)); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestUnpackRefusesASparseGiant(t *testing.T) {
	s := openStore(t)
	_, err := s.Unpack(context.Background(), imageOf(t, blobOf(t, sparseTar, "gzip")), Options{})
	var limit *LimitError
	if !errors.As(err, &limit) {
		t.Errorf("got %v", err)
	}
}
