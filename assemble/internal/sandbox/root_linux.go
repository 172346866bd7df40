//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// place is a detached mount that waits for its path.
type place struct {
	mount int
	at    string
	dir   bool
}

// builder makes the root of a rung with mounts. It has two halves. Before
// pivot_root it opens what needs a path of the host, as detached mounts. After it,
// it resolves and makes the destinations, so that no symlink of the image leads
// one out.
type builder struct {
	*spec
	out    *reporter
	places []place
}

// build returns a stage and an error if this host does not allow it.
func (b *builder) build() (stage string, err error) {
	unix.Umask(0)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return StagePrivate, err
	}
	var root int
	if b.Rung == overlayRung {
		if root, err = newOverlay(b.Lower, b.Upper, b.Work, b.Stage); err != nil {
			return StageOverlay, err
		}
	} else if root, err = cloneWith(b.Upper, noSUIDDev); err != nil {
		return StageCopy, err
	}
	if b.Job == jobRun {
		var missing *sourceError
		switch err := b.collect(); {
		case errors.As(err, &missing):
			return "", err
		case err != nil:
			return StageMount, err
		}
	}
	if err := enter(root, b.Stage); err != nil {
		return StageRoot, err
	}
	if b.Job == jobRun {
		if err := b.settle(); err != nil {
			return StageMount, err
		}
	}
	unix.Umask(0o022)
	return "", nil
}

