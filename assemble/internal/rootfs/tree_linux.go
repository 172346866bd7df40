package rootfs

import (
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

type nodeKind uint8

const (
	dirNode nodeKind = iota
	linkNode
	whiteoutNode
	// A borrowed node is a hard link to a file of a layer below: on disk it is an
	// empty file until that layer is there.
	borrowedNode
)

// A node is what must be known of a layer while it is unpacked: directories,
// symlinks, whiteouts and borrowed files, but not the many plain files.
type node struct {
	kind     nodeKind
	name     string
	parent   *node // nil for the root
	children map[string]*node
	depth    int
	pathLen  int

	target  string // of a symlink as it stands; of a borrowed file its path below
	virtual bool   // a symlink that lies in a layer below

	implied bool // a directory that was made because something lies in it
	named   bool // a directory that the tar has; mode and mtime are from there
	opaque  bool
	fresh   bool // a directory that was made where nothing of the layers below shows
	mode    uint32
	mtime   time.Time
}

func newRoot() *node { return &node{implied: true} }

func (n *node) add(c *node) *node {
	c.parent, c.depth, c.pathLen = n, n.depth+1, n.pathLen+len(c.name)+1
	if n.children == nil {
		n.children = map[string]*node{}
	}
	n.children[c.name] = c
	return c
}

func (n *node) drop(name string) { delete(n.children, name) }

// dropVirtual drops what only the layers below have.
func (n *node) dropVirtual() {
	for name, c := range n.children {
		if c.virtual {
			n.drop(name)
		} else {
			c.dropVirtual()
		}
	}
}

// path is relative to the layer; that of the root is ".".
func (n *node) path() string {
	if n.parent == nil {
		return "."
	}
	var names []string
	for ; n.parent != nil; n = n.parent {
		names = append(names, n.name)
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// A walk resolves a name element by element, as in a chroot.
type walk struct {
	at    *node
	root  *node
	rest  []string
	links int
}

func newWalk(root *node, name string) *walk {
	return &walk{at: root, root: root, rest: strings.Split(name, "/")}
}

// next returns the next name to look up in w.at, which the caller then enters or
// follows; ok is false at the end.
func (w *walk) next() (name string, ok bool) {
	for len(w.rest) > 0 {
		name, w.rest = w.rest[0], w.rest[1:]
		switch {
		case name == "" || name == ".":
		case name != "..":
			return name, true
		case w.at.parent != nil:
			w.at = w.at.parent
		}
	}
	return "", false
}

func (w *walk) follow(target string) error {
	w.links++
	if w.links > maxLinks {
		return unix.ELOOP
	}
	if path.IsAbs(target) {
		w.at = w.root
	}
	if len(target) > unix.PathMax {
		return unix.ENAMETOOLONG
	}
	w.rest = append(strings.Split(target, "/"), w.rest...)
	return nil
}

// find resolves a directory as far as the layer has it. What is missing comes
// back as below, relative to the directory reached.
func (n *node) find(name string) (at *node, below string, err error) {
	w := newWalk(n, name)
	for {
		name, ok := w.next()
		if !ok {
			return w.at, "", nil
		}
		c := w.at.children[name]
		switch {
		case c == nil:
			return w.at, path.Join(append([]string{name}, w.rest...)...), nil
		case c.kind == dirNode:
			w.at = c
		case c.kind == linkNode:
			if err := w.follow(c.target); err != nil {
				return nil, "", err
			}
		default:
			return nil, "", unix.ENOTDIR
		}
	}
}
