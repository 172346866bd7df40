package layer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// sum256 is a sha256.
type sum256 = [sha256.Size]byte

// A spool is the file that a layer is written to, and who follows it.
type spool struct {
	path string
	file *os.File

	mu      sync.Mutex
	changed *sync.Cond // size, done and err
	size    int64
	done    bool
	err     error
}

func newSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, "layer-*.tmp")
	if err != nil {
		return nil, spoolError(dir, err)
	}
	s := &spool{path: f.Name(), file: f}
	s.changed = sync.NewCond(&s.mu)
	return s, nil
}

// failedSpool is that of a build that did not begin.
func failedSpool(err error) *spool {
	s := &spool{done: true, err: err}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func spoolError(dir string, err error) error {
	if outOfSpace(err) {
		return &SpaceError{Dir: dir, Err: err}
	}
	return fmt.Errorf("writing the layer to %s: %w", dir, err)
}

// Write appends to the file and wakes those who follow.
func (s *spool) Write(p []byte) (int, error) {
	n, err := s.file.Write(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size += int64(n)
	s.changed.Broadcast()
	return n, err
}

// finish tells those who follow that no more comes, and why. After an error the
// file is removed.
func (s *spool) finish(err error) error {
	if s.file != nil {
		if cerr := s.file.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			err = errors.Join(err, removeFile(s.path))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done, s.err = true, err
	s.changed.Broadcast()
	return err
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// wait returns how much can be read beyond offset at, waiting until that is
// more than nothing. It returns io.EOF at the end of a complete spool.
func (s *spool) wait(at int64, stopped func() bool) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.size <= at && !s.done && !stopped() {
		s.changed.Wait()
	}
	switch {
	case stopped():
		return 0, fs.ErrClosed
	case s.done && s.err != nil:
		return 0, s.err
	case s.size > at:
		return s.size - at, nil
	}
	return 0, io.EOF
}

// follow returns a reader of the spool as it grows.
func (s *spool) follow() io.ReadCloser {
	f := &follower{spool: s}
	if s.path != "" {
		f.file, f.err = os.Open(s.path)
	}
	return f
}

// A follower reads a spool while it is written. Close may be called while Read
// waits, which then returns.
type follower struct {
	spool  *spool
	file   *os.File
	err    error // of opening it
	at     int64
	closed bool // guarded by spool.mu
}

func (f *follower) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.spool.wait(f.at, func() bool { return f.closed })
	if err == nil {
		err = f.err
	}
	if err != nil {
		return 0, err
	}
	m, err := f.file.ReadAt(p[:min(n, int64(len(p)))], f.at)
	f.at += int64(m)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the spool says there is more
	}
	return m, err
}

func (f *follower) Close() error {
	f.spool.mu.Lock()
	defer f.spool.mu.Unlock()
	if f.closed || f.file == nil {
		return nil
	}
	f.closed = true
	f.spool.changed.Broadcast()
	return f.file.Close()
}

// A verifier reads a blob and, with its last byte, checks its size and digest.
// It hides the *os.File, which net/http would hand to the kernel unread and
// unverified (golang/go#70000).
type verifier struct {
	file   *os.File
	want   v1.Hash
	left   int64
	hash   hash.Hash
	failed error
}

func openVerified(path string, digest v1.Hash, size int64) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the layer in %s: %w", path, ErrNoBlob)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the layer: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() != size {
		err = &DamagedError{Path: path,
			What: fmt.Sprintf("it has %d bytes, not %d", info.Size(), size)}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &verifier{file: f, want: digest, left: size, hash: sha256.New()}, nil
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.failed != nil {
		return 0, v.failed
	}
	if v.left == 0 {
		return 0, io.EOF
	}
	n, err := v.file.Read(p[:min(v.left, int64(len(p)))])
	v.hash.Write(p[:n])
	v.left -= int64(n)
	switch {
	case v.left == 0:
		// A reader that counts bytes does not ask for the end: tell it now.
		if got := hashOf(v.hash); got != v.want {
			v.failed = &DamagedError{Path: v.file.Name(),
				What: fmt.Sprintf("its digest is %s, not %s", got, v.want)}
			return 0, v.failed
		}
		return n, nil
	case errors.Is(err, io.EOF):
		v.failed = &DamagedError{Path: v.file.Name(), What: "it is cut short"}
		return n, v.failed
	}
	return n, err
}

func (v *verifier) Close() error { return v.file.Close() }

func hashOf(h hash.Hash) v1.Hash { return toHash(sum256(h.Sum(nil))) }

func toHash(sum sum256) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sum)} }
