//go:build unix

package context

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCopyProjectRefusesWhatIsNoFile(t *testing.T) {
	src := grow(t, "index.html", "sub/", "z/ok")
	for _, name := range []string{"sub/fifo", "z/fifo", "ignored"} {
		if err := unix.Mkfifo(filepath.Join(src, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// A socket's path is short; a temporary directory's may not be.
	t.Chdir(src)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "socket"}); err != nil {
		t.Fatal(err)
	}
	want := []string{`"socket": it is a socket`, `"sub/fifo": it is a fifo`, `"z/fifo": it is a fifo`}
	err = unix.Mknod(filepath.Join(src, "device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	if err == nil {
		want = append([]string{`"device": it is a device`}, want...)
	} else if !errors.Is(err, unix.EPERM) {
		t.Fatal(err)
	}
	got, hint := copyProblems(t, t.Context(), src, CopyOptions{Ignore: []string{"ignored"}})
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if hint != wayIgnore {
		t.Errorf("hint %q", hint)
	}
}

func TestCopyProjectDoesNotWaitForAFifoThatReplacedAFile(t *testing.T) {
	src := grow(t, "a", "b")
	ctx := &hooked{t.Context(), 2, func() error {
		path := filepath.Join(src, "a")
		return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o644))
	}}
	got, _ := copyProblems(t, ctx, src, CopyOptions{})
	if want := []string{`"a": it vanished or was replaced`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestCopyProjectReportsWhatItMayNotRead runs itself as a plain user where needed:
// root may read everything.
func TestCopyProjectReportsWhatItMayNotRead(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	src := grow(t, "dir/x", "ignored", "list/x", "ok/y", "secret")
	for name, mode := range map[string]os.FileMode{"dir": 0, "ignored": 0, "secret": 0,
		"list": 0o444} {
		path := filepath.Join(src, name)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(path, 0o700) })
	}
	const denied = ": it cannot be read: permission denied"
	want := []string{`"dir"` + denied, `"list"` + denied, `"secret"` + denied}
	got, hint := copyProblems(t, t.Context(), src, CopyOptions{Ignore: []string{"ignored"}})
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !strings.Contains(hint, "chmod") || !strings.Contains(hint, ignoreFile) {
		t.Errorf("hint %q", hint)
	}
}

// TestCopyProjectCopiesReadOnlyDirectories matters to plain users only.
func TestCopyProjectCopiesReadOnlyDirectories(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	src := grow(t, "dir/sub/x", "dir/link -> sub")
	for _, name := range []string{"dir/sub", "dir"} {
		path := filepath.Join(src, name)
		if err := os.Chmod(path, 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(path, 0o755) })
	}
	got := copied(t, src, CopyOptions{})
	if want := []string{"dir/link -> sub", "dir/sub/x"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCopyProjectNamesWhatItCannotWrite(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	src, dst := grow(t, "dir/x"), t.TempDir()
	ctx := &hooked{t.Context(), 3, func() error { return os.Chmod(filepath.Join(dst, "dir"), 0o500) }}
	_, err := CopyProject(ctx, src, dst, CopyOptions{})
	t.Cleanup(func() { os.Chmod(filepath.Join(dst, "dir"), 0o700) })
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), dst) {
		t.Errorf("got %v", err)
	}
}
