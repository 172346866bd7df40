package layer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// again builds tree twice, with the earlier build and without, and fails unless
// the layers are the same.
func again(t testing.TB, tree Tree, c Compression, r *Record, blob string) (*Layer, *Record) {
	t.Helper()
	want, wantRecord := mustBuild(t, tree, Options{Compression: c})
	got, record := mustBuild(t, tree, Options{Compression: c, Reuse: r, ReuseBlob: blob})
	if got.digest != want.digest || got.diffID != want.diffID ||
		got.size != want.size || got.rawSize != want.rawSize {
		t.Fatalf("%s: with reuse %s (%s), without %s (%s)",
			c, got.digest, got.diffID, want.digest, want.diffID)
	}
	rc, err := got.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := copyAll(rc); err != nil {
		t.Fatal(err)
	}
	for i := range record.sums {
		if record.sums[i] != wantRecord.sums[i] {
			t.Fatalf("the record has another sum of %s", tree.Entries[i].Name)
		}
	}
	return got, record
}

// manyFiles is a site of groups, large files, images and siblings; for reading.
var manyFiles = sync.OnceValue(func() site {
	s := site{
		"index.html":        "<!doctype html>",
		"empty.txt":         "",
		"assets/app.js":     text(1, 100_000),
		"assets/app.js.gz":  noise(2, 30_000),
		"assets/more.js":    text(4, pieceSize+1),
		"assets/more.js.gz": noise(5, pieceSize+pieceSize/2),
		"img/a.jpg":         noise(6, 300_000),
		"img/b.jpg":         noise(7, 2*pieceSize),
	}
	for i := range 60 {
		s[fmt.Sprintf("chunks/%02d.js", i)] = text(100+i, 10_000+i*200)
		s[fmt.Sprintf("chunks/%02d.js.gz", i)] = noise(100+i, 4_000)
	}
	return s
})

