package context

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// ScanOptions says how a directory becomes a tree.
type ScanOptions struct {
	// Prefix is where the directory's content goes in the image: slash-separated,
	// relative, clean. "" is the root of the image.
	Prefix string
	// Parents adds Prefix and the directories above it as entries, for a base that
	// has none of them.
	Parents bool
	// KeepExec gives files that their owner may execute the mode 0755. All other
	// files have 0644, and directories 0755, whatever they have on disk.
	KeepExec bool
	// MaxEntries bounds what is listed; 0 is DefaultMaxEntries.
	MaxEntries int
}

// DefaultMaxEntries is far beyond any site, and keeps a scan of the wrong
// directory from eating the memory.
const DefaultMaxEntries = 1_000_000

// Scan lists what is in dir, which may itself be a symbolic link, as the entries
// of one layer, sorted as layer.Tree wants them. Symbolic links that stay inside
// dir are kept as they are written.
//
// A directory that cannot be published gives a *ScanError with all its problems.
// Warnings are about what may be published but is likely a mistake; there are at
// most about twenty, sorted.
func Scan(ctx context.Context, dir string, o ScanOptions) (layer.Tree, []Warning, error) {
	if o.Prefix != "" && (o.Prefix == "." || !fs.ValidPath(o.Prefix)) {
		return layer.Tree{}, nil, fmt.Errorf("reading %s: malformed prefix %q", dir, o.Prefix)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return layer.Tree{}, nil, fmt.Errorf("reading %s: %w", dir, err)
	}
	w := newWalker(o)
	if w.root, err = openRoot(abs); err != nil {
		w.problems.add(problemOf("", err))
		return layer.Tree{}, nil, w.problems.err(dir)
	}
	defer w.root.Close()

	tree := layer.Tree{Dir: abs, ScannedAt: time.Now().UnixNano()}
	top, err := w.walk(ctx)
	if errors.Is(err, errTooMany) {
		return layer.Tree{}, nil, &ScanError{Dir: dir, Problems: []Problem{tooMany(w.MaxEntries)}}
	}
	if err != nil {
		return layer.Tree{}, nil, fmt.Errorf("reading %s: %w", dir, err)
	}
	tree.Entries = w.flatten(top)
	if err := w.checkLinks(ctx, tree.Entries); err != nil {
		return layer.Tree{}, nil, fmt.Errorf("reading %s: %w", dir, err)
	}
	if err := w.problems.err(dir); err != nil {
		return layer.Tree{}, nil, err
	}
	return tree, w.warnings.sorted(), nil
}

// openRoot opens the directory itself; nothing is opened by a path through
// anything else afterwards.
func openRoot(dir string) (*os.Root, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, syscall.ENOTDIR
	}
	return os.OpenRoot(dir)
}

// flatten puts the folders' entries in order, each directory's right behind it,
// and the directories above the prefix in front.
func (w *walker) flatten(top *folder) []layer.Entry {
	entries := make([]layer.Entry, 0, int(w.listed.Load())+strings.Count(w.Prefix, "/")+1)
	if w.Parents && w.Prefix != "" {
		for i := range len(w.Prefix) + 1 {
			if i == len(w.Prefix) || w.Prefix[i] == '/' {
				entries = append(entries, directory(w.Prefix[:i]))
			}
		}
	}
	entries = top.appendTo(entries)
	files := false
	for i := range entries {
		files = files || entries[i].Kind == layer.File
	}
	if !files && w.problems.none() {
		w.problems.add(Problem{What: "there is no file in it", way: wayEmpty})
	}
	return entries
}
