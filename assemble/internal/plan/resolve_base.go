package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
)

// resolveBase expands the base of a stage and finds out what it is: a stage
// before it, scratch or an image.
func (d *Dockerfile) resolveBase(i int, meta *environ, l lints) (StageBase, error) {
	src := d.stages[i]
	base := StageBase{Stage: -1}
	word, err := expand(src.base, d.escape, meta)
	if err != nil {
		return base, err
	}
	d.lintUndeclared(src, word.unset, meta, l)
	if word.text == "" {
		return base, wrong(d.howToSet(word, meta), "the name of the base is empty")
	}
	for j := i - 1; j >= 0; j-- {
		if d.stages[j].name != "" && d.stages[j].name == strings.ToLower(word.text) {
			base.Stage = j
			return base, nil
		}
	}
	if word.text == scratch {
		base.Scratch = true
		return base, nil
	}
	if !isReference(word.text) {
		fix := d.howToSet(word, meta)
		if near := nearest(word.text, d.stageNames(i)); near != "" {
			fix = "did you mean " + near + "?"
		}
		return base, wrong(fix, "%q is no reference of an image", word.text)
	}
	base.Image = word.text
	return base, nil
}

// howToSet says how a base gets the first variable that it lacks.
func (d *Dockerfile) howToSet(word expansion, meta *environ) string {
	if len(word.unset) > 0 {
		name := word.unset[0]
		if slices.Contains(d.metaNames(), name) {
			return fmt.Sprintf("give it with --build-arg %s=VALUE, or write ARG %s=VALUE", name, name)
		}
		return fmt.Sprintf("declare it before the first FROM: ARG %s=VALUE", name)
	}
	for _, name := range word.used {
		if value, _ := meta.Get(name); value == "" {
			return fmt.Sprintf("ARG %s is empty", name)
		}
	}
	return ""
}

// metaNames are the arguments that are declared before the first FROM.
func (d *Dockerfile) metaNames() []string {
	var names []string
	for _, m := range d.metaArgs {
		for _, a := range m.args {
			names = append(names, a.Key)
		}
	}
	return names
}

// stageNames are the names of the stages before i.
func (d *Dockerfile) stageNames(i int) []string {
	var names []string
	for _, s := range d.stages[:i] {
		if s.name != "" {
			names = append(names, s.name)
		}
	}
	return names
}

// tagOf finds the tag of a reference. The parser of references here is more
// lenient than that of BuildKit, about what an unset variable leaves.
var tagOf = regexp.MustCompile(`:([^/@]*)(?:@.*)?$`)

func isReference(s string) bool {
	if _, err := name.ParseReference(s); err != nil {
		return false
	}
	digestless, _, _ := strings.Cut(s, "@")
	tag := tagOf.FindStringSubmatch(digestless)
	return tag == nil || tag[1] != "" && tag[1][0] != '-' && tag[1][0] != '.'
}

// source finds out what --from names in stage i. As in BuildKit a name is that of
// the last stage which has it, and a number counts all stages of the file.
func (d *Dockerfile) source(from string, i int) (CopySource, error) {
	stage, isName := d.byName[strings.ToLower(from)]
	number, err := strconv.Atoi(from)
	switch {
	case isName:
	case err == nil && (number < 0 || number >= len(d.stages)):
		return CopySource{}, wrong(fmt.Sprintf("the stages are 0 to %d", len(d.stages)-1),
			"there is no stage %d", number)
	case err == nil:
		stage = number
	case from == scratch:
		return CopySource{Kind: SourceScratch}, nil
	case !isReference(from):
		fix := ""
		if near := nearest(from, d.stageNames(i)); near != "" {
			fix = "did you mean " + near + "?"
		}
		return CopySource{}, wrong(fix, "no stage has that name, and it is no reference of an image")
	default:
		return CopySource{Kind: SourceImage, Image: from}, nil
	}
	if stage == i {
		return CopySource{}, wrong("", "a stage cannot take files from itself")
	}
	if stage > i {
		return CopySource{}, wrong("move that stage above this one",
			"the stage comes later, in line %d", d.stages[stage].node.StartLine)
	}
	return CopySource{Kind: SourceStage, Stage: stage}, nil
}

