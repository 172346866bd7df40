package rootfs

import (
	"archive/tar"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	permissions = 0o7777
	xattrRecord = "SCHILY.xattr."
)

// make writes one entry that is neither the root nor a whiteout.
func (x *extraction) make(parent *node, base string, h *tar.Header, body io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		n, err := x.mkdir(parent, base, true)
		if err != nil {
			return err
		}
		return x.describe(n, h)
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return x.file(parent, base, h, body)
	case tar.TypeLink:
		return x.link(parent, base, h)
	case tar.TypeSymlink:
		return x.symlink(parent, base, h)
	case tar.TypeFifo:
		return x.fifo(parent, base, h)
	case tar.TypeChar, tar.TypeBlock:
		return x.device(parent, base, h)
	}
	return &EntryError{"it is of an unknown type"}
}

// describe keeps what a tar says of a directory, until finish.
func (x *extraction) describe(n *node, h *tar.Header) error {
	x.owners.add(n.path(), h)
	n.named, n.mode, n.mtime = true, uint32(h.Mode)&permissions, h.ModTime
	if !hasXattrs(h) {
		return nil
	}
	fd, err := openBeneath(x.fd, n.path())
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return x.xattrs(fd, h)
}

// put makes an entry that is not a directory with the function it is given, after
// removing what this layer has there. Nothing is ever written through an old
// entry, which may be a link to a file that stays.
func (x *extraction) put(
	parent *node, base string, h *tar.Header, create func(fd int) error,
) error {
	replaced := false
	if c := parent.children[base]; c != nil {
		replaced = true
		if err := x.clear(parent, base); err != nil {
			return err
		}
	}
	fd, err := x.at(parent)
	if err != nil {
		return err
	}
	err = create(fd)
	if err == unix.EEXIST && !replaced {
		replaced = true
		if err = unix.Unlinkat(fd, base, 0); err == nil {
			err = create(fd)
		}
	}
	if err == nil {
		x.owners.add(path.Join(parent.path(), base), h)
	}
	return err
}

func (x *extraction) file(parent *node, base string, h *tar.Header, body io.Reader) error {
	return x.put(parent, base, h, func(dir int) (err error) {
		const flags = unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
		fd, err := unix.Openat(dir, base, flags, 0o600)
		if err != nil {
			return err
		}
		defer func() {
			if cerr := unix.Close(fd); err == nil {
				err = cerr // a quota on a network file system shows here
			}
		}()
		if _, err := io.CopyBuffer(fdWriter(fd), struct{ io.Reader }{body}, x.buf); err != nil {
			return err
		}
		if hasXattrs(h) {
			if err := x.xattrs(fd, h); err != nil {
				return err
			}
		}
		if err := unix.Fchmod(fd, uint32(h.Mode)&permissions); err != nil {
			return err
		}
		return setTime(dir, base, h)
	})
}

// fdWriter writes to a descriptor without the poller and finalizer of an
// os.File, of which there would be one for each file of the image.
type fdWriter int

