package assemble

import (
	"context"
	"fmt"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/decant-build/decant/assemble/internal/filetree"
	"github.com/decant-build/decant/assemble/internal/layer"
	"github.com/decant-build/decant/assemble/internal/plan"
)

// variant is a Dockerfile's target for one platform.
type variant struct {
	*executor
	platform v1.Platform
	graph    *plan.Graph
	stages   map[int]*stage
	target   *stage
	warnings []plan.Warning
	// strict refuses an image that is for another platform: nobody asked for this one.
	strict bool
}

// stage is one that the target needs. Its base and its steps are settled before
// anything executes; its files are asked for when something needs them.
type stage struct {
	*variant
	plan   *plan.ResolvedStage
	parent *stage     // the stage that it starts from; or
	base   *stageBase // the image; or neither, for scratch
	steps  []*step
	state  plan.State // after the last step

	// mu is held while files of the stage are made. A stage is locked before those
	// that it needs, and there is no circle.
	mu sync.Mutex
}

// step is an instruction of a stage.
type step struct {
	stage *stage
	n     int // its place in the stage
	exec  plan.Exec

	keyOnce sync.Once
	keyText string
	keyErr  error
	// renewal is what makes the key of a RUN another than plainKey; see renewed.
	plainKey, renewal string

	// What it changed and the tree after it, once known, and the changes as a
	// directory for overlayfs, once there is one. The stage's mu guards them.
	known   bool
	changes []layer.Entry
	err     error
	after   *filetree.Tree
	dir     string
}

// where names the step for messages.
func (st *step) where() string { o := st.exec.Where(); return fmt.Sprintf("%s:%d", o.File, o.Line) }

// executesOn is the platform of the stage's base.
func (s *stage) executesOn() v1.Platform {
	switch {
	case s.parent != nil:
		return s.parent.executesOn()
	case s.base != nil:
		return s.base.platform
	}
	return s.plan.Platform
}

// lineage is the stage and those that it starts from.
func (s *stage) lineage() []*stage {
	if s.parent == nil {
		return []*stage{s}
	}
	return append(s.parent.lineage(), s)
}

// chain is the steps from the image, or nothing, that the stage stands on.
func (s *stage) chain() []*step {
	if s.parent == nil {
		return s.steps
	}
	return append(append([]*step{}, s.parent.chain()...), s.steps...)
}

// ground is the first stage of the chain, which starts from an image or nothing.
func (s *stage) ground() *stage {
	if s.parent == nil {
		return s
	}
	return s.parent.ground()
}

// runs tells whether a command is executed in the stage or on top of its files.
func (s *stage) runs() bool {
	for _, other := range s.stages {
		if other == s || other.parent == s {
			for _, st := range other.steps {
				if _, ok := st.exec.(plan.RunExec); ok {
					return true
				}
			}
		}
		if other.parent == s && other.runs() {
			return true
		}
	}
	return false
}

