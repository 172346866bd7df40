package context

import (
	"context"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// maxLinks is how many links the kernel follows for one path (path_resolution(7)).
const maxLinks = 40

// checkLinks judges each link by where it leads in the scanned tree. The system
// is not asked: it would follow a link out of the directory.
func (w *walker) checkLinks(ctx context.Context, entries []layer.Entry) error {
	// Entries above the prefix are not part of the directory.
	prefix := w.Prefix
	if prefix != "" {
		prefix += "/"
		first := slices.IndexFunc(entries, func(e layer.Entry) bool {
			return strings.HasPrefix(e.Name, prefix)
		})
		entries = entries[max(first, 0):]
	}
	links := &resolver{entries: entries, prefix: len(prefix)}
	for i := range entries {
		if entries[i].Kind != layer.Link {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		w.judgeLink(links, entries[i].Name[len(prefix):], entries[i].Target)
	}
	return nil
}

func (w *walker) judgeLink(links *resolver, rel, target string) {
	if !utf8.ValidString(target) || strings.ContainsFunc(target, unicode.IsControl) {
		w.problems.add(Problem{Path: rel, way: wayLink,
			What: "it is a link whose target is not UTF-8 or has a control character"})
		return
	}
	switch links.resolve(rel, target) {
	case linkAbsolute:
		w.problems.add(Problem{Path: rel, Link: target, way: wayLink,
			What: "it is a link to an absolute path, which is another place in the image"})
	case linkLeaves:
		w.problems.add(Problem{Path: rel, Link: target, way: wayLink,
			What: "it is a link that leaves the directory"})
	case linkLoops:
		w.problems.add(Problem{Path: rel, Link: target, way: wayLink,
			What: "it is a link that leads back to itself"})
	case linkDangles:
		w.warnings.add(Warning{Path: rel, Text: "it is a link to " + quote(target) +
			", which is not there"})
	}
}

// fate is where a link leads.
type fate int

const (
	linkInside fate = iota
	linkAbsolute
	linkLeaves
	linkLoops
	linkDangles
)

// resolver follows links within the entries of one directory.
type resolver struct {
	entries []layer.Entry // sorted by path elements
	prefix  int           // bytes of each Name that are not part of the path
}

// resolve follows the link at rel as the kernel would, but for two things: an
// absolute target is not followed, and what comes after a missing element is
// still checked for leaving, as the base may have the missing directory.
func (r *resolver) resolve(rel, target string) fate {
	if path.IsAbs(target) {
		return linkAbsolute
	}
	at := elements(path.Dir(rel))
	todo := elements(target)
	followed := 1
	missing := false
	for len(todo) > 0 {
		element := todo[0]
		todo = todo[1:]
		if element == ".." {
			if len(at) == 0 {
				return linkLeaves
			}
			at = at[:len(at)-1]
			continue
		}
		at = append(at, element)
		if missing {
			continue
		}
		e, found := r.find(strings.Join(at, "/"))
		switch {
		case !found || e.Kind == layer.File && len(todo) > 0:
			missing = true
		case e.Kind == layer.Link:
			if followed++; followed > maxLinks {
				return linkLoops
			}
			if path.IsAbs(e.Target) {
				return linkAbsolute
			}
			at = at[:len(at)-1]
			todo = slices.Concat(elements(e.Target), todo)
		}
	}
	if missing {
		return linkDangles
	}
	return linkInside
}

// elements splits a path and drops what leads nowhere.
func elements(name string) []string {
	return slices.DeleteFunc(strings.Split(name, "/"), func(s string) bool {
		return s == "" || s == "."
	})
}

// find looks a path of the directory up.
func (r *resolver) find(rel string) (*layer.Entry, bool) {
	i, found := slices.BinarySearchFunc(r.entries, rel, func(e layer.Entry, rel string) int {
		return comparePaths(e.Name[r.prefix:], rel)
	})
	if !found {
		return nil, false
	}
	return &r.entries[i], true
}

// comparePaths orders paths by the bytes of their elements, as layer.Tree is: a
// slash comes before any other byte.
func comparePaths(a, b string) int {
	for i := range min(len(a), len(b)) {
		switch x, y := a[i], b[i]; {
		case x == y:
			continue
		case x == '/' || x < y && y != '/':
			return -1
		default:
			return 1
		}
	}
	return len(a) - len(b)
}
