package layer

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash/crc32"
	"hash/maphash"
	"sync"
)

// A worker has what one worker of the pipeline needs for itself.
type worker struct {
	*build
	source  source
	encoder *encoder
	crc     *crc32.Table
	buf     []byte // for hashing large files; made when it is needed
}

func (b *build) newWorker() (*worker, error) {
	enc, err := newEncoder(b.options.Compression)
	return &worker{build: b, source: source{roots: b.roots}, encoder: enc,
		crc: crc32.MakeTable(crc32.Castagnoli)}, err
}

// work makes chunks until there are no more.
func (b *build) work(ctx context.Context, parts <-chan *part) (err error) {
	w, err := b.newWorker()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.source.Close()) }()
	for p := range parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.produce(ctx, p); err != nil {
			return err
		}
		close(p.ready)
	}
	return nil
}

// produce fills a part: with the old chunk where that is the same, else anew.
func (w *worker) produce(ctx context.Context, p *part) error {
	p.raw, p.blob = p.raw[:0], p.blob[:0]
	c, old := w.chunks[p.index], w.matches[p.index]
	rec := &w.records[p.index]
	if p.index < w.prefix {
		var ok bool
		if p.blob, ok = w.old.read(p.blob, old); ok {
			*rec = w.old.record.chunks[old]
			w.reused.Add(1)
			return nil
		}
		p.blob = p.blob[:0]
	}
	if err := w.fill(ctx, p, c, old >= 0); err != nil {
		return err
	}
	rec.rawSize, rec.rawCRC = int64(len(p.raw)), crc32.Checksum(p.raw, w.crc)
	if old >= 0 && w.equals(c, old) {
		was := &w.old.record.chunks[old]
		if was.rawCRC != rec.rawCRC || was.rawSize != rec.rawSize {
			return w.findChanged(c)
		}
		var ok bool
		if p.blob, ok = w.old.read(p.blob, old); ok {
			rec.size, rec.sum = was.size, was.sum
			w.reused.Add(1)
			return nil
		}
		p.blob = p.blob[:0]
	}
	var err error
	if p.blob, err = w.encoder.append(p.blob, p.raw); err != nil {
		return err
	}
	rec.size, rec.sum = int64(len(p.blob)), sumChunk(p.blob)
	return nil
}

// findChanged names the file of a chunk that its stat vouched for wrongly.
func (w *worker) findChanged(c chunk) error {
	buf := make([]byte, pieceSize)
	for i := c.first; i < c.first+c.count; i++ {
		e := &w.tree.Entries[i]
		if e.Kind != File || !w.known[i] {
			continue
		}
		h := sha256.New()
		err := w.source.each(e, buf, func(piece []byte) error {
			_, err := h.Write(piece)
			return err
		})
		if err != nil {
			return err
		}
		if sum256(h.Sum(nil)) != w.sums[i] {
			return &ChangedError{Path: e.file(), What: "changed"}
		}
	}
	return &ChangedError{Path: w.tree.Entries[c.first].file(), What: "changed"}
}

// fill writes the tar bytes of a chunk. With trust it does not hash what is known
// already: the caller compares the checksum of the chunk.
func (w *worker) fill(ctx context.Context, p *part, c chunk, trust bool) error {
	if c.count == 0 {
		p.raw = appendEnd(p.raw)
		return nil
	}
	if isLarge(&w.tree.Entries[c.first]) {
		return w.fillPiece(ctx, p, c, trust)
	}
	for i := c.first; i < c.first+c.count; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.fillEntry(ctx, p, i, trust); err != nil {
			return err
		}
	}
	return nil
}

// fillEntry writes one whole entry.
func (w *worker) fillEntry(ctx context.Context, p *part, i int, trust bool) error {
	e := &w.tree.Entries[i]
	p.raw = appendHeader(p.raw, e)
	header := len(p.raw)
	if e.Kind != File {
		return w.finishEntry(ctx, p, i)
	}
	var err error
	if p.raw, err = w.source.append(p.raw, e, 0, e.Size); err != nil {
		return err
	}
	w.countRead(e, e.Size)
	if !trust || !w.known[i] {
		if err := w.settle(i, sha256.Sum256(p.raw[header:])); err != nil {
			return err
		}
	}
	p.raw = pad(p.raw, e.Size)
	time, err := w.timeOf(ctx, i)
	if err != nil {
		return err
	}
	stamp(p.raw[header-blockSize:header], time)
	return nil
}

