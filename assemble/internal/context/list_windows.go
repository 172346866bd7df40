package context

import "os"

const (
	openDirFlags  = os.O_RDONLY
	openFileFlags = os.O_RDONLY
)

// readItems appends up to n names of dir and what the listing says of them. It
// returns io.EOF after the last ones. Windows has neither a change time nor an
// executable bit, and its listing no file index.
func readItems(dir *os.File, items []item, n int) ([]item, error) {
	list, err := dir.ReadDir(n)
	for _, d := range list {
		it := item{name: d.Name()}
		info, err := d.Info()
		if it.err = err; err == nil {
			it.mode, it.size, it.mtime = info.Mode(), info.Size(), info.ModTime().UnixNano()
		}
		items = append(items, it)
	}
	return items, err
}
