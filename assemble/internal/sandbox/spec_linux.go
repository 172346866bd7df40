//go:build amd64 || arm64

package sandbox

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"syscall"
)

// A rung is a way to make the root; see the package documentation of Isolation.
type rung int

const (
	overlayRung rung = iota // user namespace, mounts, overlay
	copyRung                // the same over a private copy of the root
	chrootRung              // user namespace and chroot, no mounts
	rootRung                // root, chroot, no namespace
)

// mounts tells whether a rung has a mount namespace.
func (r rung) mounts() bool { return r == overlayRung || r == copyRung }

// A job is what process 1 does once the root is there.
type job string

const (
	jobRun    job = "run"
	jobExport job = "export" // a tar of Path to descriptor 1
	jobImport job = "import" // a tar from descriptor 0 below Path
)

// spec is what process 1 is told, in gob: unlike JSON it keeps strings that are not
// UTF-8, as paths and environments may be.
type spec struct {
	Job   job
	Path  string // of an export or import
	Rung  rung
	Lower []string // bottom first
	// Upper and Work are the overlay's; without overlay Upper is the private tree.
	Upper, Work string
	Stage       string // an empty directory: the mount point before pivot_root

	Owners     Owners
	UID, GID   int
	Args, Env  []string
	Dir        string
	Binds      []Bind
	Trees      []tree
	Tmpfs      []TmpfsMount
	Files      []file
	Hostname   string
	OwnNetwork bool
	Forwarding bool // forwardFD is there
	Limits     Limits
}

// pretence is how the step's changes of owner are met.
func (s *spec) pretence() pretence {
	switch {
	case s.UID != 0 || s.Job != jobRun:
	case s.Owners == FakeOwners:
		return faking
	case s.Owners == RecordOwners:
		return listened
	}
	return honest
}

// tree is a TreeMount. Of Lower and Flat one is used; without Upper nothing can be
// written.
type tree struct {
	Lower          []string
	Upper, Work    string
	Flat           string
	Source, Target string
	ReadOnly       bool
}

// file is a file of ours inside, in memory.
type file struct {
	Target   string
	Data     []byte
	Mode     uint32
	ReadOnly bool
	UID, GID int
	// Below makes it conditional: this directory must exist.
	Below string
}

// message is what process 1 tells, one JSON object a line.
type message struct {
	Warn   string `json:",omitempty"`
	Made   string `json:",omitempty"` // a mount point that was not there
	Ready  bool   `json:",omitempty"` // the root is there, the job begins
	Ours   string `json:",omitempty"` // what is ours in a private tree, beyond Made
	Exited bool   `json:",omitempty"` // and with it Code, Signal and Reason
	Code   int    `json:",omitempty"`
	Signal int    `json:",omitempty"`
	Reason string `json:",omitempty"`

	Identity bool        `json:",omitempty"` // findings of the recorder
	Lost     bool        `json:",omitempty"`
	Nodes    []nodeOwner `json:",omitempty"`

	Stage string        `json:",omitempty"` // where it failed, with Err and Errno
	Err   string        `json:",omitempty"`
	Errno syscall.Errno `json:",omitempty"`
}

// nodeOwner is the owner of a node that takes no note. Its path is bytes, which JSON
// keeps as they are.
type nodeOwner struct {
	Path  []byte
	Owner Owner
}

// stageError is a failure of process 1.
type stageError struct {
	Stage string
	Text  string
	Errno syscall.Errno // 0 if there is none
}

func (e *stageError) Error() string { return e.Text }

// Unwrap gives the errno, so that errors.Is(err, fs.ErrNotExist) works.
func (e *stageError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

func (s *spec) encode() ([]byte, error) {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(s); err != nil {
		return nil, fmt.Errorf("encoding for process 1: %w", err)
	}
	return b.Bytes(), nil
}
