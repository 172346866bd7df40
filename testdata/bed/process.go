package bed

import (
	"cmp"
	"errors"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// stopTimeout is how long a server may take to end after it is asked to.
const stopTimeout = 5 * time.Second

// A process is a server that runs until it is stopped, its context ends, or this
// program does, however that comes.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	err  error         // how it ended, never nil; valid after done
}

// startProcess starts a command that was made with CommandContext. When the
// context ends it gets SIGTERM, and SIGKILL when that does not help.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	dieWithParent(cmd)
	started := make(chan error)
	go func() {
		// The kernel sends the parent-death signal when the thread that started
		// the process ends (golang.org/issue/27505), so this one stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmp.Or(cmd.Wait(), errors.New("exit status 0"))
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// stop ends the process and waits for it.
func (p *process) stop() {
	// An error means that the process has ended by itself.
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}
