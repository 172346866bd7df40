//go:build unix

package output

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// isFull says whether a write failed for want of room.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

// syncDir makes renames in dir durable. A file system that cannot is no error.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// tryLock locks dir without waiting; ok is false when another has it. The lock
// is the directory's own, so that no file is left in it, and ends with the
// process. A file system without locks grants any.
func tryLock(dir string) (unlock func() error, ok bool, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, false, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	switch err {
	case nil, unix.ENOTSUP, unix.ENOLCK, unix.ENOSYS, unix.EBADF, unix.EINVAL:
		return f.Close, true, nil
	case unix.EWOULDBLOCK:
		return nil, false, f.Close()
	}
	return nil, false, errors.Join(&os.PathError{Op: "locking", Path: dir, Err: err}, f.Close())
}
