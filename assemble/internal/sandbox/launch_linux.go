//go:build amd64 || arm64

package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// streams are a job's standard input and outputs, where nil is nothing, and its ports.
type streams struct {
	in       io.Reader
	out, err io.Writer
	ports    []Forward
}

// joined tells whether both outputs go to the same writer, in the order in which they
// are written.
func (s streams) joined() (same bool) {
	defer func() { _ = recover() }() // writers that cannot be compared are not the same
	return s.out == s.err
}

// do does a job on the best rung that this host allows. The ladder is walked by the
// real thing: the stage that failed says which rung is next.
func (s *Sandbox) do(ctx context.Context, j spec, std streams) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.taken {
		return fmt.Errorf("using a sandbox: %w", os.ErrClosed)
	}
	for {
		if err := s.flatten(ctx); err != nil {
			return err
		}
		if err := s.complete(ctx, &j); err != nil {
			return err
		}
		err := s.launch(ctx, j, std)
		if len(j.Trees) > 0 {
			err = errors.Join(err, s.dropTrees())
		}
		if s.settled || !s.stepDown(err) {
			return err
		}
	}
}

// stepDown takes the next rung, if the error says that this one is not allowed.
func (s *Sandbox) stepDown(err error) bool {
	var refused *RefusedError
	if !errors.As(err, &refused) {
		return false
	}
	switch {
	case s.rung == overlayRung && refused.Stage == StageOverlay && s.cfg.Flatten != nil:
		s.rung = copyRung
		s.warn(fmt.Sprintf("no overlay here (%v): the base is copied instead", refused.Err))
	case s.rung == chrootRung && refused.Stage == StageClone && os.Geteuid() == 0:
		s.rung = rootRung
		s.warn("no user namespace here: steps run as root, whatever their USER, " +
			"in the bare chroot")
	default:
		return false
	}
	return true
}

func (s *Sandbox) warn(text string) {
	if s.cfg.Warn != nil {
		s.cfg.Warn(text)
	}
}

// flatten makes the private tree for the rungs that need one.
func (s *Sandbox) flatten(ctx context.Context) error {
	done := filepath.Join(s.dir, "flat")
	if s.rung == overlayRung || s.settled {
		return nil
	}
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	if s.cfg.Flatten == nil {
		return &RefusedError{Stage: StageCopy, Cause: "there is no copy of the base"}
	}
	if err := os.Remove(s.upper()); err != nil { // Flatten makes it
		return fmt.Errorf("copying the base: %w", err)
	}
	if err := s.cfg.Flatten(ctx, s.upper()); err != nil {
		return fmt.Errorf("copying the base: %w", err)
	}
	if err := s.remember(); err != nil {
		return fmt.Errorf("looking at the copy of the base: %w", err)
	}
	return os.Mkdir(done, 0o700)
}

// child is a running process 1.
type child struct {
	cmd    *exec.Cmd
	spec   *os.File // the other end of its life line
	report *os.File
	in     *os.File // ends of its standard streams
	out    [2]*os.File
	theirs []*os.File

	handOver *os.File // for connections to its ports, or nil
}

func (c *child) close(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// pipe makes one; theirs is the child's end.
func (c *child) pipe(childReads bool) (theirs, ours *os.File, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("making a pipe: %w", err)
	}
	theirs, ours = w, r
	if childReads {
		theirs, ours = r, w
	}
	c.theirs = append(c.theirs, theirs)
	return theirs, ours, nil
}

