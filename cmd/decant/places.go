package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// placeHint names the variable that moves a directory of decant's own which
// cannot be used; "" if the error is about something else.
func placeHint(err error) string {
	var pathErr *fs.PathError
	if !errors.As(err, &pathErr) {
		return ""
	}
	path := pathErr.Path
	for _, place := range []struct {
		variable string
		dir      func() (string, error)
	}{
		{"DECANT_CACHE_DIR", cacheDir},
		{"DECANT_STORE_DIR", storeDir},
	} {
		dir, err := place.dir()
		if err == nil && dir != "" && (within(path, dir) || within(dir, path)) {
			return writableHint(place.variable)
		}
	}
	// Other files may be in the directory for temporary ones: this one was to be made.
	temp := filepath.Clean(os.TempDir())
	_, missing := os.Lstat(path)
	if missing != nil && (path == temp || filepath.Dir(path) == temp) {
		return writableHint("TMPDIR")
	}
	return ""
}

func writableHint(variable string) string {
	return "set " + variable + " to a directory that this user can write to"
}

// within tells whether a path is dir or below it. Neither has to exist.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// insideSite tells whether writing a file would write into the directory dir,
// whatever links lead there.
func insideSite(file, dir string) bool {
	parent, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return false
	}
	return within(resolved(parent), resolved(dir))
}

// resolved is a path without links, as far as it exists.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}
