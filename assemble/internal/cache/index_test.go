package cache

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
)

var indexKey = Key("index")

func keepIndex(t testing.TB, c *Cache, key, content string) {
	t.Helper()
	if err := c.KeepIndex(key, []byte(content)); err != nil {
		t.Fatal(err)
	}
}

func TestIndexIsRemembered(t *testing.T) {
	dir := t.TempDir()
	for _, content := range []string{"", "x", "another", strings.Repeat("long", 1<<18)} {
		c := openCache(t, dir)
		keepIndex(t, c, indexKey, content)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = openCache(t, dir)
		if got, ok := c.Index(indexKey); !ok || string(got) != content {
			t.Errorf("got %.20q, %v", got, ok)
		}
		if _, ok := c.Index(Key("other")); ok {
			t.Error("another key finds it too")
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"CACHEDIR.TAG", "index/" + indexKey, "lock"}
	if diff := cmp.Diff(want, files(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestIndexTakesDamageForNothing(t *testing.T) {
	c := openCache(t, t.TempDir())
	keepIndex(t, c, indexKey, "content")
	name := c.path(indexDir + "/" + indexKey)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	damaged := [][]byte{nil, whole[:1], whole[:len(indexMagic)], whole[:len(whole)-1],
		append(bytes.Clone(whole), 0)}
	for at := range whole {
		flipped := bytes.Clone(whole)
		flipped[at] ^= 0x10
		damaged = append(damaged, flipped)
	}
	for _, data := range damaged {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok := c.Index(indexKey); ok {
			t.Errorf("%q: got %q", data, got)
		}
	}
	if err := os.Truncate(name, maxIndexBytes*2); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Index(indexKey); ok {
		t.Error("something huge was read")
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(name, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Index(indexKey); ok {
		t.Error("a directory was read")
	}
	keepIndex(t, c, indexKey, "again") // it mends itself
	if got, ok := c.Index(indexKey); !ok || string(got) != "again" {
		t.Errorf("got %q, %v", got, ok)
	}
}

func TestIndexRefusesKeysAndSizes(t *testing.T) {
	c := openCache(t, t.TempDir())
	for _, key := range []string{"", "x", "../" + indexKey, strings.ToUpper(indexKey)} {
		if err := c.KeepIndex(key, nil); err == nil {
			t.Errorf("KeepIndex took %q", key)
		}
		if _, err := c.IndexFile(key); err == nil {
			t.Errorf("IndexFile took %q", key)
		}
		if _, ok := c.Index(key); ok {
			t.Errorf("Index took %q", key)
		}
	}
	if err := c.KeepIndex(indexKey, make([]byte, maxIndexBytes+1)); err == nil {
		t.Error("something huge was taken")
	}
}

func TestIndexServesManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	caches := []*Cache{openCache(t, dir), openCache(t, dir)}
	var group errgroup.Group
	for i := range 8 {
		group.Go(func() error {
			for n := range 20 {
				key := Key(fmt.Sprint(n % 3))
				if err := caches[i%2].KeepIndex(key, []byte(key)); err != nil {
					return err
				}
				if got, ok := caches[n%2].Index(key); !ok || string(got) != key {
					return fmt.Errorf("got %q, %v", got, ok)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func TestIndexFileIsCountedAndFreed(t *testing.T) {
	c := openCache(t, t.TempDir())
	name, err := c.IndexFile(indexKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("1234"), 0o600); err != nil {
		t.Fatal(err)
	}
	keepIndex(t, c, Key("other"), "")
	usage, err := c.Usage(t.Context())
	if got := *usage.of(indexesKind); err != nil || got.Entries != 2 ||
		got.Bytes != int64(4+indexHeadBytes) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := c.Prune(t.Context(), PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	if left := files(t, filepath.Dir(name)); len(left) > 0 {
		t.Errorf("left is %q", left)
	}
}

// TestCloseMakesRoom ages entries so that the order of their use is known.
func TestCloseMakesRoom(t *testing.T) {
	for name, limit := range map[string]func(b *bound){
		"bytes":   func(b *bound) { b.bytes = int64(2 * (indexHeadBytes + 1)) },
		"entries": func(b *bound) { b.entries = 2 },
	} {
		dir := t.TempDir()
		c := openCache(t, dir)
		limit(&c.indexes)
		for i := range 5 {
			key := Key(fmt.Sprint(i))
			keepIndex(t, c, key, "x")
			when := time.Now().Add(time.Duration(i-10) * time.Hour)
			if err := os.Chtimes(c.path(indexDir+"/"+key), when, when); err != nil {
				t.Fatal(err)
			}
		}
		if _, ok := c.Index(Key("1")); !ok { // which is to use it
			t.Error("it is gone before Close")
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = openCache(t, dir)
		for i, want := range []bool{false, true, false, false, true} {
			if _, ok := c.Index(Key(fmt.Sprint(i))); ok != want {
				t.Errorf("%s: %d is there: %v, want %v", name, i, ok, want)
			}
		}
	}
}

func TestCloseBoundsTheNumberOfLayersButKeepsItsOwn(t *testing.T) {
	dir := t.TempDir()
	first := openCache(t, dir)
	for _, name := range []string{"a", "b", "c"} {
		keep(t, first, Key(name), name)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	c := openCache(t, dir)
	age(t, c, "c", 2*time.Hour)
	age(t, c, "b", 3*time.Hour)
	c.layers.entries = 1
	for _, name := range []string{"d", "e"} {
		keep(t, c, Key(name), name)
	}
	if _, _, ok := c.Layer(Key("a")); !ok {
		t.Error("a is gone before Close")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	wantKept(t, openCache(t, dir),
		map[string]bool{"a": true, "b": false, "c": false, "d": true, "e": true})
}
