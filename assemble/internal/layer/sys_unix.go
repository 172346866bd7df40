//go:build unix

package layer

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// openFlags keep the open of a fifo that took a file's place from blocking. No
// symbolic link can lead outside: os.Root sees to that, and a link to another
// file inside shows in the inode.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK

func inodeOf(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Ino)
	}
	return 0
}

// outOfSpace says whether a write failed for want of space, quota, or because
// of the limit on a file's size.
func outOfSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		errors.Is(err, syscall.EFBIG)
}
