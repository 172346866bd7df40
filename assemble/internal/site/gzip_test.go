package site

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/decant-build/decant/assemble/internal/layer"
)

func text(n int) string { return strings.Repeat("a line that compresses\n", n/23+1) }

// settle makes a tree look as if its files had been there for long, as far as the
// system lets a test: what is newer is not vouched for.
func settle(t *testing.T, tree *layer.Tree) {
	t.Helper()
	for i := range tree.Entries {
		e := &tree.Entries[i]
		now, err := lstat(filepath.Join(tree.Dir, e.Source))
		if err != nil {
			t.Fatal(err)
		}
		e.CTime, e.Inode = now.ctime, now.inode
		tree.ScannedAt = max(tree.ScannedAt, e.CTime+2*int64(settled))
	}
}

func press1(t *testing.T, tree layer.Tree, dir string, o PrecompressOptions) []layer.Entry {
	t.Helper()
	o.Root = root
	entries, err := Precompress(t.Context(), tree, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func siteNames(entries []layer.Entry) string {
	var list []string
	for _, e := range entries {
		list = append(list, strings.TrimPrefix(e.Name, root+"/"))
	}
	return strings.Join(list, " ")
}

func TestPrecompressTakesLargeTextsOnly(t *testing.T) {
	tree := scanned(t, map[string]string{
		"index.html": text(2000), "a.js": text(2000), "small.js": "x", "b.css": text(1024), "c.png": text(2000),
		"d.js.map": text(2000), "own.js": text(2000), "own.js.gz": "the user's", "noise.txt": noise(4000),
		"E.SVG": text(2000),
	}, "")
	if got := siteNames(press1(t, tree, t.TempDir(), PrecompressOptions{})); got !=
		"E.SVG.gz a.js.gz b.css.gz index.html.gz" {
		t.Errorf("siblings %s", got)
	}
	if got := siteNames(press1(t, tree, t.TempDir(), PrecompressOptions{Brotli: true})); got !=
		"E.SVG.br E.SVG.gz a.js.br a.js.gz b.css.br b.css.gz index.html.br index.html.gz own.js.br" {
		t.Errorf("siblings %s", got)
	}
}

func spooled(t *testing.T, e layer.Entry) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(e.Base, e.Source))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSiblingsHoldTheirOriginals(t *testing.T) {
	files := map[string]string{"a.js": text(100_000)}
	entries := press1(t, scanned(t, files, ""), t.TempDir(), PrecompressOptions{Brotli: true})
	plain, err := io.ReadAll(brotli.NewReader(bytes.NewReader(spooled(t, entries[0]))))
	if err != nil || string(plain) != files["a.js"] {
		t.Errorf("brotli: %d bytes, %v", len(plain), err)
	}
	zipped := spooled(t, entries[1])
	if unzip(t, zipped) != files["a.js"] {
		t.Error("gzip: other bytes")
	}
	// No flags, so no name, and no time.
	if head := zipped[:9]; !bytes.Equal(head[:8], []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0}) {
		t.Errorf("header % x", head)
	}
}

func TestPrecompressIsTheSameWhateverTheJobs(t *testing.T) {
	files := map[string]string{}
	for i := range 40 {
		files[strings.Repeat("a", i+1)+".js"] = text(2000 + 100*i)
	}
	sums := func(jobs int) (all [][]byte) {
		for _, e := range press1(t, scanned(t, files, ""), t.TempDir(), PrecompressOptions{Jobs: jobs, Brotli: true}) {
			all = append(all, spooled(t, e))
		}
		return all
	}
	if diff := cmp.Diff(sums(1), sums(4)); diff != "" {
		t.Error(diff)
	}
}

