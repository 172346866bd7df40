package project

import (
	"path"
	"slices"

	"github.com/decant-build/decant/assemble/internal/plan"
)

// BuildStage is the name of the stage that builds, and Workdir where it does.
const (
	BuildStage = "build"
	Workdir    = "/app"
)

// PlanOptions are what a plan needs beyond the project.
type PlanOptions struct {
	Base    string // of the image
	WebRoot string
	// Output is where the site is, once FindOutput has said so; "" is the first
	// directory in which it is expected.
	Output string
	// Secrets are mounted in every step that runs something.
	Secrets []plan.Mount
	// Env are more variables of these steps.
	Env []Variable
	// NoNetwork cuts the build command off.
	NoNetwork bool
	// Config is the image's configuration.
	Config []plan.Step
}

// Plan is the build as stages: one that builds, which is thrown away, and the
// image.
func (p *Project) Plan(o PlanOptions) plan.Plan {
	build := plan.Stage{Name: BuildStage, Base: p.Node.Image, Platform: plan.BuildPlatform,
		Why: p.Sources.Node, Steps: []plan.Step{plan.Workdir{Dir: Workdir}}}
	for _, v := range slices.Concat(p.Env, o.Env) {
		build.Steps = append(build.Steps, plan.Env{Name: v.Name, Value: v.Value})
	}
	if p.Setup != "" {
		build.Steps = append(build.Steps, plan.Run{Shell: p.Setup, Mounts: withCache(o.Secrets, NPM),
			Why: p.Manager.Name.command() + ": " + p.Sources.Manager})
	}
	network := ""
	if o.NoNetwork {
		network = "none"
	}
	build.Steps = append(build.Steps,
		plan.Copy{Sources: []string{"."}, Dest: "./", Why: p.contextWhy()},
		plan.Run{Shell: p.Install, Mounts: withCache(o.Secrets, p.Manager.Name),
			Why: "install: " + p.Sources.Install},
		plan.Run{Shell: p.Build, Mounts: o.Secrets, Network: network, Why: "build: " + p.Sources.Build})

	output := o.Output
	if output == "" {
		output = p.OutputDirs[0]
	}
	site := plan.Copy{Why: "output: " + p.Sources.Output, From: BuildStage,
		Sources: []string{plan.Literal(path.Join(Workdir, output)) + "/"},
		Dest:    plan.Dir(o.WebRoot), Chmod: plan.SiteModes}
	return plan.Plan{Stages: []plan.Stage{build,
		{Base: o.Base, Steps: append([]plan.Step{site}, o.Config...)}}}
}

// withCache adds a manager's cache to the secrets.
func withCache(secrets []plan.Mount, m ManagerName) []plan.Mount {
	return append(slices.Clone(secrets),
		plan.Mount{Type: plan.MountCache, ID: string(m), Target: cacheDirs[m]})
}

// contextWhy says what decant does without a word, and docker when told.
func (p *Project) contextWhy() string {
	why := "without node_modules and .git: docker wants them in .dockerignore"
	if p.Dir != "." {
		why = "the context is the workspace's root; " + why
	}
	return why
}
