//go:build unix

package assemble

import (
	"os/exec"
	"syscall"
)

// endTogether makes the end of the context the end of all that cmd started.
func endTogether(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