func (fd fdWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := unix.Write(int(fd), p[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

func (x *extraction) symlink(parent *node, base string, h *tar.Header) error {
	err := x.put(parent, base, h, func(dir int) error {
		if err := unix.Symlinkat(h.Linkname, dir, base); err != nil {
			return err
		}
		return setTime(dir, base, h)
	})
	if err != nil {
		return err
	}
	_, err = x.keep(parent, &node{kind: linkNode, name: base, target: h.Linkname})
	return err
}

func (x *extraction) fifo(parent *node, base string, h *tar.Header) error {
	return x.put(parent, base, h, func(dir int) error {
		if err := unix.Mknodat(dir, base, unix.S_IFIFO|0o600, 0); err != nil {
			return err
		}
		if err := unix.Fchmodat(dir, base, uint32(h.Mode)&permissions, 0); err != nil {
			return err
		}
		return setTime(dir, base, h)
	})
}

// device leaves one out: mknod needs a privilege, even in a user namespace.
func (x *extraction) device(parent *node, base string, h *tar.Header) error {
	x.stats.Devices++
	x.owners.device(path.Join(parent.path(), base), h)
	return nil
}

func setTime(dir int, base string, h *tar.Header) error {
	return unix.UtimesNanoAt(dir, base, timesOf(h.ModTime), unix.AT_SYMLINK_NOFOLLOW)
}

// link makes a hard link. A target that this layer does not have is one of a
// layer below: its place is held until finish.
func (x *extraction) link(parent *node, base string, h *tar.Header) error {
	dir, last := path.Split(clean(h.Linkname))
	at, below, err := x.top.find(path.Clean(dir))
	if err != nil {
		return err
	}
	if below != "" {
		return x.borrow(parent, base, h, clean(path.Join(at.path(), below, last)))
	}
	n := at.children[last]
	switch {
	case n == nil || n.kind == borrowedNode:
	case n.kind == linkNode && !n.virtual:
	case n.virtual:
		return x.borrow(parent, base, h, clean(path.Join(at.path(), last)))
	case n.kind == whiteoutNode:
		return &EntryError{"a hard link to a name that the same layer deletes"}
	default:
		return &EntryError{"a hard link to a directory"}
	}
	if at == parent && last == base {
		return nil // to itself
	}
	return x.linkNear(parent, base, h, at, last)
}

// linkNear links to what the layer itself may have.
func (x *extraction) linkNear(
	parent *node, base string, h *tar.Header, at *node, last string,
) error {
	from, err := openBeneath(x.fd, at.path())
	if err != nil {
		if err == unix.ENOENT { // a planted directory
			return x.borrow(parent, base, h, clean(path.Join(at.path(), last)))
		}
		return err
	}
	defer unix.Close(from)
	var st unix.Stat_t
	err = unix.Fstatat(from, last, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return x.borrow(parent, base, h, clean(path.Join(at.path(), last)))
	}
	if err != nil {
		return err
	}
	n := at.children[last]
	err = x.put(parent, base, h, func(dir int) error {
		return unix.Linkat(from, last, dir, base, 0)
	})
	if err == nil && n != nil {
		_, err = x.keep(parent, &node{kind: n.kind, name: base, target: n.target})
	}
	return err
}

func (x *extraction) borrow(parent *node, base string, h *tar.Header, target string) error {
	err := x.put(parent, base, h, func(dir int) error {
		fd, err := unix.Openat(dir, base, unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})
	if err == nil {
		_, err = x.keep(parent, &node{kind: borrowedNode, name: base, target: target})
	}
	return err
}

// whiteout hides a name of the layers below. An entry of the same layer stays,
// whichever comes first in the tar.
func (x *extraction) whiteout(parent *node, name string) error {
	c := parent.children[name]
	if c != nil && c.kind == dirNode && !c.virtual {
		x.hide(c)
		return nil
	}
	if c != nil && !c.virtual {
		return nil
	}
	fd, err := x.at(parent)
	if err != nil {
		return err
	}
	err = unix.Mknodat(fd, name, unix.S_IFCHR, 0)
	switch err {
	case nil:
	case unix.EEXIST:
		return nil
	case unix.EPERM, unix.ENOTSUP, unix.EINVAL:
		return errNoWhiteouts
	default:
		return err
	}
	if c != nil {
		x.dropOpen(parent, name)
	}
	_, err = x.keep(parent, &node{kind: whiteoutNode, name: name})
	return err
}

func hasXattrs(h *tar.Header) bool {
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, xattrRecord) {
			return true
		}
	}
	return false
}

// xattrs sets the attributes of user.*, which any owner may set, except those
// by which overlayfs is told what to show.
func (x *extraction) xattrs(fd int, h *tar.Header) error {
	size := 0
	for k, v := range h.PAXRecords {
		name, ok := strings.CutPrefix(k, xattrRecord)
		if !ok {
			continue
		}
		if size += len(name) + len(v); size > x.limits.XattrBytes {
			return &LimitError{"bytes of extended attributes in an entry", int64(x.limits.XattrBytes)}
		}
		if !strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "user.overlay.") {
			x.stats.Xattrs++
			continue
		}
		switch err := unix.Fsetxattr(fd, name, []byte(v), 0); err {
		case nil:
		case unix.ENOTSUP, unix.ENOSPC, unix.E2BIG, unix.ERANGE:
			// None, no more or no larger ones on this file system. Its ENOSPC says
			// that of the room for attributes also on an empty disk.
			x.stats.Xattrs++
		default:
			return err
		}
	}
	return nil
}
