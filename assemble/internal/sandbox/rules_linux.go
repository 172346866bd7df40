//go:build amd64 || arm64

package sandbox

import "golang.org/x/sys/unix"

// firstUnknown is above the calls of Linux 6.18, on both machines. What comes later
// is not known to be harmless; nor is x32, whose numbers have bit 30.
const firstUnknown = 470

const newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID |
	unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// absent calls look like those of an older kernel, so that libraries fall back.
var absent = [...]int{
	unix.SYS_CLONE3, // its flags lie in memory, out of a filter's reach
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_FANOTIFY_INIT,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK,
	unix.SYS_OPEN_TREE, unix.SYS_OPEN_TREE_ATTR, unix.SYS_MOVE_MOUNT, unix.SYS_MOUNT_SETATTR,
	unix.SYS_STATMOUNT, unix.SYS_LISTMOUNT,
	unix.SYS_LSM_GET_SELF_ATTR, unix.SYS_LSM_SET_SELF_ATTR, unix.SYS_LSM_LIST_MODULES,
}

// denied calls have no business in a build.
var denied = [...]int{
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_SETNS,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT,
	unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_SYSLOG, unix.SYS_VHANGUP,
	unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_LOOKUP_DCOOKIE,
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP,
	unix.SYS_PIDFD_GETFD, unix.SYS_PROCESS_MADVISE,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
	unix.SYS_SETDOMAINNAME, unix.SYS_SETHOSTNAME, unix.SYS_MOVE_PAGES, unix.SYS_MIGRATE_PAGES,
}

// mknod is a call that makes nodes, and which of its arguments is the mode.
type mknod struct{ call, mode int }

// ownerCall is a call that changes an owner, and how it says of what.
type ownerCall struct {
	call int
	form ownerForm
}

type ownerForm int

const (
	byPath ownerForm = iota // path, uid, gid
	byLink                  // the same; a symlink is not followed
	byFD                    // descriptor, uid, gid
	byAt                    // directory, path, uid, gid, flags
)

// identities change who the caller is; ids is how many of its arguments say so.
var identities = [...]struct{ call, ids int }{
	{unix.SYS_SETUID, 1}, {unix.SYS_SETGID, 1}, {unix.SYS_SETFSUID, 1}, {unix.SYS_SETFSGID, 1},
	{unix.SYS_SETREUID, 2}, {unix.SYS_SETREGID, 2}, {unix.SYS_SETRESUID, 3},
	{unix.SYS_SETRESGID, 3},
}

// faked calls succeed without effect wherever changes of identity do.
var faked = [...]int{unix.SYS_CAPSET, unix.SYS_SETGROUPS}
