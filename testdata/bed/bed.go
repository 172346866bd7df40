package bed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// A Bed makes and remembers test equipment below one directory. Its methods may
// be called concurrently, also from several processes with the same directory.
type Bed struct {
	dir string
	log func(string)
}

// A MissingError says that the bed needs something which this machine lacks.
type MissingError struct {
	What string // what is missing
	Fix  string // how to get it
}

func (e *MissingError) Error() string { return e.What + " is missing" }

// Hint says how to get what is missing.
func (e *MissingError) Hint() string { return e.Fix }

// Open returns the bed whose cache is dir, or, when dir is empty, the directory
// decant-bed below the user's cache directory. It downloads nothing yet. What
// takes time is told to log, which may be nil.
func Open(ctx context.Context, dir string, log func(string)) (*Bed, error) {
	if runtime.GOOS != "linux" {
		return nil, &MissingError{What: "Linux", Fix: "the test bed runs on Debian"}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("finding the cache directory: %w", err)
		}
		dir = filepath.Join(cache, "decant-bed")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the bed %s: %w", dir, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "locks"), 0o755); err != nil {
		return nil, fmt.Errorf("opening the bed %s: %w", dir, err)
	}
	if log == nil {
		log = func(string) {}
	}
	return &Bed{dir: dir, log: log}, nil
}

// Dir is the bed's cache directory.
func (b *Bed) Dir() string { return b.dir }

// once returns the directory called name below the cache. When it does not exist
// yet, fill is called with an empty directory, which gets the name when fill
// succeeds. One process fills, the others wait. fill may ask for other names.
func (b *Bed) once(ctx context.Context, name string, fill func(dir string) error) (string, error) {
	final := filepath.Join(b.dir, name)
	if isDir(final) {
		return final, nil
	}
	unlock, err := b.lock(ctx, name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if isDir(final) {
		return final, nil
	}
	// We hold the lock, so a partial directory is what a killed process left.
	partial := final + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", fmt.Errorf("removing %s: %w", partial, err)
	}
	if err := os.Mkdir(partial, 0o755); err != nil {
		return "", fmt.Errorf("making %s: %w", name, err)
	}
	defer os.RemoveAll(partial)
	if err := fill(partial); err != nil {
		return "", fmt.Errorf("making %s: %w", name, err)
	}
	if err := os.Rename(partial, final); err != nil {
		return "", fmt.Errorf("making %s: %w", name, err)
	}
	return final, nil
}

// lock takes the lock called name, waiting for the process or goroutine that has
// it, and returns the function that gives it back.
func (b *Bed) lock(ctx context.Context, name string) (unlock func(), err error) {
	path := filepath.Join(b.dir, "locks", name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", name, err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		taken, err := tryLock(f)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", name, err)
		}
		if taken {
			return func() { f.Close() }, nil // closing gives the lock back
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("waiting for the lock %s: %w", name, ctx.Err())
		case <-tick.C:
		}
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
