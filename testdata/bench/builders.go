package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A builder builds the Dockerfile of a context and pushes the image.
type builder struct {
	name string
	// peer tells that this is another program: where it cannot work, it is left
	// out, and the reason printed.
	peer bool
	// daemon tells that another process does the work: the peak memory of the
	// commands says nothing.
	daemon bool
	// start makes, untimed, what a user has set up once: the configuration that
	// sends docker.io to the registry of the bed, and a daemon where there is one.
	// stop ends that, and frees what only the tool can remove.
	start func(j dockerfileJob) (stop func() error, err error)
	// build returns the commands that are timed, one after the other.
	build func(j dockerfileJob) []*exec.Cmd
}

// A dockerfileJob is the work of a builder: build dir, push it as ref.
type dockerfileJob struct {
	job
	host string // of the registry, which has what docker.io has
	dir  string // the context, with its Dockerfile
}

// builders are decant, at that path, and the peers that are installed; of those
// that are not it tells on standard error.
func builders(decant string) []builder {
	tools := []builder{decantBuilder(decant)}
	if path, err := exec.LookPath("buildah"); err == nil {
		tools = append(tools, buildahBuilder(filepath.Base(path)))
	} else {
		fmt.Fprintln(os.Stderr, "bench: buildah is not installed")
	}
	for _, program := range []string{"buildctl", "buildkitd", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Fprintf(os.Stderr, "bench: buildkit is left out: %s is not installed\n", program)
			return tools
		}
	}
	return append(tools, buildkitBuilder())
}

func decantBuilder(path string) builder {
	return builder{
		name:  "decant",
		start: func(dockerfileJob) (func() error, error) { return func() error { return nil }, nil },
		build: func(j dockerfileJob) []*exec.Cmd {
			return []*exec.Cmd{j.command(path, "build", j.dir, "--mirror", "docker.io="+j.host,
				"-t", j.ref, "-q")}
		},
	}
}

// registriesConf sends docker.io to %[1]s, over http.
const registriesConf = `unqualified-search-registries = ["docker.io"]
short-name-mode = "permissive"

[[registry]]
prefix = "docker.io"
location = %[1]q
insecure = true

[[registry]]
location = %[1]q
insecure = true
`

// buildahBuilder keeps images in overlay storage, and its cache is on.
func buildahBuilder(name string) builder {
	tool := containerTool(name)
	conf := func(j dockerfileJob) string { return filepath.Join(j.state, "registries.conf") }
	command := func(j dockerfileJob, args ...string) *exec.Cmd {
		cmd := tool.command(j.job, args...)
		cmd.Env = append(cmd.Env, "CONTAINERS_REGISTRIES_CONF="+conf(j))
		return cmd
	}
	return builder{
		name: "buildah",
		peer: true,
		start: func(j dockerfileJob) (func() error, error) {
			text := fmt.Sprintf(registriesConf, j.host)
			stop := func() error {
				tool.clear(j.job)
				return nil
			}
			return stop, os.WriteFile(conf(j), []byte(text), 0o644)
		},
		build: func(j dockerfileJob) []*exec.Cmd {
			return []*exec.Cmd{
				command(j, "build", "--layers", "--isolation", "chroot", "-q", "-t", j.ref, j.dir),
				command(j, "push", "-q", j.ref),
			}
		},
	}
}

// buildkitConf sends docker.io to %[1]s, over http. Steps share the network of
// the host, as those of the others do.
const buildkitConf = `[worker.oci]
networkMode = "host"

[worker.containerd]
enabled = false

[registry."docker.io"]
mirrors = [%[1]q]

[registry.%[1]q]
http = true
`

// buildkitBuilder is the daemon and its client, with runc or what goes by that
// name.
func buildkitBuilder() builder {
	address := func(j dockerfileJob) string {
		return "unix://" + filepath.Join(j.state, "buildkitd.sock")
	}
	return builder{
		name:   "buildkit",
		peer:   true,
		daemon: true,
		start: func(j dockerfileJob) (func() error, error) {
			conf := filepath.Join(j.state, "buildkitd.toml")
			text := fmt.Sprintf(buildkitConf, j.host)
			if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
				return nil, err
			}
			daemon := j.command("buildkitd", "--config", conf, "--addr", address(j),
				"--root", filepath.Join(j.state, "buildkit"))
			return startDaemon(j.ctx, daemon, func(ctx context.Context) error {
				return exec.CommandContext(ctx, "buildctl", "--addr", address(j), "debug", "workers").Run()
			})
		},
		build: func(j dockerfileJob) []*exec.Cmd {
			return []*exec.Cmd{j.command("buildctl", "--addr", address(j), "build",
				"--frontend", "dockerfile.v0", "--local", "context="+j.dir, "--local", "dockerfile="+j.dir,
				"--output", "type=image,push=true,name="+j.ref)}
		},
	}
}

// daemonTimeout is how long a daemon may take to answer, and to end.
const daemonTimeout = 15 * time.Second

// startDaemon starts a daemon and returns when it answers. A daemon is asked to
// end, so that it takes its mounts along, and killed if it does not.
func startDaemon(ctx context.Context, daemon *exec.Cmd, answers func(context.Context) error) (
	stop func() error, err error) {
	var log bytes.Buffer
	daemon.Stderr = &log
	if err := daemon.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	stop = func() error {
		if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
			return fmt.Errorf("ending %s: %w", daemon.Path, err)
		}
		select {
		case <-ended:
			return nil
		case <-time.After(daemonTimeout):
			return errors.Join(fmt.Errorf("%s does not end", daemon.Path), daemon.Process.Kill())
		}
	}
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	for {
		if err := answers(ctx); err == nil {
			return stop, nil
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("%s ended: %w: %s", daemon.Path, err, &log)
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%s does not answer: %w", daemon.Path, ctx.Err()), stop())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
