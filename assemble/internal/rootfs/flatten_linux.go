package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// copiers is how many files are copied at the same time.
const copiers = 4

// Flatten is Flatten of the image's layers.
func (r *Rootfs) Flatten(ctx context.Context, dst string) error {
	return Flatten(ctx, r.Layers, dst)
}

// Flatten copies a stack of layers and steps, bottom first, into one tree, as
// overlayfs would show them, for where that cannot be mounted. dst must not exist;
// its parent should be private, as set-uid files are copied as such. The copy shares
// blocks with the store where the file system can do that, but never a file: a build
// may write into it. A directory that its owner may not enter stops a plain user.
// After an error dst is gone.
func Flatten(ctx context.Context, dirs []string, dst string) (err error) {
	if err := os.Mkdir(dst, 0o700); err != nil {
		return fmt.Errorf("copying the layers: %w", err)
	}
	defer func() {
		if err == nil {
			return
		}
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			err = &SpaceError{filepath.Dir(dst), err}
		}
		err = errors.Join(err, removeTree(dst))
	}()
	f := &flattener{view: newView(dirs), links: map[inode]string{}}
	root, err := f.view.root()
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(copiers)
	err = f.directory(gctx, g, root, dst)
	// An error of a copier cancels gctx, and is then the one to tell.
	if gerr := g.Wait(); gerr != nil {
		err = gerr
	}
	if err == nil {
		err = f.close()
	}
	if err != nil {
		return fmt.Errorf("copying the layers: %w", err)
	}
	return nil
}

type inode struct{ dev, ino uint64 }

type flattener struct {
	view  View
	links map[inode]string // files with several names, by their first copy
	dirs  []copiedDir      // parents first
}

type copiedDir struct {
	spot
	name string
}

func (f *flattener) directory(ctx context.Context, g *errgroup.Group, s spot, dst string) error {
	f.dirs = append(f.dirs, copiedDir{s, dst})
	names, err := f.view.names(s)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		c, err := f.view.child(s, name)
		if isAbsent(err) {
			continue // a whiteout
		}
		if err == nil {
			err = f.entry(ctx, g, c, dst+"/"+name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *flattener) entry(ctx context.Context, g *errgroup.Group, s spot, dst string) error {
	switch fileType(s.stat) {
	case unix.S_IFDIR:
		if err := os.Mkdir(dst, 0o700); err != nil {
			return err
		}
		return f.directory(ctx, g, s, dst)
	case unix.S_IFREG:
		return f.file(g, s, dst)
	case unix.S_IFLNK:
		target, err := s.readLink()
		if err != nil {
			return err
		}
		if err := os.Symlink(target, dst); err != nil {
			return err
		}
		return setTimeAt(dst, s.stat)
	case unix.S_IFIFO:
		if err := unix.Mkfifo(dst, 0o600); err != nil {
			return &os.PathError{Op: "mkfifo", Path: dst, Err: err}
		}
		if err := unix.Chmod(dst, s.stat.Mode&permissions); err != nil {
			return err
		}
		return setTimeAt(dst, s.stat)
	}
	return nil // an upper directory may hold sockets
}

// file makes the copy here, so that later names of the same file find it, and has
// it filled by another goroutine.
func (f *flattener) file(g *errgroup.Group, s spot, dst string) error {
	key := inode{uint64(s.stat.Dev), s.stat.Ino}
	if first, ok := f.links[key]; ok {
		return os.Link(first, dst)
	}
	if s.stat.Nlink > 1 {
		f.links[key] = dst
	}
	const flags = unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Open(dst, flags, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: dst, Err: err}
	}
	g.Go(func() error {
		if err := s.copyTo(fd); err != nil {
			return &os.PathError{Op: "write", Path: dst, Err: err}
		}
		return nil
	})
	return nil
}

// close gives the directories their modes and times, children before parents.
func (f *flattener) close() error {
	for _, d := range slices.Backward(f.dirs) {
		fd, err := unix.Open(d.name, dirFlags, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: d.name, Err: err}
		}
		src, err := openReadable(d.paths[0], unix.O_DIRECTORY)
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		err = copyXattrs(fd, int(src.Fd()))
		err = errors.Join(err, unix.Fchmod(fd, d.stat.Mode&permissions), setTimeFD(fd, timesIn(d.stat)),
			src.Close(), unix.Close(fd))
		if err != nil {
			return &os.PathError{Op: "write", Path: d.name, Err: err}
		}
	}
	return nil
}

func setTimeAt(name string, st *unix.Stat_t) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, name, timesIn(st), unix.AT_SYMLINK_NOFOLLOW)
}
