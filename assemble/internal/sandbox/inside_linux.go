//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// inside resolves names in the new root, once it is the root. No name of it leads
// through a magic link of /proc: these could point to what process 1 still holds
// open of the host.
type inside struct {
	root int
	// made is told the real path of what create had to make; may be nil.
	made func(name string)
}

// maxLinks is how many dangling symlinks create follows by hand.
const maxLinks = 40

func newInside(made func(string)) (*inside, error) {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the root: %w", err)
	}
	return &inside{fd, made}, nil
}

// open is openat2 below the root; symlinks are followed, but for the last one
// with O_NOFOLLOW.
func (in *inside) open(name string, flags, mode uint64) (int, error) {
	how := unix.OpenHow{
		Flags: flags | unix.O_CLOEXEC, Mode: mode,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(in.root, path.Clean("/"+name), &how)
		// EAGAIN: a rename elsewhere raced with a "..".
		if tries < 100 && (errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)) {
			continue
		}
		if err != nil {
			return -1, fmt.Errorf("opening %q inside: %w", name, err)
		}
		return fd, nil
	}
}

// dir opens a directory, and makes it and its parents if they are missing.
func (in *inside) dir(name string) (int, error) {
	fd, err := in.create(path.Clean("/"+name), true, maxLinks)
	if err != nil {
		return -1, fmt.Errorf("making directory %q inside: %w", name, err)
	}
	return fd, nil
}

// file is dir for a regular file.
func (in *inside) file(name string) (int, error) {
	fd, err := in.create(path.Clean("/"+name), false, maxLinks)
	if err != nil {
		return -1, fmt.Errorf("making file %q inside: %w", name, err)
	}
	return fd, nil
}

func (in *inside) create(name string, dir bool, links int) (int, error) {
	flags := uint64(unix.O_PATH)
	if dir {
		flags |= unix.O_DIRECTORY
	}
	fd, err := in.open(name, flags, 0)
	if err == nil || !errors.Is(err, unix.ENOENT) || name == "/" {
		return fd, err
	}
	parent, err := in.create(path.Dir(name), true, links)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	real, err := realPath(parent)
	if err != nil {
		return -1, err
	}
	base := path.Base(name)
	buf := make([]byte, unix.PathMax)
	if n, err := unix.Readlinkat(parent, base, buf); err == nil { // it dangles
		if links == 0 {
			return -1, unix.ELOOP
		}
		target := string(buf[:n])
		if !path.IsAbs(target) {
			target = path.Join(real, target)
		}
		return in.create(path.Clean(target), dir, links-1)
	}
	if err := makeAt(parent, base, dir); err != nil {
		return -1, err
	}
	if in.made != nil {
		in.made(path.Join(real, base))
	}
	return in.open(path.Join(real, base), flags|unix.O_NOFOLLOW, 0)
}

func makeAt(parent int, base string, dir bool) error {
	if dir {
		return unix.Mkdirat(parent, base, 0o755)
	}
	fd, err := unix.Openat(parent, base,
		unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// realPath is the path of a directory without symlinks. It needs no /proc; it
// changes the working directory.
func realPath(dir int) (string, error) {
	if err := unix.Fchdir(dir); err != nil {
		return "", fmt.Errorf("fchdir: %w", err)
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buf)
	if err != nil || n < 2 || buf[0] != '/' { // "(unreachable)..." is not inside
		return "", fmt.Errorf("getcwd: %w", errors.Join(err, unix.ENOENT))
	}
	return string(buf[:n-1]), nil
}
