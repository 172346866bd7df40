package assemble

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/decant-build/decant/assemble/internal/filetree"
	"github.com/decant-build/decant/assemble/internal/image"
	"github.com/decant-build/decant/assemble/internal/plan"
)

// settle finds out what the target needs on every platform, and what decides each
// step's result.
func (x *executor) settle(ctx context.Context) ([]*variant, error) {
	for _, w := range x.file.Warnings() {
		x.tellWarning(w)
	}
	variants, err := x.settlePlatforms(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkRunnable(variants); err != nil {
		return nil, err
	}
	return variants, x.listContext(ctx, variants)
}

func (x *executor) tellWarning(w plan.Warning) {
	x.tell(x.warningText(w))
}

// warningText says where, what, and by which rule.
func (b *build) warningText(w plan.Warning) string {
	where := b.input.dockerfile.Name
	if w.Line > 0 {
		where = fmt.Sprintf("%s:%d", where, w.Line)
	}
	return fmt.Sprintf("%s: %s (%s)", where, w.Text, w.Rule)
}

// settlePlatforms is for the platforms that were asked for; otherwise for this
// machine's, and if the Dockerfile runs nothing for it and makes an image, for those
// that a site is made for.
func (x *executor) settlePlatforms(ctx context.Context) ([]*variant, error) {
	if x.platforms.all {
		return x.settleEvery(ctx)
	}
	if len(x.platforms.list) > 0 {
		return x.settleList(ctx, x.platforms.list)
	}
	host := hostPlatform()
	first, err := x.settleOne(ctx, host, false)
	var absent *PlatformError
	if err != nil && !errors.As(err, &absent) {
		return nil, err
	}
	if err == nil && (first.runsForTarget() || len(x.filesOutputs()) > 0) {
		return []*variant{first}, nil
	}
	var variants []*variant
	for _, p := range defaultPlatforms {
		if err == nil && p.Equals(host) {
			variants = append(variants, first)
			continue
		}
		v, otherErr := x.settleOne(ctx, p, true)
		switch {
		case otherErr == nil:
			variants = append(variants, v)
		case !errors.As(otherErr, &absent):
			return nil, otherErr
		}
	}
	if len(variants) == 0 && err == nil {
		variants = []*variant{first}
	}
	if len(variants) == 0 {
		return nil, err
	}
	return variants, nil
}

// settleEvery is for all platforms of the image that the target stands on.
func (x *executor) settleEvery(ctx context.Context) ([]*variant, error) {
	first, err := x.settleOne(ctx, hostPlatform(), false)
	if err != nil {
		return nil, err
	}
	base := first.target.ground().base
	if base == nil || base.base.Index == nil {
		return []*variant{first}, nil
	}
	have, err := image.Platforms(base.base.Index)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", base.ref, err)
	}
	platforms, _ := platformsOf(have)
	return x.settleList(ctx, platforms)
}

func (x *executor) settleList(ctx context.Context, platforms []v1.Platform) ([]*variant, error) {
	var variants []*variant
	for _, p := range platforms {
		v, err := x.settleOne(ctx, p, false)
		if err != nil {
			return nil, err
		}
		variants = append(variants, v)
	}
	return variants, nil
}

// settleOne opens the images that one platform's target needs, all at once, and
// expands the stages in their order.
func (x *executor) settleOne(ctx context.Context, platform v1.Platform, strict bool) (*variant, error) {
	graph, err := x.file.Resolve(plan.ResolveOptions{
		Target: x.Target, BuildArgs: x.BuildArgs, BuildPlatform: hostPlatform(), TargetPlatform: platform,
	})
	if err != nil {
		return nil, err
	}
	v := &variant{executor: x, platform: platform, graph: graph, stages: map[int]*stage{}, strict: strict}
	v.openImages(ctx)
	for _, rs := range graph.Stages {
		if rs == nil {
			continue
		}
		if err := v.addStage(ctx, rs.Index); err != nil {
			return nil, err
		}
	}
	v.target = v.stages[graph.Target]
	for _, w := range append(slices.Clone(graph.Warnings), v.warnings...) {
		x.tellWarning(w)
	}
	return v, nil
}

// openImages has the registries answer side by side; addStage takes the answers, and
// tells of errors. An image keeps ctx for what is read of it later, so that it must
// last.
func (v *variant) openImages(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(8)
	for _, rs := range v.graph.Stages {
		if rs == nil {
			continue
		}
		refs := rs.NeedsImages
		if rs.Base.Image != "" {
			refs = append([]string{rs.Base.Image}, refs...)
		}
		for _, ref := range refs {
			g.Go(func() error {
				_, err := v.images.get(ctx, ref)
				return err
			})
		}
	}
	_ = g.Wait()
}

