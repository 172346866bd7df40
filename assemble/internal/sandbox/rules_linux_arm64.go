package sandbox

import "golang.org/x/sys/unix"

const nativeArch = unix.AUDIT_ARCH_AARCH64

// chowns change an owner.
var chowns = [...]ownerCall{{unix.SYS_FCHOWN, byFD}, {unix.SYS_FCHOWNAT, byAt}}

var mknods = [...]mknod{{unix.SYS_MKNODAT, 2}}
