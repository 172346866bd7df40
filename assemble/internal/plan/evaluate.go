package plan

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// defaultPath is the PATH of an image that has none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// maxStage bounds the text that the instructions of a stage expand to together.
const maxStage = 64 << 20

// Evaluated is what a stage does.
type Evaluated struct {
	// Steps are the triggers of the base, and then the stage's own instructions.
	Steps []Exec
	Final State
	// NeedsStages and NeedsImages are what COPY and RUN read, and not the base.
	// Both are sorted, and have more than the ResolvedStage's if the base has triggers.
	NeedsStages []int
	NeedsImages []string
	Warnings    []Warning
}

// Evaluate expands the instructions of a stage on top of its base: what
// ReadConfig says of an image, Scratch, or the Final state of a stage. It may be
// called for any stage, in any order, concurrently. The error is a
// *DockerfileError with all faults of the stage.
//
// Variables are those of BuildKit: of ENV and ARG with the same name the later
// one counts, a stage that starts from another has its ARGs, and the image only
// what ENV says.
func (g *Graph) Evaluate(stage int, base State) (*Evaluated, error) {
	e := &evaluation{g: g, stage: g.all[stage], source: g.file.stages[stage],
		state: base, env: newEnviron(), envIndex: map[string]int{}, declared: map[string]bool{},
		needs: newNeeds(), lint: newLints(g.file.check)}
	e.begin(base)
	for _, c := range e.baseTriggers(base.Config.OnBuild) {
		e.run(c)
	}
	for _, c := range e.source.commands {
		e.run(c)
	}
	if e.faults.none() {
		e.faults.list = append(e.faults.list, *e.lint.strict...)
	}
	if err := e.faults.err(g.file.Name); err != nil {
		return nil, err
	}
	out := &Evaluated{Steps: e.steps, Final: e.state, Warnings: e.lint.warnings()}
	out.NeedsStages, out.NeedsImages = e.needs.sorted()
	return out, nil
}

// evaluation is a stage while its instructions are carried out on paper.
type evaluation struct {
	g      *Graph
	stage  *ResolvedStage
	source stageSource
	state  State
	env    *environ
	steps  []Exec
	faults faults
	lint   lints
	needs  needs
	size   int // of what the steps say, against maxStage

	envIndex map[string]int  // where Config.Env has a name
	declared map[string]bool // by an ARG
	// cmd, entrypoint and healthcheck are where the stage had them last.
	cmd, entrypoint, healthcheck []parser.Range
}

// begin takes over what the base says.
func (e *evaluation) begin(base State) {
	e.state.Config = base.Config.clone()
	e.state.Config.OnBuild = nil
	e.state.Args = slices.Clone(base.Args)
	if base.Platform.OS == "windows" {
		e.fault(e.source.node, false, errors.New("the base is for windows, which is not supported"))
	}
	if want := e.stage.Platform; e.stage.Base.Image != "" && base.Platform.OS != "" &&
		(want.OS != base.Platform.OS || want.Architecture != base.Platform.Architecture) {
		e.lint.with(e.source.node.PrevComment).rules.Run(&linter.RuleInvalidBaseImagePlatform,
			e.source.node.Location(), linter.RuleInvalidBaseImagePlatform.Format(e.stage.Base.Image,
				formatPlatform(want, true), formatPlatform(base.Platform, true)))
	}
	for i, kv := range e.state.Config.Env {
		name, _, _ := strings.Cut(kv, "=")
		e.envIndex[name] = i
	}
	var err error
	if _, ok := e.envIndex["PATH"]; !ok {
		err = e.setEnv("PATH", defaultPath)
	}
	for _, a := range e.state.Args {
		e.declared[a.Name] = true
		if a.Value != nil {
			err = errors.Join(err, e.env.set(a.Name, *a.Value))
		}
	}
	for _, kv := range e.state.Config.Env {
		name, value, _ := strings.Cut(kv, "=")
		err = errors.Join(err, e.env.set(name, value))
	}
	if err != nil {
		e.fault(e.source.node, false, errors.New("the variables of the base are too large"))
	}
	if dir := e.state.Config.WorkingDir; dir != "" && !path.IsAbs(dir) {
		e.state.Config.WorkingDir = path.Join("/", dir)
	}
}

