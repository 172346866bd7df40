package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is how often a lock that another process has is asked for: flock
// cannot be interrupted by a context.
const lockPoll = 25 * time.Millisecond

var errBusy = errors.New("in use by another process")

// A lock is an flock, which ends with the process whatever kills it. It counts
// between two users in one process as well.
type lock struct {
	file *os.File
}

const (
	shared    = unix.LOCK_SH
	exclusive = unix.LOCK_EX
)

// tryLock returns errBusy where the lock is taken.
func tryLock(name string, how int) (*lock, error) {
	return tryLockFile(name, os.O_RDWR|os.O_CREATE, how)
}

func tryLockFile(name string, flags, how int) (*lock, error) {
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	l := &lock{f}
	if err := l.convert(how); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

// waitLock waits until it gets the lock or ctx ends.
func waitLock(ctx context.Context, name string, how int) (*lock, error) {
	for {
		l, err := tryLock(name, how)
		if !errors.Is(err, errBusy) {
			return l, err
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context) error {
	t := time.NewTimer(lockPoll)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait is convert that waits until it succeeds or ctx ends.
func (l *lock) wait(ctx context.Context, how int) error {
	for {
		err := l.convert(how)
		if !errors.Is(err, errBusy) {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// convert changes the kind of lock. In between nobody has it.
func (l *lock) convert(how int) error {
	for {
		err := unix.Flock(int(l.file.Fd()), how|unix.LOCK_NB)
		switch err {
		case unix.EINTR:
			continue
		case unix.EWOULDBLOCK:
			return errBusy
		case nil:
			return nil
		}
		return fmt.Errorf("locking %s: %w", l.file.Name(), err)
	}
}

// touch notes a use of what is locked.
func (l *lock) touch() error {
	now := time.Now()
	return os.Chtimes(l.file.Name(), now, now)
}

// current tells whether the lock is of the file that has its name. Prune removes
// locks: one that was opened before and taken after that holds nothing.
func (l *lock) current() bool {
	mine, err := l.file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(l.file.Name())
	return err == nil && os.SameFile(mine, named)
}

func (l *lock) release() error { return l.file.Close() }
