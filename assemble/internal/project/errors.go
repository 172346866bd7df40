package project

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// ManifestError is a file of the project that cannot be understood.
type ManifestError struct {
	File         string
	Line, Column int // from 1; 0 if the fault has no place
	What         string
	Fix          string
}

func (e *ManifestError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("reading %s: %s", e.File, e.What)
	}
	return fmt.Sprintf("reading %s:%d:%d: %s", e.File, e.Line, e.Column, e.What)
}

// Hint says how to mend the file.
func (e *ManifestError) Hint() string { return e.Fix }

// ServerError is a project whose pages are made by a server when they are asked
// for, so that no directory of files could stand for it.
type ServerError struct {
	Framework string
	Package   string // its name, or its directory
	What      string // what says so
	Fix       string
}

func (e *ServerError) Error() string {
	return fmt.Sprintf("building %s: %s needs a server of its own: %s", e.Package, e.Framework, e.What)
}

// Hint says which setting makes the site static.
func (e *ServerError) Hint() string { return e.Fix }

// NoBuildError is a package that nothing can be built from.
type NoBuildError struct {
	File string // its package.json
	Fix  string
}

func (e *NoBuildError) Error() string {
	return fmt.Sprintf("building with %s: no build script, and no framework that decant knows", e.File)
}

// Hint says how to name the command.
func (e *NoBuildError) Hint() string { return e.Fix }

// ChoiceError is a workspace with several sites.
type ChoiceError struct {
	Root     string
	Packages []string
}

func (e *ChoiceError) Error() string {
	return fmt.Sprintf("building the workspace %s: several packages are sites: %s", e.Root,
		strings.Join(e.Packages, ", "))
}

// Hint says how to choose one.
func (e *ChoiceError) Hint() string {
	return fmt.Sprintf("name one, as decant build %s", e.Packages[0])
}

// OverrideError is a value of Overrides that cannot be.
type OverrideError struct {
	Flag, Value, What, Fix string
}

func (e *OverrideError) Error() string {
	return fmt.Sprintf("reading %s %q: %s", e.Flag, e.Value, e.What)
}

// Usage is always true: the caller fixes it in the command.
func (e *OverrideError) Usage() bool { return true }

// Hint says what to write.
func (e *OverrideError) Hint() string { return e.Fix }

// OutputError is a build that left no site, or several.
type OutputError struct {
	What string
	// Candidates are directories with a page, or without one that was looked for.
	Candidates []string
	Fix        string
}

func (e *OutputError) Error() string { return "finding what the build wrote: " + e.What }

// Hint says how to name the directory.
func (e *OutputError) Hint() string { return e.Fix }

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
