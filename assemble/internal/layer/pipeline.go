package layer

import (
	"context"
	"crypto/sha256"
	"hash"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// A build is one run of the pipeline:
//
//	dispatch ─► workers: read, tar, compress ─► hashRaw: diffID
//	                                         └► write: digest, spool
//	         prehash: the large files, ahead of the workers
//
// Chunks are worked on side by side and come out in order. The parts that carry
// them are few and are used again, which bounds memory.
type build struct {
	tree    Tree
	options Options
	jobs    int
	roots   roots
	spool   *spool
	old     *reuse // nil for none

	chunks  []chunk
	matches []int     // for each chunk the one of the earlier build, or -1
	prefix  int       // chunks that begin the tar and are known to be as they were
	rawHash hash.Hash // of the diffID, after the prefix
	from    []int     // origins of the entries

	// sums are those of the contents. One is written once, by the worker that has
	// the entry, before its channel in settled, if it has one, is closed.
	sums    []sum256
	known   []bool // sums that were there before anything was read
	settled map[int]chan struct{}
	large   map[int]*largeFile

	records        []chunkRecord
	digest, diffID sum256
	readBytes      atomic.Int64
	reused         atomic.Int64
}

// plan finds out what the earlier build knows.
func (b *build) plan() {
	entries := b.tree.Entries
	b.sums = make([]sum256, len(entries))
	b.known = make([]bool, len(entries))
	b.settled = make(map[int]chan struct{})
	b.large = make(map[int]*largeFile)
	b.records = make([]chunkRecord, len(b.chunks))
	for i := range entries {
		e := &entries[i]
		b.recall(i, e)
		if isLarge(e) {
			b.large[i] = &largeFile{}
		}
		if o := b.from[i]; o != i && !b.known[o] && b.large[o] == nil && b.settled[o] == nil {
			b.settled[o] = make(chan struct{})
		}
	}
	b.matchChunks()
}

// matchChunks finds the chunks of the earlier build, and the prefix.
func (b *build) matchChunks() {
	entries := b.tree.Entries
	b.rawHash = sha256.New()
	b.matches = make([]int, len(b.chunks))
	for i, c := range b.chunks {
		b.matches[i] = b.old.match(entries, c)
		if b.prefix == i && b.matches[i] == i && b.certain(c, i) {
			b.prefix++
		}
	}
	if b.prefix > 0 {
		h, err := resumeHash(b.old.record.chunks[b.prefix-1].state)
		if err != nil {
			b.prefix = 0 // the record is of another Go release: hash it all
			return
		}
		b.rawHash = h
	}
}

// recall takes an entry's sum from the earlier build.
func (b *build) recall(i int, e *Entry) {
	if e.Kind != File {
		b.known[i] = true
		return
	}
	if b.old == nil {
		return
	}
	o, ok := b.old.entry[e.Name]
	if ok && sameHeader(&b.old.record.entries[o], e) && b.old.record.knows(o, e) {
		b.sums[i], b.known[i] = b.old.record.sums[o], true
	}
}

// certain says whether a chunk that matches an old one is known to equal it.
func (b *build) certain(c chunk, old int) bool {
	for i := c.first; i < c.first+c.count; i++ {
		if !b.known[i] || !b.known[b.from[i]] {
			return false
		}
	}
	return b.equals(c, old)
}

// equals says whether a chunk that matches an old one has its contents and
// times. All sums that it needs are settled.
func (b *build) equals(c chunk, old int) bool {
	first := b.old.layout[old].first
	for k := range c.count {
		i, o := c.first+k, first+k
		if b.sums[i] != b.old.record.sums[o] ||
			b.sums[b.from[i]] != b.old.record.sums[b.old.from[o]] {
			return false
		}
	}
	return true
}

// A part carries one chunk through the pipeline.
type part struct {
	index     int
	raw, blob []byte        // the chunk, and the chunk compressed
	ready     chan struct{} // closed by the worker
	users     atomic.Int32
}

// The queues that parts move through. All together hold no more parts than free
// had at first, so that none of them ever blocks who sends to it.
type queues struct {
	free, work, toHash, toWrite chan *part
}

// newQueues makes two parts for each of a few workers, so that one that is done
// need not wait while the chunk before its own is late.
func newQueues(jobs int) *queues {
	n := min(2*jobs, jobs+3)
	q := &queues{make(chan *part, n), make(chan *part, n), make(chan *part, n), make(chan *part, n)}
	for range n {
		q.free <- &part{raw: make([]byte, 0, pieceSize+64<<10)}
	}
	return q
}

// dispatch hands out parts for n chunks.
func (q *queues) dispatch(ctx context.Context, n int) error {
	defer close(q.work)
	defer close(q.toHash)
	defer close(q.toWrite)
	for i := range n {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case p := <-q.free:
			p.index, p.ready = i, make(chan struct{})
			p.users.Store(2)
			q.work <- p
			q.toHash <- p
			q.toWrite <- p
		}
	}
	return nil
}

