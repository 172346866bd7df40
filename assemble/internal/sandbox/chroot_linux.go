//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// enterChroot is the rung without mounts: no /proc, hardly a /dev, and what is
// elsewhere mounted is written into the private tree.
func enterChroot(s *spec, out *reporter) (stage string, err error) {
	unix.Umask(0)
	defer unix.Umask(0o022)
	if err := unix.Chroot(s.Upper); err != nil {
		return StageRoot, fmt.Errorf("chroot: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return StageRoot, fmt.Errorf("chdir: %w", err)
	}
	if s.Job != jobRun {
		return "", nil
	}
	in, err := newInside(out.made)
	if err != nil {
		return StageRoot, err
	}
	defer unix.Close(in.root)
	if err := in.devices(out); err != nil {
		return StageMount, err
	}
	for _, t := range s.Tmpfs {
		fd, err := in.dir(t.Target)
		if err != nil {
			return StageMount, err
		}
		unix.Close(fd)
		if err := in.tell(t.Target, out); err != nil {
			return StageMount, err
		}
	}
	for _, f := range s.Files {
		if err := in.write(f); err != nil {
			return StageMount, err
		}
		if err := in.tell(f.Target, out); err != nil {
			return StageMount, err
		}
	}
	return "", nil
}

func (in *inside) devices(out *reporter) error {
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}} {
		fd, err := in.dir("/dev")
		if err != nil {
			return err
		}
		err = unix.Mknodat(fd, d.name, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor)))
		unix.Close(fd)
		switch {
		case err == nil:
			out.made("/dev/" + d.name)
		case errors.Is(err, unix.EEXIST):
		case d.name == "null":
			out.warn("this host allows no device nodes: /dev/null is a plain file")
			if fd, err = in.file("/dev/null"); err != nil {
				return err
			}
			unix.Close(fd)
			if err := os.Chmod("/dev/null", 0o666); err != nil {
				return err
			}
		}
		if err := in.tell("/dev/"+d.name, out); err != nil {
			return err
		}
	}
	return nil
}

// tell says that what has a name is not the step's.
func (in *inside) tell(name string, out *reporter) error {
	real, err := in.real(path.Clean("/"+name), maxLinks)
	if errors.Is(err, unix.ENOENT) {
		return nil // a file that the image had no use for
	}
	if err == nil {
		out.ours(real)
	}
	return err
}

// real is a name without symlinks.
func (in *inside) real(name string, links int) (string, error) {
	dir, err := in.open(path.Dir(name), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	parent, err := realPath(dir)
	if err != nil {
		return "", err
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, path.Base(name), buf)
	if err != nil {
		return path.Join(parent, path.Base(name)), nil
	}
	if links == 0 {
		return "", unix.ELOOP
	}
	target := string(buf[:n])
	if !path.IsAbs(target) {
		target = path.Join(parent, target)
	}
	return in.real(path.Clean(target), links-1)
}

// write puts a file of ours into the private tree.
func (in *inside) write(f file) error {
	if !in.wants(f) {
		return nil
	}
	fd, err := in.file(f.Target)
	if err != nil {
		return err
	}
	unix.Close(fd)
	if fd, err = in.open(f.Target, unix.O_WRONLY|unix.O_TRUNC, 0); err != nil {
		return err
	}
	w := os.NewFile(uintptr(fd), f.Target)
	_, err = w.Write(f.Data)
	return errors.Join(err, w.Chmod(os.FileMode(f.Mode)), w.Close())
}

// unwrite takes away again what must not stay: the secrets.
func unwrite(files []file) error {
	in, err := newInside(nil)
	if err != nil {
		return err
	}
	defer unix.Close(in.root)
	for _, f := range files {
		if !f.ReadOnly {
			continue
		}
		dir, err := in.open(path.Dir(f.Target), unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		err = unix.Unlinkat(dir, path.Base(f.Target), 0)
		unix.Close(dir)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("removing %q: %w", f.Target, err)
		}
	}
	return nil
}
