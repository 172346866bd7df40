package cache

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestUsageCountsByKind(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir)
	fill(t, c)
	got, err := c.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Kinds[0].Bytes == 0 {
		t.Error("layers have no bytes")
	}
	got.Kinds[0].Bytes = 0
	want := Usage{Kinds: []KindUsage{{Kind: "layers", Entries: 2, InUse: 2},
		{Kind: "manifests", Entries: 3, Bytes: 30},
		{Kind: "packages", Entries: 1, Bytes: 20, InUse: 1}, {Kind: "indexes"}, {Kind: "mounts"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	total := KindUsage{Kind: "total", Entries: 6, Bytes: 50, InUse: 3}
	if diff := cmp.Diff(total, got.Total()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// fill puts two layers, three manifests, a package cache and something foreign
// into a cache.
func fill(t *testing.T, c *Cache) {
	t.Helper()
	keep(t, c, Key("1"), "one")
	keep(t, c, Key("2"), "two")
	npm, err := c.Packages(t.Context(), "npm")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Join(npm, "a/b/1"), filepath.Join(npm, "2"),
		c.path("manifests/sha256/aa"), c.path("manifests/sha256/bb"), c.path("manifests/tags"),
		c.path("foreign/x"), c.path("rootfs/layers/y")} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("0123456789"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPruneLeavesWhatIsInUseAndForeign(t *testing.T) {
	dir := t.TempDir()
	user := openCache(t, dir)
	fill(t, user)
	c := openCache(t, dir)
	freed, err := c.Prune(t.Context(), PruneOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	want := Usage{Kinds: []KindUsage{{Kind: "layers", InUse: 2},
		{Kind: "manifests", Entries: 3, Bytes: 30}, {Kind: "packages", InUse: 1},
		{Kind: "indexes"}, {Kind: "mounts"}}}
	if diff := cmp.Diff(want, freed); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, blob, ok := user.Layer(Key("1")); !ok || blob == "" {
		t.Error("a layer in use is gone")
	}
	if err := user.Close(); err != nil {
		t.Fatal(err)
	}
	freed, err = c.Prune(t.Context(), PruneOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	if total := freed.Total(); total.Entries != 3 || total.InUse != 0 {
		t.Errorf("freed %+v", freed)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	left := []string{"CACHEDIR.TAG", "foreign/x", "lock", "rootfs/layers/y"}
	if diff := cmp.Diff(left, files(t, dir)); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
}

func TestPruneFreesByAge(t *testing.T) {
	c := closedAfterKeeping(t, "old", "new")
	age(t, c, "old", 3*time.Hour)
	age(t, c, "new", time.Minute)
	freed, err := c.Prune(t.Context(), PruneOptions{OlderThan: time.Hour})
	if err != nil || freed.Total().Entries != 1 {
		t.Errorf("Prune = %+v, %v", freed, err)
	}
	wantKept(t, c, map[string]bool{"old": false, "new": true})
}

func TestPruneFreesTheLeastRecentlyUsedFirst(t *testing.T) {
	c := closedAfterKeeping(t, "a", "b", "c")
	age(t, c, "b", 3*time.Hour)
	age(t, c, "c", 2*time.Hour)
	age(t, c, "a", time.Hour)
	before, err := c.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	total := before.Total().Bytes
	freed, err := c.Prune(t.Context(), PruneOptions{MaxBytes: total - 1})
	if err != nil || freed.Total().Entries != 1 {
		t.Errorf("Prune = %+v, %v", freed, err)
	}
	wantKept(t, c, map[string]bool{"a": true, "b": false, "c": true})
}

func TestPruneOfNothingFreesNothing(t *testing.T) {
	c := closedAfterKeeping(t, "a")
	freed, err := c.Prune(t.Context(), PruneOptions{})
	if err != nil || freed.Total().Entries != 0 {
		t.Errorf("Prune = %+v, %v", freed, err)
	}
	wantKept(t, c, map[string]bool{"a": true})
}

func TestLayerCountsAsUse(t *testing.T) {
	c := closedAfterKeeping(t, "a", "b")
	age(t, c, "a", 3*time.Hour)
	age(t, c, "b", 2*time.Hour)
	reader := openCache(t, c.dir)
	reader.Layer(Key("a"))
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Prune(t.Context(), PruneOptions{OlderThan: time.Hour}); err != nil {
		t.Fatal(err)
	}
	wantKept(t, c, map[string]bool{"a": true, "b": false})
}

func TestKeepMakesRoom(t *testing.T) {
	c := closedAfterKeeping(t, "a", "b")
	age(t, c, "a", 2*time.Hour)
	age(t, c, "b", 3*time.Hour)
	usage, err := c.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.layers.bytes = usage.Total().Bytes + 1
	keep(t, c, Key("c"), "content of c")
	wantKept(t, c, map[string]bool{"a": true, "b": false, "c": true})
	c.layers.bytes = 1
	keep(t, c, Key("d"), "content of d")
	// c is in use, and d the one that was to be kept.
	wantKept(t, c, map[string]bool{"a": false, "c": true, "d": true})
}

// closedAfterKeeping is a cache with a layer for each name, none of them in use.
func closedAfterKeeping(t *testing.T, names ...string) *Cache {
	t.Helper()
	dir := t.TempDir()
	writer := openCache(t, dir)
	for _, name := range names {
		keep(t, writer, Key(name), "content of "+name)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return openCache(t, dir)
}

func age(t *testing.T, c *Cache, name string, by time.Duration) {
	t.Helper()
	when := time.Now().Add(-by)
	record := filepath.Join(c.dir, layersDir, Key(name), recordName)
	if err := os.Chtimes(record, when, when); err != nil {
		t.Fatal(err)
	}
}

func wantKept(t *testing.T, c *Cache, want map[string]bool) {
	t.Helper()
	for name, kept := range want {
		_, err := os.Stat(filepath.Join(c.dir, layersDir, Key(name), recordName))
		if (err == nil) != kept {
			t.Errorf("%s: kept %v, want %v", name, err == nil, kept)
		}
	}
}
