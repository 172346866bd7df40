package layer

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func copyAll(rc io.ReadCloser) (int64, error) {
	n, err := io.Copy(io.Discard, rc)
	return n, errors.Join(err, rc.Close())
}

func TestChangedFilesAreNoticed(t *testing.T) {
	do := func(err error) func(*testing.T) {
		return func(t *testing.T) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, size := range []int{1000, 3 * pieceSize} {
		content := text(1, size)
		for name, c := range map[string]struct {
			what string
			do   func(file string) error
		}{
			"vanish": {"vanished", os.Remove},
			"grow": {"grew", func(f string) error {
				return os.WriteFile(f, []byte(content+"x"), 0o600)
			}},
			"shrink": {"shrank", func(f string) error { return os.Truncate(f, 10) }},
			"touch": {"changed", func(f string) error {
				return os.Chtimes(f, time.Time{}, time.Unix(5, 0))
			}},
			"replace": {"was replaced", func(f string) error {
				info, err := os.Stat(f)
				if err != nil {
					return err
				}
				return errors.Join(os.WriteFile(f+".new", []byte(content), 0o600),
					os.Chtimes(f+".new", time.Time{}, info.ModTime()), os.Rename(f+".new", f))
			}},
			"directory": {"was replaced", func(f string) error {
				return errors.Join(os.Remove(f), os.Mkdir(f, 0o700))
			}},
			"link inside": {"was replaced", func(f string) error {
				return errors.Join(os.Rename(f, f+".real"), os.Symlink(filepath.Base(f)+".other", f))
			}},
		} {
			if runtime.GOOS == "windows" && strings.Contains(c.what, "replaced") {
				continue // a FileInfo has no inode there
			}
			dir, temp := t.TempDir(), t.TempDir()
			site{"a/file.js": content, "a/file.js.other": content, "b": "b"}.write(t, dir)
			tree := scan(t, dir)
			do(c.do(filepath.Join(dir, "a", "file.js")))(t)
			_, _, err := Build(context.Background(), tree, Options{Compression: Gzip, Temp: temp})
			var changed *ChangedError
			if !errors.As(err, &changed) || changed.What != c.what ||
				filepath.ToSlash(changed.Path) != "a/file.js" || changed.Hint() == "" {
				t.Errorf("%s at %d bytes: %v", name, size, err)
			}
			if left, _ := os.ReadDir(temp); len(left) > 0 {
				t.Errorf("%s: left %v", name, left)
			}
		}
	}
}

func TestSwappedLinksAreNotFollowed(t *testing.T) {
	outside := t.TempDir()
	site{"x/secret": "secret", "secret": "secret"}.write(t, outside)
	for name, swap := range map[string]string{"the file": "a/secret", "its directory": "a",
		"its directory, inside": "a"} {
		dir := t.TempDir()
		site{"a/secret": "public", "b/secret": "secret"}.write(t, dir)
		tree := scan(t, dir)
		for i := range tree.Entries {
			// As little as a scan can know.
			tree.Entries[i].Inode, tree.Entries[i].MTime = 0, 0
		}
		victim := filepath.Join(dir, filepath.FromSlash(swap))
		target := filepath.Join(outside, filepath.FromSlash(strings.TrimPrefix(swap, "a/")))
		if swap == "a" {
			target = outside
		}
		if name == "its directory, inside" {
			target = "b"
		}
		if err := errors.Join(os.RemoveAll(victim), os.Symlink(target, victim)); err != nil {
			t.Fatal(err)
		}
		_, _, err := Build(context.Background(), tree,
			Options{Compression: Gzip, Temp: t.TempDir()})
		if err == nil {
			t.Errorf("%s: was read through a link", name)
		}
	}
}

// TestLargeFileThatChangesBetweenItsTwoReads edits a file, and restores its time,
// after it was hashed and before its pieces are written.
func TestLargeFileThatChangesBetweenItsTwoReads(t *testing.T) {
	dir := t.TempDir()
	site{"big": text(1, 4*pieceSize)}.write(t, dir)
	tree := scan(t, dir)
	b, err := newBuild(tree, Options{Compression: Gzip})
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	w, err := b.newWorker()
	if err != nil {
		t.Fatal(err)
	}
	defer w.source.Close()
	ctx := context.Background()
	i := len(tree.Entries) - 1
	if err := w.hashLarge(ctx, i); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "big"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("~"), 2*pieceSize)
	err = errors.Join(err, f.Close(), os.Chtimes(f.Name(), time.Time{},
		time.Unix(0, tree.Entries[i].MTime)))
	if err != nil {
		t.Fatal(err)
	}
	for piece := range 4 {
		err := w.fillPiece(ctx, &part{}, chunk{first: i, count: 1, piece: piece}, false)
		var changed *ChangedError
		if errors.As(err, &changed) != (piece == 2) {
			t.Errorf("piece %d: %v", piece, err)
		}
	}
}

