package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// A containerTool is a peer with a store of unpacked images: buildah or podman.
// Its store is below the state of a job.
type containerTool string

// containerTools are those that are installed.
func containerTools() []containerTool {
	var found []containerTool
	for _, name := range []string{"buildah", "podman"} {
		if _, err := exec.LookPath(name); err == nil {
			found = append(found, containerTool(name))
		}
	}
	return found
}

func (c containerTool) command(j job, args ...string) *exec.Cmd {
	return j.command(string(c), append([]string{"--root", filepath.Join(j.state, "root"),
		"--runroot", filepath.Join(j.state, "run"), "--storage-driver", "overlay"}, args...)...)
}

// pull imports an image from a layout. The image is named after the directory,
// and not every path is a name.
func (c containerTool) pull(j job, layout string) *exec.Cmd {
	cmd := c.command(j, "pull", "-q", "oci:"+filepath.Base(layout))
	cmd.Dir = filepath.Dir(layout)
	return cmd
}

// clear removes the store, if there is one: what a plain user's tool wrote, only
// the tool can remove.
func (c containerTool) clear(j job) {
	if _, err := os.Stat(filepath.Join(j.state, "root")); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(j.ctx), time.Minute)
	defer cancel()
	j.ctx = ctx
	for _, args := range [][]string{{"rm", "-a"}, {"rmi", "-a", "-f"}} {
		if out, err := c.command(j, args...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "bench: clearing the store of %s: %v: %s\n", c, err, out)
		}
	}
}

// runsOfTrue are the ways in which the tool runs a program that does nothing, in
// an image that it has.
func (c containerTool) runsOfTrue(j job, layout string) ([]contender, error) {
	image, err := lastLine(c.pull(j, layout))
	if err != nil {
		return nil, err
	}
	way := func(title string, args ...string) contender {
		return timed(title, true, func(job) *exec.Cmd { return c.command(j, args...) })
	}
	if c == "podman" {
		return []contender{way("podman run true", "run", "--rm", image, "true")}, nil
	}
	container, err := lastLine(c.command(j, "from", image))
	if err != nil {
		return nil, err
	}
	return []contender{
		way("buildah run true", "run", container, "true"),
		way("buildah run --isolation chroot true", "run", "--isolation", "chroot", container,
			"true"),
	}, nil
}

// lastLine runs a command and returns the last line of its standard output.
func lastLine(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", cmd, err, &stderr)
	}
	out = bytes.TrimSpace(out)
	return string(out[bytes.LastIndexByte(out, '\n')+1:]), nil
}
