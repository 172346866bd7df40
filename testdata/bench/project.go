package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// The commands of both sides. Packages come from npm's cache, which both have
// filled before: the registry's speed is nobody's merit.
const (
	npmInstall = "npm ci --prefer-offline --include=dev --no-audit --no-fund"
	npmBuild   = "npm run build"
)

// A sampleApp is one of testdata/apps, and a source file to change in it.
type sampleApp struct{ name, source string }

// building times real projects, on bare metal and in decant.
func (n *nodeBench) building(ctx context.Context) error {
	image := job{ctx: ctx, state: filepath.Join(n.tmp, "image")}
	if err := os.Mkdir(image.state, 0o700); err != nil {
		return err
	}
	if _, err := measure([]*exec.Cmd{n.unpack(image, image.state)}); err != nil {
		return err
	}
	bin := filepath.Join(image.state, "bundle", "rootfs", "usr", "local", "bin")
	for _, app := range []sampleApp{{"vue-ts", "index.html"}, {"eleventy", "index.md"}} {
		if err := n.buildApp(ctx, app, bin); err != nil {
			return err
		}
	}
	return nil
}

// Rows of the table of a project.
const (
	rowBare  = "bare metal, install and build"
	rowSteps = "decant, the same two steps"
)

func (n *nodeBench) buildApp(ctx context.Context, app sampleApp, bin string) error {
	state, err := os.MkdirTemp(n.tmp, "app-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	pristine := filepath.Join("testdata", "apps", app.name)
	project, err := copyTree(pristine, state, app.name)
	if err != nil {
		return err
	}
	bare := func(ctx context.Context, dir string) ([]timing, error) {
		seconds, err := buildBare(ctx, pristine, dir, filepath.Join(state, "npm"), bin)
		return []timing{{rowBare, seconds}}, err
	}
	decant := func(ctx context.Context, _ string) ([]timing, error) {
		return n.buildProject(ctx, state, project, app.source)
	}
	contenders := []contender{{name: "bare metal", run: bare}, {name: "decant", run: decant}}
	for _, c := range contenders { // fill the caches
		if _, err := c.once(ctx, n.tmp); err != nil {
			return fmt.Errorf("%s: %s: %w", app.name, c.name, err)
		}
	}
	medians, err := race(ctx, n.tmp, app.name, n.runs, contenders)
	if err != nil {
		return err
	}
	fmt.Printf("the budget of the two steps, 1.05 x bare metal + 0.2 s, is %.3f s\n",
		1.05*medians[rowBare]+0.2)
	return nil
}

// buildBare builds a copy of the project with the node and npm in bin.
func buildBare(ctx context.Context, pristine, dir, cache, bin string) (float64, error) {
	project, err := copyTree(pristine, dir, "project")
	if err != nil {
		return 0, err
	}
	cmd := job{ctx: ctx, state: dir}.shell(npmInstall + "\n" + npmBuild)
	cmd.Dir = project
	cmd.Env = append(cmd.Env, "PATH="+bin+":"+os.Getenv("PATH"), "CI=true",
		"npm_config_cache="+cache, "npm_config_update_notifier=false")
	f, err := measure([]*exec.Cmd{cmd})
	return f.seconds, err
}

// buildProject builds with decant: with the steps of bare metal, then as a user
// does, first after a change of a source file and then after none.
func (n *nodeBench) buildProject(ctx context.Context, state, project, source string) (
	[]timing, error) {
	out, whole, err := n.build(ctx, state, project, anew(), "--install-command", npmInstall,
		"--build-command", npmBuild)
	if err != nil {
		return nil, err
	}
	steps, err := stepSeconds(out)
	if err != nil {
		return nil, err
	}
	if err := appendNewline(filepath.Join(project, source)); err != nil {
		return nil, err
	}
	_, changed, err := n.build(ctx, state, project)
	if err != nil {
		return nil, err
	}
	_, unchanged, err := n.build(ctx, state, project)
	return []timing{
		{rowSteps, steps}, {"decant build, whole", whole},
		{"decant build, one source file changed", changed},
		{"decant build, nothing changed", unchanged},
	}, err
}

// stepSeconds adds up what decant says of the steps' time.
func stepSeconds(out []byte) (float64, error) {
	done := regexp.MustCompile(`(?m)^decant: (?:install|build): done in ([\d.]+) s$`)
	found := done.FindAllSubmatch(out, -1)
	if len(found) != 2 {
		return 0, fmt.Errorf("decant printed the time of %d steps, not of 2: %s", len(found), out)
	}
	var sum float64
	for _, f := range found {
		seconds, err := strconv.ParseFloat(string(f[1]), 64)
		if err != nil {
			return 0, err
		}
		sum += seconds
	}
	return sum, nil
}

// appendNewline changes a source file and nothing that is made of it.
func appendNewline(file string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString("\n"); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
