package assemble

import (
	"errors"
	"fmt"

	"github.com/decant-build/decant/assemble/internal/filetree"
	"github.com/decant-build/decant/assemble/internal/plan"
)

// InstructionError is an instruction of a Dockerfile that could not be carried out.
type InstructionError struct {
	File string
	Line int
	Text string // the instruction, on one line
	Err  error
}

func (e *InstructionError) Error() string {
	return fmt.Sprintf("%s:%d: %s: %v", e.File, e.Line, e.Text, e.Err)
}

// Unwrap returns Err.
func (e *InstructionError) Unwrap() error { return e.Err }

// fault says at which instruction an error showed.
func (st *step) fault(err error) error {
	var told *InstructionError
	var failed *StepError // which says where itself
	if err == nil || errors.As(err, &told) || errors.As(err, &failed) {
		return err
	}
	o := st.exec.Where()
	return &InstructionError{File: o.File, Line: o.Line, Text: o.Text, Err: err}
}

// imageFault says which instruction needs an image.
func (x *executor) imageFault(rs *plan.ResolvedStage, err error) error {
	if err == nil {
		return nil
	}
	return &InstructionError{File: x.file.Name, Line: rs.Line, Text: rs.Text, Err: err}
}

// explainCopy adds what only the context knows: that a file is there and ignored.
func (st *step) explainCopy(err error, e plan.CopyExec) error {
	var missing *filetree.SourceError
	if e.From.Kind == plan.SourceContext && errors.As(err, &missing) {
		if pattern, ok := st.stage.context.Ignored(contextPath(missing.Source)); ok {
			err = &IgnoredError{Source: missing.Source, Pattern: pattern}
		}
	}
	return st.fault(err)
}

// IgnoredError is a file that a COPY names and an ignore file leaves out.
type IgnoredError struct{ Source, Pattern string }

func (e *IgnoredError) Error() string {
	return fmt.Sprintf("%s is there, but %s leaves it out", e.Source, e.Pattern)
}

// Hint says how to bring it back.
func (e *IgnoredError) Hint() string {
	return "remove the pattern, or add the line !" + e.Source + " below it"
}
