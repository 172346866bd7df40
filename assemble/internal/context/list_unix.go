//go:build unix

package context

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// openDirFlags keep a fifo that took a directory's place from blocking.
const openDirFlags = openFileFlags | unix.O_DIRECTORY

// openFileFlags keep one that took a file's place from doing so.
const openFileFlags = os.O_RDONLY | unix.O_NONBLOCK

// readItems appends up to n names of dir and what lstat says of them. It
// returns io.EOF with the last ones. Each name is looked up in the open
// directory: that spares the kernel the path, and cannot lead elsewhere.
func readItems(dir *os.File, items []item, n int) ([]item, error) {
	names, err := dir.Readdirnames(n)
	if err == nil && len(names) == 0 {
		err = io.EOF
	}
	fd := int(dir.Fd())
	var st unix.Stat_t
	for _, name := range names {
		it := item{name: name}
		if it.err = lstatAt(fd, name, &st); it.err == nil {
			it.mode = modeOf(uint32(st.Mode))
			it.size = st.Size
			it.mtime = st.Mtim.Nano()
			it.ctime = st.Ctim.Nano()
			it.inode = uint64(st.Ino)
			it.err = checkAccess(fd, name, it.mode)
		}
		items = append(items, it)
	}
	return items, err
}

func lstatAt(fd int, name string, st *unix.Stat_t) error {
	for {
		err := unix.Fstatat(fd, name, st, unix.AT_SYMLINK_NOFOLLOW)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// checkAccess tells an unreadable file before anything is built. Files that
// everybody may read, nearly all, cost no call.
func checkAccess(fd int, name string, mode fs.FileMode) error {
	if !mode.IsRegular() || mode&0o444 == 0o444 {
		return nil
	}
	err := unix.Faccessat(fd, name, unix.R_OK, unix.AT_EACCESS)
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil // anything else shows when the file is read
}

// modeOf keeps what a scan needs of a mode: the type and the permissions.
func modeOf(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return m
	case unix.S_IFDIR:
		return m | fs.ModeDir
	case unix.S_IFLNK:
		return m | fs.ModeSymlink
	case unix.S_IFIFO:
		return m | fs.ModeNamedPipe
	case unix.S_IFSOCK:
		return m | fs.ModeSocket
	case unix.S_IFBLK, unix.S_IFCHR:
		return m | fs.ModeDevice
	}
	return m | fs.ModeIrregular
}
