package rootfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// A walker lists a directory in the form of overlayfs as entries. No symlink is
// followed. Nobody else may change the directory meanwhile.
type walker struct {
	root   string
	limits Limits
	// settle completes what was found, or leaves it out. It is told whether the
	// directory that it is in is one of the layers below, too, and tells the same of
	// a directory.
	settle func(f *found, merged bool) (keep, mergedToo bool, err error)
	// tidy removes attributes of overlayfs that only an upper directory has a use for.
	tidy bool
	// aside takes copies of the files that their mode, or that of a directory, keeps
	// the caller from reading. It is made when there is one.
	aside string

	entries []layer.Entry
	tally   tally
	held    int64
	asides  int
	links   map[inode]*linked
	buf     []byte
}

// A visit is of one directory.
type visit struct {
	name   string // "." is the root
	depth  int
	merged bool // with a directory of the layers below
	open   bool // to the caller, and all that it is in
}

// A linked is a file with several names.
type linked struct {
	first   int // of entries
	settled bool
	copied  bool // of which there is no more sign once that was removed
}

// found is an entry and what decides on its owner.
type found struct {
	layer.Entry
	copied bool // overlayfs says so
	noted  *Owner
	// settled is set where the owner is known from below.
	settled bool
}

// walk finds the entries, with their Base and Source in root.
//
// Hard links have yet to be equalized.
func (w *walker) walk(ctx context.Context) error {
	w.links, w.buf = map[inode]*linked{}, make([]byte, maxXattrList)
	st, err := lstat(w.root)
	if err != nil {
		return err
	}
	w.count(st)
	return w.directory(ctx, visit{".", 0, true, true}, st)
}

// equalize gives hard links what their file has.
func (w *walker) equalize() {
	firsts := map[string]*layer.Entry{}
	for _, l := range w.links {
		firsts[w.entries[l.first].Name] = &w.entries[l.first]
	}
	for i := range w.entries {
		if e := &w.entries[i]; e.Kind == layer.HardLink {
			f := firsts[e.Target]
			e.Mode, e.UID, e.GID, e.Xattrs = f.Mode, f.UID, f.GID, f.Xattrs
		}
	}
}

// count does what tallyOf does.
func (w *walker) count(st *unix.Stat_t) {
	w.tally.Files++
	if fileType(st) == unix.S_IFREG {
		w.tally.Bytes += st.Size
	}
	names := int64(1)
	if fileType(st) != unix.S_IFDIR {
		names = max(1, int64(st.Nlink))
	}
	w.tally.Disk += st.Blocks * 512 / names
}

