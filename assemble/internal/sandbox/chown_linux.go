//go:build amd64 || arm64

package sandbox

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownerAttr holds the wanted owner of a file or directory as "UID:GID", on the file
// itself: so it goes where the file goes.
const ownerAttr = "user.decant.owner"

// asker is the thread that asked last. Its directory in /proc stands for it and for no
// later one with its number: that finds nothing when it is gone.
type asker struct {
	pid uint32
	dir int // 0 if there is none
}

// chown answers one change of owner.
func (r *recorder) chown(n *notification, form ownerForm) syscall.Errno {
	ids := n.args[1:3]
	if form == byAt {
		ids = n.args[2:4]
	}
	owner := Owner{UID: idOf(ids[0]), GID: idOf(ids[1])}
	if r.blind {
		if owner.UID > 0 || owner.GID > 0 && owner.GID != int64(r.gid) {
			r.lose()
		}
		return 0
	}
	fd, errno := r.target(n, form)
	if errno != 0 {
		return errno
	}
	defer unix.Close(fd)
	return r.record(n, fd, owner)
}

// idOf is an id as chown takes it, where -1 is "as it is".
func idOf(arg uint64) int64 {
	if uint32(arg) == ^uint32(0) {
		return unchanged
	}
	return int64(uint32(arg))
}

// target opens what a call is about, as a path only, as the asker would.
func (r *recorder) target(n *notification, form ownerForm) (int, syscall.Errno) {
	for retried := false; ; retried = true {
		if errno := r.meet(n, retried); errno != 0 {
			return -1, errno
		}
		fd, errno := r.resolve(n, form)
		// It is another thread than last time, with the same number.
		gone := errno == unix.ESRCH || errno == unix.ENOENT && !r.alive()
		if !gone || retried {
			return fd, errno
		}
	}
}

// meet opens the asker's directory in /proc.
func (r *recorder) meet(n *notification, anew bool) syscall.Errno {
	if r.asker.dir > 0 && r.asker.pid == n.pid && !anew {
		return 0
	}
	if r.asker.dir > 0 {
		unix.Close(r.asker.dir)
		r.asker = asker{}
	}
	dir, err := unix.Openat(r.proc, strconv.Itoa(int(n.pid)),
		unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return unix.ESRCH
	}
	r.asker = asker{n.pid, dir}
	return 0
}

// alive tells whether the asker's directory still has anything in it.
func (r *recorder) alive() bool {
	return unix.Faccessat(r.asker.dir, "mem", unix.F_OK, 0) == nil
}

func (r *recorder) resolve(n *notification, form ownerForm) (int, syscall.Errno) {
	switch form {
	case byFD:
		return r.descriptor(int32(n.args[0]))
	case byPath, byLink:
		name, errno := r.text(n.args[0])
		if errno != 0 {
			return -1, errno
		}
		return r.find(n.pid, unix.AT_FDCWD, name, form == byPath)
	}
	flags := uint32(n.args[4])
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return -1, unix.EINVAL
	}
	name, errno := r.text(n.args[1])
	if errno != 0 {
		return -1, errno
	}
	dir := int32(n.args[0])
	if name == "" && flags&unix.AT_EMPTY_PATH != 0 {
		return r.base(dir)
	}
	return r.find(n.pid, dir, name, flags&unix.AT_SYMLINK_NOFOLLOW == 0)
}

// text reads a path from the asker's memory.
func (r *recorder) text(at uint64) (string, syscall.Errno) {
	mem, err := unix.Openat(r.asker.dir, "mem", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", errnoOf(err)
	}
	defer unix.Close(mem)
	// What follows the path may be unmapped: the kernel then gives what is before.
	read, err := unix.Pread(mem, r.path[:], int64(at))
	if err != nil || read <= 0 {
		return "", unix.EFAULT
	}
	end := bytes.IndexByte(r.path[:read], 0)
	switch {
	case end >= 0:
		return string(r.path[:end]), 0
	case read == len(r.path):
		return "", unix.ENAMETOOLONG
	}
	return "", unix.EFAULT
}

// descriptor opens a file that the asker has open.
func (r *recorder) descriptor(fd int32) (int, syscall.Errno) {
	if fd < 0 {
		return -1, unix.EBADF
	}
	got, err := unix.Openat(r.asker.dir, "fd/"+strconv.Itoa(int(fd)), unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) && r.alive() {
		return -1, unix.EBADF
	}
	return got, errnoOf(err)
}

// base opens what relative paths are relative to.
func (r *recorder) base(dir int32) (int, syscall.Errno) {
	if dir != unix.AT_FDCWD {
		return r.descriptor(dir)
	}
	fd, err := unix.Openat(r.asker.dir, "cwd", unix.O_PATH|unix.O_CLOEXEC, 0)
	return fd, errnoOf(err)
}

// find resolves a path from the asker's root and directory.
func (r *recorder) find(pid uint32, dir int32, name string, follow bool) (int, syscall.Errno) {
	if name == "" {
		return -1, unix.ENOENT
	}
	root, err := positionAt(r.asker.dir, "root")
	if err != nil {
		return -1, errnoOf(err)
	}
	if root != r.rootID {
		return r.findChrooted(dir, name, follow)
	}
	if follow {
		if fd, ok := ownDescriptor(pid, name); ok {
			return r.descriptor(fd)
		}
	}
	base := unix.AT_FDCWD // which an absolute path ignores
	if name[0] != '/' {
		fd, errno := r.base(dir)
		if errno != 0 {
			return -1, errno
		}
		defer unix.Close(fd)
		base = fd
	}
	return openPath(base, name, follow)
}

