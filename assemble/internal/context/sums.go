package context

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// maxSums bounds what is remembered: about 100 MiB of memory, for a context of a
// million files.
const maxSums = 1 << 20

// Margins of trust: a file that was written just before it was read may be written
// again without a change in its times, which move in steps.
const (
	clockTick      = int64(100 * time.Millisecond) // the kernel's is at most 10 ms
	coarseTimeStep = int64(2 * time.Second)        // FAT's
)

// Sums gives the sha256 of files, and remembers them between runs, so that a file
// whose path, size, times and inode are the same is not read again. One that was
// written so shortly before it was read that a later change might not show in these
// is not remembered. It may be used by several goroutines.
type Sums struct {
	file string
	max  int

	mu    sync.Mutex
	known map[pathSum]knownSum
	dirty bool
	today uint32 // in days since 1970
}

// pathSum stands for an absolute path.
type pathSum [16]byte

// knownSum is what is remembered of a file.
type knownSum struct {
	size, mtime, ctime int64
	inode              uint64
	sum                [sha256.Size]byte
	day                uint32 // of its last use
}

// OpenSums returns what is remembered in file, nothing if that is missing or
// damaged. "" is for sums that are forgotten with the process.
func OpenSums(file string) *Sums {
	s := &Sums{file: file, max: maxSums, known: map[pathSum]knownSum{},
		today: uint32(time.Now().Unix() / (24 * 60 * 60))}
	if file != "" {
		s.load()
	}
	return s
}

// Sum returns the sha256 of an entry's content, zero for what is not a File. A file
// that is not, before and after, what the entry says of it, or cannot be read, gives
// a *ScanError.
func (s *Sums) Sum(ctx context.Context, e layer.Entry) ([sha256.Size]byte, error) {
	sum, known := s.lookUp(&e)
	if known {
		return sum, nil
	}
	r := &reader{}
	defer r.close()
	return s.read(ctx, r, &e)
}

// SumAll returns the Sum of each entry, in their order. It reads several files side
// by side.
func (s *Sums) SumAll(ctx context.Context, entries []layer.Entry) ([][sha256.Size]byte, error) {
	sums := make([][sha256.Size]byte, len(entries))
	var todo []int
	for i := range entries {
		var known bool
		if sums[i], known = s.lookUp(&entries[i]); !known {
			todo = append(todo, i)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(min(2*runtime.GOMAXPROCS(0), 16))
	// What lies side by side in the list does so on disk, mostly in one directory.
	for part := range slices.Chunk(todo, 64) {
		group.Go(func() error {
			r := &reader{}
			defer r.close()
			for _, i := range part {
				var err error
				if sums[i], err = s.read(ctx, r, &entries[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return sums, nil
}

// lookUp returns what need not be read.
func (s *Sums) lookUp(e *layer.Entry) (sum [sha256.Size]byte, known bool) {
	if e.Kind != layer.File {
		return sum, true
	}
	if e.Source == "" {
		return sha256.Sum256(e.Data), true
	}
	key := pathSumOf(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	k, found := s.known[key]
	if !found || k.size != e.Size || k.mtime != e.MTime || k.ctime != e.CTime || k.inode != e.Inode {
		return sum, false
	}
	if k.day != s.today {
		k.day = s.today
		s.known[key], s.dirty = k, true
	}
	return k.sum, true
}

func pathSumOf(e *layer.Entry) pathSum {
	sum := sha256.Sum256([]byte(e.Base + "\x00" + e.Source))
	return pathSum(sum[:])
}

// read reads a file and remembers its sum if its stat will tell any later change.
func (s *Sums) read(
	ctx context.Context, r *reader, e *layer.Entry,
) (sum [sha256.Size]byte, err error) {
	started := time.Now().UnixNano()
	if sum, err = r.sum(ctx, e); err != nil {
		return sum, sumError(e, err)
	}
	margin := clockTick
	if e.CTime%int64(time.Second) == 0 {
		margin = coarseTimeStep
	}
	if e.MTime < started-margin && e.CTime < started-margin {
		s.remember(pathSumOf(e), knownSum{e.Size, e.MTime, e.CTime, e.Inode, sum, s.today})
	}
	return sum, nil
}

func (s *Sums) remember(key pathSum, k knownSum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, found := s.known[key]; !found && len(s.known) >= s.max && !s.forgetOld() {
		return
	}
	s.known[key], s.dirty = k, true
}

// forgetOld makes room where there is something that was not used today.
func (s *Sums) forgetOld() bool {
	for key, k := range s.known {
		if k.day != s.today {
			delete(s.known, key)
		}
	}
	return len(s.known) < s.max
}

func sumError(e *layer.Entry, err error) error {
	p := contextProblem(e.Source, err, "the ignore file")
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, errChanged):
		p.What, p.way = "it changed while the directory was read", wayMoved
	}
	return &ScanError{Dir: e.Base, Problems: []Problem{p}}
}

var errChanged = errors.New("changed")

// sumChunk is how much is read between two looks at the context.
const sumChunk = 256 << 10

// reader reads files. It keeps the last directory open: files come sorted, and
// os.Root walks a path element by element. It is for one goroutine.
type reader struct {
	base, dir string
	root, sub *os.Root // of base, and of dir in it; nil for none
	buf       []byte
}

func (r *reader) close() {
	for _, root := range []*os.Root{r.sub, r.root} {
		if root != nil {
			root.Close() // nothing was written
		}
	}
	r.root, r.sub = nil, nil
}

// sum hashes the file of an entry, which must be the one that the entry tells of.
func (r *reader) sum(ctx context.Context, e *layer.Entry) (sum [sha256.Size]byte, err error) {
	f, err := r.open(e)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	if err := checkSame(f, e); err != nil {
		return sum, err
	}
	h := sha256.New()
	if r.buf == nil {
		r.buf = make([]byte, sumChunk)
	}
	for left := e.Size; left > 0; {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		n, err := io.ReadFull(f, r.buf[:min(left, sumChunk)])
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return sum, errChanged
		}
		if err != nil {
			return sum, err
		}
		h.Write(r.buf[:n])
		left -= int64(n)
	}
	h.Sum(sum[:0])
	return sum, checkSame(f, e)
}

func (r *reader) open(e *layer.Entry) (*os.File, error) {
	if r.root == nil || r.base != e.Base {
		r.close()
		root, err := os.OpenRoot(e.Base)
		if err != nil {
			return nil, err
		}
		r.base, r.root = e.Base, root
	}
	dir, name := filepath.Split(filepath.FromSlash(e.Source))
	if dir == "" {
		return r.root.OpenFile(name, openFileFlags, 0)
	}
	if r.sub == nil || r.dir != dir {
		sub, err := r.root.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		if r.sub != nil {
			r.sub.Close() // nothing was written
		}
		r.dir, r.sub = dir, sub
	}
	return r.sub.OpenFile(name, openFileFlags, 0)
}

// checkSame compares an open file with what was listed, but for what the listing
// did not know.
func checkSame(f *os.File, e *layer.Entry) error {
	now := lookAt(f)
	if now.err != nil {
		return now.err
	}
	if !now.mode.IsRegular() || now.size != e.Size || now.mtime != e.MTime ||
		e.CTime != 0 && now.ctime != e.CTime || e.Inode != 0 && now.inode != e.Inode {
		return errChanged
	}
	return nil
}
