package rootfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A View reads a stack of layer directories as overlayfs would show them. Names
// are resolved inside it: an absolute symlink starts at its root, and ".." ends
// there. The directories must not change meanwhile.
type View struct {
	dirs []string // nearest first
}

// newView takes directories bottom first.
func newView(dirs []string) View {
	v := View{slices.Clone(dirs)}
	slices.Reverse(v.dirs)
	return v
}

// A spot is what a View shows at a name.
type spot struct {
	stat *unix.Stat_t
	// paths has one element, but for a directory all that are merged there,
	// nearest first. No element of them is a symlink.
	paths []string
}

func (s spot) isDir() bool  { return fileType(s.stat) == unix.S_IFDIR }
func (s spot) isFile() bool { return fileType(s.stat) == unix.S_IFREG }
func (s spot) isLink() bool { return fileType(s.stat) == unix.S_IFLNK }

func (s spot) readLink() (string, error) { return os.Readlink(s.paths[0]) }

func (v View) root() (spot, error) {
	if len(v.dirs) == 0 {
		return spot{}, unix.ENOENT
	}
	st, err := lstat(v.dirs[0])
	return spot{st, v.dirs}, err
}

// child looks up one name in a directory. What is not there, or not in a
// directory, is ENOENT.
func (v View) child(dir spot, name string) (spot, error) {
	var found spot
	for _, p := range dir.paths {
		p += "/" + name
		st, err := lstat(p)
		switch {
		case errors.Is(err, unix.ENOENT):
			continue
		case err != nil:
			return spot{}, err
		case fileType(st) != unix.S_IFDIR && (found.stat != nil || isWhiteout(st)):
			return found.orAbsent(name)
		}
		if found.stat == nil {
			found.stat = st
		}
		found.paths = append(found.paths, p)
		if fileType(st) != unix.S_IFDIR || isOpaque(p) {
			return found, nil
		}
	}
	return found.orAbsent(name)
}

func (s spot) orAbsent(name string) (spot, error) {
	if s.stat == nil {
		return spot{}, &os.PathError{Op: "lstat", Path: name, Err: unix.ENOENT}
	}
	return s, nil
}

// find looks up a clean name and follows no symlink.
func (v View) find(name string) (spot, error) {
	s, err := v.root()
	if err != nil || name == "." {
		return s, err
	}
	for part := range strings.SplitSeq(name, "/") {
		if !s.isDir() {
			return spot{}, unix.ENOTDIR
		}
		if s, err = v.child(s, part); err != nil {
			return spot{}, err
		}
	}
	return s, nil
}

// follow looks up a name through symlinks, the last one only if asked to.
func (v View) follow(name string, last bool) (spot, error) {
	root, err := v.root()
	if err != nil {
		return spot{}, err
	}
	trail := []spot{root}
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		at := trail[len(trail)-1]
		switch {
		case part == "" || part == ".":
			continue
		case !at.isDir():
			return spot{}, unix.ENOTDIR
		case part == "..":
			trail = trail[:max(1, len(trail)-1)]
			continue
		}
		s, err := v.child(at, part)
		if err != nil {
			return spot{}, err
		}
		if !s.isLink() || !last && len(rest) == 0 {
			trail = append(trail, s)
			continue
		}
		if links++; links > maxLinks {
			return spot{}, unix.ELOOP
		}
		target, err := s.readLink()
		if err != nil {
			return spot{}, err
		}
		if path.IsAbs(target) {
			trail = trail[:1]
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return trail[len(trail)-1], nil
}

// names lists a directory, sorted.
func (v View) names(dir spot) ([]string, error) {
	var all []string
	for _, p := range dir.paths {
		f, err := openReadable(p, unix.O_DIRECTORY)
		if err != nil {
			return nil, err
		}
		names, err := f.Readdirnames(-1)
		f.Close()
		if err != nil {
			return nil, err
		}
		all = append(all, names...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// ReadFile reads a regular file of at most limit bytes.
func (v View) ReadFile(name string, limit int64) ([]byte, error) {
	s, err := v.follow(name, true)
	if err == nil && !s.isFile() {
		err = errors.New("it is not a regular file")
	}
	if err == nil && s.stat.Size > limit {
		err = &LimitError{"bytes", limit}
	}
	if err != nil {
		return nil, fmt.Errorf("reading %q of the image: %w", name, err)
	}
	f, err := openReadable(s.paths[0], 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// openReadable opens a file or directory of the caller's also when its mode does
// not let the caller read it, as with /etc/shadow of some images. Inside a user
// namespace root may read it; here the mode is changed for a moment.
func openReadable(name string, flags int) (*os.File, error) {
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	f, err := os.OpenFile(name, flags, 0)
	if !errors.Is(err, unix.EACCES) {
		return f, err
	}
	st, serr := lstat(name)
	if serr != nil || fileType(st) == unix.S_IFLNK {
		return nil, err
	}
	if unix.Chmod(name, st.Mode&permissions|0o400) != nil {
		return nil, err
	}
	f, err = os.OpenFile(name, flags, 0)
	return f, errors.Join(err, unix.Chmod(name, st.Mode&permissions))
}
