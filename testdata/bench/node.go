package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/decant-build/decant/testdata/bed"
)

// The second part times what a node project's build adds to that of a finished
// site: unpacking the node image, starting the sandbox, and running npm in it.
// All contenders read one OCI layout of the bed's node image and write below one
// directory.

// benchNodeVersion is the bed's node image. Bare metal runs that image's own
// node and npm, so that only the sandbox differs.
const benchNodeVersion = "20"

// nodeBench is what the tables of node builds share.
type nodeBench struct {
	decant      string
	umoci       string // also for bare metal: it unpacks npm
	node, nginx string // OCI layouts
	tmp         string
	runs        int
}

func benchNode(ctx context.Context, b *bed.Bed, tmp, decant string, runs int) error {
	n := &nodeBench{decant: decant, tmp: tmp, runs: runs}
	layout, err := b.Node(ctx, benchNodeVersion)
	if err != nil {
		return err
	}
	if n.nginx, err = b.Nginx(ctx); err != nil {
		return err
	}
	// Buildah makes a name of the path, and takes not every path.
	if n.node, err = copyTree(layout, tmp, "node"); err != nil {
		return err
	}
	umoci, err := b.Tool(ctx, "umoci")
	if err != nil {
		return err
	}
	n.umoci = umoci.Path()
	if err := n.unpacking(ctx); err != nil {
		return err
	}
	if err := n.starting(ctx); err != nil {
		return err
	}
	return n.building(ctx)
}

// build builds a project into a layout in state, and returns what decant printed
// and the seconds.
func (n *nodeBench) build(ctx context.Context, state, project string, args ...string) (
	[]byte, float64, error) {
	args = append([]string{"build", project, "--base", "oci:" + n.nginx,
		"--builder", "oci:" + n.node, "-o", "oci:" + filepath.Join(state, "out"),
		"--progress", "plain"}, args...)
	cmd := job{ctx: ctx, state: state}.command(n.decant, args...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return out, time.Since(start).Seconds(), nil
}

// anew is a flag that makes a build unlike any before it: no step's result can
// come from a cache.
func anew() string {
	return "--env-build=BENCH_RUN=" + strconv.FormatInt(time.Now().UnixNano(), 10)
}

// buildTrivial builds a project whose two steps take no time, and returns the
// seconds.
func (n *nodeBench) buildTrivial(ctx context.Context, state string) (float64, error) {
	project := filepath.Join(state, "project")
	if err := os.MkdirAll(project, 0o755); err != nil {
		return 0, err
	}
	manifest := []byte(`{"name": "trivial", "scripts": {"build": "false"}}` + "\n")
	if err := os.WriteFile(filepath.Join(project, "package.json"), manifest, 0o644); err != nil {
		return 0, err
	}
	_, seconds, err := n.build(ctx, state, project, anew(), "--install-command", "true",
		"--build-command", "mkdir -p dist && echo x > dist/index.html")
	return seconds, err
}

// unpacking times a cold start. decant's is a build with an empty cache less the
// same with a full one: reading the layout, verifying, unpacking and recording.
func (n *nodeBench) unpacking(ctx context.Context) error {
	decant := func(ctx context.Context, dir string) ([]timing, error) {
		cold, err := n.buildTrivial(ctx, dir)
		if err != nil {
			return nil, err
		}
		warm, err := n.buildTrivial(ctx, dir)
		return []timing{{"decant, cold build less warm build", cold - warm}}, err
	}
	contenders := []contender{
		{name: "decant", run: decant},
		timed("umoci unpack --rootless", true, func(j job) *exec.Cmd { return n.unpack(j, j.state) }),
	}
	for _, c := range containerTools() {
		contenders = append(contenders, contender{name: string(c) + " pull", peer: true,
			run: func(ctx context.Context, dir string) ([]timing, error) {
				j := job{ctx: ctx, state: dir}
				defer c.clear(j)
				f, err := measure([]*exec.Cmd{c.pull(j, n.node)})
				return []timing{{string(c) + " pull", f.seconds}}, err
			}})
	}
	_, err := race(ctx, n.tmp, "unpacking the node image", n.runs, contenders)
	return err
}

// unpack returns the command with which umoci unpacks the node image to dir.
func (n *nodeBench) unpack(j job, dir string) *exec.Cmd {
	return j.command(n.umoci, "unpack", "--rootless", "--image", n.node+":node",
		filepath.Join(dir, "bundle"))
}

// starting times the way to the first instruction, with everything unpacked.
func (n *nodeBench) starting(ctx context.Context) error {
	state, err := os.MkdirTemp(n.tmp, "start-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	if _, err := n.buildTrivial(ctx, state); err != nil {
		return err
	}
	contenders := []contender{
		{name: "decant", run: func(ctx context.Context, _ string) ([]timing, error) {
			seconds, err := sandboxStart(ctx)
			return []timing{{"decant, a step that does nothing", seconds}}, err
		}},
		{name: "decant build", run: func(ctx context.Context, _ string) ([]timing, error) {
			seconds, err := n.buildTrivial(ctx, state)
			return []timing{{"decant build, whole, two such steps", seconds}}, err
		}},
	}
	for _, c := range containerTools() {
		j := job{ctx: ctx, state: filepath.Join(state, string(c))}
		if err := os.Mkdir(j.state, 0o700); err != nil {
			return err
		}
		defer c.clear(j)
		ways, err := c.runsOfTrue(j, n.node)
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: running in %s is left out: %v\n", c, err)
			continue
		}
		contenders = append(contenders, ways...)
	}
	_, err = race(ctx, n.tmp, "start to first instruction", n.runs, contenders)
	return err
}

// sandboxStart is what decant's own benchmark says of a step that does nothing in
// an open sandbox: no command of decant's runs just that.
func sandboxStart(ctx context.Context) (float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkStart$",
		"-benchtime", "20x", "./assemble/internal/sandbox")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	found := regexp.MustCompile(`(?m)^BenchmarkStart\S*\s+\d+\s+([\d.]+) ns/op`).FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("%s printed no time: %s", cmd, out)
	}
	ns, err := strconv.ParseFloat(string(found[1]), 64)
	return ns / 1e9, err
}
