//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	noSUIDDev     = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	noSUIDDevExec = noSUIDDev | unix.MOUNT_ATTR_NOEXEC
)

// option is one setting of a file system; an empty value makes it a flag.
type option struct{ key, value string }

// newFS makes a detached mount: nobody sees it until it is moved into place.
func newFS(kind string, attrs int, opts ...option) (int, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen %s: %w", kind, err)
	}
	defer unix.Close(fs)
	for _, o := range opts {
		if o.value == "" {
			err = unix.FsconfigSetFlag(fs, o.key)
		} else {
			err = unix.FsconfigSetString(fs, o.key, o.value)
		}
		if err != nil {
			return -1, fmt.Errorf("%s option %s: %w%s", kind, o.key, err, kernelLog(fs))
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("%s: %w%s", kind, err, kernelLog(fs))
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return -1, fmt.Errorf("fsmount %s: %w%s", kind, err, kernelLog(fs))
	}
	return fd, nil
}

// kernelLog reads what the kernel says about a refused setting: far more than the
// errno does.
func kernelLog(fs int) string {
	var lines []string
	buf := make([]byte, 512)
	for range 16 {
		n, err := unix.Read(fs, buf)
		if n <= 0 || err != nil {
			break
		}
		lines = append(lines, strings.TrimSpace(string(buf[:n])))
	}
	if len(lines) == 0 {
		return ""
	}
	return " [" + strings.Join(lines, "; ") + "]"
}

// cloneTree makes a detached bind mount of a path. It is recursive because the
// kernel refuses a plain clone of a tree that has locked mounts below it.
func cloneTree(name string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, name,
		unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("open_tree: %w", err)
	}
	return fd, nil
}

// cloneWith is cloneTree with attributes on every mount in it.
func cloneWith(name string, attrs uint64) (int, error) {
	fd, err := cloneTree(name)
	if err != nil {
		return -1, err
	}
	if err := setAttrs(fd, attrs); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func setAttrs(fd int, attrs uint64) error {
	err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE,
		&unix.MountAttr{Attr_set: attrs})
	if err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	return nil
}

// attach moves a detached mount over what another descriptor stands for.
func attach(mount, target int) error {
	err := unix.MoveMount(mount, "", target, "",
		unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}

// attachAt is attach for a path that is known to be harmless.
func attachAt(mount int, name string) error {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", name, err)
	}
	defer unix.Close(fd)
	return attach(mount, fd)
}

// openDirs opens directories for the kernel to find again under names that are
// short, need no escapes, and tell nothing of the host in /proc/mounts.
func openDirs(names ...string) (short []string, done func(), err error) {
	var fds []int
	done = func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	for _, n := range names {
		fd, err := unix.Open(n, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			done()
			return nil, nil, fmt.Errorf("opening %s: %w", n, err)
		}
		fds = append(fds, fd)
		short = append(short, fmt.Sprintf("/proc/self/fd/%d", fd))
	}
	return short, done, nil
}

// newOverlay makes a detached overlay of layers, bottom first. Without an upper it is
// read-only.
func newOverlay(lower []string, upper, work, stage string) (int, error) {
	top := []string{}
	if upper != "" {
		top = []string{upper, work}
	}
	names, done, err := openDirs(append(top, lower...)...)
	if err != nil {
		return -1, err
	}
	defer done()
	var opts []option
	for i := len(names) - 1; i >= len(top); i-- { // the kernel wants the top first
		opts = append(opts, option{"lowerdir+", names[i]})
	}
	if upper != "" {
		opts = append(opts, option{"upperdir", names[0]}, option{"workdir", names[1]},
			option{key: "volatile"}) // no fsync
	}
	opts = append(opts, option{key: "userxattr"}) // what a user namespace may write
	fd, err := newFS("overlay", noSUIDDev, opts...)
	if err == nil || !strings.Contains(err.Error(), "lowerdir+") {
		return fd, err
	}
	// Linux before 6.8 has no lowerdir+, and one string of fsconfig is too short.
	fd, old := oldOverlay(names, len(top), stage)
	if old != nil {
		return -1, errors.Join(err, old)
	}
	return fd, nil
}

// oldOverlay is newOverlay with mount(2), whose options share one page.
func oldOverlay(names []string, top int, stage string) (int, error) {
	var lower []string
	for i := len(names) - 1; i >= top; i-- {
		lower = append(lower, names[i])
	}
	opts := "lowerdir=" + strings.Join(lower, ":") + ",userxattr"
	if top > 0 {
		opts += ",upperdir=" + names[0] + ",workdir=" + names[1] + ",volatile"
	}
	err := unix.Mount("overlay", stage, "overlay", unix.MS_NODEV|unix.MS_NOSUID, opts)
	if err != nil {
		return -1, fmt.Errorf("mount overlay: %w", err)
	}
	fd, err := cloneTree(stage)
	if err != nil {
		return -1, err
	}
	if err := unix.Unmount(stage, unix.MNT_DETACH); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("umount: %w", err)
	}
	return fd, nil
}
