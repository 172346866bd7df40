package context

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"
)

// DefaultMaxContextEntries is room for a context of a million files.
const DefaultMaxContextEntries = 2_000_000

// maxWarned bounds the names that a context remembers to have warned of.
const maxWarned = 10_000

// BuildContextOptions says how a Dockerfile's context is read. The zero value is
// docker's way.
type BuildContextOptions struct {
	// MaxEntries bounds what one List or Match holds; 0 is DefaultMaxContextEntries.
	MaxEntries int
}

// BuildContext is the directory that a Dockerfile copies from, without what its
// ignore file leaves out. It is read when it is listed, and never written. It may
// be used by several goroutines.
type BuildContext struct {
	dir   string // absolute
	root  *os.Root
	rules *rules
	limit int

	mu       sync.Mutex
	warned   map[string]bool
	warnings warnings
}

// OpenBuildContext opens dir, which may itself be a symbolic link, as the context
// of the Dockerfile at dockerfilePath, "" for one that is no file. The ignore file
// is the Dockerfile's own, of the same name with .dockerignore behind it, or if
// there is none dir's .dockerignore; it need not exist. Unlike in a project,
// nothing is left out that it does not name.
//
// An error is a *ScanError where the directory or the ignore file is at fault. The
// caller closes the context.
func OpenBuildContext(dir, dockerfilePath string, o BuildContextOptions) (*BuildContext, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	root, err := openRoot(abs)
	if err != nil {
		return nil, &ScanError{Dir: dir, Problems: []Problem{contextProblem("", err, ignoreFile)}}
	}
	rules, problem := openRules(root, dockerfilePath)
	if problem != nil {
		root.Close()
		return nil, &ScanError{Dir: dir, Problems: []Problem{*problem}}
	}
	c := &BuildContext{dir: abs, root: root, rules: rules, limit: o.MaxEntries,
		warned: map[string]bool{}}
	if c.limit <= 0 {
		c.limit = DefaultMaxContextEntries
	}
	return c, nil
}

// Close closes the directory.
func (c *BuildContext) Close() error { return c.root.Close() }

// Warnings returns what the listings so far left out though no pattern says so:
// sockets, fifos and devices. They are sorted, and at most about twenty.
func (c *BuildContext) Warnings() []Warning { return c.warnings.sorted() }

// warn tells each name once, however often it is listed.
func (c *BuildContext) warn(w Warning) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.warned[w.Path] || len(c.warned) == maxWarned {
		return
	}
	c.warned[w.Path] = true
	c.warnings.add(w)
}

// Ignored says whether name, a path as List takes it, is in the directory but left
// out, and by what: the last pattern that matches, as ".dockerignore:3: dist". It is
// for the message that there is nothing of that name.
func (c *BuildContext) Ignored(name string) (pattern string, ok bool) {
	l := newLister(c)
	found, err := l.resolve(split(name))
	if err != nil || found.ignored == "" {
		return "", false
	}
	whole := filepath.Join(append([]string{filepath.FromSlash(found.ignored)}, found.rest...)...)
	if _, err := c.root.Lstat(whole); err != nil {
		return "", false
	}
	return c.rules.decisive(found.ignored)
}

// split makes elements of a path as the user has it: all that comes before the
// context, as in ../../x, is the context itself.
func split(name string) []string {
	return elements(path.Clean("/" + name))
}

// contextProblem explains an error of the system in a context. ignored is the name
// of its ignore file.
func contextProblem(path string, err error, ignored string) Problem {
	p := problemOf(path, err)
	switch p.way {
	case wayMissing:
		p.way = wayContext
	case wayAccess:
		p.way = wayAccess + "; or name it in " + ignored
	case wayChanged:
		p.way = wayMoved
	}
	return p
}

// absent says that an error means that a name is not there, as it is for all that
// looks for it through something else than a directory.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
