package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/decant-build/decant/assemble"
)

// dockerfileOptions are the flags about a Dockerfile, as docker build has them.
type dockerfileOptions struct {
	file      string
	target    string
	buildArgs []string
	ssh       []string
	jobs      int
}

func (o *dockerfileOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.file, "file", "f", "", "build as this Dockerfile says; - is standard input (`FILE`, default PATH/Dockerfile if there is one)")
	fs.StringVar(&o.target, "target", "", "the Dockerfile's `STAGE` that becomes the image, by name or number (default the last)")
	fs.StringArrayVar(&o.buildArgs, "build-arg", nil,
		"set the Dockerfile's ARG: `K=V`, or K to take it from the environment (repeatable)")
	fs.StringArrayVar(&o.ssh, "ssh", nil,
		"the agent that RUN --mount=type=ssh sees: `default`, or ID=SOCKET (repeatable)")
	fs.IntVarP(&o.jobs, "jobs", "j", 0, "how many RUNs may execute at the same time, `N` (default one for each processor)")
}

func (o *dockerfileOptions) check() error {
	if o.jobs < 0 {
		return usagef("give a number from 1 on", "negative --jobs %d", o.jobs)
	}
	for _, kv := range o.buildArgs {
		if name, _, _ := strings.Cut(kv, "="); name == "" {
			return usagef("write it as KEY=VALUE", "malformed --build-arg %q", kv)
		}
	}
	return nil
}

// elsewhere are flags that mean nothing with a Dockerfile, and what it has instead.
var elsewhere = map[string]string{
	"base": "FROM", "allow-secrets": "COPY", "builder": "FROM", "install-command": "RUN", "build-command": "RUN", "output-dir": "COPY --from",
	"web-root": "COPY", "env-build": "ARG and --build-arg", "keep-exec": "COPY --chmod", "dist": "COPY",
	"serve": "COPY", "spa": "COPY", "no-spa": "COPY", "csp": "COPY", "header": "COPY", "base-path": "COPY", "proxy": "COPY",
	"runtime-env": "COPY", "check": "COPY",
}

// clash refuses flags that a Dockerfile, named by --file or found in dir, would
// ignore.
func (o *dockerfileOptions) clash(flags *pflag.FlagSet, dir string) error {
	file := o.file
	if dist := flags.Lookup("dist"); file == "" && (dist == nil || !dist.Changed) {
		found := filepath.Join(dir, "Dockerfile")
		if info, err := os.Stat(found); err == nil && !info.IsDir() {
			file = found
		}
	}
	if file == "" {
		return nil
	}
	for name, instruction := range elsewhere {
		if f := flags.Lookup(name); f != nil && f.Changed && os.Getenv(environment[name]) != f.Value.String() {
			return usagef("leave it out, as a Dockerfile says it with "+instruction+"; --dist DIR is for a site that is built",
				"--%s has no meaning with %s", name, file)
		}
	}
	return nil
}

// maxDockerfile bounds what is read of standard input; package plan has its own
// limit for what a Dockerfile may be.
const maxDockerfile = 16 << 20

// apply fills in what a Dockerfile's build needs. dir is PATH.
func (o *dockerfileOptions) apply(opts *assemble.Options, stdin io.Reader) error {
	opts.Target, opts.Jobs = o.target, o.jobs
	opts.BuildArgs = map[string]string{}
	for _, kv := range o.buildArgs {
		name, value, given := strings.Cut(kv, "=")
		if !given {
			if value, given = os.LookupEnv(name); !given {
				continue // as docker: the ARG keeps its default
			}
		}
		opts.BuildArgs[name] = value
	}
	var err error
	if opts.SSH, err = o.agents(); err != nil {
		return err
	}
	if o.file != "-" {
		opts.Dockerfile = o.file
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(stdin, maxDockerfile+1))
	if err != nil {
		return fmt.Errorf("reading the Dockerfile from standard input: %w", err)
	}
	if len(text) > maxDockerfile {
		return usagef("is it a Dockerfile?", "reading the Dockerfile from standard input: larger than %d MiB", maxDockerfile>>20)
	}
	opts.DockerfileText = append([]byte{}, text...)
	return nil
}

// agents reads --ssh.
func (o *dockerfileOptions) agents() (map[string]string, error) {
	agents := map[string]string{}
	for _, text := range o.ssh {
		id, socket, given := strings.Cut(text, "=")
		if !given {
			if socket = os.Getenv("SSH_AUTH_SOCK"); socket == "" {
				return nil, usagef("start an agent with: eval $(ssh-agent)", "--ssh %s: SSH_AUTH_SOCK is not set", text)
			}
		}
		info, err := os.Stat(socket)
		if err != nil {
			return nil, usagef("name the socket of an ssh agent", "--ssh %s: %w", text, err)
		}
		if info.Mode()&os.ModeSocket == 0 {
			return nil, usagef("load the key into an agent (ssh-add), and name that", "--ssh %s: %s is no socket", text, socket)
		}
		if agents[id], err = filepath.Abs(socket); err != nil {
			return nil, err
		}
	}
	return agents, nil
}
