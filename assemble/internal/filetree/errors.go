package filetree

import (
	"errors"
	"fmt"
	"strings"
)

// What is wrong with the name of a PathError.
var (
	ErrNotExist = errors.New("no such file or directory")
	ErrNotDir   = errors.New("not a directory")
	ErrLoop     = errors.New("too many symbolic links")
)

// PathError is a name that a tree cannot resolve.
type PathError struct {
	Name    string // as it was asked for, with a leading slash
	Nearest string // the deepest that exists on the way, with a leading slash; the file of ErrNotDir
	Err     error  // ErrNotExist, ErrNotDir or ErrLoop
}

func (e *PathError) Error() string { return fmt.Sprintf("%q: %v", e.Name, e.Err) }

// Unwrap returns the reason.
func (e *PathError) Unwrap() error { return e.Err }

// Hint says what is there.
func (e *PathError) Hint() string {
	switch e.Err {
	case ErrNotExist:
		if e.Nearest == "/" {
			return "check the spelling, and what the directory has"
		}
		return fmt.Sprintf("what exists of it is %q", e.Nearest)
	case ErrNotDir:
		return fmt.Sprintf("%q is not a directory", e.Nearest)
	}
	return "symbolic links in it lead to one another"
}

// SourceError is a source of a COPY or ADD that cannot be resolved.
type SourceError struct {
	Source string   // as the instruction has it
	Near   []string // where a file of that name is, with leading slashes
	Err    error    // a *PathError
}

func (e *SourceError) Error() string {
	var p *PathError
	if errors.As(e.Err, &p) && strings.Trim(p.Name, "/") == strings.Trim(e.Source, "/") {
		return fmt.Sprintf("copying %q: %v", e.Source, p.Err)
	}
	return fmt.Sprintf("copying %q: %v", e.Source, e.Err)
}

// Unwrap returns the reason.
func (e *SourceError) Unwrap() error { return e.Err }

// Hint says where it may be instead.
func (e *SourceError) Hint() string {
	if len(e.Near) > 0 {
		return fmt.Sprintf("sources are resolved from the root: did you mean %s?",
			strings.Join(e.Near, " or "))
	}
	var p *PathError
	if errors.As(e.Err, &p) {
		return p.Hint()
	}
	return ""
}

// PatternError is a source or an --exclude that is no pattern.
type PatternError struct {
	Pattern string
	Err     error
}

func (e *PatternError) Error() string { return fmt.Sprintf("matching %q: %v", e.Pattern, e.Err) }

// Unwrap returns the reason.
func (e *PatternError) Unwrap() error { return e.Err }

// Hint says how to write a name that looks like a pattern.
func (e *PatternError) Hint() string { return "write a literal [ as [[]" }

// A ConflictError is a destination that has something of another kind.
type ConflictError struct {
	Source string // in the tree that it comes from, with a leading slash
	Dest   string // with a leading slash
	What   string // lies at Dest, as "a symbolic link to usr/bin"
	way    string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("copying %q: at %q is %s", e.Source, e.Dest, e.What)
}

// Hint returns the way out.
func (e *ConflictError) Hint() string { return e.way }

// ManyError is a destination that is no directory, for more than one file.
type ManyError struct {
	Dest  string
	Count int // of the sources, wildcards expanded
}

func (e *ManyError) Error() string {
	return fmt.Sprintf("copying %d sources to %q: it is not a directory", e.Count, e.Dest)
}

// Hint returns the way out.
func (e *ManyError) Hint() string {
	return fmt.Sprintf("end the destination with a slash: %s/", e.Dest)
}

// ModeError is a --chmod that has no meaning.
type ModeError struct{ Mode string }

func (e *ModeError) Error() string { return fmt.Sprintf("reading the mode %q: it is none", e.Mode) }

// Hint shows what a mode looks like.
func (e *ModeError) Hint() string {
	return "write it in octal, up to 7777, or as chmod takes it: 755, u=rwX,go=rX, +x"
}

// OwnerError is a user or group of a --chown that the tree does not know.
type OwnerError struct {
	Kind, Name string // Kind is "user" or "group"
	Err        error  // why the file could not be read; nil if the name is not in it
}

func (e *OwnerError) Error() string {
	file := accountFile(e.Kind)
	if e.Err != nil {
		return fmt.Sprintf("looking up the %s %q: %v", e.Kind, e.Name, e.Err)
	}
	return fmt.Sprintf("looking up the %s %q: it is not in /%s of this stage", e.Kind, e.Name, file)
}

// Unwrap returns why the file could not be read.
func (e *OwnerError) Unwrap() error { return e.Err }

// Hint returns the way out.
func (e *OwnerError) Hint() string {
	return fmt.Sprintf("add the %s in an earlier step, or write its number", e.Kind)
}

// NameError is a file whose name no layer can hold.
type NameError struct {
	Name string
	Why  string
}

func (e *NameError) Error() string { return fmt.Sprintf("copying %q: %s", e.Name, e.Why) }

// Hint returns the way out.
func (e *NameError) Hint() string {
	return "rename the file, or leave it out with --exclude or .dockerignore"
}

// LimitError is a tar or an index that holds more than real ones do.
type LimitError struct {
	What  string
	Limit int64
}

func (e *LimitError) Error() string { return fmt.Sprintf("more than %d %s", e.Limit, e.What) }

// Hint says what to think of it.
func (e *LimitError) Hint() string {
	return "this is far more than images hold: do not use it unless you know why"
}

// FormatError is an entry of a layer or tar that has no meaning.
type FormatError struct {
	Entry string // its name, as it is found there
	Why   string
}

func (e *FormatError) Error() string { return fmt.Sprintf("entry %q: %s", e.Entry, e.Why) }

// AbsentError is a file that a layer should hold and does not.
type AbsentError struct{ Name string }

func (e *AbsentError) Error() string {
	return fmt.Sprintf("extracting %q: the layer has no such file", e.Name)
}

// ArchiveError is an archive that ADD is not able to unpack.
type ArchiveError struct {
	Format string
}

func (e *ArchiveError) Error() string {
	return fmt.Sprintf("unpacking the archive: %s is not supported", e.Format)
}

// Hint returns the way out.
func (e *ArchiveError) Hint() string {
	return "pack it with gzip or zstd, or COPY it and unpack it in a RUN"
}
