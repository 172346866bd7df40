package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// Entries lists layer i of Layers as a change set: sorted, with Base and Source where
// the content is. Owners, devices and the attributes that its files do not have on
// disk are those of its tar. Directories that the tar does not name are left out.
// An opaque root, which hides all layers below, is an entry of the name ".".
//
// The first call for a layer walks its directory; what it finds is kept beside that.
func (r *Rootfs) Entries(i int) ([]layer.Entry, error) {
	dir := r.Layers[i]
	if filepath.Base(dir) != layerDir {
		return nil, nil // that of an image without layers
	}
	home := filepath.Dir(dir)
	if entries, ok := readIndex(home); ok {
		return entries, nil
	}
	entries, err := listWhole(home)
	if err != nil {
		return nil, fmt.Errorf("listing layer %d: %w", i+1, err)
	}
	return entries, nil
}

// listWhole lists a layer and keeps the list. Others may do the same meanwhile, with
// the same result.
func listWhole(home string) (entries []layer.Entry, err error) {
	temp, err := os.MkdirTemp(home, "listing")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, removeTree(temp)) }()
	entries, err = listLayer(home, filepath.Join(temp, asideDir))
	if err != nil {
		return nil, err
	}
	aside := filepath.Join(home, asideDir)
	for i := range entries {
		if e := &entries[i]; filepath.Dir(e.Base) == temp {
			e.Base = aside
		}
	}
	if err := os.Rename(filepath.Join(temp, asideDir), aside); errors.Is(err, fs.ErrExist) {
		if intactAside(entries, aside) {
			err = nil // of another who lists it
		} else if err = removeTree(aside); err == nil {
			err = os.Rename(filepath.Join(temp, asideDir), aside)
		}
		if err != nil {
			return nil, err
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return entries, replaceFile(filepath.Join(home, "entries"), encodeIndex(entries, home))
}

func listLayer(home, aside string) ([]layer.Entry, error) {
	table, err := readOwners(filepath.Join(home, "owners"))
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(home, layerDir)
	w := &walker{root: dir, limits: Limits{}.withDefaults(), aside: aside}
	w.settle = func(f *found, _ bool) (keep, merged bool, err error) {
		if f.Kind == layer.Whiteout {
			return true, false, nil
		}
		if o, ok := table.of[f.Name]; ok && !table.implied[f.Name] {
			f.UID, f.GID = o.uid, o.gid
			f.Xattrs = mergeXattrs(f.Xattrs, o.xattrs)
		}
		return f.Opaque || !table.implied[f.Name], false, nil
	}
	if err := w.walk(context.Background()); err != nil {
		return nil, err
	}
	w.equalize()
	entries := append(w.entries, table.present(dir)...)
	if r, ok := readRecord(filepath.Join(home, "record")); ok && r.Opaque {
		entries = append(entries, layer.Entry{
			Name: ".", Kind: layer.Dir, Mode: impliedMode, Opaque: true,
		})
	}
	layer.Sort(entries)
	return entries, nil
}

// mergeXattrs puts together two sorted lists that have no name in common.
func mergeXattrs(a, b []layer.Xattr) []layer.Xattr {
	if len(b) == 0 {
		return a
	}
	all := append(append([]layer.Xattr(nil), a...), b...)
	sortXattrs(all)
	return all
}
