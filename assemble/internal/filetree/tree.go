package filetree

import (
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// impliedMode is that of a directory which no layer names.
const impliedMode = 0o755

// An inode is what names stand for; those of hard links share one. It does not
// change: new metadata is a new inode.
type inode struct {
	entry  *layer.Entry
	origin int
}

func (i *inode) is(k layer.Kind) bool { return i.entry.Kind == k }

// A node is a name in a tree. Those of directories are shared by trees until one
// of these writes: gen says which tree may.
type node struct {
	ino      *inode
	children map[string]*node // of a directory
	gen      *generation
	written  *generation // that of the writer that has it in its change set
}

// A generation stands for the right to change nodes in place. It has a size, for
// pointers to things of none need not differ.
type generation struct{ _ byte }

func (n *node) isDir() bool { return n.ino.is(layer.Dir) }

// names returns those of the children, in the order of a layer.
func (n *node) names() []string {
	names := make([]string, 0, len(n.children))
	for name := range n.children {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Tree is the merged file tree of a stack of layers. Reading it, cloning it and
// copying from and into it may go on at the same time; Apply may not.
type Tree struct {
	root *node
	gen  atomic.Pointer[generation]

	// The directory that was last written to. Names come directory by directory.
	last    *node
	lastDir string
	marked  int // how often a name was put into the change set
}

// New returns the tree of no layers: an empty root, 0755 and root's.
func New() *Tree {
	t := &Tree{}
	gen := new(generation)
	t.gen.Store(gen)
	t.root = &node{ino: impliedDir(-1), children: map[string]*node{}, gen: gen}
	return t
}

func impliedDir(origin int) *inode {
	return &inode{&layer.Entry{Kind: layer.Dir, Mode: impliedMode}, origin}
}

// Clone returns a tree of its own with the same content. It costs nothing: what
// the two share is copied when one of them changes.
func (t *Tree) Clone() *Tree {
	t.gen.Store(new(generation))
	return t.derive()
}

// derive is a Clone for as long as t does not change.
func (t *Tree) derive() *Tree {
	c := &Tree{root: t.root}
	c.gen.Store(new(generation))
	return c
}

// own returns a node that t may change in place of n.
func (t *Tree) own(n *node) *node {
	gen := t.gen.Load()
	if n.gen == gen {
		return n
	}
	return &node{ino: n.ino, children: maps.Clone(n.children), gen: gen}
}

// writable returns the directory of a resolved name, to be changed; "" is the
// root. All of the name exists.
func (t *Tree) writable(dir string) *node {
	if t.last != nil && t.last.gen == t.gen.Load() && t.lastDir == dir {
		return t.last
	}
	t.root = t.own(t.root)
	at := t.root
	for part := range elements(dir) {
		c := t.own(at.children[part])
		at.children[part] = c
		at = c
	}
	t.last, t.lastDir = at, dir
	return at
}

// set puts what ino is under a resolved name, whose parent exists, in place of
// all that is there, and returns that. A directory is empty then.
func (t *Tree) set(name string, ino *inode) (old *node) {
	dir, base := split(name)
	n := &node{ino: ino}
	if ino.is(layer.Dir) {
		n.children, n.gen = map[string]*node{}, t.gen.Load()
	}
	parent := t.writable(dir)
	old = parent.children[base]
	parent.children[base] = n
	t.forget(old)
	return old
}

// describe changes the metadata of a directory that exists.
func (t *Tree) describe(dir string, ino *inode) { t.writable(dir).ino = ino }

func (t *Tree) remove(name string) {
	dir, base := split(name)
	parent := t.writable(dir)
	t.forget(parent.children[base])
	delete(parent.children, base)
}

// forget is told what goes away.
func (t *Tree) forget(n *node) {
	if n != nil && n.isDir() {
		t.last = nil
	}
}

// mark puts what this tree has set or described last into the change set.
func (t *Tree) mark(name string) {
	dir, base := split(name)
	n := t.writable(dir).children[base]
	if n.isDir() {
		n = t.writable(name)
	}
	n.written = t.gen.Load()
	t.marked++
}

// at returns what a resolved name stands for, or nil.
func (t *Tree) at(name string) *node {
	n := t.root
	for part := range elements(name) {
		if n = n.children[part]; n == nil {
			return nil
		}
	}
	return n
}

// elements are those of a clean relative name; none of "".
func elements(name string) iter.Seq[string] {
	if name == "" {
		return func(func(string) bool) {}
	}
	return strings.SplitSeq(name, "/")
}

// split cuts the last element off a clean relative name.
func split(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)], name[i+1:]
}

// join puts an element below a clean relative name.
func join(dir, base string) string {
	if dir == "" {
		return base
	}
	return dir + "/" + base
}

// clean makes a relative name of any, as in a chroot: "" is the root.
func clean(name string) string { return path.Clean("/" + name)[1:] }
