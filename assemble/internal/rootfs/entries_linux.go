package rootfs

import (
	"context"
	"fmt"
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
	index := filepath.Join(home, "entries")
	if entries, ok := readIndex(index, dir); ok {
		return entries, nil
	}
	entries, err := listLayer(home, dir)
	if err == nil {
		err = replaceFile(index, encodeIndex(entries))
	}
	if err != nil {
		return nil, fmt.Errorf("listing layer %d: %w", i+1, err)
	}
	return entries, nil
}

func listLayer(home, dir string) ([]layer.Entry, error) {
	table, err := readOwners(filepath.Join(home, "owners"))
	if err != nil {
		return nil, err
	}
	w := &walker{root: dir, limits: Limits{}.withDefaults()}
	w.settle = func(f *found, _ bool) (keep, merged bool, err error) {
		if f.Kind == layer.Whiteout {
			return true, false, nil
		}
		if o, ok := table.of[f.Name]; ok {
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
