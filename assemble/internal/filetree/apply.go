package filetree

import (
	"errors"
	"fmt"
	"strings"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// rootName is that of an entry that is the root.
const rootName = "."

// Apply lays one layer on top: what its whiteouts name goes, then its entries
// come, a later one over an earlier one. origin, at least 0, is the number of the
// layer. The entries are kept and must not change.
//
// An error is an entry that can be nowhere; what was applied before it stays.
func (t *Tree) Apply(entries []layer.Entry, origin int) error {
	for i := range entries {
		t.hide(&entries[i])
	}
	a := applier{t: t, origin: origin}
	return a.all(entries)
}

// hide removes what an entry hides of the layers below.
func (t *Tree) hide(e *layer.Entry) {
	if e.Kind != layer.Whiteout && (e.Kind != layer.Dir || !e.Opaque) {
		return
	}
	name, n, err := t.resolve(e.Name, false)
	switch {
	case err != nil || n == nil: // there is nothing to hide
	case e.Kind == layer.Dir && n.isDir():
		clear(t.writable(name).children)
	case e.Kind == layer.Whiteout && name != "":
		t.remove(name)
	}
}

// An applier puts entries in place.
type applier struct {
	t      *Tree
	base   string // the directory that is the root of names, and of links on the way
	origin int
	strict bool // a file as a parent is an error and not replaced
	// The parent that was last resolved, and its name. Names come directory by
	// directory.
	dir, parentDir string
	known          bool
	// wrote, if set, is told of all that is put in place.
	wrote func(name string, replaced *node)
}

func (a *applier) all(entries []layer.Entry) error {
	var late []int // hard links before what they are another name of
	for i := range entries {
		e := &entries[i]
		done, err := a.put(e)
		if err != nil {
			return fmt.Errorf("applying %q: %w", e.Name, err)
		}
		if !done {
			late = append(late, i)
		}
	}
	for _, i := range late {
		done, err := a.put(&entries[i])
		if err == nil && !done {
			err = &FormatError{entries[i].Name,
				fmt.Sprintf("a hard link to %q, which does not exist", entries[i].Target)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// put is false for a hard link whose file is not there yet.
func (a *applier) put(e *layer.Entry) (bool, error) {
	ino := &inode{e, a.origin}
	switch {
	case e.Kind == layer.Whiteout || e.Name == rootName && a.base == "":
		return true, nil
	case e.Name == rootName: // of an archive, which describes where it is unpacked
		a.t.describe(a.base, ino)
		a.tell(a.base, nil)
		return true, nil
	}
	dir, base := split(e.Name)
	if e.Kind == layer.HardLink {
		n, err := a.linked(e.Target)
		if n == nil || err != nil {
			return false, err
		}
		ino = n.ino
	}
	if !a.known || a.dir != dir {
		parent, err := a.parent(dir)
		if err != nil {
			return false, err
		}
		a.dir, a.parentDir, a.known = dir, parent, true
	}
	name := join(a.parentDir, base)
	old := a.t.writable(a.parentDir).children[base]
	if old != nil && (old.ino.is(layer.Link) || old.isDir() && e.Kind != layer.Dir) {
		a.known = false // it may be on the way
	}
	if old != nil && old.ino == ino && !old.isDir() {
		return true, nil // a hard link to itself
	}
	if old != nil && old.isDir() && e.Kind == layer.Dir {
		a.t.describe(name, ino)
	} else {
		a.t.set(name, ino)
	}
	a.tell(name, old)
	return true, nil
}

func (a *applier) tell(name string, replaced *node) {
	if a.wrote != nil {
		a.wrote(name, replaced)
	}
}

// linked finds the file of a hard link; a symlink is one, too.
func (a *applier) linked(target string) (*node, error) {
	_, n, err := resolveIn(a.t.at(a.base), target, false)
	if err != nil || n == nil {
		return nil, nil
	}
	if n.isDir() {
		return nil, &FormatError{target, "a hard link to a directory"}
	}
	return n, nil
}

// parent resolves the directory that an entry goes into and makes what is missing
// of it. A file on the way is hidden by the directory, unless the applier is
// strict.
func (a *applier) parent(dir string) (string, error) {
	for {
		at, n, err := resolveIn(a.t.at(a.base), dir, true)
		if err == nil && n != nil && !n.isDir() {
			err = &PathError{"/" + dir, "/" + at, ErrNotDir}
		}
		var e *PathError
		switch {
		case err == nil:
			at = joinPath(a.base, at)
			a.imply(at)
			return at, nil
		case !a.strict && errors.As(err, &e) && e.Err == ErrNotDir:
			a.t.set(joinPath(a.base, e.Nearest[1:]), impliedDir(a.origin))
		default:
			return "", err
		}
	}
}

// imply makes directories that no entry names.
func (a *applier) imply(name string) {
	made := ""
	for part := range elements(name) {
		made = join(made, part)
		if a.t.at(made) != nil {
			continue
		}
		a.t.set(made, impliedDir(a.origin))
		a.tell(made, nil)
	}
}

// joinPath puts a clean relative name, which may be "", below another.
func joinPath(dir, name string) string { return strings.Trim(dir+"/"+name, "/") }
