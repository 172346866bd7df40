package context

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// ignoreFile has the patterns of a project, at its top.
const ignoreFile = ".dockerignore"

// maxIgnoreBytes bounds it. Every pattern is tried on every file.
const maxIgnoreBytes = 256 << 10

// neverSeen tells names that are left out wherever they are. What the host
// installed may be for another system, and a build that looks into the history
// would not be reproducible.
func neverSeen(name string) bool {
	switch name {
	case "node_modules", ".git", ".hg", ".svn":
		return true
	}
	return false
}

// readIgnoreFile returns the patterns of the project's .dockerignore, none if
// there is no such file.
func readIgnoreFile(root *os.Root) ([]string, *Problem) {
	lines, err := readLines(root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		p := copyProblem(ignoreFile, err)
		return nil, &p
	}
	return lines, nil
}

func readLines(root *os.Root) ([]string, error) {
	f, err := root.OpenFile(ignoreFile, openFileFlags, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readIgnored(f)
	if err != nil {
		return nil, err
	}
	return ignorefile.ReadAll(bytes.NewReader(data))
}

// readIgnored reads an open ignore file.
func readIgnored(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxIgnoreBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxIgnoreBytes {
		return nil, fmt.Errorf("it has more than %d KiB", maxIgnoreBytes>>10)
	}
	return data, nil
}

// matches is what patterns said of a directory. Those of what is in it build on it.
type matches = patternmatcher.MatchInfo

// ignore decides by patterns, as docker does.
type ignore struct {
	matcher *patternmatcher.PatternMatcher
	back    []string // patterns that bring something back, without the !
	dirs    map[string]matches
}

// newIgnore compiles the patterns of the ignore file called file, and the caller's.
func newIgnore(file string, lines, more []string) (*ignore, *Problem) {
	for i, pattern := range slices.Concat(lines, more) {
		if err := checkPattern(pattern); err != nil {
			p := &Problem{What: fmt.Sprintf("the pattern %s is malformed", quote(pattern)),
				way: "mend or remove the pattern"}
			if i < len(lines) {
				p.Path = file
			}
			return nil, p
		}
	}
	matcher, err := patternmatcher.New(slices.Concat(lines, more))
	if err != nil {
		return nil, &Problem{Path: file, What: err.Error()}
	}
	g := &ignore{matcher: matcher, dirs: map[string]matches{}}
	for _, p := range matcher.Patterns() {
		if p.Exclusion() {
			g.back = append(g.back, filepath.ToSlash(p.String()))
		}
	}
	return g, nil
}

// checkPattern compiles one pattern: the matcher does so when it first needs it,
// and says little then.
func checkPattern(pattern string) error {
	one, err := patternmatcher.New([]string{pattern})
	if err != nil {
		return err
	}
	for _, p := range one.Patterns() {
		_, err := patternmatcher.MatchesOrParentMatches("x", []string{p.String()})
		if err != nil {
			return err
		}
	}
	return nil
}

// match says whether name is left out. above is what enter returned for its
// directory; own is to leave for it, if it is one.
func (g *ignore) match(name string, above matches) (ignored bool, own matches, err error) {
	return g.matcher.MatchesUsingParentResults(name, above)
}

// leave keeps what match said of a directory until enter asks for it.
func (g *ignore) leave(dir string, own matches) { g.dirs[dir] = own }

func (g *ignore) enter(dir string) matches {
	own := g.dirs[dir]
	delete(g.dirs, dir)
	return own
}

// covers says whether name, or a directory above it, is left out.
func (g *ignore) covers(name string) bool {
	ignored, err := g.matcher.MatchesOrParentMatches(name)
	return err == nil && ignored
}

// oddRunes are those of which the matcher makes something else than their own in a
// regular expression, on purpose or not. Stars and question marks are not among them.
const oddRunes = `\[]{}^|`

// mayHold says whether a pattern may bring something back that lies in the ignored
// directory dir. The others need not be read.
func (g *ignore) mayHold(dir string) bool {
	at := strings.Split(dir, "/")
	return slices.ContainsFunc(g.back, func(pattern string) bool {
		if strings.Contains(pattern, "|") || !utf8.ValidString(pattern) {
			return true // it is two, or some other
		}
		parts := strings.Split(pattern, "/")
		for i, element := range at {
			if i == len(parts) {
				return false
			}
			if strings.Contains(parts[i], "**") || strings.ContainsAny(parts[i], oddRunes) {
				return true
			}
			if !matchesElement(parts[i], element) {
				return false
			}
		}
		return len(parts) > len(at)
	})
}
