//go:build amd64 || arm64

package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// capabilities is what user 0 of a step keeps; they count in its user namespace
// only. Chroot keeps fewer: there SYS_CHROOT is a way out.
func capabilities(r rung, uid int) []uintptr {
	if uid != 0 {
		return nil
	}
	keep := []uintptr{
		unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID,
		unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETFCAP, unix.CAP_NET_BIND_SERVICE,
	}
	if r.mounts() {
		keep = append(keep, unix.CAP_KILL, unix.CAP_SYS_CHROOT)
	}
	return keep
}

// confine gives up, on this thread, all that the step must not have. The step is
// forked from this thread and inherits it. (Changing the capabilities of all threads
// takes longer, and is impossible in a binary with cgo, as the race detector's is. The
// other threads are out of the step's reach: process 1 is not dumpable.)
//
// The listener is a descriptor that answers changes of owner, or -1.
func confine(s *spec, out *reporter) (listener int, err error) {
	if err := reduce(s); err != nil {
		return -1, err
	}
	if listener, err = s.filter(out); err != nil {
		return -1, fmt.Errorf("installing the seccomp filter: %w", err)
	}
	// /proc/1/exe, fd, root and mem stay closed to the step.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return -1, fmt.Errorf("closing process 1: %w", err)
	}
	return listener, nil
}

// filter installs the filters. The second is for this thread only, as the one that
// answers it must be free of it.
func (s *spec) filter(out *reporter) (listener int, err error) {
	p := s.pretence()
	if err := loadFilter(newFilter(p, s.Rung.mounts())); err != nil || p != listened {
		return -1, err
	}
	if listener, err = listen(); err == nil {
		return listener, nil
	}
	out.warn("owners that a step changes are not recorded here: %v", err)
	var f filter
	f.do(load, offsetNumber)
	f.fakeOwners()
	f.do(answer, seccompAllow)
	return -1, loadFilter(f)
}

// reduce is confine but for the filters.
func reduce(s *spec) error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("limiting core dumps: %w", err)
	}
	if err := limit(unix.RLIMIT_NPROC, uint64(s.Limits.Processes)); err != nil {
		return fmt.Errorf("limiting processes: %w", err)
	}
	if n := s.Limits.FileBytes; n > 0 && s.Job == jobRun {
		if err := limit(unix.RLIMIT_FSIZE, uint64(n)); err != nil {
			return fmt.Errorf("limiting file sizes: %w", err)
		}
	}
	// ENOSYS, EPERM: an outer filter, and then there are no keys to reach either.
	// (No name, which the wrapper of x/sys cannot say, makes an anonymous one.)
	_, _, errno := unix.Syscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0)
	if errno != 0 && errno != unix.ENOSYS && errno != unix.EPERM {
		return fmt.Errorf("making a keyring: %w", errno)
	}
	uid := s.UID
	if s.Job != jobRun {
		uid = 0 // ours; it must read and write everything
	}
	var err error
	if s.Owners != SubIDs || s.UID == 0 || s.Job != jobRun {
		err = dropCapabilities(capabilities(s.Rung, uid))
	} else {
		// It still changes its user; with that the kernel clears what is left.
		err = dropCapabilities([]uintptr{unix.CAP_SETUID, unix.CAP_SETGID})
	}
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	return restrictFiles()
}

// limit lowers a limit, never raises it.
func limit(what int, n uint64) error {
	var l unix.Rlimit
	if err := unix.Getrlimit(what, &l); err != nil {
		return err
	}
	l.Cur, l.Max = min(l.Cur, n), min(l.Max, n)
	return unix.Setrlimit(what, &l)
}

// dropCapabilities leaves only keep, in the bounding set too.
func dropCapabilities(keep []uintptr) error {
	var mask uint64
	for _, c := range keep {
		mask |= 1 << c
	}
	for c := range uintptr(64) {
		if mask&(1<<c) != 0 {
			continue
		}
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err != nil {
			break // past the last one of this kernel
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("dropping capability %d: %w", c, err)
		}
	}
	err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("clearing ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	for i := range sets {
		half := uint32(mask >> (32 * i))
		sets[i] = unix.CapUserData{Effective: half, Permitted: half}
	}
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("dropping capabilities: %w", err)
	}
	return nil
}

// landlockRuleset is struct landlock_ruleset_attr of ABI 6.
type landlockRuleset struct{ fs, net, scoped uint64 }

// landlockBeneath is struct landlock_path_beneath_attr, which is packed.
type landlockBeneath struct {
	access uint64
	fd     int32
}

const (
	landlockVersion     = 1 // flag LANDLOCK_CREATE_RULESET_VERSION
	landlockPathBeneath = 1
	landlockScopes      = 3 // abstract unix sockets, signals
	sizeUntilNet        = 8
	sizeUntilScoped     = 24
)

// restrictFiles lets this thread and its children write only below "/", as far as
// the kernel has Landlock. Nothing outside has a name here, but a magic link of /proc
// can still lead there: /proc/self/exe of a child, before its exec, is decant's
// executable on the host. From ABI 6 on it also keeps it from abstract unix sockets
// and from signals to processes outside.
func restrictFiles() error {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, landlockVersion)
	if errno != 0 || abi < 2 { // ABI 1 forbids renaming into another directory
		return nil
	}
	rules := landlockRuleset{fs: unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_REFER}
	size := uintptr(sizeUntilNet)
	if abi >= 3 {
		rules.fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 6 {
		rules.scoped, size = landlockScopes, sizeUntilScoped
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET,
		uintptr(unsafe.Pointer(&rules)), size, 0)
	if errno != 0 {
		return fmt.Errorf("making Landlock rules: %w", errno)
	}
	defer unix.Close(int(fd))
	root, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the root: %w", err)
	}
	defer unix.Close(root)
	beneath := landlockBeneath{rules.fs, int32(root)}
	_, _, errno = unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, fd, landlockPathBeneath,
		uintptr(unsafe.Pointer(&beneath)), 0, 0, 0)
	if errno == 0 {
		_, _, errno = unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0)
	}
	if errno != 0 {
		return fmt.Errorf("setting Landlock rules: %w", errno)
	}
	return nil
}
