package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// Usage counts entries by kind.
type Usage struct {
	// Kinds are "layers", "manifests", "packages", "indexes" and "mounts", in this
	// order.
	Kinds []KindUsage
}

// KindUsage is one kind's part of a Usage.
type KindUsage struct {
	Kind    string
	Entries int
	Bytes   int64
	// InUse counts the entries that a running decant uses. Those that Prune would
	// have removed but for this are counted here only.
	InUse int
}

// Total adds the kinds up.
func (u Usage) Total() KindUsage {
	t := KindUsage{Kind: "total"}
	for _, k := range u.Kinds {
		t.Entries += k.Entries
		t.Bytes += k.Bytes
		t.InUse += k.InUse
	}
	return t
}

// indexesKind is what the user reads; the others are called as their directory.
const indexesKind = "indexes"

func newUsage() Usage {
	return Usage{Kinds: []KindUsage{{Kind: layersDir}, {Kind: manifestsDir}, {Kind: packagesDir},
		{Kind: indexesKind}, {Kind: mountsDir}}}
}

func (u Usage) of(kind string) *KindUsage {
	i := slices.IndexFunc(u.Kinds, func(k KindUsage) bool { return k.Kind == kind })
	return &u.Kinds[i]
}

// PruneOptions says what to free. An entry goes for any of the reasons; the zero
// value frees nothing.
type PruneOptions struct {
	// MaxBytes, if positive, is what may stay: entries go until the rest fits,
	// those first that were not used for the longest time.
	MaxBytes int64
	// OlderThan, if positive, frees what was not used for as long.
	OlderThan time.Duration
	// All frees everything.
	All bool
}

// entry is what is counted and removed as one.
type entry struct {
	kind, path string
	locks      []string // held shared, any of them, by who uses the entry
	bytes      int64
	used       time.Time
}

// Usage counts what is in the cache.
func (c *Cache) Usage(ctx context.Context) (u Usage, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("reading the cache %s: %w", c.dir, err)
		}
	}()
	u = newUsage()
	// To ask for a lock is to have it for a moment, which a Keep must not meet.
	release, err := c.change(ctx)
	if err != nil {
		return u, err
	}
	defer release()
	all, err := c.entries(ctx)
	if err != nil {
		return u, err
	}
	for _, e := range all {
		k := u.of(e.kind)
		k.Entries++
		k.Bytes += e.bytes
		if held, err := c.lockAll(e.locks); err == nil {
			releaseAll(held)
		} else if errors.Is(err, errInUse) {
			k.InUse++
		}
	}
	return u, nil
}

// Prune frees what o says, but nothing that a running decant uses, this Cache
// included. What was freed before an error is counted.
func (c *Cache) Prune(ctx context.Context, o PruneOptions) (freed Usage, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("pruning the cache %s: %w", c.dir, err)
		}
	}()
	release, err := c.change(ctx)
	if err != nil {
		return newUsage(), err
	}
	defer release()
	all, err := c.entries(ctx)
	if err != nil {
		return newUsage(), err
	}
	now := time.Now()
	return c.evict(ctx, all, func(e entry, total int64) bool {
		return o.All || o.MaxBytes > 0 && total > o.MaxBytes ||
			o.OlderThan > 0 && now.Sub(e.used) >= o.OlderThan
	})
}

// evict removes, from the one not used for the longest time on, the entries that
// doomed says; total is the size of what is left. One that cannot be removed does not
// save the others. The caller has the right to change.
func (c *Cache) evict(
	ctx context.Context, all []entry, doomed func(e entry, total int64) bool,
) (Usage, error) {
	freed := newUsage()
	slices.SortStableFunc(all, func(a, b entry) int { return a.used.Compare(b.used) })
	var total int64
	for _, e := range all {
		total += e.bytes
	}
	var failed error
	for _, e := range all {
		if err := ctx.Err(); err != nil {
			return freed, err
		}
		if !doomed(e, total) {
			continue
		}
		k := freed.of(e.kind)
		removed, err := c.remove(e.path, e.locks...)
		if err != nil {
			failed = cmp.Or(failed, err)
			continue
		}
		if !removed {
			k.InUse++
			continue
		}
		total -= e.bytes
		k.Entries++
		k.Bytes += e.bytes
	}
	return freed, failed
}

