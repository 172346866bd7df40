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

// replaceFile writes path with fill in one step: beside it first, then by
// rename. What is there must be of the kind, or empty.
func replaceFile(
	ctx context.Context, path string, kind archiveKind, fill func(io.Writer) error,
) error {
	dir := filepath.Dir(path)
	if err := checkParent(dir); err != nil {
		return err
	}
	if err := checkReplaceable(path, kind); err != nil {
		return err
	}
	staged := filepath.Join(dir, stagePrefix+rand.Text())
	if err := writeSynced(staged, fill); err != nil {
		return err
	}
	err := ctx.Err()
	if err == nil {
		err = os.Rename(staged, path)
	} else {
		err = context.Cause(ctx)
	}
	if err != nil {
		return errors.Join(err, os.Remove(staged))
	}
	return syncDir(dir)
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
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}
