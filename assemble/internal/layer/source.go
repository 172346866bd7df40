package layer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// A source reads the files of a tree. It keeps the last directory open: the
// entries of a chunk mostly lie in the same one, and os.Root otherwise walks a
// path element by element. Not for concurrent use; several may share a root.
type source struct {
	root *os.Root // nil when no entry has a Source
	dir  string
	sub  *os.Root // of dir; nil for none
}

func (s *source) Close() error {
	if s.sub == nil {
		return nil
	}
	err := s.sub.Close()
	s.sub = nil
	return err
}

// append appends n bytes of the entry's content, from offset on, to dst. The
// file must be, before and after, the one that was scanned.
func (s *source) append(dst []byte, e *Entry, offset, n int64) ([]byte, error) {
	if e.Source == "" {
		return append(dst, e.Data[offset:offset+n]...), nil
	}
	f, err := s.open(e)
	if err != nil {
		return dst, err
	}
	defer f.Close()
	at := len(dst)
	dst = slices.Grow(dst, int(n))[:at+int(n)]
	_, err = f.ReadAt(dst[at:], offset)
	switch {
	case n == 0:
	case errors.Is(err, io.EOF):
		return dst[:at], &ChangedError{Path: e.Source, What: "shrank"}
	case err != nil:
		return dst[:at], fmt.Errorf("reading %q: %w", e.Source, err)
	}
	if err := checkStat(f, e); err != nil {
		return dst[:at], err
	}
	return dst, nil
}

// each calls fn with the pieces of a file's content, in order, in a buffer that
// it reuses.
func (s *source) each(e *Entry, buf []byte, fn func(piece []byte) error) error {
	if e.Source == "" {
		for piece := range slices.Chunk(e.Data, pieceSize) {
			if err := fn(piece); err != nil {
				return err
			}
		}
		return nil
	}
	f, err := s.open(e)
	if err != nil {
		return err
	}
	defer f.Close()
	for left := e.Size; left > 0; left -= pieceSize {
		piece := buf[:min(left, pieceSize)]
		if _, err := io.ReadFull(f, piece); errors.Is(err, io.EOF) ||
			errors.Is(err, io.ErrUnexpectedEOF) {
			return &ChangedError{Path: e.Source, What: "shrank"}
		} else if err != nil {
			return fmt.Errorf("reading %q: %w", e.Source, err)
		}
		if err := fn(piece); err != nil {
			return err
		}
	}
	return checkStat(f, e)
}

// open opens the file of an entry and checks that it is the one that was scanned.
func (s *source) open(e *Entry) (*os.File, error) {
	dir, base := filepath.Split(e.Source)
	in, err := s.enter(filepath.Clean(dir))
	if err != nil {
		return nil, openError(e, err)
	}
	if e.Inode == 0 {
		// Nothing tells the file from one that a link now leads to.
		if info, err := in.Lstat(base); err != nil {
			return nil, openError(e, err)
		} else if !info.Mode().IsRegular() {
			return nil, &ChangedError{Path: e.Source, What: "was replaced"}
		}
	}
	f, err := in.OpenFile(base, openFlags, 0)
	if err != nil {
		return nil, openError(e, err)
	}
	if err := checkStat(f, e); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (s *source) enter(dir string) (*os.Root, error) {
	if dir == "." {
		return s.root, nil
	}
	if s.sub != nil && s.dir == dir {
		return s.sub, nil
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	sub, err := s.root.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s.dir, s.sub = dir, sub
	return sub, nil
}

func openError(e *Entry, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &ChangedError{Path: e.Source, What: "vanished"}
	}
	return fmt.Errorf("reading %q: %w", e.Source, err)
}

func checkStat(f *os.File, e *Entry) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("reading %q: %w", e.Source, err)
	}
	what := ""
	switch inode := inodeOf(info); {
	case !info.Mode().IsRegular() || e.Inode != 0 && inode != 0 && inode != e.Inode:
		what = "was replaced"
	case info.Size() > e.Size:
		what = "grew"
	case info.Size() < e.Size:
		what = "shrank"
	case e.MTime != 0 && info.ModTime().UnixNano() != e.MTime:
		what = "changed"
	default:
		return nil
	}
	return &ChangedError{Path: e.Source, What: what}
}