// finishEntry completes an entry without content, whose header ends the part.
func (w *worker) finishEntry(ctx context.Context, p *part, i int) error {
	e, time := &w.tree.Entries[i], int64(year2000)
	if e.Kind == HardLink {
		// Unpackers set the time of what the link leads to.
		var err error
		if time, err = w.timeOf(ctx, i); err != nil {
			return err
		}
	}
	stamp(p.raw[len(p.raw)-blockSize:], time)
	if e.Opaque {
		p.raw = appendOpaque(p.raw, e.Name)
	}
	return nil
}

func (w *worker) countRead(e *Entry, n int64) {
	if e.Source != "" {
		w.readBytes.Add(n)
	}
}

// settle tells the sum of a content that was read. One that was known before
// must be the same.
func (b *build) settle(i int, sum sum256) error {
	if b.known[i] {
		if b.sums[i] != sum {
			return &ChangedError{Path: b.tree.Entries[i].file(), What: "changed"}
		}
		return nil
	}
	b.sums[i] = sum
	if done := b.settled[i]; done != nil {
		close(done)
	}
	return nil
}

// timeOf returns the time of a file, whose own content is settled, or of a hard
// link. It waits for
// that of its origin, which an earlier chunk has: workers take chunks in order,
// so the earliest one under way never waits.
func (w *worker) timeOf(ctx context.Context, i int) (int64, error) {
	o := w.from[i]
	if done := w.settled[o]; done != nil {
		select {
		case <-done:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	} else if w.large[o] != nil && !w.known[o] {
		if err := w.hashLarge(ctx, o); err != nil {
			return 0, err
		}
	}
	return contentTime(w.sums[o]), nil
}

// A largeFile is hashed before its first piece is written, as its header needs
// the time, and read again then. The fingerprints show whether the second read
// saw what the first did.
type largeFile struct {
	once         sync.Once
	err          error
	fingerprints []uint64 // of the pieces
	seed         maphash.Seed
}

// hashLarge hashes a large file unless that is done, and then returns what came
// of it. Several workers may call it at a time.
func (w *worker) hashLarge(ctx context.Context, i int) error {
	l := w.large[i]
	l.once.Do(func() { l.err = w.hashPieces(ctx, i, l) })
	return l.err
}

func (w *worker) hashPieces(ctx context.Context, i int, l *largeFile) error {
	e := &w.tree.Entries[i]
	if w.buf == nil {
		w.buf = make([]byte, pieceSize)
	}
	h := sha256.New()
	l.seed = maphash.MakeSeed()
	err := w.source.each(e, w.buf, func(piece []byte) error {
		h.Write(piece)
		l.fingerprints = append(l.fingerprints, maphash.Bytes(l.seed, piece))
		w.countRead(e, int64(len(piece)))
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	return w.settle(i, sum256(h.Sum(nil)))
}

// fillPiece writes one piece of a large file, with the header before the first
// and the padding after the last.
func (w *worker) fillPiece(ctx context.Context, p *part, c chunk, trust bool) error {
	i, e := c.first, &w.tree.Entries[c.first]
	hashed := !trust || !w.known[i]
	if hashed {
		if err := w.hashLarge(ctx, i); err != nil {
			return err
		}
	}
	time, err := w.timeOf(ctx, i)
	if err != nil {
		return err
	}
	if c.piece == 0 {
		p.raw = appendHeader(p.raw, e)
		stamp(p.raw[len(p.raw)-blockSize:], time)
	}
	at, offset := len(p.raw), int64(c.piece)*pieceSize
	n := min(e.Size-offset, pieceSize)
	if p.raw, err = w.source.append(p.raw, e, offset, n); err != nil {
		return err
	}
	w.countRead(e, n)
	l := w.large[i]
	if hashed && maphash.Bytes(l.seed, p.raw[at:]) != l.fingerprints[c.piece] {
		return &ChangedError{Path: e.file(), What: "changed"}
	}
	if offset+n == e.Size {
		p.raw = pad(p.raw, e.Size)
	}
	return nil
}

// prehash hashes the large files ahead of the workers, which do it themselves
// when they come first.
func (b *build) prehash(ctx context.Context) (err error) {
	w := &worker{build: b, source: source{roots: b.roots}}
	defer func() { err = errors.Join(err, w.source.Close()) }()
	for i := range b.tree.Entries {
		if b.large[i] == nil || b.known[i] {
			continue
		}
		if err := w.hashLarge(ctx, i); err != nil {
			return err
		}
	}
	return nil
}