func enter(root int, stage string) error {
	defer unix.Close(root)
	if err := attachAt(root, stage); err != nil {
		return err
	}
	if err := unix.Chdir(stage); err != nil {
		return fmt.Errorf("chdir: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("umount of the old root: %w", err)
	}
	return unix.Chdir("/")
}

func (b *builder) add(mount int, at string, dir bool) {
	b.places = append(b.places, place{mount, at, dir})
}

// collect opens all mounts but the root.
func (b *builder) collect() error {
	for _, f := range []func() error{b.proc, b.dev, b.sys, b.tmpfs, b.binds, b.trees} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// proc is first: the kernel compares a new /proc with the one that is visible at
// fsmount, so it must be made while the old one is still there.
func (b *builder) proc() error {
	fd, err := newFS("proc", noSUIDDevExec)
	if err != nil {
		b.out.warn("the kernel refuses a /proc of its own for the step (%v); it sees the outer "+
			"one, read-only, with the processes there", err)
		fd, err = cloneWith("/proc", noSUIDDevExec|unix.MOUNT_ATTR_RDONLY)
	}
	if err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	b.add(fd, "/proc", true)
	return nil
}

func (b *builder) dev() error {
	fd, err := newFS("tmpfs", noSUIDDevExec, option{"mode", "0755"}, option{"size", "1m"})
	if err != nil {
		return fmt.Errorf("/dev: %w", err)
	}
	b.add(fd, "/dev", true)
	for _, d := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		// Read-only keeps the inode, which is the host's, from chmod and utimes; the
		// device itself is written all the same.
		fd, err := cloneWith("/dev/"+d,
			unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_RDONLY)
		switch {
		case err == nil:
			b.add(fd, "/dev/"+d, false)
		case d == "tty" || d == "full":
			b.out.warn("the host has no /dev/%s: %v", d, err)
		default:
			return fmt.Errorf("/dev/%s: %w", d, err)
		}
	}
	fd, err = newFS("devpts", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC,
		option{key: "newinstance"}, option{"ptmxmode", "0666"}, option{"mode", "0620"})
	if err != nil {
		b.out.warn("the kernel refuses a /dev/pts for the step: %v", err)
	} else {
		b.add(fd, "/dev/pts", true)
	}
	fd, err = newFS("tmpfs", noSUIDDevExec, option{"mode", "1777"})
	if err != nil {
		return fmt.Errorf("/dev/shm: %w", err)
	}
	b.add(fd, "/dev/shm", true)
	return nil
}

// sys shows of /sys what node and allocators read, and nothing else of the host.
func (b *builder) sys() error {
	fd, err := newFS("tmpfs", noSUIDDevExec, option{"mode", "0755"}, option{"size", "64k"})
	if err != nil {
		return fmt.Errorf("/sys: %w", err)
	}
	b.add(fd, "/sys", true)
	for _, p := range []string{"/sys/devices/system/cpu", "/sys/devices/system/node"} {
		if fd, err := cloneWith(p, noSUIDDevExec|unix.MOUNT_ATTR_RDONLY); err == nil {
			b.add(fd, p, true)
		}
	}
	const cgroup = "/sys/fs/cgroup"
	var st unix.Statfs_t
	if unix.Statfs(cgroup, &st) != nil {
		return nil
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		// A mount from the new cgroup namespace has the caller's own cgroup as its
		// root, where a program looks for its memory limit.
		fd, err := newFS("cgroup2", noSUIDDevExec|unix.MOUNT_ATTR_RDONLY)
		if err == nil {
			b.add(fd, cgroup, true)
			return nil
		}
	}
	if fd, err := cloneWith(cgroup, noSUIDDevExec|unix.MOUNT_ATTR_RDONLY); err == nil {
		b.add(fd, cgroup, true)
	}
	return nil
}

func (b *builder) tmpfs() error {
	for _, t := range b.Tmpfs {
		opts := []option{{"mode", "1777"}}
		if t.Size > 0 {
			opts = append(opts, option{"size", strconv.FormatInt(t.Size, 10)})
		}
		fd, err := newFS("tmpfs", noSUIDDev, opts...)
		if err != nil {
			return fmt.Errorf("%s: %w", t.Target, err)
		}
		b.add(fd, t.Target, true)
	}
	return nil
}

func (b *builder) binds() error {
	for _, m := range b.Binds {
		attrs := uint64(noSUIDDev)
		if m.ReadOnly {
			attrs |= unix.MOUNT_ATTR_RDONLY
		}
		fd, err := cloneWith(m.Source, attrs)
		if err != nil {
			return fmt.Errorf("binding %s: %w", m.Source, err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return fmt.Errorf("binding %s: %w", m.Source, err)
		}
		b.add(fd, m.Target, st.Mode&unix.S_IFMT == unix.S_IFDIR)
	}
	return nil
}

// settle puts everything in its place, inside.
func (b *builder) settle() error {
	in, err := newInside(b.out.made)
	if err != nil {
		return err
	}
	defer unix.Close(in.root)
	for _, p := range b.places {
		if err := in.put(p); err != nil {
			return err
		}
	}
	for name, to := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
	} {
		if err := unix.Symlink(to, "/dev/"+name); err != nil {
			return fmt.Errorf("/dev/%s: %w", name, err)
		}
	}
	if err := b.files(in); err != nil {
		return err
	}
	b.limitProcesses()
	if err := coverProc(); err != nil {
		return err
	}
	return seal("/sys")
}

func (in *inside) put(p place) error {
	defer unix.Close(p.mount)
	open := in.file
	if p.dir {
		open = in.dir
	}
	target, err := open(p.at)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	if err := attach(p.mount, target); err != nil {
		return fmt.Errorf("mounting on %q: %w", p.at, err)
	}
	return nil
}

// files shows our own files: in a tmpfs, bound one by one, so that none is ever
// part of the changes. The tmpfs needs a path for a moment, because only recent
// kernels clone a part of a detached mount.
func (b *builder) files(in *inside) error {
	const hold = "/dev/.files"
	if len(b.Files) == 0 {
		return nil
	}
	fs, err := newFS("tmpfs", noSUIDDevExec, option{"mode", "0700"})
	if err != nil {
		return fmt.Errorf("a tmpfs for files: %w", err)
	}
	if err := in.put(place{fs, hold, true}); err != nil {
		return err
	}
	for i, f := range b.Files {
		if err := b.file(in, hold+"/"+strconv.Itoa(i), f); err != nil {
			return fmt.Errorf("%s: %w", f.Target, err)
		}
	}
	if err := unix.Unmount(hold, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("umount %s: %w", hold, err)
	}
	return os.Remove(hold)
}

func (b *builder) file(in *inside, name string, f file) error {
	if !in.wants(f) {
		return nil
	}
	if err := os.WriteFile(name, f.Data, 0o600); err != nil {
		return err
	}
	if b.Owners == SubIDs {
		if err := os.Chown(name, f.UID, f.GID); err != nil {
			return err
		}
	}
	if err := unix.Chmod(name, f.Mode); err != nil {
		return err
	}
	attrs := uint64(noSUIDDevExec)
	if f.ReadOnly {
		attrs |= unix.MOUNT_ATTR_RDONLY
	}
	fd, err := cloneWith(name, attrs)
	if err != nil {
		return err
	}
	return in.put(place{fd, path.Clean("/" + f.Target), false})
}

// wants tells whether the image has a use for a file.
func (in *inside) wants(f file) bool {
	if f.Below == "" {
		return true
	}
	fd, err := in.open(f.Below, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// seal makes one mount read-only.
func seal(name string) error {
	err := unix.MountSetattr(unix.AT_FDCWD, name, 0,
		&unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if err != nil {
		return fmt.Errorf("making %s read-only: %w", name, err)
	}
	return nil
}
