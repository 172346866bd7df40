package context

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	cp "github.com/otiai10/copy"
)

// CopyOptions says what of a project a build does not see. The zero value goes by
// the project's .dockerignore alone.
type CopyOptions struct {
	// Ignore are patterns as in a .dockerignore. They come after the lines of the
	// project's own, and so win.
	Ignore []string
	// Never are files and directories that no pattern brings back, as paths from the
	// top of the project: where the build writes its output, or a cache. They are not
	// patterns, and mean nothing further down.
	Never []string
	// Need are paths without which there is nothing to build, as package.json. One
	// that is there but ignored is an error.
	Need []string
	// MaxEntries bounds what is listed; 0 is DefaultMaxEntries.
	MaxEntries int
}

// CopyResult counts what a build may see.
type CopyResult struct {
	Files int   // and links
	Bytes int64 // of all files
}

// CopyProject copies what a build may see of the project in src, which may itself
// be a symbolic link, into dst, an existing empty directory.
//
// What src's .dockerignore says is left out is left out, by docker's rules; so is
// anything named node_modules, .git, .hg or .svn, at any depth and whatever the
// patterns say, and dst itself if it lies in the project. All else is copied, also
// files as .env, which builds read. Files are copied whole or not at all: one that
// changes or vanishes meanwhile is an error. They keep their times, and their
// permissions as far as the owner can read and write the copy; set-id bits, owners,
// extended attributes and hard links are lost. Links are kept as they are written,
// and never followed: in the sandbox an absolute one leads into its own root.
//
// A project with something that cannot be copied gives a *ScanError with all its
// problems. After an error dst holds a part of the project, and is the caller's to
// remove.
func CopyProject(ctx context.Context, src, dst string, o CopyOptions) (CopyResult, error) {
	result, err := copyProject(ctx, src, dst, o)
	var scanErr *ScanError
	if err != nil && !errors.As(err, &scanErr) {
		err = fmt.Errorf("copying %s: %w", src, err)
	}
	return result, err
}

func copyProject(ctx context.Context, src, dst string, o CopyOptions) (CopyResult, error) {
	out, err := openEmpty(dst)
	if err != nil {
		return CopyResult{}, err
	}
	defer out.Close()
	root, err := openRoot(src)
	if err != nil {
		return CopyResult{}, &ScanError{Dir: src, Problems: []Problem{copyProblem("", err)}}
	}
	defer root.Close()
	v, err := newView(ctx, root, o)
	if err != nil {
		return CopyResult{}, err
	}
	if v.target, err = out.Stat("."); err != nil {
		return CopyResult{}, err
	}
	if v.problems.none() {
		err = cp.Copy(".", out.Name(), treeOptions(v, out.Name()))
	}
	if errors.Is(err, errTooMany) {
		return CopyResult{}, &ScanError{Dir: src, Problems: []Problem{{
			What: tooMany(v.limit).What, way: wayFewer}}}
	}
	if err == nil {
		err = v.problems.err(src)
	}
	if err == nil {
		err = v.finish(out)
	}
	if err != nil {
		return CopyResult{}, err
	}
	return v.result, nil
}

// openEmpty refuses a directory in which something would be overwritten.
func openEmpty(dst string) (*os.Root, error) {
	abs, err := filepath.Abs(dst)
	if err != nil {
		return nil, err
	}
	dir, err := os.Open(abs)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	switch _, err := dir.Readdirnames(1); {
	case err == nil:
		return nil, fmt.Errorf("%s is not empty", dst)
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	return os.OpenRoot(abs)
}

// treeOptions spells out what package copy would decide on its own: it skips
// devices and what vanishes, follows what took a file's place, and takes no
// context. So it gets the project through v, which does none of that, and in which
// there are no links.
func treeOptions(v *view, dst string) cp.Options {
	return cp.Options{
		FS:                v,
		OnSymlink:         func(string) cp.SymlinkAction { return cp.Skip },
		OnDirExists:       func(string, string) cp.DirExistsAction { return cp.Merge },
		OnError:           dropTold,
		Skip:              func(fs.FileInfo, string, string) (bool, error) { return false, nil },
		RenameDestination: nil, // names stay
		Specials:          false,
		PermissionControl: permissions(dst),
		Sync:              false, // a copy does not outlive the build
		PreserveTimes:     true,
		PreserveOwner:     false,
		CopyBufferSize:    0,   // source.WriteTo copies
		WrapReader:        nil, // it would hide WriteTo
		NumOfWorkers:      1,   // more means a goroutine per name, without bound
		PreferConcurrent:  nil,
	}
}

// dropTold lets the copy go on after a problem that v.problems has, so that all of
// them are found.
func dropTold(_, _ string, err error) error {
	if errors.Is(err, errTold) {
		return nil
	}
	return err
}

// permissions keeps those of the project as far as decant can still work with the
// copy. The directory dst itself stays as it is.
func permissions(dst string) cp.PermissionControlFunc {
	return func(info fs.FileInfo, dest string) (func(*error), error) {
		mode := info.Mode().Perm() | 0o600
		if info.IsDir() {
			if dest == dst {
				return func(*error) {}, nil
			}
			mode |= 0o700
			if err := os.Mkdir(dest, 0o700); err != nil {
				return func(*error) {}, err
			}
		}
		return func(reported *error) {
			if err := os.Chmod(dest, mode); err != nil && *reported == nil {
				*reported = err
			}
		}, nil
	}
}

// finish makes the links, last so that no file can be written through one, and
// removes ignored directories in which nothing was left over.
func (v *view) finish(out *os.Root) error {
	for _, l := range v.links {
		err := keepTime(out, path.Dir(l.name), func() error {
			return out.Symlink(l.target, filepath.FromSlash(l.name))
		})
		if err != nil {
			return err
		}
	}
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(v.hollow))) {
		err := keepTime(out, path.Dir(name), func() error {
			return out.Remove(filepath.FromSlash(name))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// keepTime does something in the directory dir that leaves its time as it is.
func keepTime(out *os.Root, dir string, do func() error) error {
	dir = filepath.FromSlash(dir)
	info, err := out.Stat(dir)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return out.Chtimes(dir, info.ModTime(), info.ModTime())
}
