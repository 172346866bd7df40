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

// readItems reads up to n names of dir, and appends what lstat says of those that
// keep, which may be nil, does not drop. It returns io.EOF with the last ones.
func readItems(dir *os.File, items []item, n int, keep func(name string) bool) ([]item, error) {
	names, err := dir.Readdirnames(n)
	if err == nil && len(names) == 0 {
		err = io.EOF
	}
	for _, name := range names {
		if keep == nil || keep(name) {
			items = append(items, lookUp(dir, name))
		}
	}
	return items, err
}

// lookUp says what name is in the open directory: that spares the kernel the
// path, and cannot lead elsewhere.
func lookUp(dir *os.File, name string) item {
	var st unix.Stat_t
	if err := lstatAt(int(dir.Fd()), name, &st); err != nil {
		return item{name: name, err: err}
	}
	return itemOf(name, &st)
}

// lookAt says what an open file is now.
func lookAt(f *os.File) item {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return item{name: f.Name(), err: err}
	}
	return itemOf(f.Name(), &st)
}

func itemOf(name string, st *unix.Stat_t) item {
	return item{name: name, mode: modeOf(uint32(st.Mode)), size: st.Size,
		mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(), inode: uint64(st.Ino)}
}

func lstatAt(fd int, name string, st *unix.Stat_t) error {
	for {
		err := unix.Fstatat(fd, name, st, unix.AT_SYMLINK_NOFOLLOW)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// checkAccess tells unreadable files of dir before anything is built. Files that
// everybody may read, nearly all, cost no call.
func checkAccess(dir *os.File, items []item) {
	for i := range items {
		it := &items[i]
		if it.err != nil || !it.mode.IsRegular() || it.mode&0o444 == 0o444 {
			continue
		}
		err := unix.Faccessat(int(dir.Fd()), it.name, unix.R_OK, unix.AT_EACCESS)
		if errors.Is(err, fs.ErrPermission) { // anything else shows when the file is read
			it.err = err
		}
	}
}

// chmodBits are the bits of a mode in the image.
func chmodBits(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	for _, b := range []struct {
		has fs.FileMode
		bit uint32
	}{{fs.ModeSetuid, unix.S_ISUID}, {fs.ModeSetgid, unix.S_ISGID}, {fs.ModeSticky, unix.S_ISVTX}} {
		if mode&b.has != 0 {
			bits |= b.bit
		}
	}
	return bits
}

// modeOf is the mode as the standard library has it.
func modeOf(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	if mode&unix.S_ISUID != 0 {
		m |= fs.ModeSetuid
	}
	if mode&unix.S_ISGID != 0 {
		m |= fs.ModeSetgid
	}
	if mode&unix.S_ISVTX != 0 {
		m |= fs.ModeSticky
	}
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