func (s *Sandbox) newChild(j *spec, std streams) (c *child, err error) {
	c = &child{cmd: &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{initName}, Dir: "/",
		// Of process 1; the step's is in its spec.
		Env:         []string{"GOGC=off", "GOMEMLIMIT=128MiB", "GOMAXPROCS=2"},
		SysProcAttr: attributes(j),
	}}
	defer func() {
		if err != nil {
			c.close(c.theirs...)
			c.closeOurs()
		}
	}()
	var in, out, errs, specs, reports *os.File
	for _, p := range []struct {
		theirs, ours **os.File
		childReads   bool
	}{
		{&in, &c.in, true}, {&out, &c.out[0], false}, {&errs, &c.out[1], false},
		{&specs, &c.spec, true}, {&reports, &c.report, false},
	} {
		if *p.theirs, *p.ours, err = c.pipe(p.childReads); err != nil {
			return nil, err
		}
	}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = in, out, errs
	if std.joined() {
		c.cmd.Stderr = out
	}
	c.cmd.ExtraFiles = []*os.File{specs, reports, s.lock} // specFD, reportFD, lockFD
	if j.Forwarding {
		var theirs *os.File
		if theirs, c.handOver, err = c.socketPair(); err != nil {
			return nil, err
		}
		c.cmd.ExtraFiles = append(c.cmd.ExtraFiles, theirs) // forwardFD
	}
	return c, nil
}

func (c *child) closeOurs() { c.close(c.in, c.out[0], c.out[1], c.spec, c.report, c.handOver) }

func attributes(j *spec) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Setsid:    true, // a terminal's ^C reaches the caller only
		Pdeathsig: syscall.SIGKILL,
	}
	if j.Rung == rootRung {
		if j.OwnNetwork {
			a.Cloneflags = unix.CLONE_NEWNET
		}
		return a
	}
	a.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if j.Rung.mounts() {
		a.Cloneflags |= unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP
	}
	if j.OwnNetwork {
		a.Cloneflags |= unix.CLONE_NEWNET
	}
	// So that the namespace's capabilities outlive the exec, also where the user id
	// inside is not 0, or not mapped yet.
	a.AmbientCaps = allCapabilities()
	if j.Owners != SubIDs {
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: j.UID, HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: j.GID, HostID: os.Getegid(), Size: 1}}
	}
	return a
}

// allCapabilities are those that the kernel has, which is asked one by one.
func allCapabilities() (all []uintptr) {
	for c := range uintptr(64) {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err != nil {
			break
		}
		all = append(all, c)
	}
	return all
}

// launch does a job on the present rung.
func (s *Sandbox) launch(ctx context.Context, j spec, std streams) (err error) {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c, err := s.newChild(&j, std)
	if err != nil {
		return err
	}
	defer c.closeOurs()
	told, err := j.encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	gone := make(chan struct{}) // closed when process 1 is
	var g errgroup.Group
	if err := c.start(&g, gone); err != nil {
		close(gone)
		_ = g.Wait() // cannot fail
		return explainClone(err)
	}
	polite := make(chan struct{}) // closed when there is a command to say goodbye to
	g.Go(func() error { c.killAfter(ctx, s.grace, polite, gone); return nil })
	c.pump(&g, cancel, std)
	h := s.attend(ctx, c, told, j, &g, func() {
		if j.Job == jobRun {
			close(polite)
		}
		// Not before: what a refused rung took would be lost to the next.
		g.Go(func() error { c.feed(std.in); return nil })
		if err := c.forward(&g, std.ports, gone); err != nil {
			cancel(err)
		}
	})
	_ = c.cmd.Wait() // what it did is in the messages
	close(gone)
	c.close(c.spec)
	pumped := g.Wait()
	if len(h.made) > 0 {
		s.clean(h.made)
	}
	return s.verdict(ctx, h, pumped)
}

// start clones process 1.
func (c *child) start(g *errgroup.Group, gone <-chan struct{}) error {
	started := make(chan error, 1)
	g.Go(func() error {
		// Pdeathsig is tied to the thread that cloned: it lives as long as the child,
		// and ends with this goroutine, which never unlocks it.
		runtime.LockOSThread()
		started <- c.cmd.Start()
		<-gone
		return nil
	})
	err := <-started
	c.close(c.theirs...)
	return err
}

