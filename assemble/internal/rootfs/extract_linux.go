package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// An extraction writes one tar into one directory. finish completes it.
type extraction struct {
	limits Limits
	fd     int // the directory
	top    *node
	owners *ownerTable
	stats  Stats
	bytes  int64 // of files
	held   int64 // by the tree, in memory
	// gone are implied directories that were replaced: perhaps what lay in them
	// belonged elsewhere.
	gone []string
	// implied are the directories that the tar does not name, once it is complete.
	implied []string
	buf     []byte

	// A tar comes directory by directory: the last one is kept open and resolved.
	open    *node
	openFD  int
	dir     *node
	dirName string
}

// entryError names the entry at which an extraction ended.
type entryError struct {
	name string
	err  error
}

func (e *entryError) Error() string { return fmt.Sprintf("entry %q: %v", e.name, e.err) }
func (e *entryError) Unwrap() error { return e.err }

// newExtraction opens dir, which must be new and empty. links are symlinks of the
// layers below, by clean path, through which the tar writes.
func newExtraction(
	dir string, links map[string]string, l Limits, owners *ownerTable,
) (*extraction, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", dir, err)
	}
	x := &extraction{
		limits: l, fd: fd, top: newRoot(), owners: owners, buf: make([]byte, 1<<18), openFD: -1,
	}
	for name, target := range links {
		x.plant(name, target)
	}
	return x, nil
}

// plant puts a symlink of a layer below into the tree, but not on disk. The
// directories that lead to it exist below; here they are made when needed.
func (x *extraction) plant(name, target string) {
	at := x.top
	dir, base := path.Split(name)
	for _, part := range strings.FieldsFunc(dir, func(r rune) bool { return r == '/' }) {
		c := at.children[part]
		if c == nil {
			c = at.add(&node{kind: dirNode, name: part, virtual: true, implied: true})
		}
		at = c
	}
	at.add(&node{kind: linkNode, name: base, target: target, virtual: true})
}

func (x *extraction) close() {
	x.forget()
	unix.Close(x.fd)
}

// forget is called when an entry that may be an open or resolved directory, or
// a symlink on the way to one, goes away.
func (x *extraction) forget() {
	if x.openFD >= 0 {
		unix.Close(x.openFD)
	}
	x.open, x.openFD, x.dir, x.dirName = nil, -1, nil, ""
}

// run reads the tar up to its end marker.
func (x *extraction) run(ctx context.Context, r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, tar.ErrInsecurePath): // we are about to secure it
		case err != nil:
			return fmt.Errorf("reading the tar: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := x.entry(h, tr); err != nil {
			return &entryError{h.Name, err}
		}
	}
}

// clean turns a name of a tar into a relative path without "." and "..", which is
// "." for the root.
func clean(name string) string {
	if n := path.Clean("/" + name)[1:]; n != "" {
		return n
	}
	return "."
}

func (x *extraction) entry(h *tar.Header, body io.Reader) error {
	if err := x.count(h); err != nil {
		return err
	}
	name := clean(h.Name)
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return &EntryError{"the root of a layer is a directory"}
		}
		return x.describe(x.top, h)
	}
	dir, base := path.Split(name)
	base, white := strings.CutPrefix(base, ".wh.")
	if skip, err := reserved(dir, base, white); skip || err != nil {
		return err
	}
	parent, err := x.resolve(path.Clean(dir))
	switch {
	case err != nil:
		return err
	case white && base == ".wh..opq":
		x.hide(parent)
		return nil
	case white:
		return x.whiteout(parent, base)
	}
	if parent.pathLen+len(base)+1 > x.limits.PathLength {
		return &LimitError{"bytes in a path", int64(x.limits.PathLength)}
	}
	return x.make(parent, base, h, body)
}

// count keeps the limits that do not need the entry's content. A sparse file
// counts with its full size, which the tar's own length does not show.
func (x *extraction) count(h *tar.Header) error {
	x.stats.Entries++
	if x.stats.Entries > x.limits.Entries {
		return &LimitError{"entries", int64(x.limits.Entries)}
	}
	if h.Size > x.limits.Bytes-x.bytes {
		return &LimitError{"bytes of files", x.limits.Bytes}
	}
	x.bytes += h.Size
	return nil
}

// reserved looks for names that have a meaning to layers: AUFS's own files are
// left out, as everybody does; ".wh." elsewhere than in front of a last element
// means nothing.
func reserved(dir, base string, white bool) (skip bool, err error) {
	for part := range strings.SplitSeq(dir, "/") {
		if strings.HasPrefix(part, ".wh..wh.") {
			return true, nil
		}
		if strings.HasPrefix(part, ".wh.") {
			return false, &EntryError{"it lies below a whiteout"}
		}
	}
	switch {
	case !white || base == ".wh..opq":
		return false, nil
	case strings.HasPrefix(base, ".wh."):
		return true, nil
	case base == "" || base == "." || base == "..":
		return false, &EntryError{"a whiteout of no name"}
	}
	return false, nil
}

