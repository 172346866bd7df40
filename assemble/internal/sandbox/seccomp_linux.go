//go:build amd64 || arm64

package sandbox

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	seccompAllow = 0x7fff0000
	seccompErrno = 0x00050000 // with the errno in the low half; 0 is success, nothing done
	seccompAsk   = unix.SECCOMP_RET_USER_NOTIF

	load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	ifSame = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	ifMore = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K // at least
	ifBits = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	mask   = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	answer = unix.BPF_RET | unix.BPF_K

	offsetNumber, offsetArch = 0, 4 // in struct seccomp_data
)

// offsetArg is that of the low half of an argument; both machines are
// little-endian, and no argument that is looked at has more than 32 bits.
func offsetArg(i int) uint32 { return uint32(16 + 8*i) }

// filter is a BPF program under construction. Between two rules the accumulator
// holds the number of the system call, so a rule that loads an argument loads the
// number again. Jumps stay inside their rule, for they have one byte.
type filter []unix.SockFilter

func (f *filter) do(code uint16, k uint32) {
	*f = append(*f, unix.SockFilter{Code: code, K: k})
}

func (f *filter) jump(code uint16, k uint32, yes, no uint8) {
	*f = append(*f, unix.SockFilter{Code: code, Jt: yes, Jf: no, K: k})
}

// on: the call returns e.
func (f *filter) on(call int, e syscall.Errno) {
	f.jump(ifSame, uint32(call), 0, 1)
	f.do(answer, seccompErrno|uint32(e))
}

// onMasked: the call returns e if arg&bits == value.
func (f *filter) onMasked(call, arg int, bits, value uint32, e syscall.Errno) {
	f.jump(ifSame, uint32(call), 0, 5)
	f.do(load, offsetArg(arg))
	f.do(mask, bits)
	f.jump(ifSame, value, 0, 1)
	f.do(answer, seccompErrno|uint32(e))
	f.do(load, offsetNumber)
}

// onBits: the call returns e if arg&bits != 0.
func (f *filter) onBits(call, arg int, bits uint32, e syscall.Errno) {
	f.jump(ifSame, uint32(call), 0, 4)
	f.do(load, offsetArg(arg))
	f.jump(ifBits, bits, 0, 1)
	f.do(answer, seccompErrno|uint32(e))
	f.do(load, offsetNumber)
}

// onOther: the call returns e if arg is none of the values.
func (f *filter) onOther(call, arg int, e syscall.Errno, values ...uint32) {
	n := uint8(len(values))
	f.jump(ifSame, uint32(call), 0, n+3)
	f.do(load, offsetArg(arg))
	for i, v := range values {
		f.jump(ifSame, v, n-uint8(i), 0)
	}
	f.do(answer, seccompErrno|uint32(e))
	f.do(load, offsetNumber)
}

// pretence is which calls of user 0 are not what they seem.
type pretence int

const (
	honest   pretence = iota
	faking            // of owners, identity and devices: success without effect
	listened          // the same, but that of owners and identity is left to a listener
)

// newFilter is what a step may not call. Without pivoted, chroot is a way out and is
// closed.
func newFilter(p pretence, pivoted bool) filter {
	var f filter
	f.do(load, offsetArch)
	f.jump(ifSame, nativeArch, 1, 0)
	f.do(answer, seccompErrno|uint32(unix.ENOSYS)) // a foreign ABI has other numbers
	f.do(load, offsetNumber)
	f.jump(ifMore, firstUnknown, 0, 1)
	f.do(answer, seccompErrno|uint32(unix.ENOSYS))

	if p == faking {
		f.fakeOwners()
	}
	if p != honest {
		for _, call := range faked {
			f.on(call, 0)
		}
		for _, m := range mknods {
			f.onMasked(m.call, m.mode, unix.S_IFMT, unix.S_IFCHR, 0)
			f.onMasked(m.call, m.mode, unix.S_IFMT, unix.S_IFBLK, 0)
		}
	}
	for _, call := range absent {
		f.on(call, unix.ENOSYS)
	}
	for _, call := range denied {
		f.on(call, unix.EPERM)
	}
	if !pivoted {
		f.on(unix.SYS_CHROOT, unix.EPERM)
	}
	f.onBits(unix.SYS_CLONE, 0, newNamespaces, unix.EPERM)
	f.onBits(unix.SYS_UNSHARE, 0, newNamespaces|unix.CLONE_NEWTIME, unix.EPERM)
	for _, request := range []uint32{unix.TIOCSTI, unix.TIOCLINUX} {
		f.onMasked(unix.SYS_IOCTL, 1, ^uint32(0), request, unix.EPERM)
	}
	f.onOther(unix.SYS_SOCKET, 0, unix.EAFNOSUPPORT,
		unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK)
	f.do(answer, seccompAllow)
	return f
}

// fakeOwners: changes of owner and identity succeed without effect.
func (f *filter) fakeOwners() {
	for _, c := range chowns {
		f.on(c.call, 0)
	}
	for _, c := range identities {
		f.on(c.call, 0)
	}
}

// loadFilter puts the filter on every thread. The calling one has no_new_privs.
func loadFilter(f filter) error {
	program := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	// SPEC_ALLOW: none of the speculation barriers of older kernels, which slow node.
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	thread, _, errno := syscall.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
		uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(f)
	if errno != 0 {
		return errno
	}
	if thread != 0 {
		return fmt.Errorf("thread %d could not be synchronised", thread)
	}
	return nil
}
