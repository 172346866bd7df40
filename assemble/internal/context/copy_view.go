package context

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// copyChunk is how much is copied between two looks at the context.
const copyChunk = 16 << 20

// errTold stands for a problem that is in view.problems.
var errTold = errors.New("told among the problems")

// view is a project as its build may see it, but for links: those it notes. It is
// for one copy, by one goroutine.
type view struct {
	root    *os.Root
	stopped func() error // the context's Err: package copy hands no context on
	ignore  *ignore
	never   map[string]bool
	limit   int
	target  fs.FileInfo // where the copy goes

	entries  int                    // names that were listed
	listed   map[string]fs.FileInfo // what was listed but not opened yet
	hollow   map[string]bool        // ignored directories that hold nothing kept so far
	links    []link
	problems problems
	result   CopyResult
}

// link is a symbolic link, at name in the project.
type link struct{ name, target string }

var (
	_ fs.ReadDirFS = (*view)(nil)
	_ fs.StatFS    = (*view)(nil)
	_ io.WriterTo  = (*source)(nil)
)

func newView(ctx context.Context, root *os.Root, o CopyOptions) (*view, error) {
	v := &view{root: root, stopped: ctx.Err, never: map[string]bool{}, limit: o.MaxEntries,
		listed: map[string]fs.FileInfo{}, hollow: map[string]bool{}}
	if v.limit <= 0 {
		v.limit = DefaultMaxEntries
	}
	for _, name := range o.Never {
		clean := path.Clean(filepath.ToSlash(name))
		if clean == "." || !fs.ValidPath(clean) {
			return nil, fmt.Errorf("leaving out %q: it is not a path below the project", name)
		}
		v.never[clean] = true
	}
	lines, problem := readIgnoreFile(root)
	if problem == nil {
		v.ignore, problem = newIgnore(ignoreFile, lines, o.Ignore)
	}
	if problem != nil {
		v.problems.add(*problem)
		return v, nil
	}
	for _, name := range o.Need {
		if _, err := root.Lstat(filepath.FromSlash(name)); err == nil && v.ignore.covers(name) {
			v.problems.add(Problem{Path: name, What: "the build needs it, and it is ignored",
				way: fmt.Sprintf("add the line !%s at the end of %s", name, ignoreFile)})
		}
	}
	return v, nil
}

// Stat is asked about the top only.
func (v *view) Stat(name string) (fs.FileInfo, error) { return v.root.Stat(name) }

// ReadDir lists what is to be copied of a directory, sorted. What is wrong with it
// becomes a problem, not an error.
func (v *view) ReadDir(name string) ([]fs.DirEntry, error) {
	rel := filepath.ToSlash(name)
	dir, err := v.open(rel, openDirFlags)
	if err != nil {
		v.problems.add(copyProblem(trimDot(rel), err))
		return nil, nil
	}
	defer dir.Close()
	rel = trimDot(rel)
	above := v.ignore.enter(rel)
	var kept []fs.DirEntry
	for {
		if err := v.stopped(); err != nil {
			return nil, err
		}
		batch, err := dir.ReadDir(listBatch)
		if v.entries += len(batch); v.entries > v.limit {
			return nil, errTooMany
		}
		for _, d := range batch {
			info, err := v.admit(rel, above, d)
			if err != nil {
				v.problems.add(copyProblem(joinPath(rel, d.Name()), err))
			} else if info != nil {
				kept = append(kept, fs.FileInfoToDirEntry(info))
			}
		}
		if errors.Is(err, io.EOF) {
			slices.SortFunc(kept, func(a, b fs.DirEntry) int {
				return strings.Compare(a.Name(), b.Name())
			})
			return kept, nil
		}
		if err != nil {
			v.problems.add(copyProblem(rel, err))
			return nil, nil
		}
	}
}

