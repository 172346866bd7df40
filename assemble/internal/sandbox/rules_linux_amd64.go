package sandbox

import "golang.org/x/sys/unix"

const nativeArch = unix.AUDIT_ARCH_X86_64

// chowns change an owner.
var chowns = [...]ownerCall{
	{unix.SYS_CHOWN, byPath}, {unix.SYS_LCHOWN, byLink}, {unix.SYS_FCHOWN, byFD},
	{unix.SYS_FCHOWNAT, byAt},
}

var mknods = [...]mknod{{unix.SYS_MKNOD, 1}, {unix.SYS_MKNODAT, 2}}