// openPath opens a path without magic links: these lead to what process 1 has open.
func openPath(base int, name string, follow bool) (int, syscall.Errno) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	if !follow {
		how.Flags |= unix.O_NOFOLLOW
	}
	for {
		fd, err := unix.Openat2(base, name, &how)
		if !errors.Is(err, unix.EINTR) {
			return fd, errnoOf(err)
		}
	}
}

// findChrooted is find for an asker that changed its root: this thread goes there, and
// comes back.
func (r *recorder) findChrooted(dir int32, name string, follow bool) (int, syscall.Errno) {
	root, err := unix.Openat(r.asker.dir, "root", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, errnoOf(err)
	}
	defer unix.Close(root)
	base, errno := r.base(dir)
	if errno != 0 && name[0] != '/' {
		return -1, errno
	}
	if errno == 0 {
		defer unix.Close(base)
	}
	fd := -1
	if errno = enterRoot(root); errno == 0 {
		if name[0] == '/' {
			base = unix.AT_FDCWD
		}
		fd, errno = openPath(base, name, follow)
	}
	if back := enterRoot(r.root); back != 0 {
		r.lose()
		r.blind = true // for good: this thread is where the step wanted it
	}
	return fd, errno
}

func enterRoot(fd int) syscall.Errno {
	if err := unix.Fchdir(fd); err != nil {
		return errnoOf(err)
	}
	return errnoOf(unix.Chroot("."))
}

// ownDescriptor tells whether a path is one of those that mean a descriptor of the
// asker's: /dev/stdout and the like. In this process they would mean another's.
func ownDescriptor(pid uint32, name string) (int32, bool) {
	if !strings.HasPrefix(name, "/dev/") && !strings.HasPrefix(name, "/proc/") {
		return 0, false
	}
	switch name {
	case "/dev/stdin":
		return 0, true
	case "/dev/stdout":
		return 1, true
	case "/dev/stderr":
		return 2, true
	}
	for _, prefix := range []string{"/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/",
		"/proc/" + strconv.Itoa(int(pid)) + "/fd/"} {
		if text, ok := strings.CutPrefix(name, prefix); ok {
			n, err := strconv.ParseUint(text, 10, 31)
			return int32(n), err == nil
		}
	}
	return 0, false
}

// record does to a file what chown to the one id does, and notes the owner that was
// wanted.
func (r *recorder) record(n *notification, fd int, owner Owner) syscall.Errno {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH,
		unix.STATX_TYPE|unix.STATX_INO|unix.STATX_MNT_ID, &st)
	if err != nil {
		return errnoOf(err)
	}
	kind := st.Mode & unix.S_IFMT
	if !r.mounts[st.Mnt_id] || kind == unix.S_IFCHR || kind == unix.S_IFBLK || kind == unix.S_IFSOCK {
		return 0 // a pipe, a device: nothing that a layer holds
	}
	if !r.waiting(n) {
		return 0
	}
	// Changes nothing but what any chown does: set-id bits and capabilities go. It says
	// what the kernel would, and copies up.
	uid, gid := owner.only(r.gid)
	if err := unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
		return errnoOf(err)
	}
	if owner.UID == unchanged && owner.GID == unchanged {
		return 0
	}
	own := "/proc/self/fd/" + strconv.Itoa(fd)
	if kind == unix.S_IFREG || kind == unix.S_IFDIR {
		if noteOwner(own, owner) == nil {
			return 0
		}
	}
	if st.Mnt_id != r.rootID.mount {
		return 0 // it never reaches a layer
	}
	buf := make([]byte, unix.PathMax)
	size, err := unix.Readlink(own, buf)
	if err != nil || size == len(buf) || size == 0 || buf[0] != '/' {
		r.lose()
		return 0
	}
	dev := unix.Mkdev(st.Dev_major, st.Dev_minor)
	r.addNode(inode{dev, st.Ino}, node{string(buf[:size]), owner})
	return 0
}

// noteOwner writes the owner on a file, over what is there already.
func noteOwner(name string, owner Owner) error {
	if owner.UID == unchanged || owner.GID == unchanged {
		var buf [maxOwnerText]byte
		n, err := unix.Getxattr(name, ownerAttr, buf[:])
		if old, ok := parseOwner(string(buf[:max(n, 0)])); err == nil && ok {
			owner = owner.over(old)
		}
	}
	var buf [maxOwnerText]byte
	return unix.Setxattr(name, ownerAttr, owner.append(buf[:0]), 0)
}

// maxOwnerText is as long as "UID:GID" gets.
const maxOwnerText = 21

func (o Owner) append(to []byte) []byte {
	to = append(strconv.AppendInt(to, o.UID, 10), ':')
	return strconv.AppendInt(to, o.GID, 10)
}

// parseOwner reads "UID:GID"; the step may have written it itself.
func parseOwner(text string) (Owner, bool) {
	u, g, ok := strings.Cut(text, ":")
	uid, uerr := strconv.ParseInt(u, 10, 64)
	gid, gerr := strconv.ParseInt(g, 10, 64)
	good := func(id int64) bool { return id >= unchanged && id < 1<<32-1 }
	return Owner{uid, gid}, ok && uerr == nil && gerr == nil && good(uid) && good(gid)
}

// over is an owner on top of an earlier one.
func (o Owner) over(old Owner) Owner {
	if o.UID == unchanged {
		o.UID = old.UID
	}
	if o.GID == unchanged {
		o.GID = old.GID
	}
	return o
}

// only is the same change to the ids that exist: 0, and the step's group.
func (o Owner) only(group int) (uid, gid int) {
	if o.UID == unchanged {
		uid = -1
	}
	if o.GID == unchanged {
		group = -1
	}
	return uid, group
}
