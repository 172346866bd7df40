//go:build amd64 || arm64

package sandbox

import (
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	initName = "decant-sandbox" // argv[0] of process 1

	// Its descriptors beyond the standard ones.
	specFD, reportFD, lockFD, forwardFD = 3, 4, 5, 6

	exitSetup    = 125 // of process 1, when it could not do its job
	exitOrphaned = 137 // and when the caller is gone
)

// MaybeInit is called first thing in main, and in a TestMain, of a program that
// opens sandboxes. It does nothing but in the process 1 of a sandbox, which is this
// program executed again: there it does its work and does not return.
func MaybeInit() {
	if len(os.Args) == 2 && os.Args[0] == removeName {
		unix.Exit(removeMain(os.Args[1]))
	}
	if len(os.Args) != 1 || os.Args[0] != initName {
		return
	}
	// Privileges belong to threads: the step is forked from the one that gives them up.
	runtime.LockOSThread()
	unix.Exit(initMain()) // at once: the program's own exit hooks are not for here
}

// reporter writes to the caller. What cannot be written is not missed: the caller
// is gone then, and so is everybody in a moment.
type reporter struct{ w io.Writer }

func (r *reporter) send(m message) {
	_ = json.NewEncoder(r.w).Encode(m) // one line
}

func (r *reporter) warn(format string, args ...any) {
	r.send(message{Warn: fmt.Sprintf(format, args...)})
}

func (r *reporter) made(name string) { r.send(message{Made: name}) }

func (r *reporter) ours(name string) { r.send(message{Ours: name}) }

func (r *reporter) fail(stage string, err error) int {
	m := message{Stage: stage, Err: err.Error()}
	errors.As(err, &m.Errno)
	r.send(m)
	return exitSetup
}

func initMain() int {
	// Whatever the caller's parents left open must not reach the step.
	if err := unix.CloseRange(specFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		for fd := specFD; fd < 1024; fd++ {
			unix.CloseOnExec(fd)
		}
	}
	in, out := os.NewFile(specFD, "spec"), &reporter{os.NewFile(reportFD, "report")}
	var s spec
	if err := gob.NewDecoder(in).Decode(&s); err != nil {
		return out.fail(StageSystem, err)
	}
	reap := &reaper{}
	if s.Rung == rootRung {
		if err := reap.adopt(); err != nil {
			return out.fail(StageSystem, err)
		}
	}
	go func() { // the life line: it ends when the caller does
		_, _ = in.Read(make([]byte, 1))
		reap.killAll()
		unix.Exit(exitOrphaned)
	}()
	if stage, err := prepare(&s, out); err != nil {
		return out.fail(stage, err)
	}
	listener, err := confine(&s, out)
	if err != nil {
		return out.fail(StageConfine, err)
	}
	signals := make(chan os.Signal, 16) // from here on; who sends one saw us ready
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT,
		unix.SIGUSR1, unix.SIGUSR2)
	out.send(message{Ready: true})
	return s.work(out, reap, listener, signals)
}

// work does the job, and returns the exit code of process 1.
func (s *spec) work(out *reporter, reap *reaper, listener int, signals <-chan os.Signal) int {
	var err error
	switch s.Job {
	case jobExport:
		err = export(s.Path, os.Stdout)
	case jobImport:
		err = extract(s.Path, os.Stdin, s.Owners == SubIDs)
	default:
		owners, err := s.recorder(listener)
		if err != nil {
			return out.fail(StageConfine, err)
		}
		return runStep(s, out, reap, owners, signals)
	}
	if err != nil {
		return out.fail("", err)
	}
	out.send(message{Exited: true})
	return 0
}

// prepare makes the root and what is around it.
func prepare(s *spec, out *reporter) (stage string, err error) {
	if s.Rung.mounts() {
		stage, err = (&builder{spec: s, out: out}).build()
	} else {
		stage, err = enterChroot(s, out)
	}
	if err != nil {
		return stage, err
	}
	if s.Rung != rootRung {
		if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
			return StageRoot, fmt.Errorf("setting the host name: %w", err)
		}
	}
	if s.OwnNetwork {
		if err := loopbackUp(); err != nil {
			return StageIsolated, err
		}
	}
	return "", nil
}

// loopbackUp starts lo in a new network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a socket: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("starting lo: %w", err)
	}
	return nil
}

// errnoOf finds the errno in an error, or 0.
func errnoOf(err error) (e syscall.Errno) {
	errors.As(err, &e)
	return e
}
