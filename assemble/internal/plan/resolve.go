package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ResolveOptions are what a build says about a Dockerfile.
type ResolveOptions struct {
	Target    string // as Dockerfile.Target takes it
	BuildArgs map[string]string
	// BuildPlatform is that of the machine that builds, TargetPlatform that of the
	// image.
	BuildPlatform, TargetPlatform v1.Platform
}

// Graph is the stages that a target needs, for one platform. It is safe for
// concurrent use.
type Graph struct {
	Target int
	// Stages are by index, nil where the target does not need one.
	Stages   []*ResolvedStage
	Warnings []Warning

	file      *Dockerfile
	all       []*ResolvedStage
	meta      *environ // the variables of FROM
	buildArgs map[string]string
	proxies   []string
}

// ResolvedStage is a stage whose base is known by name.
type ResolvedStage struct {
	Index int
	Name  string // lower-case; "" if it has none
	Line  int    // of FROM
	Text  string // FROM as it is written
	Base  StageBase
	// Platform is what a base image is taken for. A stage that starts from another
	// has that one's.
	Platform      v1.Platform
	PlatformGiven bool // by FROM --platform
	// NeedsStages are the stages whose files are copied or mounted, and not the
	// base; NeedsImages the images. Both are sorted. What triggers of the base image
	// need is not in them, but in what Evaluate returns.
	NeedsStages []int
	NeedsImages []string
}

// StageBase is what FROM names.
type StageBase struct {
	Stage   int    // -1 if it is no stage
	Image   string // as it is written, expanded; "" if it is a stage or scratch
	Scratch bool
}

// Resolve expands every FROM and finds the stages that the target needs. The
// error is a *DockerfileError with all faults of the file at once, or what
// Target returns. Stages that are not needed are checked as well.
func (d *Dockerfile) Resolve(o ResolveOptions) (*Graph, error) {
	target, err := d.Target(o.Target)
	if err != nil {
		return nil, err
	}
	g := &Graph{Target: target, file: d, buildArgs: maps.Clone(o.BuildArgs),
		proxies: proxyEnv(o.BuildArgs)}
	var found faults
	l := newLints(d.check)
	checkBuildArgs(o.BuildArgs, &found)
	g.meta = d.platformArgs(o, target)
	d.lintDefaultBases(g.meta, l)
	d.expandMetaArgs(g.meta, o.BuildArgs, &found)
	if !found.none() {
		// What is wrong with an argument would be told again for every FROM.
		return nil, found.err(d.Name)
	}
	for i := range d.stages {
		g.all = append(g.all, d.resolveStage(i, g, o, &found, l))
	}
	if found.none() {
		found.list = append(found.list, *l.strict...)
	}
	if err := found.err(d.Name); err != nil {
		return nil, err
	}
	for _, name := range d.unusedArgs(o.BuildArgs) {
		l.note(0, RuleUnusedBuildArg, fmt.Sprintf("--build-arg %s: no ARG declares it", name))
	}
	g.Warnings = l.warnings()
	g.Stages = make([]*ResolvedStage, len(g.all))
	g.need(target)
	return g, nil
}

// Stage returns any stage of the file, needed or not: a trigger of a base image
// can need one that the file alone does not.
func (g *Graph) Stage(index int) *ResolvedStage { return g.all[index] }

// need puts a stage and all that it needs into Stages. References lead backwards
// only, so that it ends.
func (g *Graph) need(i int) {
	if g.Stages[i] != nil {
		return
	}
	s := g.all[i]
	g.Stages[i] = s
	if s.Base.Stage >= 0 {
		g.need(s.Base.Stage)
	}
	for _, n := range s.NeedsStages {
		g.need(n)
	}
}

// resolveStage expands a FROM and looks up what the stage reads.
func (d *Dockerfile) resolveStage(
	i int, g *Graph, o ResolveOptions, found *faults, l lints,
) *ResolvedStage {
	src := d.stages[i]
	s := &ResolvedStage{Index: i, Name: src.name, Line: src.node.StartLine,
		Text: oneLine(strings.TrimSpace(src.node.Original)), Platform: o.TargetPlatform,
		Base: StageBase{Stage: -1}}
	l = l.with(src.node.PrevComment)
	if base, err := d.resolveBase(i, g.meta, l); err != nil {
		found.instruction(src.node, "", err)
	} else {
		s.Base = base
	}
	platform, given, err := d.stagePlatform(src, g.meta, o, l)
	if err != nil {
		found.instruction(src.node, "", err)
	}
	if given {
		s.Platform, s.PlatformGiven = platform, true
	}
	needs := newNeeds()
	commands := src.commands
	if s.Base.Stage >= 0 {
		s.Platform, s.PlatformGiven = g.all[s.Base.Stage].Platform, g.all[s.Base.Stage].PlatformGiven
		commands = append(d.triggers(s.Base.Stage), commands...)
	}
	for _, c := range commands {
		for _, ref := range c.refs {
			from, err := d.source(ref.name, i)
			if err != nil {
				message, fix := explain(err)
				found.add(c.node.StartLine, ref.flag+": "+message, fix)
				continue
			}
			needs.add(from)
			d.lintReference(ref, from, i, c.node.StartLine, l.with(c.node.PrevComment))
		}
	}
	s.NeedsStages, s.NeedsImages = needs.sorted()
	return s
}

// triggers are what a stage makes those do that start from it.
func (d *Dockerfile) triggers(stage int) []command {
	var list []command
	for _, c := range d.stages[stage].commands {
		if c.trigger != nil {
			list = append(list, *c.trigger)
		}
	}
	return list
}

// needs collects what a stage reads.
type needs struct {
	stages map[int]struct{}
	images map[string]struct{}
}

func newNeeds() needs { return needs{map[int]struct{}{}, map[string]struct{}{}} }

func (n needs) add(s CopySource) {
	switch s.Kind {
	case SourceStage:
		n.stages[s.Stage] = struct{}{}
	case SourceImage:
		n.images[s.Image] = struct{}{}
	}
}

func (n needs) sorted() ([]int, []string) {
	return slices.Sorted(maps.Keys(n.stages)), slices.Sorted(maps.Keys(n.images))
}

// checkBuildArgs wants text, as a Dockerfile is.
func checkBuildArgs(args map[string]string, found *faults) {
	for _, name := range slices.Sorted(maps.Keys(args)) {
		for _, text := range []string{name, args[name]} {
			if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
				found.add(0, fmt.Sprintf("--build-arg %q: it is not UTF-8 text", name), "")
				break
			}
		}
	}
}

// unusedArgs are the build arguments that nothing of the file can see.
func (d *Dockerfile) unusedArgs(given map[string]string) []string {
	known := map[string]bool{}
	for _, name := range append(d.metaNames(), platformArgNames...) {
		known[name] = true
	}
	for _, s := range d.stages {
		for _, c := range s.commands {
			if c.trigger != nil {
				c.args = c.trigger.args
			}
			for _, name := range c.args {
				known[name] = true
			}
		}
	}
	var unused []string
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !known[name] && !isProxy(name) {
			unused = append(unused, name)
		}
	}
	return unused
}
