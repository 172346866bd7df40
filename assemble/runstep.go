package assemble

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"sync"

	"github.com/decant-build/decant/assemble/internal/layer"
	"github.com/decant-build/decant/assemble/internal/plan"
	"github.com/decant-build/decant/assemble/internal/project"
	"github.com/decant-build/decant/assemble/internal/rootfs"
	"github.com/decant-build/decant/assemble/internal/sandbox"
)

// keptRun is what a RUN changed, shared by the stages of all platforms that have the
// same RUN on the same files.
type keptRun struct {
	mu   sync.Mutex
	step *rootfs.Step // nil before
	// executed is set if this build did it, rather than an earlier one.
	executed bool
}

func (x *executor) runOf(key string) *keptRun {
	x.mu.Lock()
	defer x.mu.Unlock()
	k := x.runs[key]
	if k == nil {
		k = &keptRun{}
		x.runs[key] = k
	}
	return k
}

// findRun looks in the store. k.mu is held.
func (x *executor) findRun(k *keptRun, key string, store *rootfs.Store) bool {
	if k.step == nil && !x.NoCache {
		if kept, ok := store.Step(key); ok {
			x.atEnd(kept.Close)
			k.step = kept
		}
	}
	return k.step != nil
}

// isKept reports whether a RUN need not be executed.
func (st *step) isKept(ctx context.Context) bool {
	x := st.stage.executor
	key, err := st.key(ctx)
	if err != nil {
		return false
	}
	store, err := x.store()
	if err != nil {
		return false
	}
	k := x.runOf(key)
	k.mu.Lock()
	defer k.mu.Unlock()
	return x.findRun(k, key, store) && !k.executed
}

// run executes a RUN, or finds what it changed in an earlier build or in this one's
// image for another platform. The stage's mu is held.
func (st *step) run(ctx context.Context, e plan.RunExec) ([]layer.Entry, error) {
	x := st.stage.executor
	key, err := st.key(ctx)
	if err != nil {
		return nil, err
	}
	store, err := x.store()
	if err != nil {
		return nil, err
	}
	k := x.runOf(key)
	k.mu.Lock()
	defer k.mu.Unlock()
	if x.findRun(k, key, store) {
		x.Progress.Fact("cached", st.where()+" "+e.Text)
	} else {
		if k.step, err = st.execute(ctx, e, key, store); err != nil {
			return nil, err
		}
		k.executed = true
		x.atEnd(k.step.Close)
		st.keepRenewal()
	}
	st.dir = k.step.Dir
	return k.step.Entries, nil
}

// execute runs the command over the directories of the steps before, and takes over
// what it wrote.
func (st *step) execute(ctx context.Context, e plan.RunExec, key string, store *rootfs.Store) (_ *rootfs.Step, err error) {
	s := st.stage
	before, err := s.treeAfter(ctx, st.n-1)
	if err != nil {
		return nil, err
	}
	lower, err := s.lower(ctx, st.n-1)
	if err != nil {
		return nil, err
	}
	uid, gid, home, err := st.user(lower, e.User)
	if err != nil {
		return nil, st.fault(err)
	}
	// Before any lock of a cache mount is held, which a stage may want too.
	for _, from := range st.needs() {
		if _, err := from.files(ctx); err != nil {
			return nil, err
		}
	}
	box, err := sandbox.Open(ctx, st.boxConfig(lower, store))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	what, release, err := st.command(ctx, e, home)
	defer release()
	if err != nil {
		return nil, err
	}
	what.UID, what.GID = int(uid), int(gid)
	// Not before: what the mounts show may be a stage that waits for its turn, too.
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if err := st.report(ctx, e, box, what); err != nil {
		return nil, err
	}
	made, err := st.takeOver(ctx, box, store, key, rootfs.AdoptOptions{
		UID: uid, GID: gid,
		Lower: func(name string) (layer.Entry, bool) {
			node, err := before.Lstat(name)
			return node.Entry, err == nil && node.Entry.Name == name
		},
	})
	return made, st.fault(err)
}

