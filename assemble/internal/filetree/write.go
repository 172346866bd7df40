package filetree

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/moby/patternmatcher"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// A writer does what an instruction does, on a tree that shares the stage's nodes,
// and notes the names that it writes.
type writer struct {
	t       *Tree
	spec    *CopySpec
	mode    chmod
	exclude *patternmatcher.PatternMatcher
	count   int // of sources

	// Of one source:
	from    *source
	parents []parent
	links   map[*inode]*inode // of the source's to what was written
}

// A parent is a directory of the source on the way to what is being copied. One
// that no pattern includes is made when something in it is.
type parent struct {
	ino       *inode
	rel, dest string
	made      bool
}

func newWriter(t *Tree, c *CopySpec) (*writer, error) {
	w := &writer{t: t.derive(), spec: c}
	if c.Link && c.Chmod == "" { // with --chmod BuildKit does not link
		w.t = New()
	}
	var err error
	if w.mode, err = parseChmod(c.Chmod); err != nil {
		return nil, err
	}
	if len(c.Exclude) > 0 {
		if w.exclude, err = patternmatcher.New(c.Exclude); err != nil {
			return nil, &PatternError{strings.Join(c.Exclude, " "), err}
		}
	}
	return w, nil
}

func (w *writer) source(ctx context.Context, s *source) error {
	w.from, w.parents, w.links = s, nil, map[*inode]*inode{}
	if !s.node.isDir() {
		unpacked, err := w.unpack(ctx, s)
		if unpacked || err != nil {
			return err
		}
		if w.exclude != nil {
			if out, err := w.exclude.MatchesOrParentMatches(s.base); out || err != nil {
				return err
			}
		}
	}
	dest, err := w.dest(s)
	if err != nil {
		return err
	}
	return w.copy(ctx, item{node: s.node, dest: dest}, matches{})
}

// dest finds where a source goes, and makes what is missing on the way.
func (w *writer) dest(s *source) (string, error) {
	dir := w.spec.Dest
	slash := strings.HasSuffix(dir, "/") || strings.HasSuffix(dir, "/.")
	if !slash {
		dir = path.Dir(dir)
	}
	dir, _, err := w.t.resolve(dir, true)
	if err != nil {
		return "", err
	}
	if err := w.mkdirAll(dir); err != nil {
		return "", err
	}
	dest, there, err := w.t.resolve(clean(w.spec.Dest), true)
	if err != nil {
		return "", err
	}
	switch {
	case s.node.isDir() && there == nil:
		return dest, w.mkdirAll(dest)
	case s.node.isDir():
		return dest, nil
	case there != nil && there.isDir():
		dest = join(dest, s.base)
	case w.count > 1:
		return "", &ManyError{w.spec.Dest, w.count}
	}
	dir, _ = split(dest)
	return dest, w.mkdirAll(dir)
}

// mkdirAll makes a resolved directory.
func (w *writer) mkdirAll(dir string) error {
	ino := &inode{&layer.Entry{Kind: layer.Dir, Mode: w.mode.parent()}, 0}
	if o := w.spec.Owner; o != nil {
		ino.entry.UID, ino.entry.GID = o.UID, o.GID
	}
	return w.t.makeAll(dir, ino)
}

// makeAll makes and marks what is missing of a resolved directory.
func (t *Tree) makeAll(dir string, ino *inode) error {
	name := ""
	for part := range elements(dir) {
		name = join(name, part)
		switch n := t.at(name); {
		case n == nil:
			t.set(name, ino)
			t.mark(name)
		case !n.isDir():
			return &PathError{"/" + dir, "/" + name, ErrNotDir}
		}
	}
	return nil
}

// Mkdir returns the change set that makes a directory and its missing parents, all
// with that owner and mode: a WORKDIR. It is empty if the directory exists. Links
// are followed. An error is a *PathError.
func (t *Tree) Mkdir(dir string, uid, gid, mode uint32) ([]layer.Entry, error) {
	at, _, err := t.resolve(dir, true)
	if err != nil {
		return nil, err
	}
	ino := &inode{&layer.Entry{Kind: layer.Dir, Mode: mode, UID: uid, GID: gid}, 0}
	d := t.derive()
	if err := d.makeAll(at, ino); err != nil {
		return nil, err
	}
	return d.changes()
}

// An item is a file or directory of a source, and where it goes.
type item struct {
	node *node
	rel  string // its name in the source; "" for that itself
	dest string // resolved, but for the last element if rel is not ""
}

// matches are what patterns said of the directory that an item is in.
type matches struct{ include, exclude patternmatcher.MatchInfo }

// selects finds out whether an item is copied, and if not, whether something in
// it may be.
func (w *writer) selects(it item, up matches) (in, below bool, m matches, err error) {
	in, below = true, true
	if it.rel == "" {
		return in, below, m, nil
	}
	if p := w.from.include; p != nil {
		if in, m.include, err = p.MatchesUsingParentResults(it.rel, up.include); err != nil {
			return false, false, m, &PatternError{w.from.given, err}
		}
	}
	if p := w.exclude; p != nil {
		var out bool
		if out, m.exclude, err = p.MatchesUsingParentResults(it.rel, up.exclude); err != nil {
			return false, false, m, &PatternError{strings.Join(w.spec.Exclude, " "), err}
		}
		if out {
			in, below = false, p.Exclusions()
		}
	}
	return in, below, m, nil
}

