package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/decant-build/decant/assemble/internal/layer"
)

func openCache(t testing.TB, dir string) *Cache {
	t.Helper()
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// build makes the layer of a site that holds one file.
func build(t testing.TB, c *Cache, content string) (*layer.Layer, *layer.Record) {
	t.Helper()
	tree := layer.Tree{Entries: []layer.Entry{{Name: "index.html", Mode: 0o644,
		Data: []byte(content), Size: int64(len(content))}}}
	l, rec, err := layer.Build(t.Context(), tree,
		layer.Options{Compression: layer.Gzip, Temp: c.Temp()})
	if err != nil {
		t.Fatal(err)
	}
	return l, rec
}

func keep(t testing.TB, c *Cache, key, content string) *layer.Layer {
	t.Helper()
	l, rec := build(t, c, content)
	if err := c.Keep(t.Context(), key, l, rec); err != nil {
		t.Fatal(err)
	}
	return l
}

// digestOf reads a layer to its end, which verifies it.
func digestOf(t testing.TB, l *layer.Layer) string {
	t.Helper()
	r, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	digest, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

// files lists what is in a directory but for locks and the like.
func files(t testing.TB, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			list = append(list, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

var siteKey = Key("site")

func TestCacheRemembersALayer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "cache")
	first := openCache(t, dir)
	if _, _, ok := first.Layer(siteKey); ok {
		t.Error("an empty cache remembers something")
	}
	want := digestOf(t, keep(t, first, siteKey, "hello"))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second := openCache(t, dir)
	rec, blob, ok := second.Layer(siteKey)
	if !ok || blob == "" {
		t.Fatalf("Layer = %v, %q, %v", rec, blob, ok)
	}
	if got := digestOf(t, layer.FromRecord(rec, blob)); got != want {
		t.Errorf("got the layer %s, want %s", got, want)
	}
	if _, _, ok := second.Layer(Key("other")); ok {
		t.Error("another key finds it too")
	}
}

func TestCacheIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c := openCache(t, dir)
	got, err := os.ReadFile(filepath.Join(dir, "CACHEDIR.TAG"))
	if err != nil || !strings.HasPrefix(string(got), "Signature: 8a477f597d28d172789f06886806bc55\n") {
		t.Errorf("CACHEDIR.TAG: %q, %v", got, err)
	}
	if !strings.HasPrefix(c.Temp(), dir) {
		t.Errorf("Temp %q is not in the cache", c.Temp())
	}
	if err := os.WriteFile(filepath.Join(c.Temp(), "spool"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	temp := c.Temp()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(temp); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close, Temp is still there: %v", err)
	}
	if got := files(t, filepath.Join(dir, tempDir)); len(got) > 0 {
		t.Errorf("after Close, temp/ holds %q", got)
	}
}

func TestKeepReplacesTheLayer(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir)
	keep(t, c, siteKey, "old")
	if _, blob, _ := c.Layer(siteKey); blob == "" {
		t.Fatal("the old layer has no file")
	}
	want := digestOf(t, keep(t, c, siteKey, "new"))
	rec, blob, _ := c.Layer(siteKey)
	if got := digestOf(t, layer.FromRecord(rec, blob)); got != want {
		t.Errorf("got %s, want the new %s", got, want)
	}
	if got := files(t, filepath.Join(dir, layersDir, siteKey)); len(got) != 2 {
		t.Errorf("the entry holds %q, want a record and a blob", got)
	}
}

func TestKeepTakesTheLayerThatItGave(t *testing.T) {
	c := openCache(t, t.TempDir())
	want := digestOf(t, keep(t, c, siteKey, "same"))
	rec, blob, _ := c.Layer(siteKey)
	again := layer.FromRecord(rec, blob)
	if err := c.Keep(t.Context(), siteKey, again, rec); err != nil {
		t.Fatal(err)
	}
	if got := digestOf(t, again); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestKeepRefusesWhatItCannotMove(t *testing.T) {
	c := openCache(t, t.TempDir())
	other := openCache(t, t.TempDir())
	l, rec := build(t, other, "x")
	if err := c.Keep(t.Context(), siteKey, l, rec); err == nil {
		t.Error("a layer of another cache was kept")
	}
	digestOf(t, l)
	if err := other.Keep(t.Context(), "../x", l, rec); err == nil {
		t.Error("a malformed key was taken")
	}
	err := c.Keep(t.Context(), siteKey, layer.FromRecord(rec, ""), rec)
	if !errors.Is(err, layer.ErrNoBlob) {
		t.Errorf("keeping a layer without a file = %v", err)
	}
	if got := files(t, filepath.Join(c.dir, layersDir)); len(got) > 0 {
		t.Errorf("left %q", got)
	}
	if got := files(t, c.Temp()); len(got) > 0 {
		t.Errorf("left %q in Temp", got)
	}
}

func TestKeepStopsWhenCancelled(t *testing.T) {
	c := openCache(t, t.TempDir())
	release, err := c.change(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	l, rec := build(t, c, "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Keep(ctx, siteKey, l, rec); !errors.Is(err, context.Canceled) {
		t.Errorf("Keep = %v", err)
	}
	digestOf(t, l)
}

func TestADamagedEntryIsAMiss(t *testing.T) {
	tests := []struct {
		name     string
		damage   func(t *testing.T, dir, blob string) error
		ok, blob bool
	}{
		{"no record", func(t *testing.T, dir, _ string) error {
			return os.Remove(filepath.Join(dir, recordName))
		}, false, false},
		{"empty record", func(t *testing.T, dir, _ string) error {
			return os.Truncate(filepath.Join(dir, recordName), 0)
		}, false, false},
		{"garbage", func(t *testing.T, dir, _ string) error {
			return os.WriteFile(filepath.Join(dir, recordName), []byte(strings.Repeat("x", 999)), 0o600)
		}, false, false},
		{"record is a directory", func(t *testing.T, dir, _ string) error {
			name := filepath.Join(dir, recordName)
			return errors.Join(os.Remove(name), os.Mkdir(name, 0o700))
		}, false, false},
		{"record is a link out", func(t *testing.T, dir, _ string) error {
			name := filepath.Join(dir, recordName)
			outside := filepath.Join(t.TempDir(), "record")
			return errors.Join(os.Rename(name, outside), os.Symlink(outside, name))
		}, false, false},
		{"blob is a directory", func(t *testing.T, _, blob string) error {
			return errors.Join(os.Remove(blob), os.Mkdir(blob, 0o700),
				os.WriteFile(filepath.Join(blob, "x"), nil, 0o600))
		}, true, false},
		{"no blob", func(t *testing.T, _, blob string) error { return os.Remove(blob) }, true, false},
		{"short blob", func(t *testing.T, _, blob string) error {
			return os.Truncate(blob, 5)
		}, true, false},
		{"blob is a link out", func(t *testing.T, _, blob string) error {
			outside := filepath.Join(t.TempDir(), "blob")
			return errors.Join(os.Rename(blob, outside), os.Symlink(outside, blob))
		}, true, false},
		{"whole", func(*testing.T, string, string) error { return nil }, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := openCache(t, t.TempDir())
			l := keep(t, c, siteKey, "content")
			if err := tt.damage(t, filepath.Join(c.dir, layersDir, siteKey), l.Path()); err != nil {
				t.Fatal(err)
			}
			_, blob, ok := c.Layer(siteKey)
			if ok != tt.ok || (blob != "") != tt.blob {
				t.Errorf("Layer = %q, %v", blob, ok)
			}
			// Whatever the damage, the next build mends it.
			want := digestOf(t, keep(t, c, siteKey, "content"))
			rec, blob, ok := c.Layer(siteKey)
			if !ok || blob == "" || digestOf(t, layer.FromRecord(rec, blob)) != want {
				t.Errorf("after another Keep: %q, %v", blob, ok)
			}
		})
	}
}

func TestConcurrentKeepsLeaveAWholeEntry(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 8 {
		c := openCache(t, dir)
		wg.Go(func() {
			for j := range 5 {
				l, rec := build(t, c, fmt.Sprint(i, j))
				if err := c.Keep(t.Context(), siteKey, l, rec); err != nil {
					t.Error(err)
					return
				}
				// Others may have replaced it; this Cache still has its own.
				digestOf(t, l)
				rec, blob, ok := c.Layer(siteKey)
				if !ok {
					t.Error("there is no entry")
				} else if blob != "" {
					digestOf(t, layer.FromRecord(rec, blob))
				}
			}
		})
	}
	wg.Wait()
	c := openCache(t, dir)
	rec, blob, ok := c.Layer(siteKey)
	if !ok || blob == "" {
		t.Fatalf("Layer = %q, %v", blob, ok)
	}
	digestOf(t, layer.FromRecord(rec, blob))
}

func TestOpenSweepsWhatKilledProcessesLeft(t *testing.T) {
	dir := t.TempDir()
	alive := openCache(t, dir)
	dead := filepath.Join(dir, tempDir, "run-dead")
	old := filepath.Join(dir, tempDir, "old")
	young := filepath.Join(dir, tempDir, "young")
	for _, d := range []string{dead, old, young} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, "spool"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dead+lockExt, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * staleAfter)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(alive.Temp(), long, long); err != nil {
		t.Fatal(err)
	}
	openCache(t, dir)
	for name, want := range map[string]bool{dead: false, dead + lockExt: false, old: false,
		young: true, alive.Temp(): true} {
		if _, err := os.Lstat(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWithoutLocksAllButProtectionWorks(t *testing.T) {
	dir := t.TempDir()
	noLocks := func(*os.File, lockMode) (bool, error) { return false, errors.ErrUnsupported }
	alive, err := open(dir, noLocks)
	if err != nil {
		t.Fatal(err)
	}
	want := digestOf(t, keep(t, alive, siteKey, "x"))
	dead := filepath.Join(dir, tempDir, "run-dead")
	if err := errors.Join(os.Mkdir(dead, 0o700), os.WriteFile(dead+lockExt, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * staleAfter)
	if err := os.Chtimes(dead+lockExt, long, long); err != nil {
		t.Fatal(err)
	}
	c, err := open(dir, noLocks)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("debris of a day ago is still there: %v", err)
	}
	rec, blob, ok := c.Layer(siteKey)
	if !ok || blob == "" || digestOf(t, layer.FromRecord(rec, blob)) != want {
		t.Errorf("Layer = %q, %v", blob, ok)
	}
	if freed, err := c.Prune(t.Context(), PruneOptions{All: true}); err != nil ||
		freed.Total().Entries != 1 {
		t.Errorf("Prune = %+v, %v", freed, err)
	}
	if err := errors.Join(c.Close(), alive.Close()); err != nil {
		t.Error(err)
	}
	if got := files(t, filepath.Join(dir, tempDir)); len(got) > 0 {
		t.Errorf("left %q in temp/", got)
	}
}

func TestOpenRefusesLinksInPlaceOfItsDirectories(t *testing.T) {
	for _, sub := range []string{layersDir, tempDir} {
		dir := t.TempDir()
		if err := os.Symlink(t.TempDir(), filepath.Join(dir, sub)); err != nil {
			t.Fatal(err)
		}
		var dirErr *DirError
		if c, err := Open(dir); !errors.As(err, &dirErr) {
			t.Errorf("Open with %s as a link = %v, %v", sub, c, err)
		}
	}
}

func TestOpenFollowsALinkToTheCache(t *testing.T) {
	link := filepath.Join(t.TempDir(), "cache")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	c := openCache(t, link)
	digestOf(t, keep(t, c, siteKey, "x"))
}

func TestOpenExplainsWhatIsNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		_, err := Open(dir)
		var dirErr *DirError
		if !errors.As(err, &dirErr) || !strings.Contains(dirErr.Hint(), "DECANT_CACHE_DIR") {
			t.Fatalf("Open = %v", err)
		}
		if want := "opening the cache " + dir + ": it is not a directory"; err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

func TestKeysOfDifferentPartsDiffer(t *testing.T) {
	seen := map[string][]string{}
	for _, parts := range [][]string{
		{}, {""}, {"", ""}, {"ab"}, {"a", "b"}, {"b", "a"}, {"a", "b", ""},
	} {
		key := Key(parts...)
		if twin, found := seen[key]; found {
			t.Errorf("%q and %q have the same key", parts, twin)
		}
		if !isKey(key) {
			t.Errorf("%q is no key", key)
		}
		seen[key] = parts
	}
	for _, bad := range []string{"", "..", strings.Repeat("A", 64), strings.Repeat("a", 63),
		strings.Repeat("a", 66), "../" + strings.Repeat("a", 61)} {
		if isKey(bad) {
			t.Errorf("%q is a key", bad)
		}
	}
}

func TestPackagesIsKeptBetweenRuns(t *testing.T) {
	dir := t.TempDir()
	first := openCache(t, dir)
	npm, err := first.Packages(t.Context(), "npm")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(npm, "index"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := openCache(t, dir).Packages(t.Context(), "npm")
	if err != nil || again != npm {
		t.Errorf("Packages = %q, %v, want %q", again, err, npm)
	}
	for _, bad := range []string{"", ".", "..", "a/b", "../x", "/x", "x.lock"} {
		if got, err := first.Packages(t.Context(), bad); err == nil {
			t.Errorf("Packages(%q) = %q", bad, got)
		}
	}
}

// BenchmarkAHit is what an unchanged build pays for the cache.
func BenchmarkAHit(b *testing.B) {
	dir := b.TempDir()
	c := openCache(b, dir)
	keep(b, c, siteKey, "x")
	if err := c.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c, err := Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		if _, blob, ok := c.Layer(siteKey); !ok || blob == "" {
			b.Fatal("no hit")
		}
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
