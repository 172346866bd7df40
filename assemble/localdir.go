package assemble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/decant-build/decant/assemble/internal/cache"
	"github.com/decant-build/decant/assemble/internal/layer"
)

// filesOutputs are the directories that receive the target's files.
func (b *build) filesOutputs() []Output {
	return slices.DeleteFunc(slices.Clone(b.Outputs), func(o Output) bool { return o.Kind != Files })
}

// imageOutputs are those that receive an image.
func (b *build) imageOutputs() []Output {
	return slices.DeleteFunc(slices.Clone(b.Outputs), func(o Output) bool { return o.Kind == Files })
}

// stagedFiles is the target's files beside the directory that is to have them.
type stagedFiles struct {
	output Output
	temp   string
	count  int // of files and links
}

// stageFiles writes the files of the only target beside every such directory. After
// an error the caller removes what is returned.
func (x *executor) stageFiles(ctx context.Context, variants []*variant) (staged []stagedFiles, err error) {
	outputs := x.filesOutputs()
	if len(outputs) == 0 {
		return nil, nil
	}
	if len(variants) > 1 {
		return nil, usagef("choose one with --platform", "output %s takes the files of one platform, and there are %d", outputs[0], len(variants))
	}
	target := variants[0].target
	tree, err := target.files(ctx)
	if err != nil {
		return nil, err
	}
	entries := tree.Entries("/")
	if base := target.ground().base; base != nil {
		if err := x.fetch(ctx, base, entries); err != nil {
			return nil, err
		}
	}
	for _, out := range outputs {
		dir, err := filepath.Abs(out.Path)
		if err != nil {
			return staged, err
		}
		if err := checkMerge(dir, entries); err != nil {
			return staged, fmt.Errorf("writing %s: %w", out, err)
		}
		temp, err := os.MkdirTemp(filepath.Dir(dir), ".decant-")
		if err != nil {
			return staged, fmt.Errorf("writing %s: %w", out, err)
		}
		staged = append(staged, stagedFiles{out, temp, countFiles(entries)})
		if err := writeTree(ctx, temp, entries); err != nil {
			return staged, fmt.Errorf("writing %s: %w", out, err)
		}
	}
	return staged, nil
}

func removeFiles(staged []stagedFiles) error {
	var errs []error
	for _, s := range staged {
		errs = append(errs, cache.RemoveTree(s.temp))
	}
	return errors.Join(errs...)
}

// commitFiles gives the directories their files; refs are where the image is by then.
func (x *executor) commitFiles(staged []stagedFiles, refs []string) error {
	for _, s := range staged {
		if err := s.commit(); err != nil {
			return partlyPublished(refs, fmt.Errorf("writing %s: %w", s.output, err))
		}
		x.Progress.Fact("files", fmt.Sprintf("%d in %s", s.count, s.output.Path))
	}
	return nil
}

// commit moves the files to their place, over what is there. What else is there
// stays, as with docker build.
func (s stagedFiles) commit() error {
	if err := os.Chmod(s.temp, 0o755); err != nil {
		return err
	}
	if os.Rename(s.temp, s.output.Path) == nil {
		return nil // there was nothing, or an empty directory
	}
	return mergeInto(s.output.Path, s.temp)
}

func countFiles(entries []layer.Entry) int {
	n := 0
	for _, e := range entries {
		if e.Kind == layer.File || e.Kind == layer.HardLink || e.Kind == layer.Link {
			n++
		}
	}
	return n
}

// checkMerge refuses files that would take the place of a directory with other
// files in it.
func checkMerge(dir string, entries []layer.Entry) error {
	for _, e := range entries {
		name := filepath.Join(dir, filepath.FromSlash(e.Name))
		if info, err := os.Lstat(name); err == nil && info.IsDir() && e.Kind != layer.Dir {
			return &InputError{Dir: name, What: "it is a directory, and a file is to take its place",
				Fix: "remove it, or write to another directory"}
		}
	}
	return nil
}

// mergeInto moves what is in from into dir. What checkMerge refuses is not there.
func mergeInto(dir, from string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		source, target := filepath.Join(from, e.Name()), filepath.Join(dir, e.Name())
		info, err := os.Lstat(target)
		switch {
		case err == nil && info.IsDir() && e.IsDir():
			err = mergeInto(target, source)
		case err == nil && e.IsDir():
			if err = os.Remove(target); err == nil {
				err = os.Rename(source, target)
			}
		default:
			err = os.Rename(source, target)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeTree writes entries below dir, which exists: directories, files and links,
// with their permissions, and owned by the caller. Set-id bits, devices, pipes and
// whiteouts mean nothing there.
func writeTree(ctx context.Context, dir string, entries []layer.Entry) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var dirs []layer.Entry
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if e.Kind == layer.Dir {
			dirs = append(dirs, e)
		}
		if err := writeEntry(root, e); err != nil {
			return fmt.Errorf("writing %s: %w", e.Name, err)
		}
	}
	for _, e := range slices.Backward(dirs) { // a directory may be read-only
		mode := fs.FileMode(e.Mode & 0o777)
		if e.Mode&0o1000 != 0 {
			mode |= fs.ModeSticky
		}
		if err := root.Chmod(filepath.FromSlash(e.Name), mode); err != nil {
			return fmt.Errorf("writing %s: %w", e.Name, err)
		}
	}
	return nil
}

func writeEntry(root *os.Root, e layer.Entry) error {
	name := filepath.FromSlash(e.Name)
	switch e.Kind {
	case layer.Dir:
		return root.MkdirAll(name, 0o700)
	case layer.Link:
		return root.Symlink(e.Target, name)
	case layer.HardLink:
		return root.Link(filepath.FromSlash(e.Target), name)
	case layer.File:
		return writeFile(root, name, e)
	}
	return nil
}

func writeFile(root *os.Root, name string, e layer.Entry) (err error) {
	content, err := readEntry(e)
	if err != nil {
		return err
	}
	defer content.Close()
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	return f.Chmod(fs.FileMode(e.Mode & 0o777))
}

// readEntry opens the content of a file.
func readEntry(e layer.Entry) (io.ReadCloser, error) {
	if e.Source == "" {
		return io.NopCloser(bytes.NewReader(e.Data)), nil
	}
	return openEntry(e)
}

// openEntry opens the content of a file that is on disk, below its directory.
func openEntry(e layer.Entry) (*os.File, error) {
	root, err := os.OpenRoot(e.Base)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.Open(filepath.FromSlash(e.Source))
}