func TestPrecompressReusesWhatStatsVouchFor(t *testing.T) {
	tree := scanned(t, map[string]string{"a.js": text(2000), "b.js": text(3000)}, "")
	settle(t, &tree)
	if tree.Entries[0].CTime == 0 {
		t.Skip("this system has no time of a file's last change")
	}
	dir := t.TempDir()
	first := press1(t, tree, dir, PrecompressOptions{})
	// Were the originals read again, that would be an error now.
	kept := tree.Dir + "-kept"
	if err := errors.Join(os.Rename(tree.Dir, kept), os.Mkdir(tree.Dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	again := press1(t, tree, dir, PrecompressOptions{})
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("made again (-first +second):\n%s", diff)
	}
	if err := errors.Join(os.Remove(tree.Dir), os.Rename(kept, tree.Dir)); err != nil {
		t.Fatal(err)
	}
	// A crash left half a file.
	if err := os.Truncate(filepath.Join(dir, first[0].Source), 5); err != nil {
		t.Fatal(err)
	}
	if got := spooled(t, press1(t, tree, dir, PrecompressOptions{})[0]); unzip(t, got) != text(2000) {
		t.Error("half a file is reused")
	}
	// A file that changed, and one that is gone.
	tree.Entries = tree.Entries[:1]
	tree.Entries[0].CTime++
	changed := press1(t, tree, dir, PrecompressOptions{})
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != changed[0].Source {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestPrecompressDoesNotTrustAFreshFile(t *testing.T) {
	tree := scanned(t, map[string]string{"a.js": text(2000)}, "")
	settle(t, &tree)
	tree.ScannedAt = tree.Entries[0].CTime + 1
	dir := t.TempDir()
	first, second := press1(t, tree, dir, PrecompressOptions{}), press1(t, tree, dir, PrecompressOptions{})
	if first[0].Source == second[0].Source {
		t.Error("the sibling of a file that may have changed since is reused")
	}
}

func TestPrecompressRemembersWhatIsNotWorthIt(t *testing.T) {
	tree := scanned(t, map[string]string{"a.ico": noise(5000)}, "")
	settle(t, &tree)
	dir := t.TempDir()
	for range 2 {
		if got := press1(t, tree, dir, PrecompressOptions{}); len(got) != 0 {
			t.Errorf("siblings %s", siteNames(got))
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 1 || tree.Entries[0].CTime != 0 && !strings.HasSuffix(left[0].Name(), ".0.gz") {
			t.Errorf("left are %v, %v", left, err)
		}
	}
}

func noise(n int) string {
	seed, b := uint32(7), make([]byte, n)
	for i := range b {
		seed = seed*1664525 + 1013904223
		b[i] = byte(seed >> 24)
	}
	return string(b)
}

func TestPrecompressLeavesNothingOfAFailure(t *testing.T) {
	tree := scanned(t, map[string]string{"a.js": text(2000)}, "")
	if err := os.WriteFile(filepath.Join(tree.Dir, "a.js"), []byte(text(9000)), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	_, err := Precompress(t.Context(), tree, dir, PrecompressOptions{Root: root})
	var changed *layer.ChangedError
	if !errors.As(err, &changed) {
		t.Errorf("Precompress = %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestSitesWithSiblingsAndConfAreALayer(t *testing.T) {
	o := ServeOptions{User: "101", RuntimeEnv: []string{"A"}, BasePath: "/shop/"}
	tree, a := analyse(t, spa, o)
	more, err := Files(a, layouts["official"].server, o)
	if err != nil {
		t.Fatal(err)
	}
	siblings, err := Precompress(t.Context(), tree, t.TempDir(), PrecompressOptions{Root: Place(root, o.BasePath)})
	if err != nil {
		t.Fatal(err)
	}
	if len(siblings) == 0 {
		t.Fatal("there are no siblings")
	}
	tree.Entries = append(append(tree.Entries, more...), siblings...)
	layer.Sort(tree.Entries)
	l, _, err := layer.Build(t.Context(), tree, layer.Options{Compression: layer.Gzip, Temp: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := validate.Layer(l); err != nil {
		t.Error(err)
	}
}

func TestStampChangesWithWhatAnalyseSees(t *testing.T) {
	tree := scanned(t, map[string]string{"a.js": "x", "b.js": "y"}, "")
	settle(t, &tree)
	if tree.Entries[0].CTime == 0 {
		t.Skip("this system has no time of a file's last change")
	}
	stamps := map[string]bool{}
	add := func(tree layer.Tree, o ServeOptions) {
		t.Helper()
		stamp, ok := Stamp(tree, root, o)
		if !ok || stamps[stamp] {
			t.Errorf("stamp %q, %v", stamp, ok)
		}
		stamps[stamp] = true
	}
	add(tree, ServeOptions{})
	if again, _ := Stamp(tree, root, ServeOptions{}); !stamps[again] {
		t.Error("the same tree has another stamp")
	}
	add(tree, ServeOptions{Mode: MultiPage})
	changed := tree
	changed.Entries = append([]layer.Entry{}, tree.Entries...)
	changed.Entries[1].MTime--
	add(changed, ServeOptions{})
	changed.Entries = changed.Entries[:1]
	add(changed, ServeOptions{})
	changed.ScannedAt = changed.Entries[0].CTime
	if _, ok := Stamp(changed, root, ServeOptions{}); ok {
		t.Error("a fresh file is vouched for")
	}
}
