//go:build unix

package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// tryLock locks f without waiting. It returns errors.ErrUnsupported where the
// file system has no locks.
func tryLock(f *os.File, mode lockMode) (taken bool, err error) {
	how := unix.LOCK_SH
	if mode == exclusive {
		how = unix.LOCK_EX
	}
	err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	for errors.Is(err, unix.EINTR) {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	}
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	case errors.Is(err, unix.ENOLCK):
		return false, errors.ErrUnsupported
	}
	return false, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
}

// distrust says why somebody else could change what is in a directory.
func distrust(info fs.FileInfo) string {
	if info.Mode().Perm()&0o002 != 0 {
		return "everybody may write there, and so choose what goes into an image"
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Sprintf("it belongs to user %d, who could choose what goes into an image "+
			"of user %d", st.Uid, os.Geteuid())
	}
	return ""
}
