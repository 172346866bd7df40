package context

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// maxReported is how many problems, and how many warnings, are told one by one.
const maxReported = 20

// Ways out of a problem.
const (
	wayMissing = "build the site first, or name the directory that has its index.html"
	wayEmpty   = "build the site first; if it is elsewhere, name that directory"
	wayAccess  = "make it readable to this user: chmod -R u+rX"
	wayRename  = "rename it, or change what the site's build writes"
	wayType    = "remove it: a site is made of files, directories and links"
	wayLink    = "put a copy of what it points to in its place, or remove it"
	wayMany    = "name the directory of the finished site, not one that holds much else"
	wayChanged = "the directory changed while decant read it: " +
		"build into a fresh directory, then run decant"

	wayProject  = "name the directory of the project, the one with its package.json"
	wayIgnore   = "remove it, or name it in .dockerignore"
	wayReadable = wayAccess + "; or name it in .dockerignore"
	wayFewer    = "name in .dockerignore what the build does not need"
	wayContext  = "name the directory that the Dockerfile copies from"
	wayMoved    = "stop what writes to the directory, or let its ignore file leave that out"
	waySpecial  = "copy what is a file, a directory or a link"
	wayStill    = "the project changed while decant copied it: stop what writes to it, " +
		"or name that in .dockerignore"
)

// Problem is one reason why a directory cannot be published, or a project copied.
type Problem struct {
	Path string // in the directory, slash-separated; "" is the directory itself
	What string // is wrong with it, as a clause
	Link string // what it points to, if it is a link
	way  string // out of it; "" if nobody knows one
}

func (p Problem) String() string {
	s := p.What
	if p.Path != "" {
		s = quote(p.Path) + ": " + s
	}
	if p.Link != "" {
		s += " (-> " + quote(p.Link) + ")"
	}
	return s
}

// ScanError is a directory that cannot be published, or a project that cannot be
// copied.
type ScanError struct {
	Dir      string
	Problems []Problem // the first, by path; at least one
	More     int       // how many there are beyond these
}

func (e *ScanError) Error() string {
	if len(e.Problems) == 1 && e.More == 0 {
		return fmt.Sprintf("reading %s: %s", e.Dir, e.Problems[0])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "reading %s: %d problems", e.Dir, len(e.Problems)+e.More)
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\n  and %d more", e.More)
	}
	return b.String()
}

// Hint says how to get a directory that can be.
func (e *ScanError) Hint() string {
	var ways []string
	for _, p := range e.Problems {
		if p.way != "" && !slices.Contains(ways, p.way) {
			ways = append(ways, p.way)
		}
	}
	return strings.Join(ways, "; ")
}

// Warning is something in a directory that is likely a mistake.
type Warning struct {
	Path string // in the directory; "" if it is about several
	Text string
}

func (w Warning) String() string {
	if w.Path == "" {
		return w.Text
	}
	return quote(w.Path) + ": " + w.Text
}

// quote writes foreign text so that it cannot pass for ours, nor fill a screen.
func quote(s string) string {
	const most = 256
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}

// problemOf explains an error of the system.
func problemOf(path string, err error) Problem {
	p := Problem{Path: path}
	switch {
	case errors.Is(err, fs.ErrNotExist) && path == "":
		p.What, p.way = "there is no such directory", wayMissing
	case errors.Is(err, syscall.ENOTDIR) && path == "":
		p.What, p.way = "it is not a directory", wayMissing
	case errors.Is(err, fs.ErrPermission):
		p.What, p.way = "it cannot be read: permission denied", wayAccess
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR),
		errors.Is(err, syscall.ELOOP):
		p.What, p.way = "it vanished or was replaced", wayChanged
	default:
		p.What = "it cannot be read: " + reason(err)
	}
	return p
}

// copyProblem explains an error of the system with what there is to do about it in
// a project, which people work in.
func copyProblem(path string, err error) Problem {
	p := problemOf(path, err)
	switch p.way {
	case wayMissing:
		p.way = wayProject
	case wayAccess:
		p.way = wayReadable
	case wayChanged:
		p.way = wayStill
	}
	return p
}

// reason is the system's word without the operation and the path.
func reason(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return err.Error()
}

func tooMany(limit int) Problem {
	return Problem{What: fmt.Sprintf("it holds more than %d files and directories", limit),
		way: wayMany}
}

// problems collects the first problems by path, from any goroutine. Whoever
// finds them in what order, the same ones are kept.
type problems struct{ bounded[Problem] }

func (p *problems) add(problem Problem) { p.bounded.add(problem, compareProblems) }

func (p *problems) none() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count == 0
}

// err is nil if there are no problems.
func (p *problems) err(dir string) error {
	list, more := p.first()
	if len(list) == 0 {
		return nil
	}
	return &ScanError{Dir: dir, Problems: list, More: more}
}

func compareProblems(a, b Problem) int {
	return cmp.Or(comparePaths(a.Path, b.Path), strings.Compare(a.What, b.What))
}

// warnings collects as problems does.
type warnings struct{ bounded[Warning] }

func (w *warnings) add(warning Warning) { w.bounded.add(warning, compareWarnings) }

// sorted returns them, with the number of those left out as the last.
func (w *warnings) sorted() []Warning {
	list, more := w.first()
	if more > 0 {
		list = append(list, Warning{Text: fmt.Sprintf("and %d more warnings of this kind", more)})
	}
	return list
}

func compareWarnings(a, b Warning) int {
	return cmp.Or(comparePaths(a.Path, b.Path), strings.Compare(a.Text, b.Text))
}

// bounded keeps the least maxReported of all that is added, and counts the rest.
type bounded[T any] struct {
	mu    sync.Mutex
	kept  []T
	count int
}

func (b *bounded[T]) add(item T, compare func(a, b T) int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count++
	at, _ := slices.BinarySearchFunc(b.kept, item, compare)
	if at == maxReported {
		return
	}
	b.kept = slices.Insert(b.kept, at, item)
	if len(b.kept) > maxReported {
		b.kept = b.kept[:maxReported]
	}
}

func (b *bounded[T]) first() (list []T, more int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept, b.count - len(b.kept)
}
