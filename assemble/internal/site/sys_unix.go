//go:build unix

package site

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// openFlags keep the open of a fifo that took a file's place from blocking.
const openFlags = os.O_RDONLY | unix.O_NONBLOCK

// lstat looks at a name.
func lstat(name string) (stat, error) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return stat{}, &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	return stat{st.Size, st.Mtim.Nano(), st.Ctim.Nano(), uint64(st.Ino)}, nil
}
