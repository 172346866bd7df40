package assemble

import (
	"context"
	"strconv"

	"github.com/decant-build/decant/assemble/internal/cache"
	"github.com/decant-build/decant/assemble/internal/plan"
)

// A step's key stands for the files after it: it is made of the key before, the
// instruction with everything expanded, and the content of what goes in, and of no
// time, place or name of a stage. All keys are known before anything executes.

// keySchema changes when what a step does changes for the same input.
const keySchema = "step/2"

// key is that of the stage's files after its last step.
func (s *stage) key(ctx context.Context) (string, error) {
	if len(s.steps) > 0 {
		return s.steps[len(s.steps)-1].key(ctx)
	}
	return s.baseKey(ctx)
}

// baseKey is that of the files before the first step.
func (s *stage) baseKey(ctx context.Context) (string, error) {
	switch {
	case s.parent != nil:
		return s.parent.key(ctx)
	case s.base != nil:
		return cache.Key(keySchema, "image", s.base.id.String()), nil
	}
	return cache.Key(keySchema, "scratch"), nil
}

// key is computed once; the keys it needs are those of steps before, or of stages
// before, so that there is no circle.
func (st *step) key(ctx context.Context) (string, error) {
	st.keyOnce.Do(func() { st.keyText, st.keyErr = st.computeKey(ctx) })
	return st.keyText, st.keyErr
}

func (st *step) computeKey(ctx context.Context) (string, error) {
	before, err := st.keyBefore(ctx)
	if err != nil {
		return "", err
	}
	var own []string
	switch e := st.exec.(type) {
	case plan.RunExec:
		own, err = st.runKey(ctx, e)
	case plan.CopyExec:
		own, err = st.copyKey(ctx, e)
	case plan.WorkdirExec:
		own = []string{"workdir", e.Dir, e.User}
	default:
		return before, nil
	}
	if err != nil {
		return "", err
	}
	key := cache.Key(append([]string{keySchema, before}, own...)...)
	if _, run := st.exec.(plan.RunExec); run {
		key = st.renewed(key)
	}
	return key, nil
}

// renewed is the key of a RUN that was executed anew, as NoCache asks: what it wrote
// then counts in later builds, and all that follows from it has keys of its own.
func (st *step) renewed(key string) string {
	x := st.stage.executor
	if x.NoCache {
		st.renewal = x.nonce
	} else if x.cache != nil {
		kept, _ := x.cache.Index(renewalKey(key))
		st.renewal = string(kept)
	}
	if st.renewal == "" {
		return key
	}
	st.plainKey = key
	return cache.Key(key, st.renewal)
}

func renewalKey(key string) string { return cache.Key("renewal/1", key) }

// keepRenewal has later builds use what the RUN just wrote.
func (st *step) keepRenewal() {
	x := st.stage.executor
	if !x.NoCache || x.cache == nil {
		return
	}
	if err := x.cache.KeepIndex(renewalKey(st.plainKey), []byte(st.renewal)); err != nil {
		x.tell("a step is not kept for the next build: " + err.Error())
	}
}

func (st *step) keyBefore(ctx context.Context) (string, error) {
	if st.n > 0 {
		return st.stage.steps[st.n-1].key(ctx)
	}
	return st.stage.baseKey(ctx)
}

// runKey leaves out what BuildKit leaves out: proxies, secrets' values, cache
// mounts' content.
func (st *step) runKey(ctx context.Context, e plan.RunExec) ([]string, error) {
	own := []string{"run", platformText(st.stage.executesOn()), cache.Key(e.Argv...), cache.Key(e.Env...), e.Dir, e.User,
		e.Network, strconv.FormatBool(st.stage.NoNetwork)}
	for _, f := range e.Files {
		own = append(own, f.Name, string(f.Data))
	}
	for _, m := range e.Mounts {
		from, err := st.mountKey(ctx, m)
		if err != nil {
			return nil, st.fault(err)
		}
		own = append(own, cache.Key(m.Type, m.Target, m.Source, m.ID, m.Env, strconv.FormatBool(m.ReadOnly), from))
	}
	return own, nil
}

// mountKey is the key of the files that a mount shows at first.
func (st *step) mountKey(ctx context.Context, m plan.RunMount) (string, error) {
	if m.Type != plan.RunMountBind && m.Type != plan.RunMountCache {
		return "", nil
	}
	if m.From.Kind != plan.SourceContext {
		return st.sourceKey(ctx, m.From)
	}
	if m.Type == plan.RunMountCache {
		return "", nil
	}
	entries, err := st.stage.selection(ctx, m.Source)
	if err != nil {
		return "", err
	}
	return st.stage.contentKey(ctx, entries)
}
