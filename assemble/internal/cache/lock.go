package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

const (
	lockExt = ".lock"
	// lockPoll is how often a lock that another has is asked for: no system's
	// lock can be interrupted by a context.
	lockPoll = 10 * time.Millisecond
	// lockWait is how long: what is done under the lock takes milliseconds, and a
	// process that was stopped must not stop all others.
	lockWait = 10 * time.Second
)

// lockMode is how a file is locked.
type lockMode bool

const (
	shared    lockMode = false
	exclusive lockMode = true
)

var (
	errInUse = errors.New("another decant uses it")
	errGone  = errors.New("it was removed meanwhile")
)

// lock is a lock on a file, which ends with the process whatever kills it. It
// counts between two of one process as well.
type lock struct{ file *os.File }

// release ends the lock. Nothing was written, so Close has nothing to report.
func (l *lock) release() { _ = l.file.Close() }

// lock locks the file at rel. It returns errInUse where the lock is another's,
// errGone where the file is no longer at rel, and errors.ErrUnsupported where
// the file system has no locks.
func (c *Cache) lock(rel string, mode lockMode, flags int) (*lock, error) {
	// Opening a fifo would block, and only a damaged cache has one.
	if info, err := c.root.Lstat(rel); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", c.path(rel))
	}
	f, err := c.root.OpenFile(rel, os.O_RDWR|flags, 0o600)
	if err != nil {
		return nil, err
	}
	l := &lock{f}
	if err := c.take(l, mode); err != nil {
		l.release()
		return nil, err
	}
	// Whoever had the lock before may have removed the file.
	opened, err := f.Stat()
	if err == nil {
		var there fs.FileInfo
		if there, err = c.root.Lstat(rel); err == nil && os.SameFile(opened, there) {
			return l, nil
		}
	}
	l.release()
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil, errGone
	}
	return nil, err
}

// take locks the file. On a file system without locks shared ones are as good
// as had: nobody can have an exclusive one.
func (c *Cache) take(l *lock, mode lockMode) error {
	taken, err := c.tryLock(l.file, mode)
	switch {
	case errors.Is(err, errors.ErrUnsupported) && mode == shared:
		return nil
	case err != nil:
		return err
	case !taken:
		return errInUse
	}
	return nil
}

// lockNew locks the file at rel, made if it is missing, even while others remove
// it.
func (c *Cache) lockNew(rel string, mode lockMode) (*lock, error) {
	for {
		l, err := c.lock(rel, mode, os.O_CREATE)
		if !errors.Is(err, errGone) {
			return l, err
		}
	}
}

// wait is lockNew, but for a while waits for whoever has the lock.
func (c *Cache) wait(ctx context.Context, rel string, mode lockMode) (*lock, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lockWait, errInUse)
	defer cancel()
	return c.poll(ctx, rel, mode)
}

// poll is lockNew, but waits for whoever has the lock, until ctx ends.
func (c *Cache) poll(ctx context.Context, rel string, mode lockMode) (*lock, error) {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		l, err := c.lockNew(rel, mode)
		if !errors.Is(err, errInUse) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// change waits for the right to change what others may read; release ends it.
// On a file system without locks everybody has it: the worst is an entry lost.
func (c *Cache) change(ctx context.Context) (release func(), err error) {
	l, err := c.wait(ctx, lockName, exclusive)
	if errors.Is(err, errors.ErrUnsupported) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	return l.release, nil
}
