package output

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// isFull says whether a write failed for want of room.
func isFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// syncDir has nothing to do: NTFS journals renames.
func syncDir(string) error { return nil }

// tryLock locks dir without waiting; ok is false when another has it. Windows
// locks files only: an empty one stays in dir.
func tryLock(dir string) (unlock func() error, ok bool, err error) {
	f, err := os.OpenFile(filepath.Join(dir, stagePrefix+"lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, false, err
	}
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err = windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{})
	switch {
	case err == nil:
		return f.Close, true, nil
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION):
		return nil, false, f.Close()
	}
	return nil, false, errors.Join(&os.PathError{Op: "locking", Path: dir, Err: err}, f.Close())
}
