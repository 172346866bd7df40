//go:build amd64 || arm64

package sandbox

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// export writes a tar of what has a name inside, to w: of a directory the entries
// below it, named relative to it and sorted, after "./" itself; of anything else one
// entry with its base name. It runs in the root, alone, and follows symlinks only in
// the name it is given.
func export(name string, w io.Writer) error {
	in, err := newInside(nil)
	if err != nil {
		return err
	}
	defer unix.Close(in.root)
	x := &exporter{tar.NewWriter(w), map[inode]string{}}
	if err := x.top(in, path.Clean("/"+name)); err != nil {
		return fmt.Errorf("reading %q inside: %w", name, err)
	}
	return x.w.Close()
}

type inode struct{ dev, ino uint64 }

type exporter struct {
	w     *tar.Writer
	first map[inode]string // the first name of a file that has several
}

// maxDepth is how many directories may lie in one another: each holds a descriptor.
const maxDepth = 512

func (x *exporter) top(in *inside, name string) error {
	fd, err := in.open(name, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	unix.Close(fd)
	if err != nil {
		return err
	}
	open := func() (int, error) { return in.open(name, unix.O_RDONLY|unix.O_NONBLOCK, 0) }
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		// Not a symlink: these were followed.
		return x.entry(-1, path.Base(name), path.Base(name), &st, open)
	}
	if fd, err = open(); err != nil {
		return err
	}
	return x.dir(fd, "./", &st)
}

// dir closes fd.
func (x *exporter) dir(fd int, name string, st *unix.Stat_t) error {
	d := os.NewFile(uintptr(fd), name)
	defer d.Close()
	if err := x.w.WriteHeader(header(name, tar.TypeDir, st)); err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, n := range names {
		if err := x.child(fd, n, path.Join(name, n)); err != nil {
			return err
		}
	}
	return nil
}

func (x *exporter) child(dir int, base, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("reading %q: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return x.entry(dir, base, name, &st, func() (int, error) {
			return unix.Openat(dir, base,
				unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		})
	}
	if depth(name) > maxDepth {
		return fmt.Errorf("%q: more than %d directories in one another", name, maxDepth)
	}
	fd, err := unix.Openat(dir, base,
		unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %q: %w", name, err)
	}
	return x.dir(fd, name+"/", &st)
}

func depth(name string) (n int) {
	for _, c := range name {
		if c == '/' {
			n++
		}
	}
	return n
}

// entry writes what is no directory. Sockets have no place in a tar and are left out.
func (x *exporter) entry(dir int, base, name string, st *unix.Stat_t,
	open func() (int, error)) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return x.file(name, st, open)
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, base, buf)
		if err != nil {
			return fmt.Errorf("reading %q: %w", name, err)
		}
		h := header(name, tar.TypeSymlink, st)
		h.Linkname = string(buf[:n])
		return x.w.WriteHeader(h)
	case unix.S_IFIFO:
		return x.w.WriteHeader(header(name, tar.TypeFifo, st))
	case unix.S_IFCHR, unix.S_IFBLK:
		h := header(name, tar.TypeChar, st)
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		return x.w.WriteHeader(h)
	}
	return nil
}

func (x *exporter) file(name string, st *unix.Stat_t, open func() (int, error)) error {
	h := header(name, tar.TypeReg, st)
	if st.Nlink > 1 {
		id := inode{st.Dev, st.Ino}
		if first, ok := x.first[id]; ok {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return x.w.WriteHeader(h)
		}
		x.first[id] = name
	}
	h.Size = st.Size
	fd, err := open()
	if err != nil {
		return fmt.Errorf("opening %q: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if err := x.w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(x.w, io.LimitReader(f, st.Size))
	return err
}

func header(name string, kind byte, st *unix.Stat_t) *tar.Header {
	return &tar.Header{
		Name: name, Typeflag: kind, Mode: int64(st.Mode & 0o7777),
		Uid: int(st.Uid), Gid: int(st.Gid), ModTime: time.Unix(st.Mtim.Unix()),
		Format: tar.FormatPAX,
	}
}

// extract writes a tar below a directory of the root, which is made if missing. What
// has a name already is replaced, but directories are kept; symlinks on the way are
// followed, inside.
func extract(below string, r io.Reader, owners bool) error {
	in, err := newInside(nil)
	if err != nil {
		return err
	}
	defer unix.Close(in.root)
	unix.Umask(0)
	x := &extractor{in: in, below: path.Clean("/" + below), owners: owners}
	fd, err := in.dir(x.below)
	if err != nil {
		return err
	}
	unix.Close(fd)
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return x.finish()
		}
		if err != nil {
			return fmt.Errorf("reading the tar: %w", err)
		}
		if err := x.entry(h, t); err != nil {
			return fmt.Errorf("writing %q inside: %w", h.Name, err)
		}
	}
}

type extractor struct {
	in     *inside
	below  string
	owners bool
	dirs   []*tar.Header // their times come last, for writing into them changes them
}

func (x *extractor) path(name string) string { return path.Join(x.below, path.Clean("/"+name)) }

func (x *extractor) entry(h *tar.Header, r io.Reader) error {
	name := x.path(h.Name)
	if h.Typeflag == tar.TypeDir {
		if name == x.below {
			return nil
		}
		fd, err := x.in.dir(name)
		if err != nil {
			return err
		}
		x.dirs = append(x.dirs, h)
		return unix.Close(fd)
	}
	parent, err := x.in.dir(path.Dir(name))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	base := path.Base(name)
	if err := unix.Unlinkat(parent, base, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err // a directory stays
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return x.file(parent, base, h, r)
	case tar.TypeSymlink:
		if err := unix.Symlinkat(h.Linkname, parent, base); err != nil {
			return err
		}
		return x.owner(parent, base, h)
	case tar.TypeLink:
		from, err := x.in.dir(path.Dir(x.path(h.Linkname)))
		if err != nil {
			return err
		}
		defer unix.Close(from)
		return unix.Linkat(from, path.Base(h.Linkname), parent, base, 0)
	}
	return fmt.Errorf("entries of type %q are not taken", h.Typeflag)
}

func (x *extractor) file(dir int, base string, h *tar.Header, r io.Reader) (err error) {
	fd, err := unix.Openat(dir, base,
		unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	if err := x.owner(dir, base, h); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, uint32(h.Mode&0o7777)); err != nil {
		return err
	}
	return touch(dir, base, h)
}

func (x *extractor) owner(dir int, base string, h *tar.Header) error {
	if !x.owners {
		return nil
	}
	return unix.Fchownat(dir, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW)
}

func touch(dir int, base string, h *tar.Header) error {
	t, err := unix.TimeToTimespec(h.ModTime)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, base, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

func (x *extractor) finish() error {
	for _, h := range slices.Backward(x.dirs) {
		fd, err := x.in.open(x.path(h.Name), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		err = errors.Join(x.owner(fd, ".", h), unix.Fchmod(fd, uint32(h.Mode&0o7777)),
			touch(fd, ".", h), unix.Close(fd))
		if err != nil {
			return fmt.Errorf("finishing %q inside: %w", h.Name, err)
		}
	}
	return nil
}
