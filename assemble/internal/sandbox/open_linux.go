//go:build amd64 || arm64

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Sandbox is a root file system on which steps run, one after the other. Its methods
// may be called concurrently and then wait for one another.
type Sandbox struct {
	cfg  Config
	dir  string   // ours: dirPrefix and a random part, in Config.Dir
	lock *os.File // held, and inherited by every process 1, until all are gone
	// grace is what a command has between SIGTERM and SIGKILL.
	grace time.Duration

	mu      sync.Mutex
	closed  bool
	rung    rung
	settled bool // the rung has worked
	taken   bool // the changes are the caller's

	// Of the rungs with a private tree: what was in it, and what of it is process 1's.
	before map[string]*mark
	ours   map[string]bool

	// What the recorder of owners found; see heed.
	owners         map[string]Owner
	lost           bool
	warnedIdentity bool
}

// Names in Config.Dir: a directory and, beside it, its lock.
const (
	dirPrefix  = "sandbox-"
	lockSuffix = ".lock"
)

// Open makes a Sandbox, which the caller closes. It starts nothing: what this host
// allows is found by the first Run, Import or Export.
func Open(ctx context.Context, cfg Config) (*Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if cfg.Hostname == "" {
		cfg.Hostname = "sandbox"
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("making a sandbox in %q: %w", cfg.Dir, err)
	}
	cfg.Lower = slices.Clone(cfg.Lower)
	for i, l := range cfg.Lower {
		if cfg.Lower[i], err = filepath.Abs(l); err != nil {
			return nil, fmt.Errorf("finding layer %q: %w", l, err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making a sandbox: %w", err)
	}
	s := &Sandbox{cfg: cfg, grace: grace, ours: map[string]bool{}, owners: map[string]Owner{}}
	if cfg.Isolation == Chroot {
		s.rung = chrootRung
		s.warn("steps run in a bare chroot, which keeps nothing from this machine; " +
			"without /proc native tools may crash")
	}
	if s.lock, err = newLock(dir); err != nil {
		return nil, fmt.Errorf("making a sandbox in %s: %w", dir, err)
	}
	s.dir = strings.TrimSuffix(s.lock.Name(), lockSuffix)
	for _, d := range []string{"", "upper", "work", "stage", "empty"} {
		if err := os.Mkdir(filepath.Join(s.dir, d), 0o700); err != nil {
			return nil, errors.Join(fmt.Errorf("making a sandbox: %w", err), s.Close())
		}
	}
	// The root's own mode is seen inside, by users other than 0 too.
	if err := os.Chmod(s.upper(), 0o755); err != nil {
		return nil, errors.Join(fmt.Errorf("making a sandbox: %w", err), s.Close())
	}
	return s, nil
}

// newLock makes and locks a new file. Sweep may take it in the moment between, and
// then another one is made.
func newLock(dir string) (*os.File, error) {
	for range 100 {
		f, err := os.CreateTemp(dir, dirPrefix+"*"+lockSuffix)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && stillThere(f) {
			return f, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("locking %s: %w", f.Name(), errors.Join(err, os.Remove(f.Name())))
		}
	}
	return nil, fmt.Errorf("locking a file: %w", unix.EWOULDBLOCK)
}

func stillThere(f *os.File) bool {
	named, err := os.Stat(f.Name())
	if err != nil {
		return false
	}
	held, err := f.Stat()
	return err == nil && os.SameFile(named, held)
}

func (s *Sandbox) upper() string { return filepath.Join(s.dir, "upper") }

// Run executes a step and waits until everything in it is gone. It returns nil if the
// command's exit code was 0, an *ExitError if not, a *TimeoutError after Timeout, the
// cause of ctx's end, or a *RefusedError if this host does not allow the sandbox. When
// it is ended the command has five seconds between SIGTERM and SIGKILL.
func (s *Sandbox) Run(ctx context.Context, step Step) error {
	if len(step.Args) == 0 {
		return errors.New("running a step: no command")
	}
	if step.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, step.Timeout, &TimeoutError{step.Timeout})
		defer cancel()
	}
	for _, f := range step.Forward {
		defer f.Listener.Close() // again, for when nothing was started
	}
	j, err := s.stepSpec(step)
	if err != nil {
		return err
	}
	return s.do(ctx, j, streams{step.Stdin, step.Stdout, step.Stderr, step.Forward})
}

// Export writes a tar of what has the name inside: of a directory "./" and the entries
// below it, sorted and named relative to it; of a file one entry. Symlinks are followed
// in name only, inside; sockets are left out. What a step made is not to be trusted: w
// gets any names, types and sizes. The error is fs.ErrNotExist if there is no such name;
// after any error what w has got is not whole.
func (s *Sandbox) Export(ctx context.Context, name string, w io.Writer) error {
	return s.do(ctx, spec{Job: jobExport, Path: name}, streams{out: w})
}

// Import writes a tar with directories, files, symlinks and hard links below a
// directory inside, which is made if missing. What is there is replaced, but a directory
// is kept; a symlink to a directory is followed, inside. Owners are those of the tar
// with SubIDs and the caller otherwise. r is read until its end or an error.
func (s *Sandbox) Import(ctx context.Context, dir string, r io.Reader) error {
	return s.do(ctx, spec{Job: jobImport, Path: dir}, streams{in: r})
}

// Close removes all. It waits for what is running; cancel that first.
func (s *Sandbox) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.remove(s.dir)
	if err != nil {
		return errors.Join(fmt.Errorf("removing the sandbox: %w", err), s.lock.Close())
	}
	return errors.Join(os.Remove(s.lock.Name()), s.lock.Close())
}

func (s *Sandbox) remove(dir string) error {
	if s.cfg.Owners != SubIDs {
		return removeTree(dir)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return removeMapped(ctx, dir)
}

// removeTree also removes directories without permissions: an overlay's work/work
// has mode 0, and packages bring directories of mode 0555.
func removeTree(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(name string, d os.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(name, 0o700) // before it is read; RemoveAll tells what remains
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// Sweep removes what callers that were killed left in a Config.Dir. It is safe while
// other processes use it.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweeping %s: %w", dir, err)
	}
	var all error
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, dirPrefix) || !strings.HasSuffix(name, lockSuffix) {
			continue
		}
		if err := sweepOne(filepath.Join(dir, name)); err != nil {
			all = errors.Join(all, fmt.Errorf("sweeping %s: %w", name, err))
		}
	}
	return all
}

func sweepOne(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil // swept by another, or another's
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil || !stillThere(f) {
		return nil // in use
	}
	dir := strings.TrimSuffix(name, lockSuffix)
	err = removeTree(dir)
	if errors.Is(err, os.ErrPermission) { // files of sub-ids
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = removeMapped(ctx, dir)
	}
	if err != nil {
		return err
	}
	return os.Remove(name)
}
