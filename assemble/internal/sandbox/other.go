//go:build !linux || !(amd64 || arm64)

package sandbox

import (
	"context"
	"errors"
	"io"
	"runtime"
)

// Sandbox is a root file system on which steps run.
type Sandbox struct{}

func refuse() error {
	return &RefusedError{
		Stage: StageSystem,
		Cause: "a build step needs Linux on amd64 or arm64, this is " + runtime.GOOS + " on " +
			runtime.GOARCH,
		Err: errors.ErrUnsupported,
	}
}

// Open returns a RefusedError: this system has no sandbox.
func Open(context.Context, Config) (*Sandbox, error) { return nil, refuse() }

// Run is never reached, for Open fails.
func (*Sandbox) Run(context.Context, Step) error { return refuse() }

// Export is never reached, for Open fails.
func (*Sandbox) Export(context.Context, string, io.Writer) error { return refuse() }

// Import is never reached, for Open fails.
func (*Sandbox) Import(context.Context, string, io.Reader) error { return refuse() }

// Changes is never reached, for Open fails.
func (*Sandbox) Changes() (string, bool) { return "", false }

// TakeChanges is never reached, for Open fails.
func (*Sandbox) TakeChanges() (string, error) { return "", refuse() }

// RecordedOwners is never reached, for Open fails.
func (*Sandbox) RecordedOwners() map[string]Owner { return nil }

// OwnersLost is never reached, for Open fails.
func (*Sandbox) OwnersLost() bool { return false }

// Close is never reached, for Open fails.
func (*Sandbox) Close() error { return nil }

// Sweep does nothing: there are no sandboxes here.
func Sweep(string) error { return nil }

// MaybeInit does nothing: there are no sandboxes here.
func MaybeInit() {}
