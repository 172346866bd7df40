package sandbox

import "golang.org/x/sys/unix"

const nativeArch = unix.AUDIT_ARCH_AARCH64

// faked calls succeed without effect for user 0 with FakeOwners.
var faked = [...]int{
	unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_CAPSET,
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETGROUPS, unix.SYS_SETFSUID, unix.SYS_SETFSGID,
	unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID,
}

var mknods = [...]mknod{{unix.SYS_MKNODAT, 2}}
