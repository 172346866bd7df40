package filetree

import (
	"context"
	"path"
	"strings"

	"github.com/moby/patternmatcher"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// Owner is a user and a group, as numbers.
type Owner struct{ UID, GID uint32 }

// CopySpec is a COPY or an ADD, expanded.
type CopySpec struct {
	// From is the tree that Sources are in; their names are resolved from its root,
	// which they do not leave.
	From    *Tree
	Sources []string
	// Dest is absolute. With a slash, or "/.", at its end it is a directory.
	Dest string

	// Owner is that of --chown. Without it files have the owner that they have in
	// From, or 0:0 with ResetOwner: those of the user's directory.
	Owner      *Owner
	ResetOwner bool
	Chmod      string   // octal or symbolic; "" changes nothing
	Exclude    []string // patterns of .dockerignore, relative to a source that is a directory
	Parents    bool     // keep the directories of a source, from its "/./" on
	// Link makes the change set as if nothing were below it: links of the stage are
	// not followed, and all parents are made anew. It means nothing with Chmod.
	Link bool
	// Wildcards makes patterns of Sources; those of heredocs and URLs are names.
	Wildcards bool

	// Near are directories to look in for a source that is missing, for the error:
	// the working directory of the stage that it is copied from.
	Near []string
	// Unpack is that of ADD, or nil. It is asked for each source that is a file: if
	// that is an archive it returns what ReadArchive does and true.
	Unpack func(ctx context.Context, e layer.Entry) ([]layer.Entry, bool, error)
}

// Copy returns the change set of a COPY or ADD into t: what Apply then lays on
// top. It changes neither tree. It is empty if wildcards match nothing, or if
// all that a directory holds is excluded.
//
// An error is a *SourceError, *ConflictError, *ManyError, *PatternError,
// *ModeError or *NameError for what the instruction says; a *PathError is for its
// destination.
func (t *Tree) Copy(ctx context.Context, c CopySpec) ([]layer.Entry, error) {
	w, err := newWriter(t, &c)
	if err != nil {
		return nil, err
	}
	var sources []*source
	for _, name := range c.Sources {
		found, err := c.find(name)
		if err != nil {
			return nil, err
		}
		sources = append(sources, found...)
	}
	w.count = len(sources)
	for _, s := range sources {
		if err := w.source(ctx, s); err != nil {
			return nil, err
		}
		if s.required && !s.matched {
			return nil, c.missing(s.given, &PathError{"/" + clean(s.given), "/" + s.path, ErrNotExist})
		}
	}
	return w.t.changes()
}

// A source is one file or directory to copy.
type source struct {
	given string // the source of the instruction that it is from
	base  string // the last element of its name, which a link does not change
	path  string // resolved, in From
	node  *node

	include  *patternmatcher.PatternMatcher // with --parents; nil is everything
	required bool                           // include has to match
	matched  bool
}

// find resolves one source of the instruction to any number of those.
func (c *CopySpec) find(given string) ([]*source, error) {
	name := given
	var include *patternmatcher.PatternMatcher
	required := false
	if c.Parents {
		pivot, pattern := cutPivot(given)
		required = !hasWildcards(pivot) && !hasWildcards(pattern)
		if pattern != "" {
			var err error
			if include, err = patternmatcher.New([]string{pattern}); err != nil {
				return nil, &PatternError{given, err}
			}
		} else {
			required = false
		}
		name = pivot
	}
	name = clean(name)
	names := []string{name}
	if c.Wildcards && hasWildcards(name) {
		var err error
		if names, err = c.From.glob(name); err != nil {
			return nil, c.missing(given, err)
		}
	}
	var found []*source
	for _, name := range names {
		at, n, err := c.From.find(name, true)
		if err != nil {
			return nil, c.missing(given, err)
		}
		found = append(found, &source{
			given: given, base: path.Base(name), path: at, node: n,
			include: include, required: required,
		})
	}
	return found, nil
}

// cutPivot divides a source of --parents where the names to keep begin.
func cutPivot(source string) (pivot, pattern string) {
	pivot, pattern, ok := strings.Cut(source, "/./")
	if !ok {
		return "", clean(source)
	}
	return pivot, clean(pattern)
}

// missing says where a source may be instead.
func (c *CopySpec) missing(given string, err error) error {
	if _, ok := err.(*PathError); !ok {
		return err
	}
	e := &SourceError{Source: given, Err: err}
	for _, dir := range c.Near {
		if name := path.Join("/", dir, given); name != path.Join("/", given) {
			if _, n, err := c.From.resolve(name, true); err == nil && n != nil {
				e.Near = append(e.Near, name)
			}
		}
	}
	return e
}

// hasWildcards looks for what path.Match would not take literally.
func hasWildcards(name string) bool {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '*', '?', '[':
			return true
		case '\\':
			i++
		}
	}
	return false
}

// glob returns what matches, element by element; below a match it does not look.
// The elements before the first pattern have to exist, links in them followed;
// those in later ones are not.
func (t *Tree) glob(pattern string) ([]string, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, &PatternError{pattern, err}
	}
	parts := strings.Split(pattern, "/")
	literal := 0
	for !hasWildcards(parts[literal]) {
		literal++
	}
	dir, n, err := t.find(strings.Join(parts[:literal], "/"), true)
	if err != nil {
		return nil, err
	}
	matches := []string{dir}
	nodes := []*node{n}
	for _, part := range parts[literal:] {
		var below []string
		var belowNodes []*node
		for i, at := range matches {
			for _, name := range nodes[i].names() {
				if ok, _ := path.Match(part, name); ok {
					below = append(below, join(at, name))
					belowNodes = append(belowNodes, nodes[i].children[name])
				}
			}
		}
		matches, nodes = below, belowNodes
	}
	return matches, nil
}
