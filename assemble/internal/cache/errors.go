package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// DirError is a directory that cannot be a cache.
type DirError struct {
	Dir  string
	What string // is wrong with it, as a clause
	Err  error  // of the system; nil for none
}

func (e *DirError) Error() string {
	return fmt.Sprintf("opening the cache %s: %s", e.Dir, e.What)
}

// Unwrap returns the error of the system.
func (e *DirError) Unwrap() error { return e.Err }

// Hint says how to get a cache.
func (e *DirError) Hint() string {
	return "let DECANT_CACHE_DIR name a directory of this user's own; " +
		"one that does not exist yet is made"
}

// unfit explains an error of the system.
func unfit(dir string, err error) error {
	e := &DirError{Dir: dir, What: err.Error(), Err: err}
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		e.What = "this user cannot write there"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		e.What = "it is not a directory"
	}
	return e
}
