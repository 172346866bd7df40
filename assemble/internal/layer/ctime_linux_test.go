package layer

import (
	"io/fs"
	"syscall"
)

func ctimeOf(info fs.FileInfo) int64 {
	return info.Sys().(*syscall.Stat_t).Ctim.Nano()
}
