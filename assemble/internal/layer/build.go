package layer

import (
	"context"
	"errors"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// Options of a build. The zero value lacks a Compression.
type Options struct {
	Compression Compression
	// Temp is the directory in which the spool is made; it exists. "" is the
	// system's.
	Temp string
	// Reuse is the Record of an earlier build of the same site, nil for none, and
	// ReuseBlob its compressed layer, "" when that is gone. They save time; the
	// layer is the same without them.
	Reuse     *Record
	ReuseBlob string
	// Jobs is how many chunks are compressed at a time; 0 is one for each
	// processor, and 8 at most.
	Jobs int
	// Progress, which may be nil, is called with what is in the layer so far, from
	// one goroutine at a time.
	Progress func(files int, bytes int64)
}

const maxJobs = 8

func (o Options) jobs() int {
	if o.Jobs > 0 {
		return min(o.Jobs, maxJobs)
	}
	return min(runtime.GOMAXPROCS(0), maxJobs)
}

// Build writes tree as one layer, and returns the Record with which the next
// build is faster. The caller closes the layer.
//
// An EntryError, a ChangedError or a SpaceError says what went wrong and what to
// do. After an error, or when ctx is done, no file is left.
func Build(ctx context.Context, tree Tree, o Options) (*Layer, *Record, error) {
	l, r, err := Start(ctx, tree, o).Wait()
	var changed *ChangedError
	if errors.As(err, &changed) && o.Reuse != nil {
		// Where a file system does not tell of every change the record is wrong, and
		// not the directory. Without it the files are what they are.
		o.Reuse = nil
		return Start(ctx, tree, o).Wait()
	}
	return l, r, err
}

// A Job is a build under way.
type Job struct {
	spool   *spool
	group   errgroup.Group
	layer   *Layer
	record  *Record
	earlier *Layer // the layer, when the earlier build's is it
}

// Start begins to build tree as one layer. The caller calls Wait; when ctx is done
// the build stops.
//
// Unlike Build it does not start again if the record that it reuses proves wrong,
// since others may have read half of the layer: after a ChangedError the caller
// may start once more without Reuse.
func Start(ctx context.Context, tree Tree, o Options) *Job {
	b, err := newBuild(tree, o)
	if err != nil {
		return &Job{spool: failedSpool(err)}
	}
	if b.unchanged() {
		l := FromRecord(o.Reuse, o.ReuseBlob)
		l.stats.Files, l.stats.ReusedChunks = b.files(), len(b.chunks)
		if err := b.close(); err != nil {
			return &Job{spool: failedSpool(err)}
		}
		return &Job{earlier: l, layer: l, record: o.Reuse.refreshed(tree)}
	}
	if b.spool, err = newSpool(o.Temp); err != nil {
		return &Job{spool: failedSpool(errors.Join(err, b.close()))}
	}
	j := &Job{spool: b.spool}
	j.group.Go(func() error {
		err := errors.Join(b.run(ctx), b.close())
		if err = b.spool.finish(err); err != nil {
			return err
		}
		j.layer, j.record, err = b.result()
		return err
	})
	return j
}

// Follow returns a reader of the compressed layer as it is written. Read waits
// for more, and ends with io.EOF when the layer is whole or with the error of
// the build. What it gives is not verified, as no digest is known yet, but for
// the blob of an earlier build, which is. Several may read at a time, at their
// own pace; each is closed by its caller. Follow is called before the layer is
// moved or closed.
func (j *Job) Follow() io.ReadCloser {
	if j.earlier == nil {
		return j.spool.follow()
	}
	rc, err := j.earlier.Compressed()
	if err != nil {
		return failedSpool(err).follow()
	}
	return rc
}

// Wait returns the finished layer, as Build does. It may be called more than once,
// and concurrently; there is one layer to close.
func (j *Job) Wait() (*Layer, *Record, error) {
	if err := j.group.Wait(); err != nil {
		return nil, nil, err
	}
	if j.layer == nil {
		return nil, nil, j.spool.err
	}
	return j.layer, j.record, nil
}

// newBuild checks and lays out what is to be built.
func newBuild(tree Tree, o Options) (*build, error) {
	if err := o.Compression.check(); err != nil {
		return nil, err
	}
	if err := checkEntries(tree.Entries); err != nil {
		return nil, err
	}
	b := &build{tree: tree, options: o, jobs: o.jobs(), chunks: cut(tree.Entries),
		from: origins(tree.Entries)}
	var err error
	if b.roots, err = openRoots(tree); err != nil {
		return nil, err
	}
	b.old = newReuse(o)
	b.plan()
	return b, nil
}

func (b *build) close() error {
	return errors.Join(b.old.Close(), b.roots.Close())
}

// unchanged says whether the earlier build's blob is, as far as its size tells,
// the layer that is to be built.
func (b *build) unchanged() bool {
	return b.old != nil && b.old.whole &&
		b.old.record.Unchanged(b.tree, b.options.Compression)
}

func (b *build) files() int {
	n := 0
	for i := range b.tree.Entries {
		if b.tree.Entries[i].Kind == File {
			n++
		}
	}
	return n
}

// result makes the layer and its record of a build that has run.
func (b *build) result() (*Layer, *Record, error) {
	r := &Record{
		compression: b.options.Compression,
		scannedAt:   b.tree.ScannedAt,
		digest:      b.digest, diffID: b.diffID,
		entries: b.tree.Entries, sums: b.sums, chunks: b.records,
	}
	for i := range r.chunks {
		r.rawSize += r.chunks[i].rawSize
		r.size += r.chunks[i].size
	}
	l := FromRecord(r, b.spool.path)
	l.owned = true
	l.stats.Files = b.files()
	l.stats.ReadBytes = b.readBytes.Load()
	l.stats.ReusedChunks = int(b.reused.Load())
	l.stats.CompressedChunks = len(b.chunks) - l.stats.ReusedChunks
	if b.old != nil && b.old.whole && r.digest == b.old.record.digest &&
		l.stats.CompressedChunks == 0 {
		// All of it came out of the earlier blob, verified: one copy is enough.
		if err := l.Close(); err != nil {
			return nil, nil, err
		}
		l.path = b.options.ReuseBlob
	}
	return l, r, nil
}
