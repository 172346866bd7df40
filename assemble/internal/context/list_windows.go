package context

import (
	"io/fs"
	"os"
	"path/filepath"
)

const (
	openDirFlags  = os.O_RDONLY
	openFileFlags = os.O_RDONLY
)

// readItems reads up to n names of dir, and appends what the listing says of those
// that keep, which may be nil, does not drop. It returns io.EOF after the last
// ones. Windows has neither a change time nor an executable bit, and its listing
// no file index.
func readItems(dir *os.File, items []item, n int, keep func(name string) bool) ([]item, error) {
	list, err := dir.ReadDir(n)
	for _, d := range list {
		if keep == nil || keep(d.Name()) {
			info, err := d.Info()
			items = append(items, itemOf(d.Name(), info, err))
		}
	}
	return items, err
}

// lookUp says what name is in the open directory.
func lookUp(dir *os.File, name string) item {
	info, err := os.Lstat(filepath.Join(dir.Name(), name))
	return itemOf(name, info, err)
}

// lookAt says what an open file is now.
func lookAt(f *os.File) item {
	info, err := f.Stat()
	return itemOf(f.Name(), info, err)
}

func itemOf(name string, info fs.FileInfo, err error) item {
	if err != nil {
		return item{name: name, err: err}
	}
	return item{name: name, mode: info.Mode(), size: info.Size(), mtime: info.ModTime().UnixNano()}
}

// checkAccess finds nothing: no permission bits tell it.
func checkAccess(*os.File, []item) {}

// chmodBits are the bits of a mode in the image: docker gives all that comes from
// Windows these.
func chmodBits(fs.FileMode) uint32 { return execMode }
