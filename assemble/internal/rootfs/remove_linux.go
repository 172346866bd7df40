package rootfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// removeTree removes whatever is at a path, also directories without permission
// for their owner. Nothing there is no error.
func removeTree(name string) error {
	if err := removeAt(unix.AT_FDCWD, name); err != nil {
		return &os.PathError{Op: "remove", Path: name, Err: err}
	}
	return nil
}

func removeAt(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR {
		return err
	}
	fd, err := unix.Openat(dir, name, dirFlags, 0)
	if err == unix.EACCES {
		if err := unix.Fchmodat(dir, name, 0o700, 0); err != nil {
			return err
		}
		fd, err = unix.Openat(dir, name, dirFlags, 0)
	}
	if err != nil {
		return err
	}
	if err := removeContent(os.NewFile(uintptr(fd), name)); err != nil {
		return err
	}
	return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
}

// removeContent removes what is in a directory and closes it.
func removeContent(f *os.File) error {
	defer f.Close()
	if err := f.Chmod(0o700); err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := removeAt(int(f.Fd()), name); err != nil {
			return err
		}
	}
	return nil
}
