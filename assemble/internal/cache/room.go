package cache

import (
	"context"
	"fmt"
	"sync/atomic"
)

// bound is how much of one kind may stay.
type bound struct {
	bytes   int64
	entries int

	kept  atomic.Bool  // something was, by this Cache
	added atomic.Int64 // bytes, since room was made last
}

// add says that something was kept, and answers whether that makes it time to make
// room. To look at everything each time would cost more than to keep a layer.
func (b *bound) add(bytes int64) bool {
	b.kept.Store(true)
	return b.added.Add(bytes) > b.bytes/16
}

// makeRoom removes the entries that were not used for the longest time, but not the
// one at spared, until the others and this one fit. The caller has the right to
// change.
func (c *Cache) makeRoom(
	ctx context.Context, b *bound, list func(context.Context) ([]entry, error), spared string,
) error {
	all, err := list(ctx)
	if err != nil {
		return err
	}
	b.added.Store(0)
	over := len(all) - b.entries
	if _, err = c.evict(ctx, all, func(e entry, total int64) bool {
		doomed := e.path != spared && (total > b.bytes || over > 0)
		if doomed {
			over--
		}
		return doomed
	}); err != nil {
		return fmt.Errorf("making room: %w", err)
	}
	return nil
}

// trim makes room for the kinds of which this Cache kept something. That there is
// none to be made is no reason to fail.
func (c *Cache) trim() {
	if !c.layers.kept.Load() && !c.indexes.kept.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	release, err := c.change(ctx)
	if err != nil {
		return
	}
	defer release()
	if c.layers.kept.Load() {
		_ = c.makeRoom(ctx, &c.layers, c.layerEntries, "")
	}
	if c.indexes.kept.Load() {
		_ = c.makeRoom(ctx, &c.indexes, c.indexEntries, "")
	}
}
