package layer

import (
	"errors"
	"fmt"
)

// ErrNoBlob is returned by the Compressed and Uncompressed of a Layer that is
// known from a Record alone. The caller builds the layer to have its bytes.
var ErrNoBlob = errors.New("the bytes of the layer are not kept here")

// EntryError says that a Tree holds an entry that no layer may hold.
type EntryError struct {
	Name string
	Why  string // what is wrong with it, as a clause: "its name is not clean"
	Way  string // the way out; may be empty
}

func (e *EntryError) Error() string { return fmt.Sprintf("adding %q: %s", e.Name, e.Why) }

// Hint returns the way out.
func (e *EntryError) Hint() string { return e.Way }

// ChangedError says that a file is not, or is no longer, what the scan saw.
type ChangedError struct {
	Path string // relative to the Dir of the Tree, absolute for a source with a Base
	What string // what happened to it, as a verb: "grew"
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("reading %q: the file %s while decant read the directory", e.Path, e.What)
}

// Hint returns the way out.
func (e *ChangedError) Hint() string {
	return "the directory changed while decant read it: " +
		"build into a fresh directory, then run decant"
}

// SpaceError says that the spool does not fit where it is written.
type SpaceError struct {
	Dir string
	Err error
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("writing the layer to %s: %v", e.Dir, e.Err)
}

// Unwrap returns the error of the system.
func (e *SpaceError) Unwrap() error { return e.Err }

// Hint returns the way out.
func (e *SpaceError) Hint() string {
	return fmt.Sprintf("free some space in %s, or let decant work in a larger directory "+
		"(DECANT_CACHE_DIR, TMPDIR)", e.Dir)
}

// DamagedError says that the file of a finished layer does not hold the layer.
type DamagedError struct {
	Path string
	What string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("reading the layer in %s: %s", e.Path, e.What)
}

// Hint returns the way out.
func (e *DamagedError) Hint() string {
	return "the cached layer is damaged: run again with --no-cache, or run decant cache prune"
}
