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

// roots are the directories that files are read from, by Base; "" is the Dir of
// the Tree. Several sources may read from them at a time.
type roots map[string]*os.Root

// openRoots opens the directories of the files of a tree, each once.
func openRoots(tree Tree) (roots, error) {
	r := make(roots)
	for i := range tree.Entries {
		e := &tree.Entries[i]
		if e.Kind != File || e.Source == "" || r[e.Base] != nil {
			continue
		}
		dir := e.Base
		if dir == "" {
			dir = tree.Dir
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			err = fmt.Errorf("opening the directory of the files: %w", err)
			return nil, errors.Join(err, r.Close())
		}
		r[e.Base] = root
	}
	return r, nil
}

// Close closes the directories; it may be called of nil.
func (r roots) Close() error {
	var err error
	for _, root := range r {
		err = errors.Join(err, root.Close())
	}
	return err
}

// file names the source of an entry in errors: as it is in the directory of the
// user, and in full when it lies elsewhere.
func (e *Entry) file() string { return filepath.Join(e.Base, e.Source) }

// A source reads the files of a tree. It keeps the last directory open: the
// entries of a chunk mostly lie in the same one, and os.Root otherwise walks a
// path element by element. Not for concurrent use.
type source struct {
	roots     roots
	base, dir string
	sub       *os.Root // of dir; nil for none
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
		return dst[:at], &ChangedError{Path: e.file(), What: "shrank"}
	case err != nil:
		return dst[:at], fmt.Errorf("reading %q: %w", e.file(), err)
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
			return &ChangedError{Path: e.file(), What: "shrank"}
		} else if err != nil {
			return fmt.Errorf("reading %q: %w", e.file(), err)
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
	in, err := s.enter(e, filepath.Clean(dir))
	if err != nil {
		return nil, openError(e, err)
	}
	if e.Inode == 0 {
		if info, err := in.Lstat(base); err != nil {
			return nil, openError(e, err)
		} else if !info.Mode().IsRegular() {
			return nil, &ChangedError{Path: e.file(), What: "was replaced"}
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

// enter opens the directory of an entry's file, unless it is the last one.
func (s *source) enter(e *Entry, dir string) (*os.Root, error) {
	root := s.roots[e.Base]
	if dir == "." {
		return root, nil
	}
	if s.sub != nil && s.base == e.Base && s.dir == dir {
		return s.sub, nil
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	if e.Inode == 0 {
		// Nothing else tells the file from one that a link now leads to.
		if err := checkDirs(root, e, dir); err != nil {
			return nil, err
		}
	}
	sub, err := root.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s.base, s.dir, s.sub = e.Base, dir, sub
	return sub, nil
}

// checkDirs sees to it that no element of dir is a link.
func checkDirs(root *os.Root, e *Entry, dir string) error {
	for at := dir; at != "."; at = filepath.Dir(at) {
		info, err := root.Lstat(at)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return &ChangedError{Path: e.file(), What: "was replaced"}
		}
	}
	return nil
}

func openError(e *Entry, err error) error {
	var changed *ChangedError
	switch {
	case errors.As(err, &changed):
		return changed
	case errors.Is(err, fs.ErrNotExist):
		return &ChangedError{Path: e.file(), What: "vanished"}
	}
	return fmt.Errorf("reading %q: %w", e.file(), err)
}

func checkStat(f *os.File, e *Entry) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("reading %q: %w", e.file(), err)
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
	return &ChangedError{Path: e.file(), What: what}
}
