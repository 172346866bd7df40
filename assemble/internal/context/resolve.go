package context

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// place is a directory that was reached without a link, and what the patterns said
// of it.
type place struct {
	name string
	own  matches
	hit  bool // a pattern may match it, or a directory above it
}

// verdict is what the patterns make of a name.
type verdict int

const (
	kept     verdict = iota
	searched         // an ignored directory that may hold exceptions
	ignored
)

// judge decides about one name in a directory.
func (l *lister) judge(dir place, it *item) (at place, v verdict, err error) {
	at.name = joinPath(dir.name, it.name)
	at.hit = dir.hit || l.rules.mayMatch(at.name)
	if !at.hit && !it.mode.IsDir() {
		return at, kept, nil
	}
	left, own, err := l.rules.judge(at.name, dir.own)
	at.own = own
	switch {
	case err != nil:
		return at, ignored, fmt.Errorf("%s: %w", l.rules.file, err)
	case !left:
		return at, kept, nil
	case it.mode.IsDir() && l.rules.mayHold(at.name):
		l.mu.Lock()
		defer l.mu.Unlock()
		l.hollow[at.name] = true
		return at, searched, nil
	}
	return at, ignored, nil
}

// found is where a path leads.
type found struct {
	place               // if it is a directory
	isDir bool          // false also for nothing
	way   []layer.Entry // all names that were looked up

	// ignored is the first name on the way that is, if what comes after it is so too,
	// and rest the path behind that.
	ignored string
	rest    []string
}

// resolve looks a path up as a kernel would whose root directory is the context.
// What it finds wrong is a problem, not an error.
func (l *lister) resolve(todo []string) (found, error) {
	f := found{isDir: true}
	at := []place{{}} // the directories above the next element; never empty
	followed := 0
	for len(todo) > 0 {
		element, dir := todo[0], at[len(at)-1]
		todo = todo[1:]
		if element == ".." {
			at = at[:max(1, len(at)-1)]
			continue
		}
		it := l.lookUp(dir.name, element)
		if it.err != nil {
			return found{way: f.way}, nil
		}
		next, verdict, err := l.judge(dir, &it)
		if err != nil {
			return found{}, err
		}
		switch {
		case verdict == kept:
			f.ignored, f.rest = "", nil
		case f.ignored == "":
			f.ignored, f.rest = next.name, todo
		}
		if verdict == ignored {
			return found{way: f.way, ignored: f.ignored, rest: f.rest}, nil
		}
		e, ok := l.entry(next.name, &it, len(todo) == 0)
		if !ok {
			return found{way: f.way}, nil
		}
		f.way = append(f.way, e)
		switch e.Kind {
		case layer.Dir:
			at = append(at, next)
		case layer.Link:
			if followed++; followed > maxLinks {
				l.problems.add(Problem{Path: next.name, Link: e.Target, way: wayLink,
					What: "it is a link that leads back to itself"})
				return found{way: f.way}, nil
			}
			if path.IsAbs(e.Target) {
				at = at[:1]
			}
			todo = slices.Concat(elements(e.Target), todo)
		default:
			return found{way: f.way}, nil
		}
	}
	f.place = at[len(at)-1]
	return f, nil
}

// lookUp says what name is in the directory dir. That there is none of that name is
// an error, but not a problem.
func (l *lister) lookUp(dir, name string) item {
	f, err := l.root.OpenFile(filepath.FromSlash(path.Join(".", dir)), openDirFlags, 0)
	if err != nil {
		l.fail(dir, err)
		return item{name: name, err: err}
	}
	defer f.Close()
	it := lookUp(f, name)
	if it.err != nil && !absent(it.err) {
		l.fail(joinPath(dir, name), it.err)
	}
	return it
}

// entry makes one of what is at name. It is not ok if there is none to make: the
// reason is a problem, or where the name was not asked for itself a warning.
func (l *lister) entry(name string, it *item, asked bool) (e layer.Entry, ok bool) {
	if errors.Is(it.err, fs.ErrNotExist) {
		return e, false // it went before it was looked at
	}
	if it.err != nil {
		l.fail(name, it.err)
		return e, false
	}
	if what := pathFault(name, it.name); what != "" {
		l.problems.add(Problem{Path: name, What: what,
			way: "rename it, or name it in " + l.rules.file})
		return e, false
	}
	switch it.mode.Type() {
	case 0:
		return layer.Entry{Name: name, Kind: layer.File, Mode: chmodBits(it.mode), Base: l.dir,
			Source: name, Size: it.size, MTime: it.mtime, CTime: it.ctime, Inode: it.inode}, true
	case fs.ModeDir:
		return layer.Entry{Name: name, Kind: layer.Dir, Mode: chmodBits(it.mode)}, true
	case fs.ModeSymlink:
		return l.link(name)
	}
	what := typeName(it.mode)
	if asked {
		l.problems.add(Problem{Path: name, What: what, way: waySpecial})
	} else {
		l.warn(Warning{Path: name, Text: what + ", and is left out"})
	}
	return e, false
}

func (l *lister) link(name string) (e layer.Entry, ok bool) {
	target, err := l.root.Readlink(filepath.FromSlash(name))
	if err != nil {
		if !absent(err) {
			l.fail(name, err)
		}
		return e, false
	}
	if !utf8.ValidString(target) {
		l.problems.add(Problem{Path: name, What: "it is a link whose target is not UTF-8",
			way: "remove it, or name it in " + l.rules.file})
		return e, false
	}
	return layer.Entry{Name: name, Kind: layer.Link, Mode: 0o777,
		Target: filepath.ToSlash(target)}, true
}
