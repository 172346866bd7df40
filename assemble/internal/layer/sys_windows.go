package layer

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

const openFlags = os.O_RDONLY

// inodeOf returns 0, for "not known": a FileInfo of Windows has no file index.
func inodeOf(fs.FileInfo) uint64 { return 0 }

// outOfSpace says whether a write failed for want of space.
func outOfSpace(err error) bool {
	const (
		errHandleDiskFull = syscall.Errno(39)
		errDiskFull       = syscall.Errno(112)
	)
	return errors.Is(err, errDiskFull) || errors.Is(err, errHandleDiskFull)
}
