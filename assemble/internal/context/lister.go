package context

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// List returns what there is to know of paths: their entries and everything below
// them, and the directories and links on the way. Where a link is a path, or on the
// way, the list has what it leads to as well, as far as that is in the context; an
// absolute link starts at the context's top, and nothing is above that. A path is
// relative and slash-separated; "" and "." are everything. One that is not there, or
// is ignored, is not in the list, and is no error.
//
// The entries are sorted as layer.Tree wants them. They have the permissions and
// set-id bits of the directory, 0755 on Windows, and the owner 0:0. Hard links are
// separate files, and extended attributes are lost. Links are as they are written,
// wherever they lead. Sockets, fifos and devices are left out with a warning. What
// cannot be in a layer, such as a device that is a path itself, gives a *ScanError
// with all that is wrong; a file that cannot be read does so when it is read.
func (c *BuildContext) List(ctx context.Context, paths ...string) ([]layer.Entry, error) {
	var seeds []seed
	for _, name := range paths {
		seeds = append(seeds, seed{at: split(name)})
	}
	return c.list(ctx, seeds)
}

// Match is List for what COPY takes, paths whose elements may have the wildcards of
// path.Match. It lists what whole patterns match, each as List does, and on the way
// there the directories that may hold something of the kind. An element with two
// stars stands for any number of them, so more may be listed than is meant.
func (c *BuildContext) Match(ctx context.Context, patterns ...string) ([]layer.Entry, error) {
	var seeds []seed
	for _, pattern := range patterns {
		prefix, rest, err := splitPattern(pattern)
		if err != nil {
			return nil, err
		}
		seeds = append(seeds, seed{at: prefix, rest: rest})
	}
	return c.list(ctx, seeds)
}

func (c *BuildContext) list(ctx context.Context, seeds []seed) ([]layer.Entry, error) {
	l := newLister(c)
	entries, err := l.run(ctx, seeds)
	if errors.Is(err, errTooMany) {
		p := Problem{What: tooMany(c.limit).What,
			way: "name in " + c.rules.file + " what the Dockerfile does not copy"}
		return nil, &ScanError{Dir: c.dir, Problems: []Problem{p}}
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", c.dir, err)
	}
	if err := l.problems.err(c.dir); err != nil {
		return nil, err
	}
	return entries, nil
}

// seed is where a listing starts: a path by elements, and a pattern of what is
// asked for below it, empty for everything.
type seed struct{ at, rest []string }

// lister is one listing.
type lister struct {
	*BuildContext
	problems *problems
	listed   atomic.Int64

	mu      sync.Mutex
	hollow  map[string]bool // ignored directories, which stay if something in them does
	pending []seed          // where links lead
}

func newLister(c *BuildContext) *lister {
	return &lister{BuildContext: c, problems: &problems{}, hollow: map[string]bool{}}
}

// run lists the seeds, and then, round by round, where the links among them lead.
func (l *lister) run(ctx context.Context, seeds []seed) ([]layer.Entry, error) {
	var all []layer.Entry
	seen := map[string]bool{}
	whole := map[string]bool{} // directories that were listed with all in them
	for len(seeds) > 0 {
		starts, way, err := l.starts(ctx, seeds, seen)
		if err != nil {
			return nil, err
		}
		all = append(all, way...)
		for _, s := range starts {
			if covered(whole, s.name) {
				continue
			}
			if all, err = l.walk(ctx, s, all); err != nil {
				return nil, err
			}
			whole[s.name] = s.want.all
		}
		seeds, l.pending = l.pending, nil
	}
	byName := func(a, b layer.Entry) int { return comparePaths(a.Name, b.Name) }
	if !slices.IsSortedFunc(all, byName) {
		slices.SortFunc(all, byName)
	}
	all = slices.CompactFunc(all, func(a, b layer.Entry) bool { return a.Name == b.Name })
	return l.dropHollow(all), nil
}

func covered(whole map[string]bool, name string) bool {
	for ; name != ""; name = trimDot(path.Dir(name)) {
		if whole[name] {
			return true
		}
	}
	return whole[""]
}

// start is a directory to be listed.
type start struct {
	place
	want want
}

