package bed

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// nginxID is the user of the official images.
const nginxID = 101

// confine makes the command run with root as its root directory. In the namespace
// this user is 101 there: one id can be mapped without help, and were it 0, nginx
// would try to become its user, which is no id of the namespace. The pid namespace
// ends the workers with the master, however that ends.
func confine(cmd *exec.Cmd, root string, isolation Isolation) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	if isolation == IsolationNamespace {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID
		cmd.SysProcAttr.UidMappings = mapped(os.Getuid())
		cmd.SysProcAttr.GidMappings = mapped(os.Getgid())
	}
	return nil
}

func mapped(id int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: nginxID, HostID: id, Size: 1}}
}

// forbidden tells whether an isolation failed because this system does not allow
// it.
func forbidden(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EPERM, syscall.EACCES, syscall.ENOSPC, syscall.EINVAL,
		syscall.ENOSYS, syscall.EUSERS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
