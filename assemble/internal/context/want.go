package context

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// want is what is asked for of one directory.
type want struct {
	all  bool       // everything in it, and below
	rest [][]string // patterns of what else, none empty, by elements
}

// keep says whether name is a part of it, which a listing asks before it asks what
// name is.
func (w want) keep(name string) bool {
	if w.all {
		return true
	}
	return slices.ContainsFunc(w.rest, func(pattern []string) bool {
		return deep(pattern[0]) || matchesElement(pattern[0], name)
	})
}

// below is what is asked for of the directory called name, and whether name itself
// is what a whole pattern matches.
func (w want) below(name string) (sub want, whole bool) {
	sub.all = w.all
	for _, pattern := range w.rest {
		sub.all = sub.all || deep(pattern[0])
		switch {
		case !matchesElement(pattern[0], name):
		case len(pattern) == 1:
			sub.all, whole = true, true
		default:
			sub.rest = append(sub.rest, pattern[1:])
		}
	}
	return sub, whole
}

// deep says whether an element may stand for several, as it does in what
// COPY --parents takes.
func deep(element string) bool { return strings.Contains(element, "**") }

func matchesElement(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// splitPattern cuts a pattern before its first element that has a wildcard.
func splitPattern(pattern string) (prefix, rest []string, err error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, nil, fmt.Errorf("malformed pattern %q", pattern)
	}
	all := split(pattern)
	at := slices.IndexFunc(all, func(e string) bool { return strings.ContainsAny(e, `*?[\`) })
	if at < 0 {
		return all, nil, nil
	}
	for _, element := range all[at:] {
		// A class that holds a slash was cut in two.
		if _, err := path.Match(element, ""); err != nil {
			return nil, nil, fmt.Errorf("malformed pattern %q", pattern)
		}
	}
	return all[:at], all[at:], nil
}
