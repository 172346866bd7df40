package layer

import (
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// checkEntries refuses what must not be in a layer. The scan sees to all of
// this already; a mistake there must not become a layer that a runtime unpacks.
func checkEntries(entries []Entry) error {
	for i := range entries {
		e := &entries[i]
		if why, way := faultOf(e); why != "" {
			return &EntryError{Name: e.Name, Why: why, Way: way}
		}
		if i == 0 {
			continue
		}
		prev := &entries[i-1]
		switch c := compareNames(prev.Name, e.Name); {
		case c == 0:
			return &EntryError{Name: e.Name, Why: "the name is there twice"}
		case c > 0:
			return &EntryError{Name: e.Name, Why: "the entries are not sorted"}
		case prev.Kind != Dir && isBelow(e.Name, prev.Name):
			// In this order whatever is below a name follows it at once.
			return &EntryError{Name: e.Name, Why: "what it lies in is not a directory"}
		}
	}
	return nil
}

func isBelow(name, dir string) bool {
	return len(name) > len(dir) && name[len(dir)] == '/' && name[:len(dir)] == dir
}

// faultOf says what is wrong with one entry, and what to do about it.
func faultOf(e *Entry) (why, way string) {
	if why, way := nameFault(e.Name); why != "" {
		return why, way
	}
	if e.Mode > 0o7777 {
		return "its mode has more than permission bits", ""
	}
	switch e.Kind {
	case File:
		return fileFault(e), ""
	case Dir:
		return "", ""
	case Link:
		if e.Target == "" || strings.IndexByte(e.Target, 0) >= 0 || !utf8.ValidString(e.Target) {
			return "the target of the link cannot be written into a tar", "remove the link"
		}
		return "", ""
	}
	return "it is neither a file, nor a directory, nor a link", ""
}

func nameFault(name string) (why, way string) {
	const rename = "rename the file"
	switch {
	case name == "" || name == "." || name == ".." || path.IsAbs(name) ||
		path.Clean(name) != name || strings.HasPrefix(name, "../"):
		return "its name is not a clean relative path", ""
	case strings.IndexByte(name, 0) >= 0 || !utf8.ValidString(name):
		return "its name is not UTF-8", rename
	case strings.HasPrefix(name, ".wh.") || strings.Contains(name, "/.wh."):
		return "a name with .wh. in front deletes files when the image is unpacked", rename
	}
	return "", ""
}

func fileFault(e *Entry) string {
	switch {
	case e.Size < 0:
		return "its size is negative"
	case e.Source == "" && int64(len(e.Data)) != e.Size:
		return "its size is not that of its data"
	case e.Source != "" && len(e.Data) > 0:
		return "it has both a source and data"
	case e.Source != "" && !filepath.IsLocal(e.Source):
		return "its source is outside the directory"
	}
	return ""
}

// compareNames orders paths by the bytes of their elements: what is below a
// directory follows it before any other name ("a", "a/b", "a-b").
func compareNames(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		x, y := a[i], b[i]
		switch {
		case x == y:
			continue
		case x == '/':
			return -1
		case y == '/', x > y:
			return 1
		}
		return -1
	}
	return len(a) - len(b)
}
