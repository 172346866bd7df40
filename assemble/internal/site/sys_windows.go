package site

import "os"

const openFlags = os.O_RDONLY

// lstat looks at a name. Windows has no time of the last change of a file's status that
// Go shows, so nothing is vouched for.
func lstat(name string) (stat, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return stat{}, err
	}
	return stat{size: info.Size(), mtime: info.ModTime().UnixNano()}, nil
}