// remove removes what is at rel unless somebody has one of the locks, which are
// removed as well.
func (c *Cache) remove(rel string, locks ...string) (bool, error) {
	held, err := c.lockAll(locks)
	if errors.Is(err, errInUse) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer releaseAll(held)
	if err := removeTree(c.root, rel); err != nil {
		return false, err
	}
	for _, l := range locks {
		if err := c.root.RemoveAll(l); err != nil {
			return false, err
		}
	}
	return true, nil
}

// lockAll locks all or none. What is not there, or is no file, nobody uses; on a
// file system without locks nobody can tell.
func (c *Cache) lockAll(paths []string) ([]*lock, error) {
	var held []*lock
	for _, rel := range paths {
		l, err := c.lock(rel, exclusive, 0)
		switch {
		case err == nil:
			held = append(held, l)
		case errors.Is(err, errInUse):
			releaseAll(held)
			return nil, err
		}
	}
	return held, nil
}

func releaseAll(held []*lock) {
	for _, l := range held {
		l.release()
	}
}

// entries lists everything that may be freed.
func (c *Cache) entries(ctx context.Context) ([]entry, error) {
	layers, err := c.layerEntries(ctx)
	if err != nil {
		return nil, err
	}
	manifests, err := c.fileEntries(ctx, manifestsDir, manifestsDir)
	if err != nil {
		return nil, err
	}
	packages, err := c.lockedEntries(ctx, packagesDir)
	if err != nil {
		return nil, err
	}
	indexes, err := c.indexEntries(ctx)
	if err != nil {
		return nil, err
	}
	mounts, err := c.lockedEntries(ctx, mountsDir)
	return slices.Concat(layers, manifests, packages, indexes, mounts), err
}

// layerEntries lists the sites. A directory without a record is what a killed
// process left.
func (c *Cache) layerEntries(ctx context.Context) ([]entry, error) {
	sites, err := c.list(layersDir)
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, site := range sites {
		e := entry{kind: layersDir, path: path.Join(layersDir, site.Name())}
		if e.bytes, err = c.size(ctx, e.path, site); err != nil {
			return nil, err
		}
		files, err := c.list(e.path)
		if err != nil {
			return nil, err
		}
		e.used = c.usedAt(path.Join(e.path, recordName), e.path)
		for _, f := range files {
			if f.Name() != recordName {
				e.locks = append(e.locks, path.Join(e.path, f.Name()))
			}
		}
		all = append(all, e)
	}
	return all, nil
}

// fileEntries lists each file below rel by itself.
func (c *Cache) fileEntries(ctx context.Context, kind, rel string) ([]entry, error) {
	files, err := c.list(rel)
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, f := range files {
		e := entry{kind: kind, path: path.Join(rel, f.Name())}
		if f.IsDir() {
			below, err := c.fileEntries(ctx, kind, e.path)
			if err != nil {
				return nil, err
			}
			all = append(all, below...)
			continue
		}
		e.used = c.usedAt(e.path)
		if e.bytes, err = c.size(ctx, e.path, f); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, ctx.Err()
}

// lockedEntries lists the directories in dir, which is also their kind. Who uses one
// has locked the file beside it.
func (c *Cache) lockedEntries(ctx context.Context, dir string) ([]entry, error) {
	files, err := c.list(dir)
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, f := range files {
		if !f.IsDir() && strings.HasSuffix(f.Name(), lockExt) {
			continue
		}
		e := entry{kind: dir, path: path.Join(dir, f.Name())}
		e.locks = []string{e.path + lockExt}
		e.used = c.usedAt(e.path+lockExt, e.path)
		if e.bytes, err = c.size(ctx, e.path, f); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// usedAt is the time of the first of the files that is there.
func (c *Cache) usedAt(files ...string) time.Time {
	for _, rel := range files {
		if info, err := c.root.Lstat(rel); err == nil {
			return info.ModTime()
		}
	}
	return time.Time{}
}

// list lists a directory; one that is not there, or is something else, is empty.
func (c *Cache) list(rel string) ([]fs.DirEntry, error) {
	if info, err := c.root.Lstat(rel); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil || !info.IsDir() {
		return nil, err
	}
	f, err := c.root.Open(rel)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

// size adds up the files at rel and below. What others remove meanwhile has none,
// and neither has what a build step made as another user and shut.
func (c *Cache) size(ctx context.Context, rel string, d fs.DirEntry) (int64, error) {
	if !d.IsDir() {
		info, err := c.root.Lstat(rel)
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	entries, err := c.list(rel)
	if errors.Is(err, fs.ErrPermission) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, e := range entries {
		n, err := c.size(ctx, path.Join(rel, e.Name()), e)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
