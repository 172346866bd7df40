package output

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// asPlainUser runs f on a thread for which the file system's permissions hold,
// also when the test runs as root.
func asPlainUser(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := unix.SetfsuidRetUid(65534); err != nil {
		t.Fatal(err)
	}
	defer unix.SetfsuidRetUid(0)
	f()
}

func TestReadOnlyDirectoryIsAnError(t *testing.T) {
	for _, w := range writers {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		asPlainUser(t, func() {
			err := w.write(t.Context(), filepath.Join(dir, "x"), nil, dockerImageOf(t, 1), WriteOptions{})
			if !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s: got %v, want a refused permission", w.kind, err)
			}
		})
	}
}

func TestReadOnlyLayoutIsLeftAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	if err := putLayout(t.Context(), dir, nil, dockerImageOf(t, 1), WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	want := tree(t, dir)
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) }) // lets t.TempDir be removed
	asPlainUser(t, func() {
		err := putLayout(t.Context(), dir, nil, dockerImageOf(t, 1), WriteOptions{})
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("got %v, want a refused permission", err)
		}
	})
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Error(diff)
	}
}
