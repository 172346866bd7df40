package assemble

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/decant-build/decant/assemble/internal/cache"
	"github.com/decant-build/decant/assemble/internal/rootfs"
)

// CacheUsage counts what a cache holds, by kind.
type CacheUsage = cache.Usage

// CachePrune says what PruneCache frees.
type CachePrune = cache.PruneOptions

// rootfsDir is where unpacked builders are in a cache.
func rootfsDir(cacheDir string) string { return filepath.Join(cacheDir, "rootfs") }

// ReadCache counts what is in the cache at dir.
func ReadCache(ctx context.Context, dir string) (usage CacheUsage, err error) {
	c, err := cache.Open(dir)
	if err != nil {
		return usage, err
	}
	defer c.Close()
	if usage, err = c.Usage(ctx); err != nil {
		return usage, err
	}
	store, err := openRootfs(dir)
	if store == nil || err != nil {
		return usage, err
	}
	layers, err := store.Usage(ctx)
	usage.Kinds = append(usage.Kinds, cache.KindUsage{
		Kind: "rootfs", Entries: layers.Layers, Bytes: layers.Bytes, InUse: layers.InUse,
	}, cache.KindUsage{
		Kind: "steps", Entries: layers.Steps.Steps, Bytes: layers.Steps.Bytes, InUse: layers.Steps.InUse,
	})
	return usage, err
}

// PruneCache frees part of the cache at dir, but nothing that a running build
// uses, and returns what it freed. MaxBytes is for unpacked builders, and for
// all else, each.
func PruneCache(ctx context.Context, dir string, o CachePrune) (freed CacheUsage, err error) {
	c, err := cache.Open(dir)
	if err != nil {
		return freed, err
	}
	defer c.Close()
	if freed, err = c.Prune(ctx, o); err != nil {
		return freed, err
	}
	store, err := openRootfs(dir)
	if store == nil || err != nil {
		return freed, err
	}
	ro := rootfs.PruneOptions{UnusedFor: o.OlderThan, KeepBytes: o.MaxBytes}
	if o.All {
		ro = rootfs.PruneOptions{}
	}
	pruned, err := store.Prune(ctx, ro)
	freed.Kinds = append(freed.Kinds, cache.KindUsage{
		Kind: "rootfs", Entries: pruned.Layers, Bytes: pruned.Bytes, InUse: pruned.InUse,
	}, cache.KindUsage{
		Kind: "steps", Entries: pruned.Steps.Steps, Bytes: pruned.Steps.Bytes, InUse: pruned.Steps.InUse,
	})
	return freed, err
}

// openRootfs opens the store of unpacked builders; nil if there is none, or if
// this system cannot have one.
func openRootfs(cacheDir string) (*rootfs.Store, error) {
	if _, err := os.Stat(rootfsDir(cacheDir)); err != nil {
		return nil, nil
	}
	store, err := rootfs.OpenStore(rootfsDir(cacheDir))
	var unsupported *rootfs.UnsupportedError
	if errors.As(err, &unsupported) {
		return nil, nil
	}
	return store, err
}
