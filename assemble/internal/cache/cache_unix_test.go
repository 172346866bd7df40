//go:build unix

package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// childEnv tells a child process of a test what to do where.
const childEnv = "DECANT_CACHE_TEST_CHILD"

// child runs the calling test again in a process of its own.
func child(t *testing.T, binary string, role ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(role, "\n"))
	return cmd
}

func self(t *testing.T) string {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

func TestProcessesKeepOneSite(t *testing.T) {
	if role := os.Getenv(childEnv); role != "" {
		dir, id, _ := strings.Cut(role, "\n")
		for i := range 20 {
			c := openCache(t, dir)
			digestOf(t, keep(t, c, siteKey, fmt.Sprint(id, i)))
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	dir := t.TempDir()
	var children []*exec.Cmd
	for i := range 3 {
		cmd := child(t, self(t), dir, fmt.Sprint(i))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		children = append(children, cmd)
	}
	for _, cmd := range children {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	c := openCache(t, dir)
	rec, blob, ok := c.Layer(siteKey)
	if !ok || blob == "" {
		t.Fatalf("Layer = %q, %v", blob, ok)
	}
	digestOf(t, layer.FromRecord(rec, blob))
	if got := files(t, filepath.Join(dir, layersDir)); len(got) != 2 {
		t.Errorf("the children left %q", got)
	}
}

func TestAKilledProcessLeavesNothing(t *testing.T) {
	if dir := os.Getenv(childEnv); dir != "" {
		c := openCache(t, dir)
		build(t, c, "half-way")
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		select {} // the signal is on its way
	}
	dir := t.TempDir()
	err := child(t, self(t), dir).Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child ended with %v", err)
	}
	if got := files(t, filepath.Join(dir, tempDir)); len(got) != 2 {
		t.Fatalf("the child left %q, want a lock and a spool", got)
	}
	if err := openCache(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	if got := files(t, filepath.Join(dir, tempDir)); len(got) > 0 {
		t.Errorf("the sweep left %q", got)
	}
}

func TestOpenRefusesDirectoriesOfOthers(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	wantUnfit(t, dir, "everybody may write there")
	if os.Geteuid() != 0 {
		wantUnfit(t, "/", "it belongs to user 0")
		return
	}
	if err := errors.Join(os.Chmod(dir, 0o700), os.Chown(dir, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	wantUnfit(t, dir, "it belongs to user 65534")
}

func wantUnfit(t *testing.T, dir, what string) {
	t.Helper()
	c, err := Open(dir)
	var dirErr *DirError
	if !errors.As(err, &dirErr) || !strings.HasPrefix(dirErr.What, what) {
		t.Errorf("Open(%s) = %v, %v; want %q", dir, c, err, what)
	}
}

// TestOpenRefusesWhatItCannotWrite runs itself as a plain user where needed:
// root may write everywhere.
func TestOpenRefusesWhatItCannotWrite(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	parent := t.TempDir()
	dir := filepath.Join(parent, "cache")
	if err := os.Chmod(parent, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(parent, 0o700) })
	wantUnfit(t, dir, "this user cannot write there")
	if err := os.Chmod(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := openCache(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{tempDir, "."} {
		if err := os.Chmod(filepath.Join(dir, sub), 0o500); err != nil {
			t.Fatal(err)
		}
		if sub == "." {
			if err := os.RemoveAll(filepath.Join(dir, tempDir)); err == nil {
				t.Fatal("a directory of mode 0500 can be written")
			}
		}
		wantUnfit(t, dir, "this user cannot write there")
	}
	t.Cleanup(func() { os.Chmod(dir, 0o700) })
}

// asNobody runs the calling test in a child process without privileges.
func asNobody(t *testing.T) {
	t.Helper()
	home, err := os.MkdirTemp("", "nobody")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	// The binary may lie where only root can go.
	image, err := os.ReadFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(home, "test")
	if err := os.WriteFile(binary, image, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(binary, 0o755), os.Chown(home, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	cmd := child(t, binary)
	cmd.Dir = home
	cmd.Env = append(cmd.Env, "TMPDIR="+home, "HOME="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as uid 65534: %v\n%s", err, out)
	}
}

func TestAFifoInTheCacheBlocksNobody(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir)
	l := keep(t, c, siteKey, "x")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(dir, layersDir, siteKey, recordName)
	for _, name := range []string{record, l.Path(), filepath.Join(dir, tempDir, "x.lock")} {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c = openCache(t, dir)
	if _, _, ok := c.Layer(siteKey); ok {
		t.Error("a fifo is a record")
	}
	if _, err := c.Prune(t.Context(), PruneOptions{All: true}); err != nil {
		t.Error(err)
	}
	if got := files(t, filepath.Join(dir, layersDir)); len(got) > 0 {
		t.Errorf("left %q", got)
	}
}

func TestRemoveTreeCopesWithLockedDirectories(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	dir := filepath.Join(t.TempDir(), "tree")
	for _, name := range []string{"work/work", "modules/a/b"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"work/work", "modules/a/b", "modules/a"} {
		if err := os.Chmod(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveTree(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}
