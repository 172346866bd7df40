package rootfs

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// setXattrs sets what a file system takes from a plain user, and notes the owner.
func setXattrs(fd int, e *layer.Entry) error {
	set := func(name string, value []byte) error {
		err := unix.Fsetxattr(fd, name, value, 0)
		if err == unix.ENOTSUP || err == unix.ENOSPC || err == unix.E2BIG || err == unix.ERANGE {
			return nil // as in extraction.xattrs
		}
		return err
	}
	for _, x := range e.Xattrs {
		if !strings.HasPrefix(x.Name, "user.") || strings.HasPrefix(x.Name, overlayPrefix) ||
			strings.HasPrefix(x.Name, ownPrefix) {
			continue
		}
		if err := set(x.Name, x.Value); err != nil {
			return err
		}
	}
	if e.UID == 0 && e.GID == 0 {
		return nil
	}
	if e.UID == math.MaxUint32 || e.GID == math.MaxUint32 {
		return &EntryError{"its owner is not known"}
	}
	uid, gid := strconv.Itoa(int(e.UID)), strconv.Itoa(int(e.GID))
	return set(ownerXattr, []byte(uid+":"+gid))
}

// setAside copies the files that their mode, or that of a directory, will keep the
// caller from reading, while directories still let it.
func (w *writer) setAside() error {
	if os.Geteuid() == 0 {
		return nil
	}
	asides := 0
	for i := range w.entries {
		e := &w.entries[i]
		up, _ := splitName(e.Name)
		if e.Kind != layer.File || w.made[up] && e.Mode&0o400 != 0 {
			continue
		}
		if asides == 0 {
			if err := os.Mkdir(w.aside, 0o700); err != nil {
				return err
			}
		}
		src, err := openReadable(filepath.Join(w.dir, e.Name), 0)
		if err != nil {
			return &entryError{e.Name, err}
		}
		e.Base, e.Source = w.aside, strconv.Itoa(asides)
		asides++
		if err := errors.Join(copyAside(src, e), src.Close()); err != nil {
			return &entryError{e.Name, err}
		}
	}
	return nil
}

// hardLinks makes them, and notes what that does to the inodes.
func (w *writer) hardLinks() error {
	var names []int
	for i := range w.entries {
		if w.entries[i].Kind == layer.HardLink {
			if err := w.hardLink(&w.entries[i]); err != nil {
				return &entryError{w.entries[i].Name, err}
			}
			names = append(names, i)
		}
	}
	for _, i := range names {
		e := &w.entries[i]
		first, _ := w.find(e.Target)
		f := &w.entries[first]
		st, err := statBeneath(w.fd, e.Name)
		if err != nil {
			return &entryError{e.Name, err}
		}
		e.MTime, e.CTime, e.Inode = f.MTime, st.Ctim.Nano(), st.Ino
		if f.Base == w.dir {
			f.CTime = st.Ctim.Nano()
		}
	}
	return nil
}

func (w *writer) hardLink(e *layer.Entry) error {
	i, ok := w.find(e.Target)
	if !ok || w.entries[i].Kind != layer.File {
		return &EntryError{"a hard link to " + e.Target + ", which is no file of the same step"}
	}
	from, old := splitName(e.Target)
	to, base := splitName(e.Name)
	src, err := openBeneath(w.fd, from)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	dst, err := openBeneath(w.fd, to)
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	return unix.Linkat(src, old, dst, base, 0)
}

// find returns the place of an entry.
func (w *writer) find(name string) (int, bool) {
	return slices.BinarySearchFunc(w.entries, name,
		func(e layer.Entry, name string) int { return layer.Compare(e.Name, name) })
}

// close gives directories their attributes, modes and times, children first.
func (w *writer) close() error {
	for i := len(w.closing) - 1; i >= 0; i-- {
		if err := w.closeDir(w.closing[i]); err != nil {
			return &entryError{w.closing[i].name, err}
		}
	}
	return nil
}

func (w *writer) closeDir(c closing) error {
	fd, err := openBeneath(w.fd, c.name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if c.entry >= 0 {
		e := &w.entries[c.entry]
		if err := setXattrs(fd, e); err != nil {
			return err
		}
		if e.Opaque {
			err := unix.Fsetxattr(fd, opaqueXattr, []byte("y"), 0)
			if err == unix.ENOTSUP {
				return errNoOpaque
			}
			if err != nil {
				return err
			}
		}
	}
	if err := unix.Fchmod(fd, c.mode); err != nil {
		return err
	}
	return setTimeFD(fd, timesOfNano(c.mtime))
}