// files is the tree of the stage's files after its last step. What that takes is
// executed.
func (s *stage) files(ctx context.Context) (*filetree.Tree, error) {
	// One step at a time: who wants what an earlier one changed gets a turn.
	for n := range s.steps {
		if err := s.lay(ctx, n); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.treeAfter(ctx, len(s.steps)-1)
}

func (s *stage) lay(ctx context.Context, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.treeAfter(ctx, n)
	return err
}

// treeAfter is the tree after the step n, -1 for the base. s.mu is held.
func (s *stage) treeAfter(ctx context.Context, n int) (*filetree.Tree, error) {
	if n < 0 {
		return s.baseTree(ctx)
	}
	st := s.steps[n]
	if st.after != nil {
		return st.after, nil
	}
	before, err := s.treeAfter(ctx, n-1)
	if err != nil {
		return nil, err
	}
	changes, err := st.made(ctx)
	if err != nil {
		return nil, err
	}
	st.after = before
	if len(changes) > 0 {
		after := before.Clone()
		if err := after.Apply(changes, noOrigin); err != nil {
			st.after = nil
			return nil, st.fault(err)
		}
		st.after = after
	}
	return st.after, nil
}

// make computes what a step changes, executing what that takes. The stage's mu is
// held.
func (st *step) make(ctx context.Context) (changes []layer.Entry, err error) {
	switch e := st.exec.(type) {
	case plan.RunExec:
		return st.run(ctx, e)
	case plan.CopyExec:
		return st.copy(ctx, e)
	case plan.WorkdirExec:
		return st.workdir(ctx, e)
	}
	return nil, nil
}

// changed is what a step changes, which is found out once; see make.
func (st *step) changed(ctx context.Context) ([]layer.Entry, error) {
	st.stage.mu.Lock()
	defer st.stage.mu.Unlock()
	return st.made(ctx)
}

// made is the same where mu is held.
func (st *step) made(ctx context.Context) ([]layer.Entry, error) {
	if !st.known {
		st.changes, st.err = st.make(ctx)
		st.known = true
	}
	return st.changes, st.err
}

// workdir makes the directory, which is the user's if it is new.
func (st *step) workdir(ctx context.Context, e plan.WorkdirExec) ([]layer.Entry, error) {
	before, err := st.stage.treeAfter(ctx, st.n-1)
	if err != nil {
		return nil, err
	}
	uid, gid := before.UserIDs(e.User)
	changes, err := before.Mkdir(e.Dir, uid, gid, 0o755)
	if err != nil {
		return nil, st.fault(err)
	}
	return changes, nil
}

// baseTree is the tree of what the stage starts from. s.mu is held.
func (s *stage) baseTree(ctx context.Context) (*filetree.Tree, error) {
	switch {
	case s.parent != nil:
		return s.parent.files(ctx)
	case s.base == nil:
		return filetree.New(), nil
	}
	return s.treeOf(ctx, s.filesOf(s.base), s.runs())
}

// lower is the directories of the files after the step n, bottom first, for a RUN
// above. s.mu is held.
func (s *stage) lower(ctx context.Context, n int) ([]string, error) {
	if n < 0 {
		return s.baseLower(ctx)
	}
	dirs, err := s.lower(ctx, n-1)
	if err != nil {
		return nil, err
	}
	dir, err := s.steps[n].directory(ctx)
	if err != nil || dir == "" {
		return dirs, err
	}
	return append(slices.Clone(dirs), dir), nil
}

func (s *stage) baseLower(ctx context.Context) ([]string, error) {
	switch {
	case s.parent != nil:
		s.parent.mu.Lock()
		defer s.parent.mu.Unlock()
		return s.parent.lower(ctx, len(s.parent.steps)-1)
	case s.base == nil:
		return nil, nil
	}
	root, err := s.unpack(ctx, s.filesOf(s.base))
	if err != nil {
		return nil, err
	}
	return root.Layers, nil
}

// directory is what a step changed, as a directory; "" for nothing. The stage's mu is
// held.
func (st *step) directory(ctx context.Context) (string, error) {
	changes, err := st.made(ctx)
	if err != nil || len(changes) == 0 || st.dir != "" {
		return st.dir, err
	}
	before, err := st.stage.treeAfter(ctx, st.n-1)
	if err != nil {
		return "", err
	}
	key, err := st.key(ctx)
	if err != nil {
		return "", err
	}
	store, err := st.stage.store()
	if err != nil {
		return "", err
	}
	key = st.stage.storeKey(key)
	kept, ok := store.Step(key)
	if !ok {
		kept, err = store.Write(ctx, key, changes, func(dir string) uint32 {
			if node, err := before.Lookup(dir); err == nil {
				return node.Entry.Mode
			}
			return 0o755
		})
	}
	if err != nil {
		return "", st.fault(err)
	}
	st.stage.atEnd(kept.Close)
	st.dir = kept.Dir
	return st.dir, nil
}

// whole reports whether the store has what every command that the step depends on
// wrote, so that none of them is executed again.
func (st *step) whole(ctx context.Context) bool {
	for i := range st.n + 1 {
		if !st.stage.steps[i].stands(ctx) {
			return false
		}
	}
	return st.stage.parent == nil || st.stage.parent.whole(ctx)
}

func (s *stage) whole(ctx context.Context) bool {
	if len(s.steps) > 0 {
		return s.steps[len(s.steps)-1].whole(ctx)
	}
	return s.parent == nil || s.parent.whole(ctx)
}

// stands is false for a RUN, or for a COPY from a stage with one, whose result is
// not in the store.
func (st *step) stands(ctx context.Context) bool {
	switch e := st.exec.(type) {
	case plan.CopyExec:
		return e.From.Kind != plan.SourceStage || st.stage.stages[e.From.Stage].whole(ctx)
	case plan.RunExec:
		for _, m := range e.Mounts {
			if m.From.Kind == plan.SourceStage && !st.stage.stages[m.From.Stage].whole(ctx) {
				return false
			}
		}
		return st.isKept(ctx)
	}
	return true
}
