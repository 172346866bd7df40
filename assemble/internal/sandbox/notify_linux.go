//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is struct seccomp_notif: a call that waits for an answer.
type notification struct {
	id    uint64
	pid   uint32 // of the thread, in the PID namespace of process 1
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	value int64
	errno int32 // negative, or 0
	flags uint32
}

// notifSizes is struct seccomp_notif_sizes.
type notifSizes struct{ notif, resp, data uint16 }

// listen puts a filter on this thread and its children, under which changes of owner
// and identity wait for an answer through the returned descriptor. The other threads,
// one of which answers, must not have it.
func listen() (int, error) {
	var sizes notifSizes
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_NOTIF_SIZES, 0,
		uintptr(unsafe.Pointer(&sizes)))
	if errno != 0 {
		return -1, fmt.Errorf("asking for user notification: %w", errno)
	}
	if uintptr(sizes.notif) != unsafe.Sizeof(notification{}) ||
		uintptr(sizes.resp) != unsafe.Sizeof(response{}) {
		return -1, fmt.Errorf("asking for user notification: %w", unix.ENOSYS)
	}
	f := notifyFilter()
	program := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
	// With WAIT_KILLABLE_RECV (Linux 5.19) a signal does not make a call start anew.
	for _, more := range []uintptr{unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, 0} {
		fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags|more,
			uintptr(unsafe.Pointer(&program)))
		runtime.KeepAlive(f)
		if errno == 0 {
			// Linux 6.6: the one who waits is woken on this processor. Else it is slower.
			_, _, _ = unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS,
				unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
			return int(fd), nil
		}
		if errno != unix.EINVAL {
			return -1, fmt.Errorf("installing a seccomp listener: %w", errno)
		}
	}
	return -1, fmt.Errorf("installing a seccomp listener: %w", unix.EINVAL)
}

// notifyFilter is under newFilter, whose refusals come first.
func notifyFilter() filter {
	var f filter
	f.do(load, offsetNumber)
	for _, c := range chowns {
		f.jump(ifSame, uint32(c.call), 0, 1)
		f.do(answer, seccompAsk)
	}
	for _, c := range identities {
		f.jump(ifSame, uint32(c.call), 0, 1)
		f.do(answer, seccompAsk)
	}
	f.do(answer, seccompAllow)
	return f
}

// recorder answers the calls of a step that change an owner or an identity. It does so
// on a thread that has the privileges of the namespace, at the request of a step that is
// not trusted. So it does nothing to a file but what chown to the one id there is would
// do, and a note on it; and that only to files on the mounts that were there before the
// step began, found by a path without magic links or through a descriptor of the step's
// own. What it holds open of the host is neither.
//
// The step may change memory, names and links while it is asked. At worst another file of
// the root is noted, which it could have named in the first place.
type recorder struct {
	listener int
	gid      int // the step's; its user is 0
	// blind is a recorder without a /proc in which to find who asks: it only tells that
	// something was lost.
	blind bool

	proc, root int
	rootID     position
	mounts     map[uint64]bool

	asker asker
	path  [unix.PathMax]byte

	mu    sync.Mutex
	found findings
}

// recorder starts one, if there is something to answer. It is called once the root is
// there.
func (s *spec) recorder(listener int) (*recorder, error) {
	if listener < 0 {
		return nil, nil
	}
	r := &recorder{listener: listener, gid: s.GID}
	r.found.nodes = map[inode]node{}
	// An outer /proc has other numbers for the processes here.
	self, err := os.Readlink("/proc/self")
	r.blind = err != nil || self != "1" || !s.Rung.mounts()
	if !r.blind {
		if err := r.prepare(); err != nil {
			return nil, fmt.Errorf("preparing to record owners: %w", err)
		}
	}
	go r.serve() // ends with process 1
	return r, nil
}

// serve answers until the process ends. It has a thread to itself, with a root and a
// working directory of its own.
func (r *recorder) serve() {
	runtime.LockOSThread()
	if !r.blind {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			r.blind = true
		}
	}
	for {
		var n notification
		err := r.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n))
		if err == unix.EINTR || err == unix.ENOENT { // who asked is gone
			continue
		}
		if err != 0 {
			r.lose()
			unix.Close(r.listener) // who asks gets ENOSYS
			return
		}
		// Who asked may be gone, and then nobody takes the answer.
		a := response{id: n.id, errno: -int32(r.answer(&n))}
		_ = r.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&a))
	}
}

func (r *recorder) ioctl(request uintptr, arg unsafe.Pointer) syscall.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(r.listener), request, uintptr(arg))
	return errno
}

// waiting tells whether a call still waits: then its process id is still its own.
func (r *recorder) waiting(n *notification) bool {
	id := n.id
	return r.ioctl(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id)) == 0
}

func (r *recorder) lose() {
	r.mu.Lock()
	r.found.lost = true
	r.mu.Unlock()
}

// answer is the errno of a call.
func (r *recorder) answer(n *notification) syscall.Errno {
	for _, c := range identities {
		if int(n.nr) == c.call {
			r.identity(n.args[:c.ids])
			return 0
		}
	}
	for _, c := range chowns {
		if int(n.nr) == c.call {
			return r.chown(n, c.form)
		}
	}
	return unix.ENOSYS
}

