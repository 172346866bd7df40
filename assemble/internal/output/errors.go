package output

import (
	"fmt"
	"io/fs"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ExistsError is a target that exists and is not ours to replace.
type ExistsError struct {
	Path string
	What string // what it is, or is not, as a clause
}

func (e *ExistsError) Error() string { return fmt.Sprintf("%s exists, and %s", e.Path, e.What) }

// Hint says how to go on.
func (e *ExistsError) Hint() string { return "remove it, or choose another path" }

// ParentError is a target whose directory does not exist.
type ParentError struct {
	Dir string
	Err error
}

func (e *ParentError) Error() string { return fmt.Sprintf("directory %s: %v", e.Dir, e.Err) }

// Unwrap returns the error of the system.
func (e *ParentError) Unwrap() error { return e.Err }

// Hint says how to go on.
func (e *ParentError) Hint() string { return fmt.Sprintf("create it: mkdir -p %q", e.Dir) }

// SpaceError is a file system that is full.
type SpaceError struct {
	Dir string
	Err error
}

func (e *SpaceError) Error() string { return fmt.Sprintf("writing to %s: %v", e.Dir, e.Err) }

// Unwrap returns the error of the system.
func (e *SpaceError) Unwrap() error { return e.Err }

// Hint says how to go on.
func (e *SpaceError) Hint() string {
	return fmt.Sprintf("free some space in %s, or write elsewhere", e.Dir)
}

// UnsupportedError is an image that a format cannot hold.
type UnsupportedError struct {
	What, Fix string
}

func (e *UnsupportedError) Error() string { return e.What }

// Hint says which format or option to use.
func (e *UnsupportedError) Hint() string { return e.Fix }

// CorruptError is content that does not match its digest.
type CorruptError struct {
	Digest v1.Hash
	What   string
}

func (e *CorruptError) Error() string { return fmt.Sprintf("blob %s: %s", e.Digest, e.What) }

// Hint says how to go on.
func (e *CorruptError) Hint() string {
	return "what the image was read from is damaged: fetch or build it again"
}

// FormatError is a source that is malformed, or of another kind than was said.
type FormatError struct {
	Path string
	What string
	Fix  string // may be empty: the source is damaged
	Err  error  // what the system said; may be nil
}

func (e *FormatError) Error() string { return fmt.Sprintf("reading %s: %s", e.Path, e.What) }

// Unwrap returns the error of the system.
func (e *FormatError) Unwrap() error { return e.Err }

// Hint says how to go on.
func (e *FormatError) Hint() string {
	if e.Fix == "" {
		return "it is damaged, or no image: write, copy or fetch it again"
	}
	return e.Fix
}

// missingSource is a path of a source at which there is nothing.
func missingSource(path string) error {
	return &FormatError{Path: path, What: "it does not exist", Err: fs.ErrNotExist,
		Fix: "check the path; write oci:DIR for a directory, oci-archive:FILE or docker-archive:FILE for a file"}
}

// SelectError is a source that has no image of the given name, or several and no
// name was given.
type SelectError struct {
	Path string
	Name string // "" when none was given
	Have []string
}

func (e *SelectError) Error() string {
	switch {
	case e.Name != "":
		return fmt.Sprintf("%s has no image named %q", e.Path, e.Name)
	case len(e.Have) == 0:
		return fmt.Sprintf("%s has no image", e.Path)
	}
	return fmt.Sprintf("%s has several images", e.Path)
}

// Hint lists what there is.
func (e *SelectError) Hint() string {
	const most = 10
	switch n := len(e.Have); {
	case n == 0:
		return "write an image into it first"
	case n > most:
		return fmt.Sprintf("it has %s and %d more", strings.Join(e.Have[:most], ", "), n-most)
	}
	return "it has " + strings.Join(e.Have, ", ")
}
