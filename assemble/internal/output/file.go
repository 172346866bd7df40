package output

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// stagePrefix begins the names of what is not finished yet.
const stagePrefix = ".decant-"

// writeSynced writes a new file with fill, and syncs it. After an error there is
// no file.
func writeSynced(path string, fill func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return spaceError(path, err)
	}
	defer func() {
		err = spaceError(path, errors.Join(err, f.Close()))
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	w := bufio.NewWriterSize(f, 256<<10)
	if err := fill(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Sync()
}

// spaceError names a full file system for what it is.
func spaceError(path string, err error) error {
	var known *SpaceError
	if err == nil || errors.As(err, &known) || !isFull(err) {
		return err
	}
	return &SpaceError{Dir: filepath.Dir(path), Err: err}
}

// stagedFile is a file that is written beside its place.
type stagedFile struct {
	temp, path string
	kind       archiveKind
}

// stageFile writes what fill gives beside path.
func stageFile(path string, kind archiveKind, fill func(io.Writer) error) (*stagedFile, error) {
	f := &stagedFile{
		temp: filepath.Join(filepath.Dir(path), stagePrefix+rand.Text()), path: path, kind: kind,
	}
	if err := writeSynced(f.temp, fill); err != nil {
		return nil, err
	}
	return f, nil
}

// commit looks at the place again: there may be another file since.
func (f *stagedFile) commit() error {
	if err := checkReplaceable(f.path, f.kind); err != nil {
		return err
	}
	if err := os.Rename(f.temp, f.path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.path))
}

func (f *stagedFile) discard() error {
	if err := os.Remove(f.temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// checkFile reports a path that an archive cannot be written to.
func checkFile(path string, kind archiveKind) error {
	if err := checkParent(filepath.Dir(path)); err != nil {
		return err
	}
	return checkReplaceable(path, kind)
}

func checkParent(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &ParentError{Dir: dir, Err: errors.New("it does not exist")}
	case err != nil:
		return &ParentError{Dir: dir, Err: err}
	case !info.IsDir():
		return &ExistsError{Path: dir, What: "is no directory"}
	}
	return nil
}

// checkReplaceable reports a file that is not ours to replace.
func checkReplaceable(path string, kind archiveKind) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return &ExistsError{Path: path, What: "is no regular file"}
	case info.Size() == 0:
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if entries, err := indexTar(f, path); err == nil && entries.has(kind) {
		return nil
	}
	return &ExistsError{Path: path, What: fmt.Sprintf("is no %s", kind)}
}

// lock waits for the lock of dir. It is held for moments only: while a writer
// moves what it has staged.
func lock(ctx context.Context, dir string) (unlock func() error, err error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		unlock, ok, err := tryLock(dir)
		if ok || err != nil {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lock of %s: %w", dir, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}
