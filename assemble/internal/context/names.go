package context

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// What container runtimes can unpack: the kernel's limits.
const (
	maxPathBytes    = 4096
	maxElementBytes = 255
)

// nameFault says what is wrong with a name, and what to do about it. element is
// the last one of path, the name in the image.
func nameFault(path, element string) (what, way string) {
	what = pathFault(path, element)
	if what == "" && strings.ContainsFunc(element, unicode.IsControl) {
		what = "its name has a control character"
	}
	if what == "" {
		return "", ""
	}
	return what, wayRename
}

// pathFault says why no layer can have a name. element is the last one of path.
func pathFault(path, element string) string {
	switch {
	case !utf8.ValidString(element):
		return "its name is not UTF-8"
	case strings.HasPrefix(element, ".wh."):
		return "a name that begins with .wh. deletes files when the image is unpacked"
	case len(element) > maxElementBytes:
		return fmt.Sprintf("its name has %d bytes; %d are possible", len(element), maxElementBytes)
	case len(path) > maxPathBytes:
		return fmt.Sprintf("its path in the image has %d bytes; %d are possible",
			len(path), maxPathBytes)
	}
	return ""
}

// warnCase finds names in the directory rel that differ only in case: entries
// is what is in it, sorted. macOS and Windows hold them for one file, so on such
// a machine the same site would come out different.
func (w *walker) warnCase(rel string, entries []layer.Entry) {
	base := len(joinPath(w.Prefix, rel))
	if base > 0 {
		base++
	}
	var upper map[string]string // folded to written, of names that folding changes
	for i := range entries {
		name := entries[i].Name[base:]
		folded := fold(name)
		if folded == name {
			continue
		}
		twin, found := upper[folded]
		if !found {
			if upper == nil {
				upper = map[string]string{}
			}
			upper[folded] = name
			_, found = slices.BinarySearchFunc(entries, folded, func(e layer.Entry, s string) int {
				return strings.Compare(e.Name[base:], s)
			})
			twin = folded
		}
		if found {
			w.warnings.add(Warning{Path: joinPath(rel, name), Text: fmt.Sprintf(
				"it differs from %q only in case: macOS and Windows hold them for one file", twin)})
		}
	}
}

// fold returns a string that is the same for all names that differ only in case,
// by Unicode's simple folding, and that is one of these names itself.
func fold(name string) string {
	for i := range len(name) {
		if c := name[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			return strings.Map(foldRune, name)
		}
	}
	return name
}

// foldRune picks one rune of each orbit: the lower case letter in ASCII, else
// the least.
func foldRune(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	if 'A' <= least && least <= 'Z' {
		return least + 'a' - 'A'
	}
	return least
}
