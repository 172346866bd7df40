package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// A keeping is a layer or step as Prune sees it.
type keeping struct {
	id    string
	bytes int64
	used  time.Time
}

// keepings lists what is in the store; what was not used for the longest time comes
// first.
func (s *Store) keepings() ([]keeping, error) {
	entries, err := os.ReadDir(s.path("layers"))
	if err != nil {
		return nil, err
	}
	var all []keeping
	for _, e := range entries {
		k := keeping{id: e.Name()}
		if r, ok := readRecord(s.path("layers", k.id, "record")); ok {
			k.bytes = r.Tally.Disk
		}
		if info, err := os.Stat(s.path("locks", k.id)); err == nil {
			k.used = info.ModTime()
		}
		all = append(all, k)
	}
	slices.SortStableFunc(all, func(a, b keeping) int { return a.used.Compare(b.used) })
	return all, nil
}

// Usage counts what is in the store. It waits while somebody prunes.
func (s *Store) Usage(ctx context.Context) (Usage, error) {
	guard, err := waitLock(ctx, s.path("lock"), shared)
	if err != nil {
		return Usage{}, fmt.Errorf("locking the store: %w", err)
	}
	defer guard.release()
	all, err := s.keepings()
	if err != nil {
		return Usage{}, err
	}
	var u Usage
	for _, k := range all {
		count, inUse, bytes := &u.Layers, &u.InUse, &u.Bytes
		if isStep(k.id) {
			count, inUse, bytes = &u.Steps.Steps, &u.Steps.InUse, &u.Steps.Bytes
		}
		*count++
		*bytes += k.bytes
		l, err := tryLock(s.path("locks", k.id), exclusive)
		if errors.Is(err, errBusy) {
			*inUse++
			continue
		}
		if err != nil {
			return Usage{}, err
		}
		l.release()
	}
	return u, nil
}

// Prune removes layers and steps that nobody uses. It waits for those that are being
// made. What it removed before an error is counted.
func (s *Store) Prune(ctx context.Context, o PruneOptions) (Pruned, error) {
	var p Pruned
	guard, err := waitLock(ctx, s.path("lock"), exclusive)
	if err != nil {
		return p, fmt.Errorf("locking the store: %w", err)
	}
	defer guard.release()
	all, err := s.keepings()
	if err != nil {
		return p, err
	}
	var total int64
	for _, k := range all {
		total += k.bytes
	}
	for _, k := range all {
		if err := ctx.Err(); err != nil {
			return p, err
		}
		if o.KeepBytes > 0 && total <= o.KeepBytes || time.Since(k.used) < o.UnusedFor {
			break
		}
		count, inUse, bytes := &p.Layers, &p.InUse, &p.Bytes
		if isStep(k.id) {
			count, inUse, bytes = &p.Steps.Steps, &p.Steps.InUse, &p.Steps.Bytes
		}
		err := s.pruneOne(k.id)
		if errors.Is(err, errBusy) {
			*inUse++
			continue
		}
		if err != nil {
			return p, fmt.Errorf("pruning %s: %w", s.dir, err)
		}
		total -= k.bytes
		*count++
		*bytes += k.bytes
	}
	return p, nil
}

// pruneOne also removes the lock: while the store is locked exclusively nobody takes
// locks but Step, which looks whether it got the one that counts.
func (s *Store) pruneOne(id string) error {
	l, err := tryLock(s.path("locks", id), exclusive)
	if err != nil {
		return err
	}
	defer l.release()
	if err := s.discard(id); err != nil {
		return err
	}
	return os.Remove(s.path("locks", id))
}
