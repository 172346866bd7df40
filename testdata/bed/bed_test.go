package bed

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// open returns the bed of this user, or in TestPlainUser's child a private one.
func open(t *testing.T) *Bed {
	t.Helper()
	b, err := Open(t.Context(), os.Getenv("DECANT_BED_TEST_DIR"), func(s string) { t.Log(s) })
	need(t, err)
	return b
}

// need skips the test when err says that this machine lacks something, but fails
// it when nothing may be skipped, and on any other error.
func need(t *testing.T, err error) {
	t.Helper()
	var missing *MissingError
	switch {
	case err == nil:
	case errors.As(err, &missing) && os.Getenv("DECANT_TEST_REQUIRE_ALL") != "1":
		t.Skip(err, "-", missing.Hint())
	default:
		t.Fatal(err)
	}
}

// private returns a bed of the test's own, with nothing in its cache.
func private(t *testing.T) *Bed {
	t.Helper()
	b, err := Open(t.Context(), t.TempDir(), func(s string) { t.Log(s) })
	need(t, err)
	return b
}

func TestOnceFillsOnlyOnce(t *testing.T) {
	b := private(t)
	var fills atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := b.once(t.Context(), "thing", func(dir string) error {
				fills.Add(1)
				return os.WriteFile(filepath.Join(dir, "file"), nil, 0o644)
			})
			if err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := fills.Load(); n != 1 {
		t.Errorf("filled %d times", n)
	}
}

func TestOnceLeavesNothingAfterAFailure(t *testing.T) {
	b := private(t)
	broken := errors.New("broken")
	_, err := b.once(t.Context(), "thing", func(dir string) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "file"), nil, 0o644), broken)
	})
	if !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	left, err := filepath.Glob(filepath.Join(b.Dir(), "thing*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left %q, %v", left, err)
	}
}

func TestOnceReplacesWhatAKilledProcessLeft(t *testing.T) {
	b := private(t)
	if err := os.MkdirAll(filepath.Join(b.Dir(), "thing.partial", "old"), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := b.once(t.Context(), "thing", func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if isDir(filepath.Join(dir, "old")) {
		t.Error("the old content is in the new directory")
	}
}

func TestLockWaitEndsWithTheContext(t *testing.T) {
	b := private(t)
	unlock, err := b.lock(t.Context(), "thing")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.lock(ctx, "thing"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestUnknownNamesAreRefused(t *testing.T) {
	b := private(t)
	if _, err := b.Node(t.Context(), "0.10"); err == nil || !strings.Contains(err.Error(), "0.10") {
		t.Errorf("node: %v", err)
	}
	if _, err := b.Tool(t.Context(), "sh"); err == nil {
		t.Error("tool: no error")
	}
	if _, err := b.Site(t.Context(), "huge"); err == nil {
		t.Error("site: no error")
	}
}
