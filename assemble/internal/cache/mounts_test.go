package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

func mount(t testing.TB, c *Cache, id string, sharing Sharing) (dir string, release func()) {
	t.Helper()
	dir, release, err := c.MountDir(t.Context(), id, sharing, nil)
	if err != nil {
		t.Fatal(err)
	}
	return dir, release
}

// mark is an init that makes one file.
func mark(dir string) error { return os.WriteFile(filepath.Join(dir, "made"), nil, 0o600) }

func TestMountDirKeepsItsContentBetweenRuns(t *testing.T) {
	for _, sharing := range []Sharing{Shared, Private, Locked} {
		dir := t.TempDir()
		for run, want := range []error{os.ErrNotExist, nil, nil} {
			c := openCache(t, dir)
			mounted, release := mount(t, c, "npm", sharing)
			if _, err := os.Stat(filepath.Join(mounted, "x")); !errors.Is(err, want) {
				t.Errorf("%s, run %d: %v", sharing, run, err)
			}
			if err := os.WriteFile(filepath.Join(mounted, "x"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			release()
			release()
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestMountDirSharesAsItIsTold(t *testing.T) {
	dir := t.TempDir()
	a, b := openCache(t, dir), openCache(t, dir) // another process, and this one
	for _, test := range []struct {
		first, second Sharing
		same          bool
	}{
		{Shared, Shared, true}, {Private, Private, false}, {Private, Shared, false},
		{Shared, Private, false}, {Locked, Private, false}, {Locked, Shared, false},
	} {
		id := string(test.first + test.second)
		first, release := mount(t, a, id, test.first)
		for _, c := range []*Cache{a, b} {
			second, releaseSecond := mount(t, c, id, test.second)
			if (first == second) != test.same {
				t.Errorf("%s, then %s: %s and %s", test.first, test.second, first, second)
			}
			releaseSecond()
		}
		release()
		again, releaseAgain := mount(t, b, id, test.second)
		if again != first {
			t.Errorf("%s, then %s: afterwards %s, not %s", test.first, test.second, again, first)
		}
		releaseAgain()
		if other, _ := mount(t, b, id+"x", Shared); other == first {
			t.Errorf("another id has %s too", other)
		}
	}
}

func TestMountDirWaitsForALockedOne(t *testing.T) {
	dir := t.TempDir()
	a, b := openCache(t, dir), openCache(t, dir)
	for _, c := range []*Cache{a, b} {
		_, release := mount(t, a, "id", Locked)
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("enough")
		cancel(stop)
		if _, _, err := c.MountDir(ctx, "id", Locked, nil); !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
		var group errgroup.Group
		var free atomic.Bool
		group.Go(func() error {
			_, release, err := c.MountDir(t.Context(), "id", Locked, nil)
			if err == nil && !free.Load() {
				err = errors.New("it was not free")
			}
			if err == nil {
				release()
			}
			return err
		})
		free.Store(true)
		release()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestLockedMountsAreUsedOneAtATime(t *testing.T) {
	dir := t.TempDir()
	caches := []*Cache{openCache(t, dir), openCache(t, dir)}
	var group errgroup.Group
	var users atomic.Int32
	for i := range 8 {
		group.Go(func() error {
			for range 5 {
				_, release, err := caches[i%2].MountDir(t.Context(), "id", Locked, mark)
				if err != nil {
					return err
				}
				if n := users.Add(1); n != 1 {
					return fmt.Errorf("%d at once", n)
				}
				users.Add(-1)
				release()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func TestMountDirIsFilledBeforeAnybodySeesIt(t *testing.T) {
	dir := t.TempDir()
	caches := []*Cache{openCache(t, dir), openCache(t, dir)}
	var group errgroup.Group
	for i := range 8 {
		group.Go(func() error {
			mounted, release, err := caches[i%2].MountDir(t.Context(), "id", Shared, mark)
			if err != nil {
				return err
			}
			defer release()
			_, err = os.Stat(filepath.Join(mounted, "made"))
			return errors.Join(err, os.WriteFile(filepath.Join(mounted, fmt.Sprint(i)), nil, 0o600))
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	mounted, _, err := caches[0].MountDir(t.Context(), "id", Shared, func(string) error {
		return errors.New("it is filled twice")
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := files(t, mounted); len(got) != 9 {
		t.Errorf("got %q", got)
	}
	for _, c := range caches {
		if left := files(t, c.Temp()); len(left) > 0 {
			t.Errorf("Temp holds %q", left)
		}
	}
}

func TestMountDirIsNotThereAfterAFailedInit(t *testing.T) {
	c := openCache(t, t.TempDir())
	broken := errors.New("broken")
	_, _, err := c.MountDir(t.Context(), "id", Locked, func(dir string) error {
		return errors.Join(mark(dir), broken)
	})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), `the cache mount "id"`) {
		t.Errorf("got %v", err)
	}
	if left := files(t, c.Temp()); len(left) > 0 {
		t.Errorf("Temp holds %q", left)
	}
	mounted, _ := mount(t, c, "id", Locked) // nobody has the lock
	if got := files(t, mounted); len(got) > 0 {
		t.Errorf("got %q", got)
	}
}

// TestMountDirTakesNoPathFromAnID is about CVE-2024-9675.
func TestMountDirTakesNoPathFromAnID(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, filepath.Join(dir, "a", "b", "cache"))
	seen := map[string]bool{}
	for _, id := range []string{"", ".", "..", "../../../../..", "/etc", "a/b", "a\x00b", "lock",
		strings.Repeat("x", 10000), "\xff"} {
		mounted, _ := mount(t, c, id, Shared)
		if filepath.Dir(mounted) != filepath.Join(c.dir, mountsDir) || seen[mounted] {
			t.Errorf("%q: got %s", id, mounted)
		}
		seen[mounted] = true
	}
}

func TestMountDirRefusesWhatItCannotUse(t *testing.T) {
	c := openCache(t, t.TempDir())
	if _, _, err := c.MountDir(t.Context(), "id", "exclusive", nil); err == nil {
		t.Error("an unknown sharing was taken")
	}
	mounted, release := mount(t, c, "id", Shared)
	release()
	if err := errors.Join(os.Remove(mounted), os.Symlink(t.TempDir(), mounted)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.MountDir(t.Context(), "id", Shared, nil); err == nil {
		t.Error("a link was taken")
	}
}

func TestMountsAreCountedAndFreedWhenNobodyUsesThem(t *testing.T) {
	dir := t.TempDir()
	user := openCache(t, dir)
	mounted, release := mount(t, user, "used", Private)
	free, releaseFree := mount(t, user, "free", Shared)
	releaseFree()
	for _, name := range []string{mounted, free} {
		if err := mark(name); err != nil {
			t.Fatal(err)
		}
	}
	c := openCache(t, dir)
	usage, err := c.Usage(t.Context())
	if got := *usage.of(mountsDir); err != nil || got.Entries != 2 || got.InUse != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	freed, err := c.Prune(t.Context(), PruneOptions{All: true})
	if got := *freed.of(mountsDir); err != nil || got.Entries != 1 || got.InUse != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(mounted, "made")); err != nil {
		t.Error(err)
	}
	if err := user.Close(); err != nil { // it ends the use as well
		t.Fatal(err)
	}
	release()
	freed, err = c.Prune(t.Context(), PruneOptions{All: true})
	if got := *freed.of(mountsDir); err != nil || got.Entries != 1 || got.InUse != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	if left := files(t, filepath.Join(dir, mountsDir)); len(left) > 0 {
		t.Errorf("left is %q", left)
	}
}

func TestMountDirWithoutLocksIsNobodyElses(t *testing.T) {
	c, err := open(t.TempDir(), func(*os.File, lockMode) (bool, error) {
		return false, errors.ErrUnsupported
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, sharing := range []Sharing{Private, Locked} {
		first, release, err := c.MountDir(t.Context(), "id", sharing, mark)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		second, _, err := c.MountDir(t.Context(), "id", sharing, mark)
		if err != nil || first == second || !strings.HasPrefix(first, c.Temp()) {
			t.Errorf("%s: %s and %s, %v", sharing, first, second, err)
		}
		if got := files(t, second); len(got) != 1 {
			t.Errorf("%s: got %q", sharing, got)
		}
	}
	first, _ := mount(t, c, "id", Shared)
	if second, _ := mount(t, c, "id", Shared); first != second {
		t.Errorf("%s and %s", first, second)
	}
}