func (w *writer) copy(ctx context.Context, it item, up matches) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	in, below, m, err := w.selects(it, up)
	if err != nil || !in && !(below && it.node.isDir()) {
		return err
	}
	if in {
		w.from.matched = w.from.matched || it.rel != ""
		if err := w.makeParents(); err != nil {
			return err
		}
	}
	if it.node.isDir() {
		return w.copyDir(ctx, it, in, m)
	}
	dir, base := split(it.dest)
	if old := w.t.writable(dir).children[base]; old != nil && old.isDir() {
		return w.conflict(it.rel, it.dest, old)
	}
	w.put(it.dest, w.linked(it.node.ino))
	return nil
}

func (w *writer) copyDir(ctx context.Context, it item, in bool, m matches) error {
	if in {
		if err := w.putDir(it.node.ino, it.rel, it.dest); err != nil {
			return err
		}
	}
	w.parents = append(w.parents, parent{it.node.ino, it.rel, it.dest, in})
	defer func() { w.parents = w.parents[:len(w.parents)-1] }()
	for _, name := range it.node.names() {
		c := item{it.node.children[name], join(it.rel, name), join(it.dest, name)}
		if err := w.copy(ctx, c, m); err != nil {
			return err
		}
	}
	return nil
}

// putDir makes a directory, or gives one that exists the source's metadata, but
// for the destination itself, which keeps its own.
func (w *writer) putDir(ino *inode, rel, dest string) error {
	old := w.t.at(dest)
	switch {
	case old == nil:
		w.put(dest, w.inode(ino))
	case !old.isDir():
		return w.conflict(rel, dest, old)
	case rel != "":
		w.t.describe(dest, w.inode(ino))
		w.t.mark(dest)
	}
	return nil
}

// makeParents makes the directories that were put off. One that exists takes the
// source's mode and nothing else, as BuildKit has it.
func (w *writer) makeParents() error {
	for i := range w.parents {
		p := &w.parents[i]
		if p.made {
			continue
		}
		p.made = true
		old := w.t.at(p.dest)
		switch {
		case old == nil:
			w.put(p.dest, w.inode(p.ino))
			continue
		case !old.isDir():
			return w.conflict(p.rel, p.dest, old)
		}
		if old.ino.entry.Mode == p.ino.entry.Mode {
			continue
		}
		e := *old.ino.entry
		e.Mode, e.Opaque = p.ino.entry.Mode, false
		w.t.describe(p.dest, &inode{&e, old.ino.origin})
		w.t.mark(p.dest)
	}
	return nil
}

func (w *writer) put(name string, ino *inode) {
	w.t.set(name, ino)
	w.t.mark(name)
}

// linked keeps hard links of the source.
func (w *writer) linked(src *inode) *inode {
	if !src.is(layer.File) {
		return w.inode(src)
	}
	ino := w.links[src]
	if ino == nil {
		ino = w.inode(src)
		w.links[src] = ino
	}
	return ino
}

// inode makes what a file of the source becomes.
func (w *writer) inode(src *inode) *inode {
	e := src.reference()
	e.Opaque = false
	switch {
	case w.spec.Owner != nil:
		e.UID, e.GID = w.spec.Owner.UID, w.spec.Owner.GID
	case w.spec.ResetOwner:
		e.UID, e.GID = 0, 0
	}
	if e.Kind != layer.Link {
		e.Mode = w.mode.apply(e.Mode, e.Kind == layer.Dir)
	}
	return &inode{&e, src.origin}
}

// unpack does what ADD does with archives.
func (w *writer) unpack(ctx context.Context, s *source) (bool, error) {
	if w.spec.Unpack == nil || !s.node.ino.is(layer.File) {
		return false, nil
	}
	e := s.node.ino.reference()
	e.Name = s.path
	entries, ok, err := w.spec.Unpack(ctx, e)
	if !ok || err != nil {
		return false, err
	}
	dest, _, err := w.t.resolve(w.spec.Dest, true)
	if err != nil {
		return false, err
	}
	if err := w.mkdirAll(dest); err != nil {
		return false, err
	}
	entries = append([]layer.Entry(nil), entries...)
	if o := w.spec.Owner; o != nil {
		for i := range entries {
			entries[i].UID, entries[i].GID = o.UID, o.GID
		}
	}
	a := applier{t: w.t, base: dest, strict: true, wrote: w.replaced}
	if err := a.all(entries); err != nil {
		return false, fmt.Errorf("unpacking %q: %w", s.given, err)
	}
	return true, nil
}

// replaced notes what an archive writes. A directory in place of a file that this
// instruction wrote must not show what may lie below that.
func (w *writer) replaced(name string, old *node) {
	n := w.t.at(name)
	if n.isDir() && old != nil && !old.isDir() && old.written == w.t.gen.Load() {
		e := *n.ino.entry
		e.Opaque = true
		w.t.describe(name, &inode{&e, n.ino.origin})
	}
	if name != "" {
		w.t.mark(name)
	}
}

func (w *writer) conflict(rel, dest string, old *node) error {
	e := &ConflictError{
		Source: "/" + joinPath(w.from.path, rel), Dest: "/" + dest, What: "a file",
		way: "choose another destination, or remove it in an earlier step",
	}
	switch {
	case old.isDir():
		e.What = "a directory, and the source is a file"
	case old.ino.is(layer.Link):
		e.What = fmt.Sprintf("a symbolic link to %q, and the source is a directory",
			old.ino.entry.Target)
		e.way = "set a WORKDIR of its own before the copy, as /app, " +
			"or name a destination below the link"
	}
	return e
}