// resolve finds the directory of that name and makes what is missing of it.
func (x *extraction) resolve(name string) (*node, error) {
	if x.dir != nil && x.dirName == name {
		return x.dir, nil
	}
	w := newWalk(x.top, name)
	for {
		part, ok := w.next()
		if !ok {
			break
		}
		c := w.at.children[part]
		switch {
		case c != nil && c.kind == linkNode:
			if err := w.follow(c.target); err != nil {
				return nil, err
			}
		case c != nil && c.kind == dirNode && !c.virtual:
			w.at = c
		default:
			c, err := x.imply(w.at, part)
			if err != nil {
				return nil, err
			}
			w.at = c
		}
	}
	x.dir, x.dirName = w.at, name
	return w.at, nil
}

// imply makes a directory that the tar does not name, or not yet.
func (x *extraction) imply(parent *node, name string) (*node, error) {
	if c := parent.children[name]; c != nil && c.kind == borrowedNode {
		return nil, &EntryError{"it lies below a hard link to a file of a layer below"}
	}
	n, err := x.mkdir(parent, name, false)
	if err == unix.EEXIST {
		return nil, &EntryError{"it lies below a file of the same layer"}
	}
	if err == nil {
		n.implied = true
	}
	return n, err
}

// mkdir makes a directory, or returns the one that is there. With replace,
// whatever else is there has to go.
func (x *extraction) mkdir(parent *node, name string, replace bool) (*node, error) {
	c := parent.children[name]
	if c != nil && c.kind == dirNode && !c.virtual {
		return c, nil
	}
	if err := x.fits(parent, name); err != nil {
		return nil, err
	}
	fd, err := x.at(parent)
	if err != nil {
		return nil, err
	}
	// What hid the directory below, or was to delete it, still has to when this
	// directory takes its place.
	opaque := false
	if c != nil && !c.virtual && (replace || c.kind == whiteoutNode) {
		opaque = true
		if err := x.clear(parent, name); err != nil {
			return nil, err
		}
	}
	// The real mode comes last: it may shut us out.
	err = unix.Mkdirat(fd, name, 0o700)
	if err == unix.EEXIST && replace {
		opaque = true
		if err = unix.Unlinkat(fd, name, 0); err == nil {
			err = unix.Mkdirat(fd, name, 0o700)
		}
	}
	if err != nil {
		return nil, err
	}
	if c != nil && c.kind == dirNode { // planted: now it is real
		c.virtual = false
		return c, nil
	}
	if c != nil {
		x.forget()
	}
	fresh := opaque || parent.opaque || parent.fresh
	return x.keep(parent, &node{kind: dirNode, name: name, opaque: opaque, fresh: fresh})
}

// keep adds to the tree, which would otherwise be a way to exhaust memory.
func (x *extraction) keep(parent *node, n *node) (*node, error) {
	x.held += nodeSize + int64(len(n.name)+len(n.target))
	if x.held > maxHeld {
		return nil, &LimitError{"bytes of names of directories and links", maxHeld}
	}
	return parent.add(n), nil
}

func (x *extraction) fits(parent *node, name string) error {
	if parent.pathLen+len(name)+1 > x.limits.PathLength {
		return &LimitError{"bytes in a path", int64(x.limits.PathLength)}
	}
	if parent.depth >= maxDepth {
		return &LimitError{"directories in one another", maxDepth}
	}
	return nil
}

// clear removes what the tree has at a name, which must be there.
func (x *extraction) clear(parent *node, name string) error {
	c := parent.children[name]
	fd, err := x.at(parent)
	if err != nil {
		return err
	}
	switch {
	case c.virtual: // nothing of it is on disk
	case c.kind == dirNode:
		x.bury(c)
		err = removeAt(fd, name)
	default:
		err = unix.Unlinkat(fd, name, 0)
	}
	x.dropOpen(parent, name)
	return err
}

// hide makes a directory opaque: the symlinks of the layers below go as well.
func (x *extraction) hide(n *node) {
	n.opaque = true
	x.dir, x.dirName = nil, ""
	n.dropVirtual()
}

func (x *extraction) bury(n *node) {
	if n.implied && !n.fresh {
		x.gone = append(x.gone, n.path())
	}
	for _, c := range n.children {
		if c.kind == dirNode {
			x.bury(c)
		}
	}
}

// dropOpen takes a node out of the tree, with what is remembered of it, but
// leaves its parent open, if that is the one.
func (x *extraction) dropOpen(parent *node, name string) {
	parent.drop(name)
	if x.open != parent {
		x.forget()
	}
	x.dir, x.dirName = nil, ""
}

// at returns a descriptor of a directory that stays open until the next call.
func (x *extraction) at(n *node) (int, error) {
	if n == x.top {
		return x.fd, nil
	}
	if x.open == n {
		return x.openFD, nil
	}
	fd, err := openBeneath(x.fd, n.path())
	if err != nil {
		return -1, err
	}
	if x.openFD >= 0 {
		unix.Close(x.openFD)
	}
	x.open, x.openFD = n, fd
	return fd, nil
}
