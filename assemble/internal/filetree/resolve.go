package filetree

import (
	"slices"
	"strings"

	"github.com/decant-build/decant/assemble/internal/layer"
)

const (
	maxLinks      = 255  // followed in one name, as BuildKit has it
	maxPathLength = 4096 // of a name, and of a link's target
)

// Node is what a name of a tree stands for.
type Node struct {
	// Entry has the resolved name, which is "" for the root. The content of a File
	// is where its Base and Source say, as in what Copy returns.
	Entry layer.Entry
	// Origin is the layer that the file is from, or -1 for none.
	Origin int
}

// Lookup resolves a name, links in all its elements followed, inside the root.
// An error is a *PathError.
func (t *Tree) Lookup(name string) (Node, error) {
	return t.stat(name, true)
}

// Lstat is Lookup that does not follow a link in the last element.
func (t *Tree) Lstat(name string) (Node, error) {
	return t.stat(name, false)
}

func (t *Tree) stat(name string, follow bool) (Node, error) {
	at, n, err := t.find(name, follow)
	if err != nil {
		return Node{}, err
	}
	e := n.ino.reference()
	e.Name = at
	return Node{Entry: e, Origin: n.ino.origin}, nil
}

// find is resolve for what has to exist.
func (t *Tree) find(name string, follow bool) (string, *node, error) {
	at, n, err := t.resolve(name, follow)
	if err == nil && n == nil {
		err = &PathError{"/" + clean(name), "/" + t.nearest(at), ErrNotExist}
	}
	return at, n, err
}

// nearest returns what exists of a resolved name.
func (t *Tree) nearest(name string) string {
	for name != "" && t.at(name) == nil {
		name, _ = split(name)
	}
	return name
}

// resolve returns the clean name that has no link in it. Its node is nil if it
// does not exist; then links on the way there are resolved nevertheless.
func (t *Tree) resolve(name string, follow bool) (string, *node, error) {
	return resolveIn(t.root, name, follow)
}

// A walk resolves a name element by element. What it went through is kept for the
// way back up.
type walk struct {
	names []string
	nodes []*node // one more than names; nil for what does not exist
	rest  []string
	links int
}

// resolveIn is resolve in a directory that is the root of names and links.
func resolveIn(root *node, name string, follow bool) (string, *node, error) {
	w := walk{nodes: []*node{root}, rest: strings.Split(name, "/")}
	fail := func(err error) (string, *node, error) {
		return "", nil, &PathError{"/" + clean(name), "/" + strings.Join(w.names, "/"), err}
	}
	if len(name) > maxPathLength {
		return fail(ErrNotExist)
	}
	for len(w.rest) > 0 {
		part := w.rest[0]
		w.rest = w.rest[1:]
		if part == "" || part == "." {
			continue
		}
		at := w.nodes[len(w.nodes)-1]
		if at != nil && !at.isDir() {
			return fail(ErrNotDir)
		}
		if part == ".." {
			w.up()
			continue
		}
		var c *node
		if at != nil {
			c = at.children[part]
		}
		if c == nil || !c.ino.is(layer.Link) || !follow && w.atEnd() {
			w.names, w.nodes = append(w.names, part), append(w.nodes, c)
			continue
		}
		if !w.enter(c.ino.entry.Target) {
			return fail(ErrLoop)
		}
	}
	return strings.Join(w.names, "/"), w.nodes[len(w.nodes)-1], nil
}

func (w *walk) up() {
	if n := len(w.names); n > 0 {
		w.names, w.nodes = w.names[:n-1], w.nodes[:n]
	}
}

func (w *walk) atEnd() bool {
	return !slices.ContainsFunc(w.rest, func(s string) bool { return s != "" && s != "." })
}

// enter goes on with the target of a link; false after too many.
func (w *walk) enter(target string) bool {
	w.links++
	if w.links > maxLinks || len(target) > maxPathLength {
		return false
	}
	if strings.HasPrefix(target, "/") {
		w.names, w.nodes = w.names[:0], w.nodes[:1]
	}
	w.rest = append(strings.Split(target, "/"), w.rest...)
	return true
}