// takeOver keeps what the command wrote.
func (st *step) takeOver(ctx context.Context, box *sandbox.Sandbox, store *rootfs.Store, key string,
	o rootfs.AdoptOptions) (*rootfs.Step, error) {
	if box.OwnersLost() && st.stage.isEmitted() {
		return nil, &OwnersLostError{}
	}
	upper, err := box.TakeChanges()
	if err != nil {
		return nil, err
	}
	if err := st.checkLeak(ctx, upper); err != nil {
		return nil, err
	}
	o.Recorded = recordedOwners(box)
	return store.Adopt(ctx, st.stage.storeKey(key), upper, o)
}

// boxConfig is the sandbox of one RUN.
func (st *step) boxConfig(lower []string, store *rootfs.Store) sandbox.Config {
	x := st.stage.executor
	config := sandbox.Config{
		Lower: lower, Dir: store.Temp(), Owners: sandbox.RecordOwners, Hostname: "decant", Warn: x.tell,
		Flatten:     func(ctx context.Context, dst string) error { return rootfs.Flatten(ctx, lower, dst) },
		FlattenTree: rootfs.Flatten,
	}
	if x.Isolation == IsolationChroot {
		config.Isolation = sandbox.Chroot
		x.tell("--isolation chroot keeps nothing from a RUN: use it only on a machine that is itself thrown away")
	}
	return config
}

// report runs the command and tells of it.
func (st *step) report(ctx context.Context, e plan.RunExec, box *sandbox.Sandbox, what sandbox.Step) error {
	out, done := st.stage.Progress.Step(st.where(), e.Text)
	last := &tail{}
	what.Stdout = fanOut{out, last}
	what.Stderr = what.Stdout
	err := box.Run(ctx, what)
	var exit *sandbox.ExitError
	if errors.As(err, &exit) {
		err = &StepError{Step: st.where(), Command: e.Text, Code: exit.Code, Reason: exit.Reason, Tail: last.String(),
			Fix: runHint(exit.Code, last.String())}
	}
	done(err)
	return err
}

// codeNotFound is a shell's for a command that it does not find.
const codeNotFound = 127

// flagHint matches the hints whose way out is a flag that a Dockerfile has no use for.
var flagHint = regexp.MustCompile(`--(builder|env-build|install-command|build-command)`)

// runHint names the likely cause of a failed RUN.
func runHint(code int, tail string) string {
	if code == codeNotFound {
		return "the image of the stage lacks a command: install it in a RUN before, or choose another FROM"
	}
	if hint := project.Hint("RUN", code, tail); !flagHint.MatchString(hint) {
		return hint
	}
	return ""
}

// user finds the numbers and the home of a USER in the files that a RUN sees.
func (st *step) user(lower []string, name string) (uid, gid uint32, home string, err error) {
	base := st.stage.ground().base
	if base == nil {
		return rootfs.View{}.LookupUser(name)
	}
	root := st.stage.filesOf(base).root
	return root.View(lower[len(root.Layers):]...).LookupUser(name)
}

// recordedOwners are the owners that no file could carry.
func recordedOwners(box *sandbox.Sandbox) map[string]rootfs.Owner {
	owners := map[string]rootfs.Owner{}
	for name, o := range box.RecordedOwners() {
		owners[name] = rootfs.Owner(o)
	}
	return owners
}

// isEmitted reports a stage whose layers are in the image.
func (s *stage) isEmitted() bool {
	return slices.Contains(s.target.lineage(), s)
}

// OwnersLostError is a RUN that gave files an owner where this system does not let
// decant learn which.
type OwnersLostError struct{}

func (e *OwnersLostError) Error() string {
	return "it changed owners of files, which cannot be recorded on this system"
}

// Hint says how to do without.
func (e *OwnersLostError) Hint() string {
	return "use COPY --chown=USER instead, build on Linux 5.9 or later, or do it in a stage that only feeds COPY --from"
}
