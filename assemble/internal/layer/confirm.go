package layer

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Confirm finds out whether tree is what o.Reuse is of, and reads only the files
// that their stats do not vouch for: in a fresh copy of a site that is all of
// them. It stops at the first difference, and writes nothing.
//
// The Record that it returns takes the place of o.Reuse in a build of the same
// tree. If same, that build gives the earlier layer without reading a file;
// otherwise it is spared the hashing of what was found equal so far. The Record
// is not to be kept: the build returns one that is.
//
// A ChangedError says that a file is not, or is no longer, what the scan saw.
// Progress, as that of a build, is told what is known to be equal.
func Confirm(ctx context.Context, tree Tree, o Options) (r *Record, same bool, err error) {
	if o.Reuse == nil || !o.Reuse.sameHeaders(tree, o.Compression) {
		return o.Reuse, false, nil
	}
	c := newComparison(tree, o)
	if len(c.doubtful) == 0 {
		return o.Reuse, true, nil
	}
	err = c.run(ctx, o.jobs())
	if err != nil && !errors.Is(err, errDiffers) {
		return o.Reuse, false, err
	}
	return &c.record, err == nil, nil
}

var errDiffers = errors.New("the content is not the recorded one")

// A comparison is one run of Confirm.
type comparison struct {
	tree     Tree
	record   Record // of its entries and confirmed, one is written by one reader
	doubtful []int  // the entries to be read
	next     atomic.Int64

	mu       sync.Mutex // of what follows, and calls of progress
	files    int
	bytes    int64
	progress func(files int, bytes int64)
}

func newComparison(tree Tree, o Options) *comparison {
	c := &comparison{tree: tree, record: *o.Reuse, progress: o.Progress}
	c.record.entries = slices.Clone(o.Reuse.entries)
	c.record.confirmed = make([]bool, len(tree.Entries))
	for i := range tree.Entries {
		switch e := &tree.Entries[i]; {
		case !o.Reuse.knows(i, e):
			c.doubtful = append(c.doubtful, i)
		case e.Kind == File:
			c.files, c.bytes = c.files+1, c.bytes+e.Size
		}
	}
	return c
}

// run reads the doubtful files, several at a time. It returns errDiffers if one
// is not as it was.
func (c *comparison) run(ctx context.Context, jobs int) (err error) {
	from, err := openRoots(c.tree)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	g, ctx := errgroup.WithContext(ctx)
	for range min(jobs, len(c.doubtful)) {
		g.Go(func() error { return c.read(ctx, from) })
	}
	return g.Wait()
}

// read reads one doubtful file after the other, until there are no more.
func (c *comparison) read(ctx context.Context, from roots) (err error) {
	s := source{roots: from}
	defer func() { err = errors.Join(err, s.Close()) }()
	buf := make([]byte, pieceSize)
	for {
		n := int(c.next.Add(1)) - 1
		if n >= len(c.doubtful) {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := c.compare(ctx, &s, buf, c.doubtful[n]); err != nil {
			return err
		}
	}
}

// compare reads one file, and notes that it is as it was.
func (c *comparison) compare(ctx context.Context, s *source, buf []byte, i int) error {
	e := &c.tree.Entries[i]
	h := sha256.New()
	err := s.each(e, buf, func(piece []byte) error {
		h.Write(piece)
		return context.Cause(ctx)
	})
	if err != nil {
		return err
	}
	if sum256(h.Sum(nil)) != c.record.sums[i] {
		return errDiffers
	}
	c.record.entries[i], c.record.confirmed[i] = *e, true
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files, c.bytes = c.files+1, c.bytes+e.Size
	if c.progress != nil {
		c.progress(c.files, c.bytes)
	}
	return nil
}