// killAfter ends process 1 when ctx ends: by SIGTERM, which it passes on, once there
// is a command; then by its life line, for on the rung without PID namespace it must
// clean up; then by force.
func (c *child) killAfter(ctx context.Context, grace time.Duration, polite, gone <-chan struct{}) {
	select {
	case <-gone:
		return
	case <-ctx.Done():
	}
	select {
	case <-polite:
		_ = c.cmd.Process.Signal(unix.SIGTERM) // Process uses a pidfd, so it hits no other
		if ended(gone, grace) {
			return
		}
	default:
	}
	c.close(c.spec)
	if !ended(gone, grace) {
		_ = c.cmd.Process.Kill()
	}
}

func ended(gone <-chan struct{}, within time.Duration) bool {
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-gone:
		return true
	case <-t.C:
		return false
	}
}

// pump copies the outputs until process 1 and all in it are gone.
func (c *child) pump(g *errgroup.Group, cancel context.CancelCauseFunc, std streams) {
	writers := []io.Writer{std.out, std.err}
	if std.joined() {
		writers = writers[:1] // both come out of the first pipe
	}
	for i, w := range writers {
		from := c.out[i]
		if w == nil {
			w = io.Discard
		}
		g.Go(func() error {
			if _, err := io.Copy(w, from); err != nil {
				err = fmt.Errorf("passing on the step's output: %w", err)
				cancel(err)
				from.Close() // so that the step does not block
				return err
			}
			return nil
		})
	}
}

// history is what process 1 told.
type history struct {
	last message
	made []string
}

// attend gives process 1 its spec, and takes its messages until it is gone. ready is
// called when the root is there.
func (s *Sandbox) attend(ctx context.Context, c *child, told []byte, j spec,
	g *errgroup.Group, ready func()) (h history) {
	if j.Owners == SubIDs && j.Rung != rootRung {
		if err := writeMaps(ctx, c.cmd.Process.Pid); err != nil {
			_ = c.cmd.Process.Kill()
			h.last = message{Stage: StageIDs, Err: err.Error(), Errno: errnoOf(err)}
		}
	}
	g.Go(func() error { // it may be longer than a pipe, and the child may be dead
		_, _ = c.spec.Write(told)
		return nil
	})
	lines := bufio.NewScanner(c.report)
	lines.Buffer(nil, maxMessage)
	for n := 0; n < maxMessages && lines.Scan(); n++ {
		var m message
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			continue
		}
		switch {
		case m.Warn != "":
			s.warn(m.Warn)
		case m.Made != "":
			h.made = append(h.made, m.Made)
		case m.Ours != "":
			if name, err := filepath.Rel("/", m.Ours); err == nil {
				s.ours[name] = true
			}
		case m.Identity, m.Lost, m.Nodes != nil:
			s.heed(m)
		case m.Ready:
			s.settled = true
			ready()
		default:
			h.last = m
		}
	}
	c.close(c.report) // should it have more to say, it is not to wait for us
	return h
}

// feed copies the input. That the command does not want it all is no fault.
func (c *child) feed(r io.Reader) {
	if r != nil {
		_, _ = io.Copy(c.in, r)
	}
	c.in.Close()
}

// verdict makes the error of a job.
func (s *Sandbox) verdict(ctx context.Context, h history, pumped error) error {
	m := h.last
	switch {
	case pumped != nil:
		return pumped
	case ctx.Err() != nil: // whatever the code: a step may answer SIGTERM with exit 0
		return context.Cause(ctx)
	case m.Exited && m.Code == 0:
		return nil
	case m.Exited:
		return &ExitError{Code: m.Code, Signal: m.Signal, Reason: m.Reason}
	case m.Err != "" && m.Stage != "":
		return explain(m.Stage, &stageError{m.Stage, m.Err, m.Errno}, hostFacts())
	case m.Err != "":
		return &stageError{"", m.Err, m.Errno}
	}
	return errors.New("running the sandbox: its process 1 was killed, " +
		"perhaps for lack of memory or processes")
}
