//go:build amd64 || arm64

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSubIDFile bounds what is read of /etc/subuid and /etc/subgid.
const maxSubIDFile = 1 << 20

// writeMaps maps the caller to 0 and its sub-ids to 1 and up, in a process's user
// namespace.
func writeMaps(ctx context.Context, pid int) error {
	me, err := user.Current()
	if err != nil {
		return fmt.Errorf("finding the user's name: %w", err)
	}
	for _, m := range []struct {
		tool, file string
		id         int
	}{
		{"newuidmap", "/etc/subuid", os.Geteuid()},
		{"newgidmap", "/etc/subgid", os.Getegid()},
	} {
		b, err := readBounded(m.file, maxSubIDFile)
		if err != nil {
			return err
		}
		first, count, ok := subRange(string(b), me.Username, me.Uid)
		if !ok {
			return fmt.Errorf("%s has no range for %s", m.file, me.Username)
		}
		out, err := exec.CommandContext(ctx, m.tool, strconv.Itoa(pid), "0", strconv.Itoa(m.id),
			"1", "1", first, count).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", m.tool, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// subRange finds a user's first range.
func subRange(text, name, id string) (first, count string, ok bool) {
	for l := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(l), ":")
		if len(f) == 3 && (f[0] == name || f[0] == id) {
			return f[1], f[2], true
		}
	}
	return "", "", false
}

// removeName is argv[0] of a process that removes a tree of sub-ids' files.
const removeName = "decant-sandbox-remove"

// removeMapped removes a tree from inside a user namespace with the same maps: only
// there may the caller remove the files of its sub-ids.
func removeMapped(ctx context.Context, dir string) error {
	if removeTree(dir) == nil { // no file of a sub-id, or root
		return nil
	}
	ready, mapped, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	defer mapped.Close()
	var said strings.Builder
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{removeName, dir}
	cmd.Stdin, cmd.Stderr = ready, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL, AmbientCaps: allCapabilities(),
	}
	runtime.LockOSThread() // for Pdeathsig
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	ready.Close()
	if err != nil {
		return explainClone(err)
	}
	if err := writeMaps(ctx, cmd.Process.Pid); err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	mapped.Close()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("removing %s: %w: %s", dir, err, strings.TrimSpace(said.String()))
	}
	return nil
}

// removeMain is that process: it waits until its ids are mapped.
func removeMain(dir string) int {
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := removeTree(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