// release gives a part back when both who read it are done.
func (q *queues) release(p *part) {
	if p.users.Add(-1) == 0 {
		q.free <- p
	}
}

// run builds the layer into the spool.
func (b *build) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	q := newQueues(b.jobs)
	g.Go(func() error { return q.dispatch(ctx, len(b.chunks)) })
	for range b.jobs {
		g.Go(func() error { return b.work(ctx, q.work) })
	}
	g.Go(func() error { return b.prehash(ctx) })
	g.Go(func() error { return b.hashRaw(ctx, q.toHash, q.release) })
	g.Go(func() error { return b.write(ctx, q.toWrite, q.release) })
	return g.Wait()
}

// inOrder calls fn with the parts as they become ready.
func inOrder(ctx context.Context, parts <-chan *part, fn func(*part) error) error {
	for p := range parts {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.ready:
		}
		if err := fn(p); err != nil {
			return err
		}
	}
	// The parts end early when the build is stopped.
	return context.Cause(ctx)
}

// hashRaw computes the diffID. What the earlier build hashed alike it skips.
func (b *build) hashRaw(ctx context.Context, parts <-chan *part, release func(*part)) error {
	h := b.rawHash
	err := inOrder(ctx, parts, func(p *part) error {
		defer release(p)
		if p.index < b.prefix {
			b.records[p.index].state = b.old.record.chunks[p.index].state
			return nil
		}
		h.Write(p.raw)
		b.records[p.index].state = saveHash(h)
		return nil
	})
	b.diffID = sum256(h.Sum(nil))
	return err
}

// write spools what is compressed and computes the digest.
func (b *build) write(ctx context.Context, parts <-chan *part, release func(*part)) error {
	h := sha256.New()
	var files int
	var bytes int64
	err := inOrder(ctx, parts, func(p *part) error {
		defer release(p)
		h.Write(p.blob)
		if _, err := b.spool.Write(p.blob); err != nil {
			return spoolError(filepath.Dir(b.spool.path), err)
		}
		if b.options.Progress != nil {
			f, n := b.content(b.chunks[p.index])
			files, bytes = files+f, bytes+n
			b.options.Progress(files, bytes)
		}
		return nil
	})
	b.digest = sum256(h.Sum(nil))
	return err
}

// content returns how many files end in a chunk, and the bytes of content in it.
func (b *build) content(c chunk) (files int, bytes int64) {
	for i := c.first; i < c.first+c.count; i++ {
		e := &b.tree.Entries[i]
		switch {
		case e.Kind != File:
		case !isLarge(e):
			files, bytes = files+1, bytes+e.Size
		default:
			offset := int64(c.piece) * pieceSize
			bytes += min(e.Size-offset, pieceSize)
			if offset+pieceSize >= e.Size {
				files++
			}
		}
	}
	return files, bytes
}
