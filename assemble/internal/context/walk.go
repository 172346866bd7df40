package context

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// Modes in the image. Those on disk depend on the umask of whoever built the
// site, and a web server of another user could not read 0600.
const (
	fileMode = 0o644
	execMode = 0o755
	dirMode  = 0o755
)

// listBatch bounds how many names are held before they are counted and a
// cancelled scan is noticed.
const listBatch = 4096

// errTooMany ends a walk: a list of what else is wrong would be one by chance.
var errTooMany = errors.New("too many entries")

// walker lists directories side by side.
type walker struct {
	ScanOptions
	root     *os.Root
	group    *errgroup.Group
	listed   atomic.Int64
	problems *problems
	warnings *warnings
}

func newWalker(o ScanOptions) *walker {
	if o.MaxEntries <= 0 {
		o.MaxEntries = DefaultMaxEntries
	}
	return &walker{ScanOptions: o, problems: &problems{}, warnings: &warnings{}}
}

// folder is one directory: its entries, and the folders of those that are
// directories, in the same order.
type folder struct {
	entries []layer.Entry
	sub     []*folder
}

// appendTo appends the entries, each directory's own right behind it. It gives
// up the folder's memory on the way.
func (f *folder) appendTo(entries []layer.Entry) []layer.Entry {
	next := 0
	for i := range f.entries {
		entries = append(entries, f.entries[i])
		if f.entries[i].Kind == layer.Dir {
			entries = f.sub[next].appendTo(entries)
			next++
		}
	}
	f.entries, f.sub = nil, nil
	return entries
}

// count is how many entries appendTo would append.
func (f *folder) count() int {
	n := len(f.entries)
	for _, sub := range f.sub {
		n += sub.count()
	}
	return n
}

func directory(name string) layer.Entry {
	return layer.Entry{Name: name, Kind: layer.Dir, Mode: dirMode}
}

// item is what the system says of one name in a directory.
type item struct {
	name         string
	mode         fs.FileMode
	size         int64
	mtime, ctime int64
	inode        uint64
	err          error // of finding out
}

// walk lists the whole directory.
func (w *walker) walk(ctx context.Context) (*folder, error) {
	var groupCtx context.Context
	w.group, groupCtx = errgroup.WithContext(ctx)
	w.group.SetLimit(min(2*runtime.GOMAXPROCS(0), 16))
	top := &folder{}
	w.group.Go(func() error { return w.list(groupCtx, "", top) })
	return top, w.group.Wait()
}

// list fills f with the directory rel, "" for the top, and all below it. It
// goes on beside the others as far as the group allows.
func (w *walker) list(ctx context.Context, rel string, f *folder) error {
	if err := w.read(ctx, rel, f); err != nil {
		return err
	}
	slices.SortFunc(f.entries, func(a, b layer.Entry) int {
		return strings.Compare(a.Name, b.Name)
	})
	w.warnCase(rel, f.entries)
	for i := range f.entries {
		if f.entries[i].Kind != layer.Dir {
			continue
		}
		sub, subRel := &folder{}, w.relative(f.entries[i].Name)
		f.sub = append(f.sub, sub)
		task := func() error { return w.list(ctx, subRel, sub) }
		if !w.group.TryGo(task) {
			if err := task(); err != nil {
				return err
			}
		}
	}
	return nil
}

// read lists one directory. Its own failures are problems, not errors.
func (w *walker) read(ctx context.Context, rel string, f *folder) (err error) {
	path := rel
	if path == "" {
		path = "."
	}
	dir, err := w.root.OpenFile(filepath.FromSlash(path), openDirFlags, 0)
	if err != nil {
		w.problems.add(problemOf(rel, err))
		return nil
	}
	defer dir.Close()
	inImage := joinPath(w.Prefix, rel)
	var items []item
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		items, err = readItems(dir, items[:0], listBatch, nil)
		checkAccess(dir, items)
		if w.listed.Add(int64(len(items))) > int64(w.MaxEntries) {
			return errTooMany
		}
		f.entries = slices.Grow(f.entries, len(items))
		for i := range items {
			w.take(inImage, &items[i], f)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			w.problems.add(problemOf(rel, err))
			return nil
		}
	}
}

// take adds one name to f, which is dir in the image, or says why it cannot be.
func (w *walker) take(dir string, it *item, f *folder) {
	// Source and Name share one string: a site has many of them.
	name := joinPath(dir, it.name)
	source := w.relative(name)
	if what, way := nameFault(name, it.name); what != "" {
		w.problems.add(Problem{Path: source, What: what, way: way})
		return
	}
	if it.err != nil {
		w.problems.add(problemOf(source, it.err))
		return
	}
	switch it.mode.Type() {
	case 0:
		e := layer.Entry{Name: name, Kind: layer.File, Mode: fileMode, Source: source,
			Size: it.size, MTime: it.mtime, CTime: it.ctime, Inode: it.inode}
		if w.KeepExec && it.mode&0o100 != 0 {
			e.Mode = execMode
		}
		f.entries = append(f.entries, e)
	case fs.ModeDir:
		f.entries = append(f.entries, directory(name))
	case fs.ModeSymlink:
		target, err := w.root.Readlink(filepath.FromSlash(source))
		if err != nil {
			w.problems.add(problemOf(source, err))
			return
		}
		f.entries = append(f.entries, layer.Entry{Name: name, Kind: layer.Link,
			Target: filepath.ToSlash(target)})
	default:
		w.problems.add(Problem{Path: source, What: typeName(it.mode), way: wayType})
	}
}

// relative is the path in the directory of a name in the image.
func (w *walker) relative(name string) string {
	if w.Prefix == "" {
		return name
	}
	return name[len(w.Prefix)+1:]
}

func joinPath(dir, name string) string {
	switch {
	case dir == "":
		return name
	case name == "":
		return dir
	}
	return dir + "/" + name
}

// typeName says what is neither a file, nor a directory, nor a link.
func typeName(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "it is a fifo"
	case mode&fs.ModeSocket != 0:
		return "it is a socket"
	case mode&fs.ModeDevice != 0:
		return "it is a device"
	}
	return "it is neither a file, nor a directory, nor a link"
}
