package rootfs

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	opaqueXattr = "user.overlay.opaque"
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
