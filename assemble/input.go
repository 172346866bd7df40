package assemble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/decant-build/decant/assemble/internal/plan"
	"github.com/decant-build/decant/assemble/internal/project"
)

// input is what a build starts from.
type input struct {
	// dockerfile is what a Dockerfile says; nil if there is none. dockerfilePath is
	// where it is, "" for one that is no file.
	dockerfile     *plan.Dockerfile
	dockerfilePath string
	// project is what has to be built first; nil for a finished site.
	project *project.Project
	// dist is the absolute directory of the finished site. That of a project is
	// known once it is built.
	dist string
	// output is what a project's build wrote, for messages: dist is temporary.
	output string
	// identity names the site between builds: dist, or the project's directory.
	identity string
	// name is the directory as the user wrote it, for messages and the plan.
	name string
	// why says how it was chosen.
	why string
}

// findInput decides what the directory is. Dist, if set, forces a prebuilt site; a
// Dockerfile comes before all else.
func (b *build) findInput(ctx context.Context) (input, error) {
	if dist := b.Dist; dist != "" {
		if !filepath.IsAbs(dist) {
			dist = filepath.Join(b.Dir, dist)
		}
		return prebuilt(dist, fromHere(dist), "--dist")
	}
	if err := checkDirectory(b.Dir); err != nil {
		return input{}, err
	}
	if in, found, err := b.findDockerfile(); found || err != nil {
		return in, err
	}
	isProject, why := project.IsProject(b.Dir)
	switch {
	case isProject || b.BuildCommand != "":
		return b.detect(ctx, why)
	case hasIndex(b.Dir):
		return prebuilt(b.Dir, b.Dir, "it has an index.html")
	}
	return input{}, noInput(b.Dir)
}

func hasIndex(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "index.html"))
	return err == nil
}

// detect finds out how the project is built.
func (b *build) detect(ctx context.Context, why string) (input, error) {
	abs, err := filepath.Abs(b.Dir)
	if err != nil {
		return input{}, err
	}
	p, err := project.Detect(ctx, b.Dir, project.Overrides{
		Install: b.InstallCommand, Build: b.BuildCommand, OutputDir: b.OutputDir, Builder: b.Builder,
	})
	if err != nil {
		return input{}, err
	}
	return input{project: p, identity: abs, name: b.Dir, why: why}, nil
}

// tellInput says what the input is taken for, and why.
func (b *build) tellInput() {
	p := b.input.project
	if b.input.dockerfile != nil {
		b.Progress.Fact("input", fmt.Sprintf("%s is built as %s says (%s)", b.Dir, b.input.name, b.input.why))
		return
	}
	if p == nil {
		b.Progress.Fact("input", fmt.Sprintf("%s is a finished site (%s)", b.input.name, b.input.why))
		return
	}
	b.Progress.Fact("input", fmt.Sprintf("%s is a project (%s)", b.input.name, b.input.why))
	s := p.Sources
	for _, fact := range []struct{ topic, text string }{
		{"framework", s.Framework},
		{"node", s.Node},
		{"manager", string(p.Manager.Name) + " from " + s.Manager},
	} {
		if fact.text != "" {
			b.Progress.Fact(fact.topic, fact.text)
		}
	}
	for _, w := range p.Warnings {
		b.Progress.Warn(w)
	}
}

func prebuilt(dist, name, why string) (input, error) {
	if err := checkDirectory(dist); err != nil {
		return input{}, err
	}
	abs, err := filepath.Abs(dist)
	return input{dist: abs, identity: abs, name: name, why: why}, err
}

// fromHere writes a path below the current directory relative to it.
func fromHere(name string) string {
	here, err := os.Getwd()
	if err != nil {
		return name
	}
	rel, err := filepath.Rel(here, name)
	if err != nil || !filepath.IsLocal(rel) {
		return name
	}
	return rel
}

// SiteDir returns the absolute directory whose files Build would publish as they
// are; "" for a project, whose build writes the site elsewhere. It checks o, and
// its errors are those of Build.
func SiteDir(ctx context.Context, o Options) (string, error) {
	b, err := newBuild(ctx, o)
	if err != nil {
		return "", err
	}
	return b.input.dist, nil
}

func checkDirectory(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &InputError{Dir: dir, What: "no such directory",
			Fix: "build the site first, or name the directory that has its index.html"}
	case err != nil:
		return &InputError{Dir: dir, What: reason(err), Fix: "make it readable to this user"}
	case !info.IsDir():
		return &InputError{Dir: dir, What: "not a directory",
			Fix: "name the directory that has the site's index.html"}
	}
	return nil
}

// reason is the system's word without the operation and the path, which the
// error around it has.
func reason(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return err.Error()
}

// siteDirs are where tools leave a finished site, most likely first.
var siteDirs = []string{"dist", "build", "out", "public", "_site", ".output/public", "www"}

// noInput explains a directory without an index.html.
func noInput(dir string) error {
	what := "no index.html in it"
	if _, err := os.Stat(filepath.Join(dir, "package.json")); err == nil {
		what = `its package.json has no script "build", and there is no index.html`
	}
	e := &InputError{Dir: dir, What: what,
		Fix: "name the directory that has the site's index.html, or use --dist DIR for a site without one"}
	for _, sub := range siteDirs {
		site := filepath.Join(dir, filepath.FromSlash(sub))
		if hasIndex(site) {
			e.Fix = fmt.Sprintf("the site in %s can be built with: decant build %s --dist %s", site, dir, site)
			return e
		}
	}
	return e
}

// plan is what the build does, as data.
func (b *build) plan() plan.Plan {
	p := b.stages()
	for i := range p.Stages {
		if s := &p.Stages[i]; isFileBase(s.Base) {
			s.Why = strings.TrimPrefix(s.Why+"; docker build reads no image from a file: push it, and name that here", "; ")
		}
	}
	return p
}

func (b *build) stages() plan.Plan {
	o := plan.PrebuiltOptions{
		Base: b.Base, Dist: filepath.ToSlash(b.input.name), WebRoot: b.WebRoot,
		Labels: b.Labels, Env: b.Env, Ports: b.Ports, User: b.User,
	}
	if b.input.project == nil {
		return plan.Prebuilt(o)
	}
	var secrets []plan.Mount
	for _, s := range b.Secrets {
		secrets = append(secrets, plan.Mount{Type: plan.MountSecret, ID: s.ID, Target: secretPath(s.ID)})
	}
	var env []project.Variable
	for _, kv := range append(npmrcEnv(b.Secrets), b.BuildEnv...) {
		name, value, _ := strings.Cut(kv, "=")
		env = append(env, project.Variable{Name: name, Value: value})
	}
	return b.input.project.Plan(project.PlanOptions{
		Base: b.Base, WebRoot: b.WebRoot, Secrets: secrets, Env: env, NoNetwork: b.NoNetwork,
		Config: plan.Config(o),
	})
}
