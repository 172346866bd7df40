package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What a file system may lack: NFS has no devices for plain users, and a tmpfs
// before Linux 6.6 no attributes of user.*.
var (
	errNoWhiteouts = errors.New("its file system takes no whiteouts (character device 0:0)")
	errNoOpaque    = errors.New("its file system takes no extended attributes of user.*")
)

// A Store holds unpacked layers in a directory:
//
//	layers/ID/fs       the layer or step, for overlayfs
//	layers/ID/owners   of a layer: what its files on disk do not say; see ownerTable
//	layers/ID/entries  the same as entries; of a layer made when they are asked for
//	layers/ID/record   what it is; written last
//	tmp/ID             one in the making, or being removed
//	locks/ID           held shared by who uses it, exclusively by who makes it
//	lock               held shared to make something, exclusively to prune
//	empty/             the layer of an image that has none
//	work/              see Temp
//
// ID is the front of a layer's chain ID, or of a step's key with stepPrefix before
// it: overlayfs takes paths of up to 255 bytes only.
// A Store may be used by several goroutines and processes at once.
type Store struct {
	dir string
}

// OpenStore opens the store in dir, which it makes if it is missing, and removes
// what killed processes left there. The directory must belong to the caller.
func OpenStore(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the store: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if uid := os.Geteuid(); int(st.Uid) != uid {
		return nil, &StoreError{dir, fmt.Sprintf("it belongs to user %d, not to %d", st.Uid, uid)}
	}
	// Nobody else may start the set-uid files of an image. This also takes away a
	// set-group-id bit, which would hand a foreign group to all files.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	s := &Store{dir}
	for _, sub := range []string{"layers", "tmp", "locks", "empty", "work"} {
		if err := os.Mkdir(s.path(sub), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("making the store: %w", err)
		}
	}
	return s, s.sweep()
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// Temp is a directory on the store's file system, so that Adopt can rename what was
// made there. It is shared by all who use the store. What they put there is theirs to
// remove, also after a kill: the store does not look into it.
func (s *Store) Temp() string { return s.path("work") }

// sweep removes the layers and steps whose makers are dead. While another process prunes,
// that one does it.
func (s *Store) sweep() error {
	guard, err := tryLock(s.path("lock"), shared)
	if errors.Is(err, errBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	defer guard.release()
	left, err := os.ReadDir(s.path("tmp"))
	if err != nil {
		return err
	}
	for _, e := range left {
		l, err := tryLock(s.path("locks", e.Name()), exclusive)
		if errors.Is(err, errBusy) {
			continue // it is being made
		}
		if err != nil {
			return err
		}
		err = removeTree(s.path("tmp", e.Name()))
		l.release()
		if err != nil {
			return fmt.Errorf("sweeping the store: %w", err)
		}
	}
	return nil
}

// discard removes a layer or step of which the caller has the exclusive lock. Under its
// name it is gone at once.
func (s *Store) discard(id string) error {
	if err := removeTree(s.path("tmp", id)); err != nil {
		return err
	}
	err := os.Rename(s.path("layers", id), s.path("tmp", id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return removeTree(s.path("tmp", id))
}
