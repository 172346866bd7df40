//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	exitNotExecutable = 126 // as in a shell
	exitNotFound      = 127
	// defaultPath is used where Env has none.
	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// runStep executes the command, passes signals on to it, reaps until it has ended, and
// reports.
func runStep(s *spec, out *reporter, reap *reaper, owners *recorder,
	signals <-chan os.Signal) int {
	if err := enterDir(s.Dir); err != nil {
		return out.fail("", err)
	}
	name, err := lookPath(s.Args[0], s.Env)
	if err != nil {
		out.send(message{Exited: true, Code: exitNotFound, Reason: err.Error()})
		return 0
	}
	if s.Forwarding {
		if err := takeOver(forwardFD); err != nil {
			return out.fail("", err)
		}
	}
	sys := &syscall.SysProcAttr{Setsid: true}
	if s.Owners == SubIDs && (s.UID != 0 || s.GID != 0) {
		sys.Credential = &syscall.Credential{Uid: uint32(s.UID), Gid: uint32(s.GID)}
	}
	// The fork must happen on this thread, so not os/exec, which promises nothing.
	pid, err := syscall.ForkExec(name, s.Args,
		&syscall.ProcAttr{Env: s.Env, Files: []uintptr{0, 1, 2}, Sys: sys})
	if err != nil {
		out.send(message{Exited: true, Code: exitNotExecutable, Reason: notExecutable(name, err)})
		return 0
	}
	go func() { // ends with process 1
		for sig := range signals {
			_ = unix.Kill(-pid, sig.(syscall.Signal))
		}
	}()
	status, err := wait(pid)
	if err != nil {
		return out.fail("", err)
	}
	m := message{Exited: true, Code: status.ExitStatus()}
	if status.Signaled() {
		m.Signal = int(status.Signal())
		m.Code = 128 + m.Signal
	}
	reap.killAll()
	if !s.Rung.mounts() {
		if err := unwrite(s.Files); err != nil {
			return out.fail("", err)
		}
	}
	if owners != nil {
		owners.report(out)
	}
	out.send(m)
	return 0 // the kernel kills what is left in the PID namespace
}

// wait reaps everything, as process 1 must, until pid has ended.
func wait(pid int) (unix.WaitStatus, error) {
	for {
		var status unix.WaitStatus
		p, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("waiting for the command: %w", err)
		case p == pid:
			return status, nil
		}
	}
}

func notExecutable(name string, err error) string {
	reason := fmt.Sprintf("executing %s: %v", name, err)
	switch {
	case errors.Is(err, unix.ENOEXEC):
		reason += " (a program for another machine, or a script without #!)"
	case errors.Is(err, unix.ENOENT):
		reason += " (the interpreter that it names is not in the image)"
	}
	return reason
}

// enterDir changes to the working directory, never through a magic link: these
// could lead to what process 1 has open (CVE-2024-21626).
func enterDir(name string) error {
	in, err := newInside(nil)
	if err != nil {
		return err
	}
	defer unix.Close(in.root)
	fd, err := in.dir(name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchdir(fd); err != nil {
		return fmt.Errorf("entering %q: %w", name, err)
	}
	_, err = realPath(fd)
	return err
}

// lookPath finds a command as a shell does, in the step's PATH.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		if _, err := os.Stat(name); err != nil {
			return "", fmt.Errorf("%s is not in the image: %w", name, errnoOf(err))
		}
		return name, nil
	}
	list := defaultPath
	for _, e := range env {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			list = p
		}
	}
	for dir := range strings.SplitSeq(list, ":") {
		if !path.IsAbs(dir) {
			continue // never by accident from the working directory
		}
		p := path.Join(dir, name)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() &&
			unix.Access(p, unix.X_OK) == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%q is in no directory of PATH (%s)", name, list)
}

// reaper ends what a command left behind where there is no PID namespace that would.
type reaper struct{ proc *os.File }

// adopt makes this process the parent of all orphans below it, and keeps /proc.
func (r *reaper) adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopting orphans: %w", err)
	}
	var err error
	r.proc, err = os.Open("/proc")
	return err
}

// killAll kills children until there are none: the children of the dead become ours.
func (r *reaper) killAll() {
	if r.proc == nil {
		return
	}
	for {
		for _, pid := range r.children() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		_, err := unix.Wait4(-1, nil, 0, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return // ECHILD
		}
	}
}

func (r *reaper) children() (pids []int) {
	if _, err := r.proc.Seek(0, 0); err != nil {
		return nil
	}
	names, err := r.proc.Readdirnames(-1)
	if err != nil {
		return nil
	}
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err == nil && r.parent(n) == os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// parent reads the fourth field of stat; the second, a name, may hold anything but
// ends with the last parenthesis.
func (r *reaper) parent(name string) int {
	fd, err := unix.Openat(int(r.proc.Fd()), name+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	buf := make([]byte, 1024)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return 0
	}
	text := string(buf[:n])
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(fields[1]) // 0 is nobody's
	return ppid
}
