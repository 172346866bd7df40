package context

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// rules are the patterns of a context's ignore file. They may be used by several
// goroutines.
type rules struct {
	file     string   // its name, to be shown
	patterns []string // in the order of the file
	lines    []int    // of the patterns, from 1
	ends     []string // one that a name must have, of each pattern
	*ignore           // for what is not about a single name

	// matchers are as good as one another, and each is for one goroutine at a time:
	// a matcher compiles its patterns when it first needs them.
	matchers sync.Pool
}

// openRules reads the ignore file that docker would take.
func openRules(root *os.Root, dockerfilePath string) (*rules, *Problem) {
	r := &rules{file: ignoreFile}
	var f *os.File
	err := fs.ErrNotExist
	if dockerfilePath != "" {
		r.file = filepath.Base(dockerfilePath) + ignoreFile
		f, err = os.OpenFile(dockerfilePath+ignoreFile, openFileFlags, 0)
	}
	if errors.Is(err, fs.ErrNotExist) {
		r.file = ignoreFile
		f, err = root.OpenFile(ignoreFile, openFileFlags, 0)
	}
	switch {
	case err == nil:
		err = errors.Join(r.read(f), f.Close())
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		p := contextProblem(r.file, err, r.file)
		return nil, &p
	}
	var problem *Problem
	if r.ignore, problem = newIgnore(r.file, r.patterns, nil); problem != nil {
		return nil, problem
	}
	for _, p := range r.matcher.Patterns() {
		r.ends = append(r.ends, endOf(p.String()))
	}
	r.matchers.New = func() any {
		matcher, _ := patternmatcher.New(r.patterns) // newIgnore had no error either
		return matcher
	}
	return r, nil
}

func (r *rules) read(f *os.File) error {
	data, err := readIgnored(f)
	if err != nil {
		return err
	}
	if r.patterns, err = ignorefile.ReadAll(bytes.NewReader(data)); err != nil {
		return err
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	for i, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, "#") && strings.TrimSpace(line) != "" {
			r.lines = append(r.lines, i+1)
		}
	}
	return nil
}

// endOf is a text that all names end with that a pattern matches, as far as that is
// to be seen.
func endOf(pattern string) string {
	if strings.ContainsAny(pattern, oddRunes) || !utf8.ValidString(pattern) {
		return ""
	}
	end := pattern[strings.LastIndexAny(pattern, "*?")+1:]
	return strings.TrimPrefix(end, "/") // which two stars before it swallow
}

// mayMatch is false where no pattern matches name, though one may match what is above
// it. It spares most files the matcher, which takes longer than the system does.
func (r *rules) mayMatch(name string) bool {
	return slices.ContainsFunc(r.ends, func(end string) bool {
		return strings.HasSuffix(name, end)
	})
}

// judge decides about name by what it decided about the directory of name.
func (r *rules) judge(name string, above matches) (ignored bool, own matches, err error) {
	if len(r.patterns) == 0 {
		return false, matches{}, nil
	}
	matcher := r.matchers.Get().(*patternmatcher.PatternMatcher)
	defer r.matchers.Put(matcher)
	return matcher.MatchesUsingParentResults(name, above)
}

// decisive is the pattern that leaves name out: the last that matches it, or a
// directory above it.
func (r *rules) decisive(name string) (pattern string, ok bool) {
	for i, pattern := range slices.Backward(r.patterns) {
		if strings.HasPrefix(pattern, "!") {
			continue
		}
		matched, err := patternmatcher.MatchesOrParentMatches(name, []string{pattern})
		if err == nil && matched {
			return fmt.Sprintf("%s:%d: %s", r.file, r.lines[i], pattern), true
		}
	}
	return "", false
}
