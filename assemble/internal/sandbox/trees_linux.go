//go:build amd64 || arm64

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

func treesOf(mounts []TreeMount) (trees []tree) {
	for _, m := range mounts {
		trees = append(trees, tree{
			Lower: m.Lower, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly,
		})
	}
	return trees
}

// treesDir has what the trees of the step that runs need on disk.
func (s *Sandbox) treesDir() string { return filepath.Join(s.dir, "trees") }

// plantTrees makes on the present rung what the trees of a step need on disk. What the
// step writes there is discarded by dropTrees.
func (s *Sandbox) plantTrees(ctx context.Context, trees []tree) error {
	if len(trees) == 0 {
		return nil
	}
	if err := s.dropTrees(); err != nil {
		return err
	}
	for i := range trees {
		t := &trees[i]
		dir := filepath.Join(s.treesDir(), strconv.Itoa(i))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("mounting at %q: %w", t.Target, err)
		}
		plant := s.plantOverlay
		if s.rung != overlayRung {
			plant = func(t *tree, dir string) error { return s.plantCopy(ctx, t, dir) }
		}
		if err := plant(t, dir); err != nil {
			return fmt.Errorf("mounting at %q: %w", t.Target, err)
		}
	}
	return nil
}

func (s *Sandbox) plantOverlay(t *tree, dir string) (err error) {
	lower := []string{filepath.Join(s.dir, "empty")} // without an upper there must be two
	for _, l := range t.Lower {
		if l, err = filepath.Abs(l); err != nil {
			return err
		}
		lower = append(lower, l)
	}
	t.Lower = lower
	if t.ReadOnly {
		if len(lower) == 1 {
			t.Lower = append(lower, filepath.Join(s.dir, "void"))
			return os.MkdirAll(t.Lower[1], 0o700)
		}
		return nil
	}
	t.Upper, t.Work = filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	return errors.Join(os.Mkdir(t.Upper, 0o755), os.Mkdir(t.Work, 0o700))
}

func (s *Sandbox) plantCopy(ctx context.Context, t *tree, dir string) error {
	if s.cfg.FlattenTree == nil {
		return &RefusedError{Stage: StageMount, Cause: "there is no overlay here, and no copy of " +
			"what is to be shown at " + t.Target}
	}
	t.Flat = filepath.Join(dir, "flat")
	return s.cfg.FlattenTree(ctx, t.Lower, t.Flat)
}

func (s *Sandbox) dropTrees() error {
	if err := s.remove(s.treesDir()); err != nil {
		return fmt.Errorf("removing what was mounted: %w", err)
	}
	return nil
}

// sourceError is a Source of a tree that is not there: the caller's mistake, not the
// host's refusal.
type sourceError struct {
	name string
	err  error
}

func (e *sourceError) Error() string { return fmt.Sprintf("mounting %q: %v", e.name, e.err) }
func (e *sourceError) Unwrap() error { return e.err }

// trees opens them, before the root is changed.
func (b *builder) trees() error {
	for _, t := range b.Trees {
		fd, dir, err := b.tree(t)
		if err != nil {
			return err
		}
		b.add(fd, t.Target, dir)
	}
	return nil
}

// tree makes a detached mount of the part of a view that is to be seen.
func (b *builder) tree(t tree) (fd int, dir bool, err error) {
	view := t.Flat
	if view == "" {
		mount, err := newOverlay(t.Lower, t.Upper, t.Work, b.Stage)
		if err != nil {
			return -1, false, fmt.Errorf("%s: %w", t.Target, err)
		}
		// Only recent kernels clone a part of a detached mount: so it gets a path for a
		// moment.
		err = attachAt(mount, b.Stage)
		unix.Close(mount)
		if err != nil {
			return -1, false, fmt.Errorf("%s: %w", t.Target, err)
		}
		defer func() { err = errors.Join(err, unix.Unmount(b.Stage, unix.MNT_DETACH)) }()
		view = b.Stage
	}
	root, err := unix.Open(view, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, false, fmt.Errorf("%s: %w", t.Target, err)
	}
	in := &inside{root: root}
	defer unix.Close(root)
	part, err := in.open(t.Source, unix.O_PATH, 0)
	if err != nil {
		return -1, false, &sourceError{t.Source, errnoOf(err)}
	}
	defer unix.Close(part)
	var st unix.Stat_t
	if err := unix.Fstat(part, &st); err != nil {
		return -1, false, fmt.Errorf("%s: %w", t.Target, err)
	}
	fd, err = clonePart(part, t.ReadOnly)
	if err != nil {
		return -1, false, fmt.Errorf("%s: %w", t.Target, err)
	}
	return fd, st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

// clonePart makes a detached mount of what is open.
func clonePart(of int, readOnly bool) (int, error) {
	fd, err := unix.OpenTree(of, "",
		unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, fmt.Errorf("open_tree: %w", err)
	}
	attrs := uint64(noSUIDDev)
	if readOnly {
		attrs |= unix.MOUNT_ATTR_RDONLY
	}
	if err := setAttrs(fd, attrs); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