// admit decides about one name in the directory dir; nil is not to be copied, or
// not now.
func (v *view) admit(dir string, above matches, d fs.DirEntry) (fs.FileInfo, error) {
	name := joinPath(dir, d.Name())
	if neverSeen(d.Name()) || v.never[name] {
		return nil, nil
	}
	ignored, own, err := v.ignore.match(name, above)
	if err != nil {
		return nil, err
	}
	if ignored && !(d.IsDir() && v.ignore.mayHold(name)) {
		return nil, nil
	}
	info, err := d.Info()
	if err != nil {
		return nil, err
	}
	switch info.Mode().Type() {
	case 0:
		v.result.Files++
	case fs.ModeDir:
		if os.SameFile(info, v.target) {
			return nil, nil
		}
		v.ignore.leave(name, own)
	case fs.ModeSymlink:
		return nil, v.note(dir, name)
	default:
		v.problems.add(Problem{Path: name, What: typeName(info.Mode()), way: wayIgnore})
		return nil, nil
	}
	v.listed[name] = info
	if ignored {
		v.hollow[name] = true
	} else {
		v.fill(dir)
	}
	return info, nil
}

// note keeps a link for later.
func (v *view) note(dir, name string) error {
	target, err := v.root.Readlink(filepath.FromSlash(name))
	if err != nil {
		return err
	}
	v.links = append(v.links, link{name, target})
	v.result.Files++
	v.fill(dir)
	return nil
}

// fill says that the directory holds something.
func (v *view) fill(dir string) {
	for v.hollow[dir] {
		delete(v.hollow, dir)
		dir = path.Dir(dir)
	}
}

// Open opens a file that was listed, and nothing that took its place since.
func (v *view) Open(name string) (fs.File, error) {
	if err := v.stopped(); err != nil {
		return nil, err
	}
	name = filepath.ToSlash(name)
	info := v.listed[name]
	f, err := v.open(name, openFileFlags)
	if err != nil {
		v.problems.add(copyProblem(name, err))
		return nil, errTold
	}
	return &source{view: v, name: name, file: f, info: info}, nil
}

// open takes what was listed out of v.listed, and is sure to open just that.
func (v *view) open(name string, flags int) (*os.File, error) {
	f, err := v.root.OpenFile(filepath.FromSlash(name), flags, 0)
	if err != nil {
		return nil, err
	}
	now, err := f.Stat()
	// A new file may have the number of one that was removed: so its type counts.
	if info, found := v.listed[name]; err == nil && found &&
		(!os.SameFile(info, now) || info.Mode().Type() != now.Mode().Type()) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	delete(v.listed, name)
	return f, nil
}

// source is one file of the project while it is read.
type source struct {
	view *view
	name string
	file *os.File
	info fs.FileInfo // as it was listed
}

func (s *source) Stat() (fs.FileInfo, error) { return s.info, nil }

func (s *source) Read(p []byte) (int, error) { return s.file.Read(p) }

// WriteTo copies the bytes that were there when the file was listed: one that
// grows all the time has an end. The kernel copies if it can.
func (s *source) WriteTo(w io.Writer) (n int64, err error) {
	for n < s.info.Size() {
		if err := s.view.stopped(); err != nil {
			return n, err
		}
		copied, err := io.CopyN(w, s.file, min(copyChunk, s.info.Size()-n))
		n += copied
		if errors.Is(err, io.EOF) {
			break // it shrank, and Close says so
		}
		if err != nil {
			return n, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	s.view.result.Bytes += n
	return n, nil
}

// Close notices a file that is not what it was when it was listed.
func (s *source) Close() error {
	now, err := s.file.Stat()
	if err := errors.Join(err, s.file.Close()); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	if now.Size() != s.info.Size() || !now.ModTime().Equal(s.info.ModTime()) {
		s.view.problems.add(Problem{Path: s.name, What: "it changed while it was copied",
			way: wayStill})
		return errTold
	}
	return nil
}

// trimDot makes of the path that package copy has for the top the one that
// problems have.
func trimDot(name string) string {
	if name == "." {
		return ""
	}
	return name
}
