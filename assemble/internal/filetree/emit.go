package filetree

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// blobBase begins the Base of a file whose content is in the blob of a layer; the
// layer's number follows, and Source is the file's name in it. No absolute
// directory looks like it.
const blobBase = "layer:"

// reference returns the entry with the place of its content. Its name is still
// that in its layer.
func (i *inode) reference() layer.Entry {
	e := *i.entry
	if e.Kind == layer.File && e.Base == "" && e.Source == "" && e.Data == nil && e.Size > 0 {
		e.Base, e.Source = blobBase+strconv.Itoa(i.origin), e.Name
	}
	return e
}

// Blob returns the layer that has an entry's content, and the name that it has
// there. It is not ok if the content is elsewhere, or if there is none.
func Blob(e layer.Entry) (origin int, name string, ok bool) {
	number, ok := strings.CutPrefix(e.Base, blobBase)
	if !ok {
		return 0, "", false
	}
	origin, err := strconv.Atoi(number)
	return origin, e.Source, err == nil
}

// Missing returns the names of the files whose content is in the blob of a layer,
// by layer, each once.
func Missing(entries []layer.Entry) map[int][]string {
	missing := map[int][]string{}
	for i := range entries {
		if origin, name, ok := Blob(entries[i]); ok {
			missing[origin] = append(missing[origin], name)
		}
	}
	for origin, names := range missing {
		slices.Sort(names)
		missing[origin] = slices.Compact(names)
	}
	return missing
}

// Fill tells the entries where the files of a layer are: in dir, an absolute
// directory, under the names that Extract returned for it.
func Fill(entries []layer.Entry, origin int, dir string, files map[string]string) {
	for i := range entries {
		e := &entries[i]
		if from, name, ok := Blob(*e); ok && from == origin {
			if file, ok := files[name]; ok {
				e.Base, e.Source = dir, file
			}
		}
	}
}

// Entries returns all that is below a directory, sorted, with names from the root
// of the tree. Links in root are followed. It is nil if that is no directory.
func (t *Tree) Entries(root string) []layer.Entry {
	at, n, err := t.resolve(root, true)
	if err != nil || n == nil || !n.isDir() {
		return nil
	}
	l := lister{first: map[*inode]string{}}
	l.below(at, n)
	return l.entries
}

// A lister writes entries in the order of a layer. The first name of an inode is
// the file, further ones are hard links.
type lister struct {
	entries []layer.Entry
	first   map[*inode]string
}

func (l *lister) below(dir string, n *node) {
	for _, base := range n.names() {
		c := n.children[base]
		l.add(join(dir, base), c)
		if c.isDir() {
			l.below(join(dir, base), c)
		}
	}
}

func (l *lister) add(name string, n *node) {
	e := n.ino.reference()
	e.Name = name
	if e.Kind == layer.File {
		if first, ok := l.first[n.ino]; ok {
			e = layer.Entry{Name: name, Kind: layer.HardLink, Target: first,
				Mode: e.Mode, UID: e.UID, GID: e.GID, Xattrs: e.Xattrs}
		} else {
			l.first[n.ino] = name
		}
	}
	l.entries = append(l.entries, e)
}

// changes returns the change set of all that this tree has marked.
func (t *Tree) changes() ([]layer.Entry, error) {
	if t.marked == 0 {
		return nil, nil
	}
	l := lister{first: map[*inode]string{}, entries: make([]layer.Entry, 0, t.marked)}
	err := l.changed("", t.root, t.gen.Load())
	return l.entries, err
}

// changed looks only into directories that the tree has made its own.
func (l *lister) changed(dir string, n *node, gen *generation) error {
	if n.gen != gen {
		return nil
	}
	for _, base := range n.names() {
		c, name := n.children[base], join(dir, base)
		if c.written == gen {
			if err := checkName(name, c.ino.entry.Target); err != nil {
				return err
			}
			l.add(name, c)
		}
		if c.isDir() {
			if err := l.changed(name, c, gen); err != nil {
				return err
			}
		}
	}
	return nil
}

// Merge returns the change set of several of one instruction, a later one on top:
// of a COPY of files and a heredoc. Each is what Copy returned for the tree with
// those before it applied.
func Merge(sets ...[]layer.Entry) ([]layer.Entry, error) {
	t := New()
	for _, set := range sets {
		if err := t.Apply(set, 0); err != nil {
			return nil, err
		}
		for i := range set {
			t.mark(set[i].Name)
		}
	}
	return t.changes()
}

// checkName finds what no layer can hold.
func checkName(name, target string) error {
	switch {
	case !utf8.ValidString(name) || strings.IndexByte(name, 0) >= 0:
		return &NameError{name, "its name is not UTF-8"}
	case !utf8.ValidString(target) || strings.IndexByte(target, 0) >= 0:
		return &NameError{name, "it is a link to a name that is not UTF-8"}
	case strings.HasPrefix(name, ".wh.") || strings.Contains(name, "/.wh."):
		return &NameError{name, "a name with .wh. in front deletes files when the image is unpacked"}
	}
	return nil
}
