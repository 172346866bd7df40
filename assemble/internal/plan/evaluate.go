package plan

import "errors"

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
func (g *Graph) Evaluate(stage int, base State) (*Evaluated, error) {
	return nil, errors.ErrUnsupported
}
