//go:build unix

package site

import (
	"os"

	"golang.org/x/sys/unix"
)

// openFlags keep the open of a fifo that took a file's place from blocking.
const openFlags = os.O_RDONLY | unix.O_NONBLOCK

// identify returns what tells an open file from another, and from itself before a
// change; 0 is not known.
func identify(f *os.File) (ctime int64, inode uint64) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, 0
	}
	return st.Ctim.Nano(), uint64(st.Ino)
}