func TestFollowersReadTheWholeLayer(t *testing.T) {
	dir := t.TempDir()
	manyFiles().write(t, dir)
	tree := scan(t, dir).settled()
	job := Start(context.Background(), tree, Options{Compression: Gzip, Temp: t.TempDir()})
	type result struct {
		n   int64
		err error
	}
	const followers = 3
	results := make(chan result, followers)
	for range followers {
		rc := job.Follow()
		go func() {
			n, err := copyAll(rc)
			results <- result{n, err}
		}()
	}
	late := job.Follow()
	l, r, err := job.Wait()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range followers {
		if got := <-results; got.err != nil || got.n != l.size {
			t.Errorf("%d bytes of %d, %v", got.n, l.size, got.err)
		}
	}
	if n, err := copyAll(late); err != nil || n != l.size {
		t.Errorf("late: %d bytes of %d, %v", n, l.size, err)
	}
	// The blob of an unchanged site is followed too.
	job = Start(context.Background(), tree,
		Options{Compression: Gzip, Temp: t.TempDir(), Reuse: r, ReuseBlob: l.Path()})
	if n, err := copyAll(job.Follow()); err != nil || n != l.size {
		t.Errorf("unchanged: %d bytes of %d, %v", n, l.size, err)
	}
	if _, _, err := job.Wait(); err != nil {
		t.Error(err)
	}
}

func TestFollowersOfADamagedBlobGetAnError(t *testing.T) {
	dir := t.TempDir()
	manyFiles().write(t, dir)
	tree := scan(t, dir).settled()
	l, r := mustBuild(t, tree, Options{})
	blob, err := os.ReadFile(l.Path())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.Path(), flip(blob, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	job := Start(context.Background(), tree,
		Options{Compression: Gzip, Temp: t.TempDir(), Reuse: r, ReuseBlob: l.Path()})
	var damaged *DamagedError
	if n, err := copyAll(job.Follow()); !errors.As(err, &damaged) || n >= l.size {
		t.Errorf("%d bytes of %d, %v", n, l.size, err)
	}
	if _, _, err := job.Wait(); err != nil {
		t.Error(err)
	}
}

func TestFollowersHearOfFailure(t *testing.T) {
	dir := t.TempDir()
	manyFiles().write(t, dir)
	tree := scan(t, dir)
	if err := os.Remove(filepath.Join(dir, "chunks", "59.js")); err != nil {
		t.Fatal(err)
	}
	job := Start(context.Background(), tree, Options{Compression: Gzip, Temp: t.TempDir()})
	var changed *ChangedError
	if _, err := copyAll(job.Follow()); !errors.As(err, &changed) {
		t.Errorf("followed: %v", err)
	}
	if _, _, err := job.Wait(); !errors.As(err, &changed) {
		t.Errorf("waited: %v", err)
	}
	job = Start(context.Background(), tree, Options{Compression: "lzma"})
	if _, err := copyAll(job.Follow()); err == nil {
		t.Error("followed a build that never began")
	}
	if _, _, err := job.Wait(); err == nil {
		t.Error("waited for a build that never began")
	}
}

func TestCloseEndsAWaitingFollower(t *testing.T) {
	s, err := newSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	rc := s.follow()
	done := make(chan error)
	go func() {
		_, err := rc.Read(make([]byte, 10))
		done <- err
	}()
	if err := rc.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if err := s.finish(nil); err != nil {
		t.Error(err)
	}
}
