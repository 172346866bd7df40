//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const originAttr = "user.overlay.origin"

// remember takes the snapshot that separate compares with.
func (s *Sandbox) remember() error {
	fd, err := unix.Open(s.upper(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	s.before, err = snapshot(fd, 0)
	return err
}

// separate moves what was changed in the private tree to dir, in the form of an
// overlay's upper directory. No process of a step is left that could interfere.
func (s *Sandbox) separate(dir string) (err error) {
	from, err := unix.Open(s.upper(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	to, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	top := &shadow{fd: to, there: true}
	x := &separator{ours: s.ours}
	err = x.dir("", from, s.before, top, 0)
	return errors.Join(err, unix.Fchmod(to, st.Mode&0o7777), unix.Close(to))
}

// shadow is a directory of the changes, made when something goes into it.
type shadow struct {
	parent *shadow
	name   string
	of     *unix.Stat_t // the directory of the private tree
	owner  []byte       // what is noted on that
	fd     int
	there  bool
}

func (w *shadow) open() (int, error) {
	if w.there {
		return w.fd, nil
	}
	parent, err := w.parent.open()
	if err != nil {
		return -1, err
	}
	if err := unix.Mkdirat(parent, w.name, 0o700); err != nil {
		return -1, err
	}
	w.fd, err = unix.Openat(parent, w.name,
		unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	w.there = err == nil
	return w.fd, err
}

// close gives it what its original has.
func (w *shadow) close() error {
	if !w.there {
		return nil
	}
	err := unix.Fsetxattr(w.fd, originAttr, nil, 0)
	if err == nil && w.owner != nil {
		err = unix.Fsetxattr(w.fd, ownerAttr, w.owner, 0)
	}
	times := []unix.Timespec{w.of.Atim, w.of.Mtim}
	return errors.Join(err, unix.Fchmod(w.fd, w.of.Mode&0o7777),
		unix.UtimesNanoAt(unix.AT_FDCWD, fdPath(w.fd), times, 0), unix.Close(w.fd))
}

func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

type separator struct{ ours map[string]bool }

// dir compares a directory with what was in it.
func (x *separator) dir(name string, from int, was map[string]*mark, to *shadow, depth int) error {
	seen := map[string]bool{}
	err := eachIn(from, func(kid string, st *unix.Stat_t) error {
		seen[kid] = true
		full := path.Join(name, kid)
		if x.ours[full] {
			return nil
		}
		if err := x.one(full, from, st, was[kid], to, depth); err != nil {
			return fmt.Errorf("%q: %w", full, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for kid := range was {
		if seen[kid] || x.ours[path.Join(name, kid)] {
			continue
		}
		fd, err := to.open()
		if err == nil {
			err = unix.Mknodat(fd, kid, unix.S_IFCHR, 0)
		}
		if err != nil {
			return fmt.Errorf("a whiteout for %q: %w", path.Join(name, kid), err)
		}
	}
	return nil
}

func (x *separator) one(full string, from int, st *unix.Stat_t, was *mark, to *shadow,
	depth int) error {
	kid, now := path.Base(full), markOf(st)
	switch {
	case was == nil:
		return x.move(full, from, st, to, depth)
	case was.isDir() && now.isDir() && was.ino == now.ino:
		return x.kept(full, from, st, was, to, depth)
	case was.same(now):
		return nil
	}
	if err := x.move(full, from, st, to, depth); err != nil {
		return err
	}
	switch {
	case now.isDir():
		return setAttrAt(to.fd, kid, opaqueAttr, []byte("y"))
	case was.ino == now.ino && st.Mode&unix.S_IFMT == unix.S_IFREG:
		return setAttrAt(to.fd, kid, originAttr, nil) // changed, not replaced
	}
	return nil
}

// kept is a directory that was there before.
func (x *separator) kept(full string, from int, st *unix.Stat_t, was *mark, to *shadow,
	depth int) error {
	fd, err := openDirAt(from, path.Base(full), st, depth)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	sub := &shadow{parent: to, name: path.Base(full), of: st, owner: attrOf(fd, ownerAttr)}
	if st.Mode != was.mode || string(sub.owner) != was.owner {
		_, err = sub.open()
	}
	if err == nil {
		err = x.dir(full, fd, was.kids, sub, depth+1)
	}
	return errors.Join(err, sub.close())
}

// move takes what is new. A directory is taken whole, but for what is ours in it.
func (x *separator) move(full string, from int, st *unix.Stat_t, to *shadow, depth int) error {
	kid := path.Base(full)
	fd, err := to.open()
	if err != nil {
		return err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if isDir {
		if err := x.removeOurs(full, from, st, depth); err != nil {
			return err
		}
		// To move a directory needs the right to write to it.
		if err := unix.Fchmodat(from, kid, st.Mode&0o7777|0o700, 0); err != nil {
			return err
		}
	}
	if err := unix.Renameat(from, kid, fd, kid); err != nil {
		return err
	}
	if isDir {
		return unix.Fchmodat(fd, kid, st.Mode&0o7777, 0)
	}
	return nil
}

// removeOurs removes from a directory that is new what the step did not put there.
func (x *separator) removeOurs(full string, from int, st *unix.Stat_t, depth int) error {
	for name := range x.ours {
		rel, err := filepath.Rel(full, name)
		if err != nil || !filepath.IsLocal(rel) || rel == "." {
			continue
		}
		dir, err := openDirAt(from, path.Base(full), st, depth)
		if err != nil {
			return err
		}
		root, err := os.OpenRoot(fdPath(dir))
		unix.Close(dir)
		if err != nil {
			return err
		}
		err = errors.Join(root.RemoveAll(rel), root.Close())
		if err != nil {
			return err
		}
	}
	return nil
}

// setAttrAt sets an attribute of a file or directory that is no symlink, and may have
// any mode.
func setAttrAt(dir int, name, attr string, value []byte) error {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	// A file's user.* attributes are written by who may write the file.
	if st.Mode&0o200 == 0 {
		if err := unix.Fchmodat(dir, name, st.Mode&0o7777|0o200, 0); err != nil {
			return err
		}
	}
	err = unix.Setxattr(fdPath(fd), attr, value, 0)
	if st.Mode&0o200 == 0 {
		err = errors.Join(err, unix.Fchmodat(dir, name, st.Mode&0o7777, 0))
	}
	return err
}
