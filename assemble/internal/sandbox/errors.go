package sandbox

import (
	"context"
	"fmt"
	"time"
)

// ExitError tells that a command ran, or could not be found, and did not end with
// exit code 0.
type ExitError struct {
	Code   int    // 128 + Signal if a signal ended it; 126 and 127 as in a shell
	Signal int    // 0 if it exited
	Reason string // why it could not be executed; empty if it was
}

func (e *ExitError) Error() string {
	switch {
	case e.Reason != "":
		return fmt.Sprintf("exit code %d: %s", e.Code, e.Reason)
	case e.Signal != 0:
		return fmt.Sprintf("exit code %d (signal %d)", e.Code, e.Signal)
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// TimeoutError tells that a step took longer than its Timeout and was ended.
type TimeoutError struct{ After time.Duration }

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("ending the step: it took longer than %s", e.After)
}

// Unwrap makes it a context.DeadlineExceeded.
func (e *TimeoutError) Unwrap() error { return context.DeadlineExceeded }

// Hint says what to do.
func (e *TimeoutError) Hint() string { return "give it more time with --timeout" }

// RefusedError tells that this host does not allow the sandbox. Nothing was
// executed.
type RefusedError struct {
	Stage  string // what was being done: one of the Stage constants
	Cause  string // what on this host forbids it, as far as can be told
	Remedy string // what to do about that; may be empty
	Err    error  // an errno as a rule
}

func (e *RefusedError) Error() string {
	s := "starting the sandbox: " + e.Stage
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Cause != "" {
		s += ": " + e.Cause
	}
	return s
}

// Unwrap gives the errno.
func (e *RefusedError) Unwrap() error { return e.Err }

// Hint says how to get a sandbox on this host, and how to do without.
func (e *RefusedError) Hint() string {
	const always = "build the site outside and pass it with --dist: assembling needs no sandbox"
	if e.Remedy == "" {
		return always
	}
	return e.Remedy + "; or " + always
}

// The stages at which a host may refuse.
const (
	StageSystem   = "checking the system"
	StageClone    = "making namespaces"
	StageIDs      = "mapping user ids"
	StagePrivate  = "making mounts private"
	StageOverlay  = "mounting the overlay"
	StageCopy     = "copying the root"
	StageMount    = "mounting inside"
	StageRoot     = "changing the root"
	StageConfine  = "giving up privileges"
	StageIsolated = "isolating the network"
)