// identity notes a change to another id than the one there is. The step goes on as it
// was: so what it writes is not the other's.
func (r *recorder) identity(ids []uint64) {
	for _, id := range ids {
		if v := int32(id); v != 0 && v != -1 && v != int32(r.gid) {
			r.mu.Lock()
			r.found.identity = true
			r.mu.Unlock()
		}
	}
}

// prepare opens what finding a file needs.
func (r *recorder) prepare() (err error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	if r.root, err = unix.Open("/", flags, 0); err != nil {
		return fmt.Errorf("opening the root: %w", err)
	}
	if r.proc, err = unix.Open("/proc", flags, 0); err != nil {
		return fmt.Errorf("opening /proc: %w", err)
	}
	if r.rootID, err = positionAt(r.root, ""); err != nil {
		return fmt.Errorf("looking at the root: %w", err)
	}
	r.mounts, err = recordable()
	return err
}

// recordable are the mounts of this namespace whose files have owners worth a note, by
// their ids.
func recordable() (map[uint64]bool, error) {
	text, err := readBounded("/proc/self/mountinfo", 4<<20)
	if err != nil {
		return nil, fmt.Errorf("reading the mounts: %w", err)
	}
	ids := map[uint64]bool{}
	for line := range strings.Lines(string(text)) {
		head, tail, ok := strings.Cut(line, " - ")
		id, _, _ := strings.Cut(head, " ")
		kind, _, _ := strings.Cut(tail, " ")
		n, err := strconv.ParseUint(id, 10, 64)
		if !ok || err != nil {
			return nil, errors.New("reading the mounts: " + strconv.Quote(line))
		}
		switch kind {
		case "proc", "sysfs", "cgroup", "cgroup2", "devpts", "devtmpfs":
		default:
			ids[n] = true
		}
	}
	return ids, nil
}

// position is where a file is: its mount and inode.
type position struct{ mount, ino uint64 }

// positionAt follows a last symlink, also a magic one.
func positionAt(dir int, name string) (position, error) {
	flags := 0
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	if err := unix.Statx(dir, name, flags, unix.STATX_INO|unix.STATX_MNT_ID, &st); err != nil {
		return position{}, err
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return position{}, unix.ENOSYS // Linux before 5.8
	}
	return position{st.Mnt_id, st.Ino}, nil
}

// findings is what a recorder learnt of a step.
type findings struct {
	lost     bool // an owner was changed and not noted
	identity bool // so was the step's own, which is not
	nodes    map[inode]node
	bytes    int // of the paths in nodes
}

// node is a file that takes no note, such as a symlink, and the owner it should have.
type node struct {
	path  string // when that was said
	owner Owner
}

// What the table of nodes may hold.
const (
	maxNodes     = 200_000
	maxNodeBytes = 16 << 20
)

func (r *recorder) addNode(key inode, n node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := &r.found
	old, ok := f.nodes[key]
	if ok {
		n.owner = n.owner.over(old.owner)
		f.bytes -= len(old.path)
	}
	if !ok && len(f.nodes) >= maxNodes || f.bytes+len(n.path) > maxNodeBytes {
		f.lost = true
		return
	}
	f.bytes += len(n.path)
	f.nodes[key] = n
}

// report tells the caller what was found, and where the nodes are now.
func (r *recorder) report(out *reporter) {
	r.mu.Lock()
	defer r.mu.Unlock() // held to the end: what a daemon changes now is no part of the step
	if r.found.identity {
		out.send(message{Identity: true})
	}
	if r.found.lost {
		out.send(message{Lost: true})
	}
	const perMessage = maxMessage / 4
	var some []nodeOwner
	size := 0
	for _, n := range locate(r.found.nodes, Owner{0, int64(r.gid)}) {
		some = append(some, nodeOwner{[]byte(n.path), n.owner})
		if size += len(n.path) + 64; size > perMessage {
			out.send(message{Nodes: some})
			some, size = nil, 0
		}
	}
	if len(some) > 0 {
		out.send(message{Nodes: some})
	}
}

// locate gives nodes the paths that they have now: the step may have moved them, or what
// they are in. Those that are gone are left out.
func locate(nodes map[inode]node, usual Owner) []node {
	if len(nodes) == 0 {
		return nil
	}
	var there []node
	moved := map[inode]Owner{}
	for key, n := range nodes {
		var st unix.Stat_t
		switch err := unix.Lstat(n.path, &st); {
		case err == nil && key == inode{st.Dev, st.Ino}:
			there = append(there, n)
		case n.owner != usual: // that of what is new needs no note
			moved[key] = n.owner
		}
	}
	if len(moved) == 0 {
		return there
	}
	return append(there, search(moved)...)
}

// search walks the root, not other mounts, for inodes.
func search(wanted map[inode]Owner) (found []node) {
	var root unix.Stat_t
	if unix.Lstat("/", &root) != nil {
		return nil
	}
	dirs := []string{"/"}
	for len(dirs) > 0 && len(wanted) > 0 {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // a daemon of the step has removed it
		}
		for _, e := range entries {
			name := strings.TrimSuffix(dir, "/") + "/" + e.Name()
			var st unix.Stat_t
			if unix.Lstat(name, &st) != nil {
				continue
			}
			key := inode{st.Dev, st.Ino}
			if owner, ok := wanted[key]; ok {
				found = append(found, node{name, owner})
				delete(wanted, key)
			}
			if e.IsDir() && st.Dev == root.Dev {
				dirs = append(dirs, name)
			}
		}
	}
	return found
}