// directory lists one. What is not open to the caller does not count.
func (w *walker) directory(ctx context.Context, v visit, st *unix.Stat_t) (err error) {
	if v.depth > maxDepth {
		return &LimitError{"directories in one another", maxDepth}
	}
	full := filepath.Join(w.root, v.name)
	const list = unix.R_OK | unix.X_OK
	if st.Mode&0o500 != 0o500 {
		v.open = v.open && unix.Faccessat(unix.AT_FDCWD, full, list, unix.AT_EACCESS) == nil
		if err := unix.Chmod(full, st.Mode&permissions|0o700); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unix.Chmod(full, st.Mode&permissions)) }()
	}
	fd, err := unix.Open(full, dirFlags, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), full)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, base := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := w.child(ctx, v, fd, base)
		var inner *entryError
		if err != nil && !errors.As(err, &inner) {
			err = &entryError{joinName(v.name, base), err}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func joinName(dir, base string) string {
	if dir == "." {
		return base
	}
	return dir + "/" + base
}

func (w *walker) child(ctx context.Context, v visit, fd int, base string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if v.open {
		w.count(&st)
	}
	f := &found{Entry: layer.Entry{Name: joinName(v.name, base)}}
	if known, err := w.describe(f, fd, base, &st); !known || err != nil {
		return err
	}
	if err := w.bound(&f.Entry); err != nil {
		return err
	}
	if l := w.linkedTo(f.Kind, &st); l != nil {
		f.copied = f.copied || l.copied
	}
	keep, merged, err := w.settle(f, v.merged)
	if err != nil {
		return err
	}
	if keep {
		if err := w.add(f, &st, v.open); err != nil {
			return err
		}
	}
	if f.Kind != layer.Dir {
		return nil
	}
	return w.directory(ctx, visit{f.Name, v.depth + 1, merged, v.open}, &st)
}

// bound keeps the limits that a step, too, could be made to exceed.
func (w *walker) bound(e *layer.Entry) error {
	if len(w.entries) >= w.limits.Entries {
		return &LimitError{"entries", int64(w.limits.Entries)}
	}
	if len(e.Name) > w.limits.PathLength {
		return &LimitError{"bytes in a path", int64(w.limits.PathLength)}
	}
	w.held += nodeSize + int64(len(e.Name)+len(e.Target))
	for _, a := range e.Xattrs {
		w.held += int64(len(a.Name) + len(a.Value))
	}
	if w.held > maxEntryBytes {
		return &LimitError{"bytes of names and attributes", maxEntryBytes}
	}
	return nil
}

func inodeOf(st *unix.Stat_t) inode { return inode{uint64(st.Dev), st.Ino} }

// linkedTo returns the file of which another name was found before, or nil.
func (w *walker) linkedTo(kind layer.Kind, st *unix.Stat_t) *linked {
	if kind != layer.File || st.Nlink < 2 {
		return nil
	}
	return w.links[inodeOf(st)]
}

// add also finds out which names are of one file.
func (w *walker) add(f *found, st *unix.Stat_t, open bool) error {
	l := w.linkedTo(f.Kind, st)
	if l == nil {
		if f.Kind == layer.File {
			if err := w.locate(f, st, open); err != nil {
				return err
			}
			if st.Nlink > 1 {
				w.links[inodeOf(st)] = &linked{len(w.entries), f.settled, f.copied}
			}
		}
		w.entries = append(w.entries, f.Entry)
		return nil
	}
	first := &w.entries[l.first]
	if f.settled && !l.settled {
		first.UID, first.GID, l.settled = f.UID, f.GID, true
	}
	f.Kind, f.Target, f.Size = layer.HardLink, first.Name, 0
	w.entries = append(w.entries, f.Entry)
	return nil
}

// locate says where the content of a file is, which is a copy if the caller could
// not read it otherwise.
func (w *walker) locate(f *found, st *unix.Stat_t, open bool) error {
	f.Base, f.Source = w.root, f.Name
	full := filepath.Join(w.root, f.Name)
	if open && (st.Mode&0o400 != 0 ||
		unix.Faccessat(unix.AT_FDCWD, full, unix.R_OK, unix.AT_EACCESS) == nil) {
		return nil
	}
	if w.asides == 0 {
		if err := os.Mkdir(w.aside, 0o700); err != nil {
			return err
		}
	}
	f.Base, f.Source = w.aside, strconv.Itoa(w.asides)
	w.asides++
	src, err := openReadable(full, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	return copyAside(src, &f.Entry)
}

// copyAside makes the copy at Base and Source, whose inode is then that of the entry.
func copyAside(src *os.File, e *layer.Entry) (err error) {
	const flags = os.O_CREATE | os.O_EXCL | os.O_WRONLY
	dst, err := os.OpenFile(filepath.Join(e.Base, e.Source), flags, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := dst.Close(); err == nil {
			err = cerr
		}
	}()
	fd := int(dst.Fd())
	if err := copyContent(fd, src, e.Size); err != nil {
		return err
	}
	if err := setTimeFD(fd, timesOfNano(e.MTime)); err != nil {
		return err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	e.CTime, e.Inode = st.Ctim.Nano(), st.Ino
	return err
}

// describe fills in what the file system says. A socket is not known to layers.
func (w *walker) describe(f *found, fd int, base string, st *unix.Stat_t) (bool, error) {
	f.Mode, f.Inode = st.Mode&permissions, st.Ino
	f.MTime, f.CTime = st.Mtim.Nano(), st.Ctim.Nano()
	switch fileType(st) {
	case unix.S_IFREG:
		f.Kind, f.Size = layer.File, st.Size
	case unix.S_IFDIR:
		f.Kind = layer.Dir
	case unix.S_IFLNK:
		f.Kind, f.Mode = layer.Link, 0
		n, err := unix.Readlinkat(fd, base, w.buf)
		f.Target = string(w.buf[:max(0, n)])
		return true, err
	case unix.S_IFIFO:
		f.Kind = layer.Fifo
		return true, nil
	case unix.S_IFCHR, unix.S_IFBLK:
		if isWhiteout(st) {
			*f = found{Entry: layer.Entry{Name: f.Name, Kind: layer.Whiteout}}
			return true, nil
		}
		f.Kind = layer.CharDevice
		if fileType(st) == unix.S_IFBLK {
			f.Kind = layer.BlockDevice
		}
		f.Major, f.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
		return true, nil
	default:
		return false, nil
	}
	return true, w.xattrs(f, st)
}