// starts looks the seeds up. What is a directory is to be listed, once, and after
// what is above it; all else goes into way.
func (l *lister) starts(
	ctx context.Context, seeds []seed, seen map[string]bool,
) (starts []start, way []layer.Entry, err error) {
	wants := map[string]want{}
	places := map[string]place{}
	for _, s := range seeds {
		// An element has no NUL.
		id := strings.Join(s.at, "/") + "\x00" + strings.Join(s.rest, "/")
		if seen[id] {
			continue
		}
		seen[id] = true
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		found, err := l.resolve(s.at)
		if err != nil {
			return nil, nil, err
		}
		way = append(way, found.way...)
		if !found.isDir {
			continue
		}
		w := wants[found.name]
		if len(s.rest) == 0 {
			w.all = true
		} else {
			w.rest = append(w.rest, s.rest)
		}
		wants[found.name], places[found.name] = w, found.place
	}
	for name, w := range wants {
		starts = append(starts, start{places[name], w})
	}
	slices.SortFunc(starts, func(a, b start) int { return comparePaths(a.name, b.name) })
	return starts, way, nil
}

// walk appends all that is asked for of a directory.
func (l *lister) walk(ctx context.Context, s start, to []layer.Entry) ([]layer.Entry, error) {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(min(2*runtime.GOMAXPROCS(0), 16))
	top := &folder{}
	group.Go(func() error { return l.fill(groupCtx, group, s, top) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return top.appendTo(slices.Grow(to, top.count())), nil
}

// fill fills f with what is asked for of a directory. It goes on beside the others
// as far as the group allows.
func (l *lister) fill(ctx context.Context, group *errgroup.Group, s start, f *folder) error {
	subs, err := l.read(ctx, s, f)
	if err != nil {
		return err
	}
	slices.SortFunc(f.entries, func(a, b layer.Entry) int { return strings.Compare(a.Name, b.Name) })
	for i := range f.entries {
		if f.entries[i].Kind != layer.Dir {
			continue
		}
		sub, next := &folder{}, subs[f.entries[i].Name]
		f.sub = append(f.sub, sub)
		task := func() error { return l.fill(ctx, group, next, sub) }
		if !group.TryGo(task) {
			if err := task(); err != nil {
				return err
			}
		}
	}
	return nil
}

// read lists one directory, and returns what to list next, by name. The directory's
// own failures are problems, not errors.
func (l *lister) read(ctx context.Context, s start, f *folder) (map[string]start, error) {
	dir, err := l.root.OpenFile(filepath.FromSlash(path.Join(".", s.name)), openDirFlags, 0)
	if err != nil {
		l.fail(s.name, err)
		return nil, nil
	}
	defer dir.Close()
	var items []item
	subs := map[string]start{}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var end error
		items, end = readItems(dir, items[:0], listBatch, s.want.keep)
		if l.listed.Add(int64(len(items))) > int64(l.limit) {
			return nil, errTooMany
		}
		f.entries = slices.Grow(f.entries, len(items))
		for i := range items {
			if err := l.admit(s, &items[i], f, subs); err != nil {
				return nil, err
			}
		}
		if end != nil {
			if !errors.Is(end, io.EOF) {
				l.fail(s.name, end)
			}
			return subs, nil
		}
	}
}

// admit adds one name of a directory, unless it is ignored or not asked for.
func (l *lister) admit(s start, it *item, f *folder, subs map[string]start) error {
	sub, whole := s.want.below(it.name)
	if !it.mode.IsDir() && !s.want.all && !sub.all {
		return nil // it may hold what is asked for if it is a directory
	}
	at, verdict, err := l.judge(s.place, it)
	if err != nil || verdict == ignored {
		return err
	}
	e, ok := l.entry(at.name, it, false)
	if !ok {
		return nil
	}
	f.entries = append(f.entries, e)
	switch {
	case e.Kind == layer.Dir:
		subs[at.name] = start{at, sub}
	case e.Kind == layer.Link && whole:
		l.follow(s.name, e.Target)
	}
	return nil
}

// follow adds where a link in dir leads to what is to be listed.
func (l *lister) follow(dir, target string) {
	at := strings.Split(target, "/")
	if !path.IsAbs(target) {
		at = append(elements(dir), at...)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, seed{at: elements(strings.Join(at, "/"))})
}

// dropHollow removes ignored directories that hold nothing: no exception was found
// in them.
func (l *lister) dropHollow(entries []layer.Entry) []layer.Entry {
	if len(l.hollow) == 0 {
		return entries
	}
	next := "" // the entry behind, of those that stay
	for i := range slices.Backward(entries) {
		e := &entries[i]
		if l.hollow[e.Name] && !strings.HasPrefix(next, e.Name+"/") {
			e.Name = ""
			continue
		}
		next = e.Name
	}
	return slices.DeleteFunc(entries, func(e layer.Entry) bool { return e.Name == "" })
}

func (l *lister) fail(name string, err error) {
	l.problems.add(contextProblem(name, err, l.rules.file))
}