// baseTriggers are the instructions that the base makes the stage begin with.
func (e *evaluation) baseTriggers(texts []string) []command {
	var list []command
	for _, text := range texts {
		c, err := parseTrigger(text, e.source.node, e.lint)
		if err != nil {
			message, fix := explain(err)
			e.faults.add(e.stage.Line, fmt.Sprintf("ONBUILD %s, of the base: %s", clip(text), message), fix)
			continue
		}
		c.onBuild = true
		list = append(list, c)
	}
	return list
}

// run carries out one instruction.
func (e *evaluation) run(c command) {
	if e.faults.full() || e.size > maxStage {
		return
	}
	saved := e.lint
	e.lint = e.lint.with(c.node.PrevComment)
	// It was parsed before, so that its own warnings are known.
	parsed, err := parseInstruction(c.node, newLints(linter.Config{SkipAll: true}))
	if err == nil {
		err = e.dispatch(c, parsed)
	}
	e.lint = saved
	if err == nil && e.size > maxStage {
		err = fmt.Errorf("the stage expands to more than %d MiB of text", maxStage>>20)
	}
	if err != nil {
		e.fault(c.node, c.onBuild, err)
	}
}

func (e *evaluation) fault(n *parser.Node, onBuild bool, err error) {
	prefix := ""
	if onBuild {
		prefix = "ONBUILD "
	}
	e.faults.instruction(n, prefix, err)
}

// dispatch carries out an instruction by its kind.
func (e *evaluation) dispatch(c command, parsed any) error {
	origin := Origin{File: e.g.file.Name, Line: c.node.StartLine, OnBuild: c.onBuild,
		Text: oneLine(strings.TrimSpace(c.node.Original))}
	var created string
	var err error
	switch p := parsed.(type) {
	case *instructions.RunCommand:
		return e.evalRun(origin, c, p)
	case *instructions.CopyCommand:
		return e.evalCopy(origin, c.node, copyOf(p))
	case *instructions.AddCommand:
		return e.evalCopy(origin, c.node, addOf(p))
	case *instructions.WorkdirCommand:
		return e.evalWorkdir(origin, c.node, p)
	case *instructions.EnvCommand:
		created, err = e.evalEnv(c.node, p)
	case *instructions.ArgCommand:
		created, err = e.evalArg(c.node, p)
	case *instructions.LabelCommand:
		created, err = e.evalLabel(c.node, p)
	default:
		created, err = e.evalMeta(c.node, parsed)
	}
	if err != nil {
		return err
	}
	origin.CreatedBy = created
	e.step(MetaExec{origin}, len(created))
	return nil
}

// step adds a step that says size bytes.
func (e *evaluation) step(x Exec, size int) {
	e.size += size
	if e.size <= maxStage {
		e.steps = append(e.steps, x)
	}
}

// expand replaces the variables of a word of an instruction.
func (e *evaluation) expand(n *parser.Node, word string) (string, error) {
	x, err := expand(word, e.g.file.escape, e.env)
	e.lintUnset(n, x.unset)
	return x.text, err
}

// expandAll replaces the variables of words, in place.
func (e *evaluation) expandAll(n *parser.Node, words []string) error {
	for i, word := range words {
		var err error
		if words[i], err = e.expand(n, word); err != nil {
			return err
		}
	}
	return nil
}

// lintUnset warns of variables that are neither set nor declared.
func (e *evaluation) lintUnset(n *parser.Node, names []string) {
	// Among thousands of names there is no telling which one was meant.
	const many = 500
	for _, name := range names {
		if e.declared[name] {
			continue
		}
		near := ""
		if len(e.env.values) <= many {
			near = nearest(name, e.env.Keys())
		}
		e.lint.rules.Run(&linter.RuleUndefinedVar, n.Location(),
			linter.RuleUndefinedVar.Format(name, near))
	}
}

// lintOnce warns if the stage has an instruction again of which the last one
// counts; last is where it was.
func (e *evaluation) lintOnce(n *parser.Node, last *[]parser.Range) {
	if *last != nil {
		e.lint.rules.Run(&linter.RuleMultipleInstructionsDisallowed, *last,
			linter.RuleMultipleInstructionsDisallowed.Format(n.Value))
	}
	*last = n.Location()
}

// workingDir is the directory of the next step, clean.
func (e *evaluation) workingDir() string { return path.Join("/", e.state.Config.WorkingDir) }
