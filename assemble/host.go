package assemble

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/decant-build/decant/assemble/internal/sandbox"
)

// hostRunner runs steps on this machine, with its node and package manager: for
// where no sandbox is to be had. The project is a copy all the same.
type hostRunner struct {
	dir string
	env []string
}

// hostEnv is this machine's PATH and HOME, the project's variables but for those
// that name places of the sandbox, and the user's.
func (b *build) hostEnv() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "SystemRoot", "APPDATA", "LOCALAPPDATA", "USERPROFILE"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	for _, v := range b.input.project.Env {
		if !strings.HasPrefix(v.Value, "/") {
			env = setVariable(env, v.Name, v.Value)
		}
	}
	if b.CABundle != "" {
		env = setVariable(env, "NODE_EXTRA_CA_CERTS", b.CABundle)
	}
	for _, kv := range slices.Concat(b.Proxies, b.BuildEnv) {
		name, value, _ := strings.Cut(kv, "=")
		env = setVariable(env, name, value)
	}
	return env
}

func (r *hostRunner) run(ctx context.Context, s task, out io.Writer) error {
	if s.name == "setup" {
		return nil // it would install into this machine
	}
	// A pipe of our own: exec's would be waited for as long as a process in the
	// background has it.
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	cmd := exec.CommandContext(ctx, "sh", "-c", s.command)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = r.dir, r.env, writer, writer
	endTogether(cmd)
	err = cmd.Start()
	writer.Close()
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.Go(func() error {
		_, err := io.Copy(out, reader)
		return err
	})
	err = cmd.Wait()
	endGroup(cmd) // what it left in the background
	if copyErr := g.Wait(); err == nil {
		err = copyErr
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &sandbox.ExitError{Code: exit.ExitCode()}
	}
	return err
}

func (r *hostRunner) collect(context.Context) error { return nil }
func (r *hostRunner) close() error                  { return nil }
