package rootfs

import (
	"errors"
	"io/fs"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// impliedMode is that of a directory which no layer names.
const impliedMode = 0o755

// A finisher completes an extraction once the layers below are whole.
type finisher struct {
	x     *extraction
	lower View
}

// redirects returns the symlinks of the layers below through which this layer
// should have written or linked, and did not, because they are not in its tar. It
// has to be extracted again with them.
func (f finisher) redirects() (map[string]string, error) {
	found := map[string]string{}
	for _, name := range f.x.gone {
		if _, err := f.linkOn(name, found); err != nil {
			return nil, err
		}
	}
	return found, f.redirectsBelow(f.x.top, found)
}

func (f finisher) redirectsBelow(n *node, found map[string]string) error {
	for _, c := range n.children {
		var err error
		switch {
		case c.virtual && c.kind == linkNode:
		case c.kind == borrowedNode:
			_, err = f.linkOn(path.Dir(c.target), found)
		case c.kind == dirNode && c.implied && !c.fresh:
			var hit bool
			if hit, err = f.linkOn(c.path(), found); !hit && err == nil {
				err = f.redirectsBelow(c, found)
			}
		case c.kind == dirNode:
			err = f.redirectsBelow(c, found)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// linkOn looks for a symlink on the way to a directory below.
func (f finisher) linkOn(name string, found map[string]string) (bool, error) {
	for i := 1; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		s, err := f.lower.find(name[:i])
		if isAbsent(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if s.isLink() {
			found[name[:i]], err = s.readLink()
			return true, err
		}
	}
	return false, nil
}

// complete fills borrowed files, drops whiteouts that hide nothing, and gives the
// directories their modes and times, children before parents.
func (f finisher) complete() error {
	f.x.forget()
	fd, err := unix.Openat(f.x.fd, ".", dirFlags, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f.directory(f.x.top, fd, f.x.top.opaque)
}

// directory completes the one that fd is open at. Nothing below shows in it when
// it is hidden.
func (f finisher) directory(n *node, fd int, hidden bool) error {
	for name, c := range n.children {
		err := f.child(c, fd, hidden)
		var inner *entryError
		if err != nil && !errors.As(err, &inner) {
			err = &entryError{path.Join(n.path(), name), err}
		}
		if err != nil {
			return err
		}
	}
	mode, mtime := n.mode, n.mtime
	if !n.named {
		mode, mtime = f.inherit(n, hidden)
		if !n.opaque && n.parent != nil {
			f.x.implied = append(f.x.implied, n.path())
		}
	}
	if n.opaque {
		err := unix.Fsetxattr(fd, opaqueXattr, []byte("y"), 0)
		if err == unix.ENOTSUP {
			return errNoOpaque
		}
		if err != nil {
			return err
		}
	}
	// The mode comes after the attribute, which a read-only directory refuses.
	if err := unix.Fchmod(fd, mode); err != nil {
		return err
	}
	return setTimeFD(fd, timesOf(mtime))
}

func (f finisher) child(c *node, dir int, hidden bool) error {
	switch {
	case c.virtual:
		return nil
	case c.kind == borrowedNode:
		return f.fill(c, dir)
	case c.kind == whiteoutNode:
		return f.dropIdle(c, dir, hidden)
	case c.kind == dirNode:
		fd, err := unix.Openat(dir, c.name, dirFlags, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return f.directory(c, fd, hidden || c.opaque)
	}
	return nil
}

// inherit finds the mode and time of a directory that the tar does not name:
// overlayfs shows those of the topmost layer only.
func (f finisher) inherit(n *node, hidden bool) (uint32, time.Time) {
	if !hidden {
		if s, err := f.lower.find(n.path()); err == nil && s.isDir() {
			return s.stat.Mode & permissions, time.Unix(s.stat.Mtim.Unix())
		}
	}
	return impliedMode, time.Unix(0, 0)
}

// dropIdle removes a whiteout of nothing: a directory that is in one layer only is
// listed with its whiteouts.
func (f finisher) dropIdle(c *node, dir int, hidden bool) error {
	if !hidden {
		if _, err := f.lower.find(c.path()); err == nil || !isAbsent(err) {
			return nil // also what we cannot look at stays hidden
		}
	}
	return unix.Unlinkat(dir, c.name, 0)
}

// fill gives a borrowed file the content that it is a hard link to. Other names of
// the same file may have filled it already; that does not hurt.
func (f finisher) fill(c *node, dir int) error {
	s, err := f.lower.find(c.target)
	switch {
	case isAbsent(err):
		return &EntryError{"a hard link to " + c.target + ", which no layer below has"}
	case err != nil:
		return err
	case s.isLink():
		target, err := s.readLink()
		if err != nil {
			return err
		}
		if err := unix.Unlinkat(dir, c.name, 0); err != nil {
			return err
		}
		return unix.Symlinkat(target, dir, c.name)
	case !s.isFile():
		return &EntryError{"a hard link to " + c.target + ", which is not a file in the layer below"}
	}
	const flags = unix.O_WRONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if err := unix.Fchmodat(dir, c.name, 0o600, 0); err != nil {
		return err
	}
	fd, err := unix.Openat(dir, c.name, flags, 0)
	if err != nil {
		return err
	}
	return s.copyTo(fd)
}

func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}