// addStage settles a stage, and first those that it needs: all of them come before it
// in the file.
func (v *variant) addStage(ctx context.Context, index int) (err error) {
	if v.stages[index] != nil {
		return nil
	}
	rs := v.graph.Stage(index)
	s := &stage{variant: v, plan: rs}
	state := plan.Scratch(rs.Platform)
	switch {
	case rs.Base.Stage >= 0:
		if err := v.addStage(ctx, rs.Base.Stage); err != nil {
			return err
		}
		s.parent = v.stages[rs.Base.Stage]
		state = s.parent.state
	case !rs.Base.Scratch:
		if s.base, err = v.baseFor(ctx, rs.Base.Image, rs.Platform); err != nil {
			return v.imageFault(rs, err)
		}
		state = s.base.state
	}
	evaluated, err := v.graph.Evaluate(rs.Index, state)
	if err != nil {
		return err
	}
	v.warnings = append(v.warnings, evaluated.Warnings...)
	for n, exec := range evaluated.Steps {
		st := &step{stage: s, n: n, exec: exec}
		if err := st.openImages(ctx); err != nil {
			return err
		}
		s.steps = append(s.steps, st)
	}
	s.state = evaluated.Final
	for _, needed := range evaluated.NeedsStages {
		if err := v.addStage(ctx, needed); err != nil {
			return err
		}
	}
	v.stages[index] = s
	return nil
}

// openImages opens the images that a step reads.
func (st *step) openImages(ctx context.Context) error {
	for _, from := range st.sources() {
		if from.Kind == plan.SourceImage {
			if _, err := st.stage.baseFor(ctx, from.Image, st.stage.plan.Platform); err != nil {
				return st.fault(st.stage.nearStage(from.Image, err))
			}
		}
	}
	return nil
}

// nearStage tells of the stages where an image of a plain name is not to be had: it
// may have been meant for one.
func (s *stage) nearStage(ref string, err error) error {
	var names []string
	for i := range s.plan.Index {
		if before := s.graph.Stage(i); before.Name != "" {
			names = append(names, before.Name)
		}
	}
	if len(names) == 0 || strings.ContainsAny(ref, "/:@.") {
		return err
	}
	return &NoStageError{Name: ref, Stages: names, Err: err}
}

// NoStageError is a name that is neither a stage's nor that of an image.
type NoStageError struct {
	Name   string
	Stages []string // that could have been meant
	Err    error    // why there is no image
}

func (e *NoStageError) Error() string {
	return fmt.Sprintf("no stage is called %s, and no image: %v", e.Name, e.Err)
}

// Unwrap returns Err.
func (e *NoStageError) Unwrap() error { return e.Err }

// Hint lists the stages.
func (e *NoStageError) Hint() string {
	return fmt.Sprintf("the stages before it are %s; write --from=%s, or the image's whole name",
		strings.Join(e.Stages, ", "), e.Stages[len(e.Stages)-1])
}

// runsForTarget tells whether a command is executed for the platform that the target
// is for, rather than for the machine that builds.
func (v *variant) runsForTarget() bool {
	for _, s := range v.stages {
		for _, st := range s.steps {
			if _, ok := st.exec.(plan.RunExec); ok && !s.ground().isForBuilder() {
				return true
			}
		}
	}
	return false
}

// isForBuilder reports a stage that FROM says is for the machine that builds.
func (s *stage) isForBuilder() bool {
	return s.plan.PlatformGiven && s.plan.Platform.Equals(hostPlatform())
}

// listContext lists what of the user's directory the stages copy.
func (x *executor) listContext(ctx context.Context, variants []*variant) error {
	x.scanned = time.Now().UnixNano()
	copied, mounted := contextPaths(variants)
	files, err := x.context.Match(ctx, copied...)
	if err != nil {
		return err
	}
	shown, err := x.context.List(ctx, mounted...)
	if err != nil {
		return err
	}
	for _, w := range x.context.Warnings() {
		x.tell(w.String())
	}
	x.files = filetree.New()
	if err := x.files.Apply(files, noOrigin); err != nil {
		return err
	}
	return x.files.Apply(shown, noOrigin)
}

// contextPaths are the patterns that are copied out of the context, and the paths
// that are mounted, each once.
func contextPaths(variants []*variant) (copied, mounted []string) {
	for _, v := range variants {
		for _, s := range v.stages {
			for _, st := range s.steps {
				switch e := st.exec.(type) {
				case plan.CopyExec:
					if e.From.Kind == plan.SourceContext {
						for _, source := range e.Sources {
							copied = append(copied, contextPath(source))
						}
					}
				case plan.RunExec:
					for _, m := range e.Mounts {
						if m.Type == plan.RunMountBind && m.From.Kind == plan.SourceContext {
							mounted = append(mounted, contextPath(m.Source))
						}
					}
				}
			}
		}
	}
	slices.Sort(copied)
	slices.Sort(mounted)
	return slices.Compact(copied), slices.Compact(mounted)
}

// contextPath is a source as the context takes it: from its top, which nothing leaves.
func contextPath(source string) string { return path.Clean("/" + source)[1:] }
