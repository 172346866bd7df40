package rootfs

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	opaqueXattr = "user.overlay.opaque"
	fileFlags   = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	dirFlags    = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
)

// openBeneath opens a directory below another. name is clean; a symlink in it is
// an error.
func openBeneath(root int, name string) (int, error) {
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		Flags:   dirFlags,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err == unix.ENOSYS || err == unix.EPERM {
		// Kernels before 5.6 lack it, and old container runtimes deny it.
		return openStepwise(root, name)
	}
	return fd, err
}

// openFileBeneath opens a file below a directory as openBeneath does.
func openFileBeneath(root int, name string) (int, error) {
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		Flags:   fileFlags,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != unix.ENOSYS && err != unix.EPERM {
		return fd, err
	}
	up, base := splitName(name)
	dir, err := openStepwise(root, up)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return unix.Openat(dir, base, fileFlags, 0)
}

// statBeneath is lstat below a directory.
func statBeneath(root int, name string) (*unix.Stat_t, error) {
	up, base := splitName(name)
	dir, err := openBeneath(root, up)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	err = unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	return &st, err
}

// splitName returns the directory of a name, "." if that is the root, and the rest.
func splitName(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ".", name
	}
	return name[:i], name[i+1:]
}

// openStepwise is openBeneath by openat alone.
func openStepwise(root int, name string) (int, error) {
	fd, err := unix.Openat(root, ".", dirFlags, 0)
	for part := range strings.SplitSeq(name, "/") {
		if err != nil {
			return -1, err
		}
		if part == ".." {
			unix.Close(fd)
			return -1, unix.EXDEV
		}
		up := fd
		fd, err = unix.Openat(up, part, dirFlags, 0)
		unix.Close(up)
	}
	return fd, err
}

func timesOf(t time.Time) []unix.Timespec {
	ts := unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
	return []unix.Timespec{ts, ts}
}

func timesIn(st *unix.Stat_t) []unix.Timespec { return []unix.Timespec{st.Mtim, st.Mtim} }

// lstat is of the kernel's own form, which tells a whiteout.
func lstat(name string) (*unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return nil, &os.PathError{Op: "lstat", Path: name, Err: err}
	}
	return &st, nil
}

func fileType(st *unix.Stat_t) uint32 { return st.Mode & unix.S_IFMT }

func isWhiteout(st *unix.Stat_t) bool { return fileType(st) == unix.S_IFCHR && st.Rdev == 0 }

func isOpaque(dir string) bool {
	var value [2]byte
	n, err := unix.Lgetxattr(dir, opaqueXattr, value[:])
	return err == nil && n == 1 && value[0] == 'y'
}
