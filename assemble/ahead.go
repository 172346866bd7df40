package assemble

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/decant-build/decant/assemble/internal/plan"
)

// startStages begins with what the missing layers of a chain need, all at once:
// whoever asks for files then waits for what is under way. The caller waits for the
// group.
func (e *emission) startStages(ctx context.Context, chain []*step) *errgroup.Group {
	g := &errgroup.Group{}
	if e.complete {
		return g
	}
	started := map[*stage]bool{}
	for _, st := range chain {
		e.startNeeds(ctx, g, st, started)
	}
	if !noRun(chain) {
		// Its own RUNs, too: a layer is made while the next one executes.
		e.startFiles(ctx, g, chain[len(chain)-1].stage)
	}
	return g
}

// startFiles makes the files of a stage.
func (e *emission) startFiles(ctx context.Context, g *errgroup.Group, s *stage) {
	g.Go(func() error {
		_, err := s.files(ctx)
		if err != nil {
			e.cancel(err)
		}
		return err
	})
}

// startNeeds starts the stages that a step reads, if it is to be done, and theirs.
func (e *emission) startNeeds(ctx context.Context, g *errgroup.Group, st *step, started map[*stage]bool) {
	if st.isDone(ctx) {
		return
	}
	for _, s := range st.needs() {
		if started[s] {
			continue
		}
		started[s] = true
		for _, below := range s.chain() {
			e.startNeeds(ctx, g, below, started)
		}
		e.startFiles(ctx, g, s)
	}
}

// isDone reports a step that needs no stage's files: a RUN that is kept.
func (st *step) isDone(ctx context.Context) bool {
	_, run := st.exec.(plan.RunExec)
	return run && st.isKept(ctx)
}

// needs are the stages whose files a step reads.
func (st *step) needs() []*stage {
	var needs []*stage
	for _, from := range st.sources() {
		if from.Kind == plan.SourceStage {
			needs = append(needs, st.stage.stages[from.Stage])
		}
	}
	return needs
}

// sources are where a step reads files from.
func (st *step) sources() []plan.CopySource {
	switch e := st.exec.(type) {
	case plan.CopyExec:
		return []plan.CopySource{e.From}
	case plan.RunExec:
		var sources []plan.CopySource
		for _, m := range e.Mounts {
			if m.Type == plan.RunMountBind || m.Type == plan.RunMountCache {
				sources = append(sources, m.From)
			}
		}
		return sources
	}
	return nil
}
