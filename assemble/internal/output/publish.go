package output

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// publish moves what is staged to its place and names it in index.json, which is
// the last step. After an error what it moved is gone again.
func (s *stage) publish(ctx context.Context) (err error) {
	unlock, err := lock(ctx, s.layout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	staged := filepath.Join(s.dir, indexFileName)
	if err := s.stageIndex(staged); err != nil {
		return err
	}
	var undo undoList
	defer func() {
		if err != nil {
			undo.run()
		}
	}()
	if err := s.moveLayoutFile(&undo); err != nil {
		return err
	}
	if err := s.moveBlobs(&undo); err != nil {
		return err
	}
	if err := os.Rename(staged, filepath.Join(s.layout, indexFileName)); err != nil {
		return err
	}
	undo = nil
	return errors.Join(syncDir(s.layout), syncDir(filepath.Dir(filepath.Clean(s.layout))))
}

// undoList holds paths that were made, to be removed in reverse order; directories
// only if they are empty.
type undoList []string

func (u *undoList) made(path string) { *u = append(*u, path) }

func (u *undoList) run() {
	for _, path := range slices.Backward(*u) {
		_ = os.Remove(path)
	}
}

// stageIndex writes the new index.json while a full disk does no harm yet.
func (s *stage) stageIndex(staged string) error {
	index, err := readIndexFile(filepath.Join(s.layout, indexFileName))
	if err != nil {
		return err
	}
	if err := index.add(s.graph.root, s.names); err != nil {
		return err
	}
	raw, err := index.bytes()
	if err != nil {
		return err
	}
	return writeSynced(staged, func(w io.Writer) error {
		_, err := w.Write(raw)
		return err
	})
}

// moveLayoutFile comes first: were the process killed now, the directory is still
// known for a layout.
func (s *stage) moveLayoutFile(undo *undoList) error {
	final := filepath.Join(s.layout, layoutFile)
	if _, err := os.Lstat(final); err == nil {
		return nil
	}
	staged := filepath.Join(s.dir, layoutFile)
	err := writeSynced(staged, func(w io.Writer) error {
		_, err := io.WriteString(w, layoutVersion)
		return err
	})
	if err == nil {
		err = os.Rename(staged, final)
	}
	if err == nil {
		undo.made(final)
	}
	return err
}

func (s *stage) moveBlobs(undo *undoList) error {
	dirs := map[string]bool{}
	for _, b := range s.graph.blobs {
		staged, final := s.path(b.digest), s.final(b.digest)
		if present(final, b) { // from before, or another writer was first
			continue
		}
		if err := makeBlobDir(filepath.Dir(final), undo); err != nil {
			return err
		}
		_, err := os.Lstat(final)
		isNew := errors.Is(err, fs.ErrNotExist)
		if err := os.Rename(staged, final); err != nil {
			return err
		}
		if isNew {
			undo.made(final)
		}
		dirs[filepath.Dir(final)] = true
	}
	for dir := range dirs {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// makeBlobDir makes blobs/ALGORITHM.
func makeBlobDir(dir string, undo *undoList) error {
	for _, d := range []string{filepath.Dir(dir), dir} {
		err := os.Mkdir(d, 0o777)
		switch {
		case err == nil:
			undo.made(d)
		case !errors.Is(err, fs.ErrExist):
			return spaceError(d, err)
		}
	}
	return nil
}