func TestReuseOfAnUnchangedTreeWritesNothing(t *testing.T) {
	dir, temp := t.TempDir(), t.TempDir()
	manyFiles().write(t, dir)
	tree := scan(t, dir).settled()
	l, r := mustBuild(t, tree, Options{})
	if !r.Unchanged(tree, Gzip) || r.Unchanged(tree, Zstd) {
		t.Error("Unchanged is wrong")
	}
	o := Options{Reuse: r, ReuseBlob: l.Path(), Temp: temp}
	got, fresh := mustBuild(t, tree, o)
	if got.digest != l.digest || got.Path() != l.Path() || got.Stats().ReadBytes != 0 {
		t.Errorf("got %s at %s: %+v", got.digest, got.Path(), got.Stats())
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	// The same once more, all files written anew.
	time.Sleep(time.Millisecond) // so that times differ where the clock is fine
	manyFiles().write(t, dir)
	tree = scan(t, dir).settled()
	if fresh.Unchanged(tree, Gzip) {
		t.Error("files with new times count as unchanged")
	}
	o.Reuse = fresh
	got, fresh = mustBuild(t, tree, o)
	if got.digest != l.digest || got.Path() != l.Path() || got.Stats().CompressedChunks != 0 {
		t.Errorf("got %s at %s: %+v", got.digest, got.Path(), got.Stats())
	}
	if !fresh.Unchanged(tree, Gzip) {
		t.Error("the fresh record does not know the new times")
	}
	if err := got.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(l.Path()); err != nil {
		t.Error("Close removed the blob of the earlier build")
	}
}

func TestReuseAfterOneChange(t *testing.T) {
	dir := t.TempDir()
	before := maps.Clone(manyFiles())
	before["chunks/orphan.js.gz"] = noise(9, 1000)
	before.write(t, dir)
	l, r := mustBuild(t, scan(t, dir).settled(), Options{})
	for name, change := range map[string]site{
		"a small file":       {"chunks/30.js": text(7, 60_000)},
		"its length alone":   {"chunks/30.js": text(130, 16_001)},
		"an origin":          {"assets/app.js": text(7, 300_000)},
		"a sibling":          {"assets/app.js.gz": noise(7, 90_000)},
		"a large file":       {"img/b.jpg": noise(8, 2*pieceSize)},
		"a large origin":     {"assets/more.js": text(8, pieceSize+1)},
		"large to small":     {"assets/more.js": "small"},
		"small to large":     {"index.html": text(8, pieceSize+9)},
		"a new file":         {"chunks/30a.js": "new"},
		"a new origin":       {"chunks/orphan.js": "x", "chunks/30.js.gz": noise(130, 4_000)},
		"the first":          {"00": "new"},
		"the last":           {"zz": "new"},
		"the first and last": {"00": "new", "zz": "new"},
	} {
		t.Run(name, func(t *testing.T) {
			now := maps.Clone(before)
			maps.Copy(now, change)
			now.write(t, dir)
			got, _ := again(t, scan(t, dir).settled(), Gzip, r, l.Path())
			if s := got.Stats(); s.CompressedChunks > 5 || s.ReusedChunks < 5 {
				t.Errorf("%+v", s)
			}
			for name := range change {
				if err := os.Remove(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestReuseNoticesARacyEdit(t *testing.T) {
	dir := t.TempDir()
	manyFiles().write(t, dir)
	tree := scan(t, dir) // at once after the files were written
	l, r := mustBuild(t, tree, Options{})
	if r.Unchanged(tree, Gzip) {
		t.Fatal("files that were written just before the scan are trusted")
	}
	// An edit of equal length that left all times as they were.
	site{"chunks/30.js": text(7, len(manyFiles()["chunks/30.js"]))}.write(t, dir)
	now := scan(t, dir)
	for i := range now.Entries {
		e := &now.Entries[i]
		if e.Source == filepath.Join("chunks", "30.js") {
			if err := os.Chtimes(filepath.Join(dir, e.Source), time.Time{},
				time.Unix(0, tree.Entries[i].MTime)); err != nil {
				t.Fatal(err)
			}
			*e = tree.Entries[i]
		}
	}
	got, _ := again(t, now, Gzip, r, l.Path())
	if got.digest == l.digest {
		t.Error("the edit went unnoticed")
	}
}

func TestReuseRecoversFromAStatThatLies(t *testing.T) {
	dir := t.TempDir()
	manyFiles().write(t, dir)
	tree := scan(t, dir).settled()
	l, r := mustBuild(t, tree, Options{})
	for _, name := range []string{"chunks/30.js", "img/b.jpg", "assets/app.js"} {
		// As where there is no ctime: another content, the same stat. The new
		// first file keeps the rest of the tar from being taken over unread.
		edited := []byte(manyFiles()[name])
		edited[0] ^= 1
		site{name: string(edited), "00": "new"}.write(t, dir)
		i := slices.IndexFunc(tree.Entries, func(e Entry) bool {
			return filepath.ToSlash(e.Source) == name
		})
		if err := os.Chtimes(filepath.Join(dir, name), time.Time{},
			time.Unix(0, tree.Entries[i].MTime)); err != nil {
			t.Fatal(err)
		}
		now := scan(t, dir).settled()
		for k := range now.Entries {
			if e := &now.Entries[k]; e.Name == tree.Entries[i].Name {
				*e = tree.Entries[i]
			}
		}
		o := Options{Compression: Gzip, Temp: t.TempDir(), Reuse: r, ReuseBlob: l.Path()}
		_, _, err := Start(context.Background(), now, o).Wait()
		var changed *ChangedError
		if !errors.As(err, &changed) || filepath.ToSlash(changed.Path) != name {
			t.Errorf("%s: %v", name, err)
		}
		again(t, now, Gzip, r, l.Path())
		site{name: manyFiles()[name]}.write(t, dir)
		if err := os.Chtimes(filepath.Join(dir, name), time.Time{},
			time.Unix(0, tree.Entries[i].MTime)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReuseOfADamagedBlob(t *testing.T) {
	dir := t.TempDir()
	manyFiles().write(t, dir)
	l, r := mustBuild(t, scan(t, dir).settled(), Options{})
	good, err := os.ReadFile(l.Path())
	if err != nil {
		t.Fatal(err)
	}
	site{"chunks/30.js": text(7, 60_000)}.write(t, dir)
	tree := scan(t, dir).settled()
	bad := filepath.Join(t.TempDir(), "blob")
	for name, blob := range map[string][]byte{
		"empty":        {},
		"cut":          good[:len(good)/2],
		"gzip header":  flip(good, 4), // the time, which no checksum of gzip covers
		"first chunk":  flip(good, 1000),
		"every 100 kB": flip(good, 20_000, 150_000, 250_000, 900_000, 2_000_000, len(good)-40),
		"last byte":    flip(good, len(good)-1),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(bad, blob, 0o600); err != nil {
				t.Fatal(err)
			}
			again(t, tree, Gzip, r, bad)
		})
	}
	t.Run("too long, and nothing changed", func(t *testing.T) {
		if err := os.WriteFile(bad, append(good[:len(good):len(good)], 0), 0o600); err != nil {
			t.Fatal(err)
		}
		site{"chunks/30.js": manyFiles()["chunks/30.js"]}.write(t, dir)
		again(t, scan(t, dir).settled(), Gzip, r, bad)
	})
	site{"chunks/30.js": text(7, 60_000)}.write(t, dir)
	tree = scan(t, dir).settled()
	again(t, tree, Gzip, r, filepath.Join(t.TempDir(), "none"))
	again(t, tree, Gzip, r, "")
	again(t, tree, Zstd, r, l.Path())
}

func flip(b []byte, at ...int) []byte {
	b = slices.Clone(b)
	for _, i := range at {
		b[i] ^= 0x10
	}
	return b
}

func TestReuseWithoutTheStateOfTheHash(t *testing.T) {
	dir := t.TempDir()
	manyFiles().write(t, dir)
	l, r := mustBuild(t, scan(t, dir).settled(), Options{})
	for i := range r.chunks {
		r.chunks[i].state = []byte("of another Go release")
	}
	site{"zz": "new"}.write(t, dir)
	again(t, scan(t, dir).settled(), Gzip, r, l.Path())
}

// FuzzReuse edits a site at random, several times over, and demands that each
// build with reuse be equal to one without.
func FuzzReuse(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		c := []Compression{Gzip, Zstd}[rnd.IntN(2)]
		dir := t.TempDir()
		s := site{}
		for range 25 {
			s.edit(rnd)
		}
		s.write(t, dir)
		l, r := mustBuild(t, age(scan(t, dir), rnd), Options{Compression: c})
		for range 3 {
			old := maps.Clone(s)
			for range rnd.IntN(4) {
				s.edit(rnd)
			}
			for name := range old {
				if _, ok := s[name]; !ok {
					if err := os.Remove(filepath.Join(dir, name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			for name, content := range s {
				if was, ok := old[name]; !ok || was != content || rnd.IntN(5) == 0 {
					site{name: content}.write(t, dir)
				}
			}
			l, r = again(t, age(scan(t, dir), rnd), c, r, l.Path())
		}
	})
}

func age(t Tree, rnd *rand.Rand) Tree {
	if rnd.IntN(2) == 0 {
		return t.settled()
	}
	return t
}

// edit adds, replaces, removes or renames a file.
func (s site) edit(rnd *rand.Rand) {
	names := slices.Sorted(maps.Keys(s))
	pick := func() string { return names[rnd.IntN(len(names))] }
	fresh := func() string {
		ext := []string{".js", ".js.gz", ".js.br", ".png"}[rnd.IntN(4)]
		return fmt.Sprintf("d%d/f%d%s", rnd.IntN(4), rnd.IntN(12), ext)
	}
	size := []int{0, 1, 511, 512, 40_000, 200_000, pieceSize, pieceSize + 1, 2*pieceSize + 7}
	kind := []func(int, int) string{text, noise}[rnd.IntN(2)]
	switch op := rnd.IntN(5); {
	case len(names) < 3 || op < 2:
		s[fresh()] = kind(rnd.IntN(4), size[rnd.IntN(len(size))])
	case op == 2:
		delete(s, pick())
	case op == 3:
		old := pick()
		content := s[old]
		delete(s, old)
		s[fresh()] = content
	default:
		name := pick()
		s[name] = kind(rnd.IntN(100), len(s[name]))
	}
}
