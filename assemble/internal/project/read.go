package project

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Bounds of what is read. Real files are far below them.
const (
	maxManifest = 4 << 20
	maxConfig   = 1 << 20
	maxVersion  = 4 << 10 // .nvmrc and its like
	maxLockHead = 4 << 10 // of a lockfile only the head is of interest
)

const tooLarge = "larger than any such file is"

// openDir opens dir so that nothing below it leads out of it.
func openDir(dir string) (*os.Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the project: %w", err)
	}
	return root, nil
}

// read returns a regular file of at most limit bytes. It never waits: not for
// a fifo, which opening would.
func read(fsys fs.FS, name string, limit int64) ([]byte, error) {
	data, err := readHead(fsys, name, limit+1)
	if err == nil && int64(len(data)) > limit {
		return nil, &ManifestError{File: name, What: tooLarge,
			Fix: fmt.Sprintf("decant reads up to %d KiB of it", limit>>10)}
	}
	return data, err
}

// readHead returns the first limit bytes of a regular file.
func readHead(fsys fs.FS, name string, limit int64) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, fileError(name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, &ManifestError{File: name, What: "not a regular file", Fix: "replace it by a file"}
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fileError(name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, fileError(name, err)
	}
	return data, nil
}

// fileError names the file once. os.Root has no error value for a link that
// leads out, but it has no other reason to say "escapes".
func fileError(name string, err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	if strings.Contains(err.Error(), "escapes") {
		return &ManifestError{File: name, What: "a link that leads out of the project",
			Fix: "replace it by the file: the build sees the project only"}
	}
	return fmt.Errorf("reading %s: %w", name, err)
}

// exists reports whether there is something of that name inside the project.
func exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}

// text reads the first of the named files that is there, without comments. A
// file that cannot be read is as good as none: it only refines a guess.
func text(fsys fs.FS, dir string, names ...string) (name, content string) {
	for _, name := range names {
		if data, err := read(fsys, path.Join(dir, name), maxConfig); err == nil {
			return name, stripComments(string(data))
		}
	}
	return "", ""
}

// stripComments removes // and /* */ comments of JavaScript and JSON, so that a
// setting that is switched off is not taken for one that is on. It knows
// strings, but not regular expressions: one with a quote in it hides comments.
func stripComments(src string) string {
	var out strings.Builder
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case c == '"' || c == '\'' || c == '`':
			end := stringEnd(src, i)
			out.WriteString(src[i:end])
			i = end - 1
		case strings.HasPrefix(src[i:], "//"):
			n := strings.IndexByte(src[i:], '\n')
			if n < 0 {
				return out.String()
			}
			i += n - 1
		case strings.HasPrefix(src[i:], "/*"):
			n := strings.Index(src[i+2:], "*/")
			if n < 0 {
				return out.String()
			}
			i += 2 + n + 1
			out.WriteByte(' ')
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

// stringEnd is the index behind the string that starts at i. Only a template
// goes over the end of a line.
func stringEnd(src string, i int) int {
	quote := src[i]
	for i++; i < len(src); i++ {
		switch {
		case src[i] == '\\':
			i++
		case src[i] == quote:
			return i + 1
		case src[i] == '\n' && quote != '`':
			return i
		}
	}
	return len(src)
}

// absolute resolves dir, so that a linked directory has the parents that the
// tools inside will see.
func absolute(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", fmt.Errorf("opening the project: %w", err)
	}
	return abs, nil
}
