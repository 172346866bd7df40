package assemble

import (
	"context"

	"github.com/decant-build/decant/assemble/internal/cache"
)

// CacheUsage counts what a cache holds, by kind.
type CacheUsage = cache.Usage

// CachePrune says what PruneCache frees.
type CachePrune = cache.PruneOptions

// ReadCache counts what is in the cache at dir.
func ReadCache(ctx context.Context, dir string) (CacheUsage, error) {
	c, err := cache.Open(dir)
	if err != nil {
		return CacheUsage{}, err
	}
	defer c.Close()
	return c.Usage(ctx)
}

// PruneCache frees part of the cache at dir, but nothing that a running build
// uses, and returns what it freed.
func PruneCache(ctx context.Context, dir string, o CachePrune) (CacheUsage, error) {
	c, err := cache.Open(dir)
	if err != nil {
		return CacheUsage{}, err
	}
	defer c.Close()
	return c.Prune(ctx, o)
}