// lintReference warns of an image whose name is nearly that of a stage.
func (d *Dockerfile) lintReference(ref reference, from CopySource, i, line int, l lints) {
	if from.Kind != SourceImage || !plainName.MatchString(from.Image) {
		return
	}
	if near := nearest(from.Image, d.stageNames(i)); near != "" {
		l.note(line, RuleUnknownStage, fmt.Sprintf(
			"%s: no stage has that name, so it is an image (did you mean %s?)", ref.flag, near))
	}
}

// lintUndeclared warns of variables in FROM that no ARG declares.
func (d *Dockerfile) lintUndeclared(src stageSource, unset []string, meta *environ, l lints) {
	known := append(meta.Keys(), d.metaNames()...)
	for _, name := range unset {
		if !slices.Contains(known, name) {
			l.rules.Run(&linter.RuleUndefinedArgInFrom, src.node.Location(),
				linter.RuleUndefinedArgInFrom.Format(name, nearest(name, known)))
		}
	}
}

// lintDefaultBases warns of a base that is nothing without build arguments.
func (d *Dockerfile) lintDefaultBases(platform *environ, l lints) {
	meta := newEnviron()
	for _, name := range platform.Keys() {
		value, _ := platform.Get(name)
		if meta.set(name, value) != nil {
			return
		}
	}
	var ignored faults
	d.expandMetaArgs(meta, nil, &ignored)
	for _, s := range d.stages {
		word, err := expand(s.base, d.escape, meta)
		if err != nil || !ignored.none() {
			return
		}
		if strings.Contains(s.base, "$") && !isReference(word.text) {
			l.with(s.node.PrevComment).rules.Run(&linter.RuleInvalidDefaultArgInFrom, s.node.Location(),
				linter.RuleInvalidDefaultArgInFrom.Format(s.base))
		}
	}
}

// stagePlatform reads FROM --platform.
func (d *Dockerfile) stagePlatform(
	src stageSource, meta *environ, o ResolveOptions, l lints,
) (p v1.Platform, given bool, err error) {
	if src.platform == "" {
		return p, false, nil
	}
	word, err := expand(src.platform, d.escape, meta)
	if err != nil {
		return p, false, err
	}
	d.lintUndeclared(src, word.unset, meta, l)
	if word.text == "" {
		return p, false, wrong(d.howToSet(word, meta), "the platform is empty")
	}
	p, err = parsePlatform(word.text, o.BuildPlatform)
	if err != nil {
		fix := ""
		for _, name := range word.unset {
			if near := nearest(name, meta.Keys()); near != "" {
				fix = "did you mean $" + near + "?"
			}
		}
		return p, false, wrong(fix, "%s", err)
	}
	lintPlatform(src, word, p, meta, l)
	return p, true, nil
}

func lintPlatform(src stageSource, word expansion, p v1.Platform, meta *environ, l lints) {
	target, _ := meta.Get("TARGETPLATFORM")
	switch {
	case len(word.used)+len(word.unset) == 0:
		if !strings.Contains(src.name, p.OS) && !strings.Contains(src.name, p.Architecture) {
			l.rules.Run(&linter.RuleFromPlatformFlagConstDisallowed, src.node.Location(),
				linter.RuleFromPlatformFlagConstDisallowed.Format(word.text))
		}
	case slices.Equal(word.used, []string{"TARGETPLATFORM"}) && len(word.unset) == 0 &&
		word.text == target:
		l.rules.Run(&linter.RuleRedundantTargetPlatform, src.node.Location(),
			linter.RuleRedundantTargetPlatform.Format(src.platform))
	}
}
