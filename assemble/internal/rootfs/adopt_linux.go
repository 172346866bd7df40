package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// Adopt makes a step of an overlay's upper directory, mounted with "userxattr" and no
// longer mounted, which it renames into the store: it must be on the store's file
// system, as what is made in Temp is. What the step did may be hostile: no symlink is
// followed, and Limits' defaults bound it. If the store has the key already, that one
// is returned and upper stays with the caller; after an error upper may be gone.
//
// The owner of a file is the one that was recorded; or else, if overlayfs copied it
// up, the one that it had below; or else the step's. That it was copied up shows in an
// attribute, which a symlink cannot have, and which a file of several names below does
// not get: the same symlink, and such a file in its old place, keep their owners. A
// file that was moved is recognised by its size and time if its old name is gone; a
// directory is never moved, but copied, by the programs themselves.
//
// Sockets are no entries. An opaque directory and a whiteout are entries only where
// there is something below to hide.
func (s *Store) Adopt(
	ctx context.Context, key, upper string, o AdoptOptions,
) (*Step, error) {
	step, err := s.keep(ctx, key, func(temp string) ([]layer.Entry, tally, error) {
		dir := filepath.Join(temp, layerDir)
		if err := os.Rename(upper, dir); err != nil {
			if errors.Is(err, unix.EXDEV) {
				err = &StoreError{s.dir, upper + " is on another file system"}
			}
			return nil, tally{}, err
		}
		for _, name := range o.Skip {
			if err := removeBelow(dir, name); err != nil {
				return nil, tally{}, err
			}
		}
		return adopt(ctx, dir, filepath.Join(temp, asideDir), o)
	})
	if err != nil {
		return nil, fmt.Errorf("keeping the changes of a step: %w", err)
	}
	return step, nil
}

// removeBelow removes a name, without following symlinks on the way to it.
func removeBelow(dir, name string) error {
	if !filepath.IsLocal(name) || filepath.Clean(name) == "." {
		return &EntryError{"a name to leave out is not a relative path: " + strconv.Quote(name)}
	}
	fd, err := unix.Open(dir, dirFlags, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	up, base := splitName(filepath.Clean(name))
	at, err := openBeneath(fd, up)
	switch err {
	case nil:
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP:
		return nil // the step put something else there
	default:
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(at)
	return removeAt(at, base)
}

// An adopter settles the owners of an upper directory.
type adopter struct {
	AdoptOptions
	// gone are files below that were removed, by what identifies them after a move,
	// and moved those without a place below.
	gone  map[identity]owned
	moved []string
}

// identity of a file that is renamed stays.
type identity struct{ size, mtime int64 }

func adopt(
	ctx context.Context, dir, aside string, o AdoptOptions,
) ([]layer.Entry, tally, error) {
	a := &adopter{AdoptOptions: o, gone: map[identity]owned{}}
	w := &walker{
		root: dir, aside: aside, limits: Limits{}.withDefaults(), settle: a.settle, tidy: true,
	}
	if err := w.walk(ctx); err != nil {
		return nil, tally{}, err
	}
	a.place(w.entries)
	w.equalize()
	return w.entries, w.tally, nil
}

// settle is that of a walker.
func (a *adopter) settle(f *found, merged bool) (keep, mergedToo bool, err error) {
	var low layer.Entry
	below := false
	if merged && a.Lower != nil {
		low, below = a.Lower(f.Name)
		below = below && low.Kind != layer.Whiteout
	}
	if f.Kind == layer.Whiteout {
		if below && isContent(low.Kind) {
			a.gone[identity{low.Size, low.MTime}] = owned{uid: low.UID, gid: low.GID}
		}
		return below, false, nil
	}
	both := f.Kind == layer.Dir && below && low.Kind == layer.Dir
	f.UID, f.GID = a.UID, a.GID
	f.settled = below && a.isSame(f, low)
	if f.settled {
		f.UID, f.GID = low.UID, low.GID
	}
	if r, ok := a.Recorded[f.Name]; ok && f.Kind != layer.File && f.Kind != layer.Dir {
		r.apply(&f.Entry)
	}
	if f.noted != nil {
		f.noted.apply(&f.Entry)
		f.settled = true
	} else if f.copied && !f.settled && f.Kind == layer.File {
		a.moved = append(a.moved, f.Name)
	}
	mergedToo = both && !f.Opaque
	f.Opaque = f.Opaque && both
	return true, mergedToo, nil
}

func isContent(k layer.Kind) bool { return k == layer.File || k == layer.HardLink }

// isSame tells whether what is above is still what is below.
func (a *adopter) isSame(f *found, low layer.Entry) bool {
	switch f.Kind {
	case layer.Dir:
		return low.Kind == layer.Dir && !f.Opaque
	case layer.File:
		return isContent(low.Kind) && (f.copied || hasNames(low))
	case layer.Link:
		return low.Kind == layer.Link && low.Target == f.Target
	}
	return low.Kind == f.Kind && low.Major == f.Major && low.Minor == f.Minor
}

// hasNames tells whether the file of an entry has several names.
func hasNames(e layer.Entry) bool {
	if e.Kind == layer.HardLink {
		return true
	}
	if e.Base == "" || e.Source == "" {
		return false
	}
	st, err := lstat(filepath.Join(e.Base, e.Source))
	return err == nil && st.Nlink > 1
}

// place gives the files that were moved the owner that they had.
func (a *adopter) place(entries []layer.Entry) {
	if len(a.moved) == 0 || len(a.gone) == 0 {
		return
	}
	moved := map[string]bool{}
	for _, name := range a.moved {
		moved[name] = true
	}
	for i := range entries {
		e := &entries[i]
		if !moved[e.Name] || e.Kind != layer.File || e.UID != a.UID || e.GID != a.GID {
			continue // another of its names told
		}
		if o, ok := a.gone[identity{e.Size, e.MTime}]; ok {
			e.UID, e.GID = o.uid, o.gid
		}
	}
}
