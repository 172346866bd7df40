package rootfs

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const moveCache = "point DECANT_CACHE_DIR to another directory"

// LayerError is a layer that cannot be unpacked. Entry is the name in its tar
// at which that showed, as the tar has it, or empty.
type LayerError struct {
	Index  int // 0 is the bottom one
	Digest v1.Hash
	Entry  string
	Err    error
}

func (e *LayerError) Error() string {
	if e.Entry == "" {
		return fmt.Sprintf("unpacking layer %d (%s): %v", e.Index+1, e.Digest, e.Err)
	}
	return fmt.Sprintf("unpacking layer %d (%s): entry %q: %v", e.Index+1, e.Digest, e.Entry, e.Err)
}

func (e *LayerError) Unwrap() error { return e.Err }

// DigestError is content that is not what the image says it is. What is "size",
// "digest" (of the blob), "diffID" (of the tar in it) or "configuration".
type DigestError struct {
	What, Want, Got string
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("checking its %s: it is %s, but the image says %s", e.What, e.Got, e.Want)
}

// Hint says what a wrong digest means.
func (e *DigestError) Hint() string {
	if e.What == "diffID" {
		return "the image contradicts itself: it has to be built again"
	}
	return "the content was damaged on its way or where it is kept: try again, or pull from elsewhere"
}

// LimitError is a layer that holds more than Limits allow.
type LimitError struct {
	What  string
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("it has more than %d %s", e.Limit, e.What)
}

// Hint says what to think of such a layer.
func (e *LimitError) Hint() string {
	return "no ordinary image has this: check where it comes from"
}

// EntryError is an entry of a tar that has no meaning.
type EntryError struct {
	Why string
}

func (e *EntryError) Error() string { return e.Why }

// ChangedError is a file that is not as it was when it was listed.
type ChangedError struct {
	Path string
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("reading %s: it was changed since it was listed", e.Path)
}

// Hint says what to do.
func (e *ChangedError) Hint() string { return "stop what writes to it, and build again" }

// SpaceError is a full disk, or an exhausted quota. Nothing was left behind.
type SpaceError struct {
	Dir string
	Err error
}

func (e *SpaceError) Error() string { return fmt.Sprintf("writing below %s: %v", e.Dir, e.Err) }

func (e *SpaceError) Unwrap() error { return e.Err }

// Hint says how to get space.
func (e *SpaceError) Hint() string {
	return "free space with decant cache prune, or " + moveCache
}

// StoreError is a directory that cannot hold a store, or not this layer.
type StoreError struct {
	Dir, Why string
}

func (e *StoreError) Error() string { return fmt.Sprintf("using the store %s: %s", e.Dir, e.Why) }

// Hint says how to use another directory.
func (e *StoreError) Hint() string { return moveCache }

// UserError is a user or group that the image does not have.
type UserError struct {
	Kind, Name string // Kind is "user" or "group"
}

func (e *UserError) Error() string {
	return fmt.Sprintf("looking up %s %q: the image has no %s of that name", e.Kind, e.Name, e.Kind)
}

// Hint says what else to write.
func (e *UserError) Hint() string { return "create it in an earlier RUN, or give a number" }

// UnsupportedError is a system on which no layers can be unpacked.
type UnsupportedError struct {
	System string
}

func (e *UnsupportedError) Error() string {
	return "unpacking an image: a build step needs Linux, this is " + e.System
}

// Hint says what works on this system.
func (e *UnsupportedError) Hint() string {
	return "run the front-end build yourself and pass its output with --dist, or use a Linux machine"
}
