package rootfs

import (
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// copyTo gives an open, empty or equal file the content, attributes, mode and time
// of the one at s, and closes it.
func (s spot) copyTo(fd int) (err error) {
	defer func() {
		if cerr := unix.Close(fd); err == nil {
			err = cerr
		}
	}()
	src, err := openReadable(s.paths[0], 0)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := copyContent(fd, src, s.stat.Size); err != nil {
		return err
	}
	if err := copyXattrs(fd, int(src.Fd())); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, s.stat.Mode&permissions); err != nil {
		return err
	}
	return setTimeFD(fd, timesIn(s.stat))
}

// setTimeFD works whatever the mode, as a name below the file would not.
func setTimeFD(fd int, times []unix.Timespec) error {
	return unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH)
}

// copyContent shares the blocks where the file system can, and else lets the
// kernel copy.
func copyContent(dst int, src *os.File, size int64) error {
	if size == 0 {
		return nil
	}
	if unix.IoctlFileClone(dst, int(src.Fd())) == nil {
		return nil
	}
	for size > 0 {
		n, err := unix.CopyFileRange(int(src.Fd()), nil, dst, nil, int(min(size, 1<<30)), 0)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EXDEV || err == unix.ENOSYS || err == unix.EINVAL || err == unix.EOPNOTSUPP:
			_, err := io.CopyN(fdWriter(dst), src, size)
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		size -= int64(n)
	}
	return nil
}

// copyXattrs copies what an extraction keeps: user.*, without overlayfs's.
func copyXattrs(dst, src int) error {
	size, err := unix.Flistxattr(src, nil)
	if err == unix.ENOTSUP || err == nil && size == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	list := make([]byte, size)
	if size, err = unix.Flistxattr(src, list); err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:size]), "\x00"), "\x00") {
		if !strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		value := make([]byte, 64<<10) // the kernel's limit of a value
		n, err := unix.Fgetxattr(src, name, value)
		if err != nil {
			return err
		}
		err = unix.Fsetxattr(dst, name, value[:n], 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	return nil
}
