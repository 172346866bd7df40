package layer

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// freshCopy writes a site into a new directory and scans that at once, so that
// no stat is as it was, nor to be trusted.
func freshCopy(t testing.TB, s site) Tree {
	t.Helper()
	dir := t.TempDir()
	s.write(t, dir)
	return scan(t, dir)
}

func TestConfirmKnowsAFreshCopyByItsContents(t *testing.T) {
	l, r := mustBuild(t, freshCopy(t, manyFiles()).settled(), Options{})
	tree := freshCopy(t, manyFiles())
	temp := t.TempDir()
	o := Options{Compression: Gzip, Temp: temp, Reuse: r, ReuseBlob: l.Path()}
	files, bytes := 0, int64(0)
	o.Progress = func(f int, n int64) { files, bytes = f, n }
	confirmed, same, err := Confirm(context.Background(), tree, o)
	if err != nil || !same {
		t.Fatalf("same %v, %v", same, err)
	}
	want := int64(0)
	for _, content := range manyFiles() {
		want += int64(len(content))
	}
	if files != len(manyFiles()) || bytes != want {
		t.Errorf("progress ends at %d files, %d bytes", files, bytes)
	}
	o.Reuse = confirmed
	got, fresh := mustBuild(t, tree, o)
	s := got.Stats()
	if got.digest != l.digest || got.Path() != l.Path() || s.ReadBytes != 0 ||
		s.CompressedChunks != 0 || s.ReusedChunks == 0 {
		t.Errorf("got %s at %s: %+v", got.digest, got.Path(), s)
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if fresh.Unchanged(tree, Gzip) {
		t.Error("the record that is kept trusts files written just before the scan")
	}
	if !r.refreshed(tree.settled()).Unchanged(tree, Gzip) || r.Unchanged(tree, Gzip) {
		t.Error("Confirm changed the record it was given")
	}
}

func TestConfirmReadsNoFileThatItsStatVouchesFor(t *testing.T) {
	tree := freshCopy(t, manyFiles()).settled()
	l, r := mustBuild(t, tree, Options{})
	o := Options{Compression: Gzip, Reuse: r, ReuseBlob: l.Path()}
	if err := os.RemoveAll(tree.Dir); err != nil {
		t.Fatal(err)
	}
	if _, same, err := Confirm(context.Background(), tree, o); err != nil || !same {
		t.Errorf("same %v, %v", same, err)
	}
}

func TestConfirmFindsEveryDifference(t *testing.T) {
	before := manyFiles()
	l, r := mustBuild(t, freshCopy(t, before).settled(), Options{})
	for name, change := range map[string]site{
		"one byte":                {"chunks/30.js": flipped(before["chunks/30.js"], 5000)},
		"one byte of a large one": {"img/b.jpg": flipped(before["img/b.jpg"], 2*pieceSize-1)},
		"one byte of an origin":   {"assets/more.js": flipped(before["assets/more.js"], 7)},
		"the first and the last": {
			"assets/app.js": flipped(before["assets/app.js"], 0),
			"index.html":    flipped(before["index.html"], 1),
		},
		"a length":   {"chunks/30.js": "short"},
		"a new file": {"chunks/30a.js": ""},
	} {
		t.Run(name, func(t *testing.T) {
			now := maps.Clone(before)
			maps.Copy(now, change)
			tree := freshCopy(t, now)
			o := Options{Compression: Gzip, Reuse: r, ReuseBlob: l.Path()}
			confirmed, same, err := Confirm(context.Background(), tree, o)
			if err != nil || same {
				t.Fatalf("same %v, %v", same, err)
			}
			got, _ := again(t, tree, Gzip, confirmed, l.Path())
			if s := got.Stats(); got.digest == l.digest || s.CompressedChunks > 5 {
				t.Errorf("got %s, was %s: %+v", got.digest, l.digest, s)
			}
		})
	}
	for name, change := range map[string]func(*Tree, *Options){
		"mode": func(tree *Tree, _ *Options) { tree.Entries[1].Mode ^= 0o111 },
		"kind": func(tree *Tree, _ *Options) {
			tree.Entries[len(tree.Entries)-1] = Entry{Name: "www/index.html", Kind: Link, Target: "x"}
		},
		"compression": func(_ *Tree, o *Options) { o.Compression = Zstd },
		"no record":   func(_ *Tree, o *Options) { o.Reuse = nil },
	} {
		tree := freshCopy(t, before)
		o := Options{Compression: Gzip, Reuse: r, ReuseBlob: l.Path()}
		change(&tree, &o)
		if _, same, err := Confirm(context.Background(), tree, o); err != nil || same {
			t.Errorf("%s: same %v, %v", name, same, err)
		}
	}
}

func flipped(content string, at int) string { return string(flip([]byte(content), at)) }

// TestConfirmedSumsAreNotComputedAgain relies on the order: with one job all
// files before the one that differs are compared first.
func TestConfirmedSumsAreNotComputedAgain(t *testing.T) {
	before := manyFiles()
	l, r := mustBuild(t, freshCopy(t, before).settled(), Options{})
	now := maps.Clone(before)
	now["index.html"] = flipped(now["index.html"], 3)
	tree := freshCopy(t, now)
	o := Options{Compression: Gzip, Jobs: 1, Reuse: r, ReuseBlob: l.Path()}
	confirmed, same, err := Confirm(context.Background(), tree, o)
	if err != nil || same {
		t.Fatalf("same %v, %v", same, err)
	}
	got, record := again(t, tree, Gzip, confirmed, l.Path())
	if s := got.Stats(); s.ReadBytes > 3*pieceSize || s.CompressedChunks > 2 {
		t.Errorf("%+v", s)
	}
	if record.Unchanged(tree, Gzip) {
		t.Error("the record of the build trusts files written just before the scan")
	}
}

func TestConfirmRefusesFilesThatChangedAfterTheScan(t *testing.T) {
	l, r := mustBuild(t, freshCopy(t, manyFiles()).settled(), Options{})
	for what, do := range map[string]func(file string) error{
		"vanished": os.Remove,
		"shrank":   func(f string) error { return os.Truncate(f, 10) },
		"changed":  func(f string) error { return os.Chtimes(f, time.Time{}, time.Unix(5, 0)) },
	} {
		tree := freshCopy(t, manyFiles())
		if err := do(filepath.Join(tree.Dir, "chunks", "30.js")); err != nil {
			t.Fatal(err)
		}
		o := Options{Compression: Gzip, Reuse: r, ReuseBlob: l.Path()}
		_, _, err := Confirm(context.Background(), tree, o)
		var changed *ChangedError
		if !errors.As(err, &changed) || changed.What != what {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestConfirmStopsWithItsContext(t *testing.T) {
	l, r := mustBuild(t, freshCopy(t, manyFiles()).settled(), Options{})
	ctx, cancel := context.WithCancel(context.Background())
	o := Options{Compression: Gzip, Reuse: r, ReuseBlob: l.Path()}
	o.Progress = func(int, int64) { cancel() }
	if _, _, err := Confirm(ctx, freshCopy(t, manyFiles()), o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestConfirmReadsGeneratedContent(t *testing.T) {
	tree := freshCopy(t, site{"index.html": "x"})
	data := func(s string) Tree {
		with := tree
		with.Entries = append(slices.Clone(tree.Entries), Entry{Name: "www/made", Mode: 0o644,
			Data: []byte(s), Size: int64(len(s))})
		return with
	}
	l, r := mustBuild(t, data("one"), Options{})
	for text, want := range map[string]bool{"one": true, "two": false} {
		o := Options{Compression: Gzip, Reuse: r, ReuseBlob: l.Path()}
		if _, same, err := Confirm(context.Background(), data(text), o); err != nil || same != want {
			t.Errorf("%s: same %v, %v", text, same, err)
		}
	}
}
