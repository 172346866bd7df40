package plan

import (
	"fmt"
	"strings"
)

// maxFaults bounds what is told about one file: after a few dozen faults it is
// no Dockerfile.
const maxFaults = 50

// Fault is one thing that is wrong with a Dockerfile.
type Fault struct {
	Line int // 0 if it is no line's
	Text string
	Fix  string // what to do about it; "" if Text says so
}

// DockerfileError has all that is wrong with a Dockerfile, by line. It is never
// without a fault.
type DockerfileError struct {
	Name   string
	Faults []Fault
}

// Error has a line for each fault.
func (e *DockerfileError) Error() string {
	var lines []string
	for _, f := range e.Faults {
		where := e.Name
		if f.Line > 0 {
			where = fmt.Sprintf("%s:%d", e.Name, f.Line)
		}
		lines = append(lines, where+": "+f.Text)
	}
	return strings.Join(lines, "\n")
}

// Hint has the ways out of the faults that have one; with their lines, if there
// are several faults.
func (e *DockerfileError) Hint() string {
	var lines []string
	for _, f := range e.Faults {
		switch {
		case f.Fix == "":
		case len(e.Faults) == 1 || f.Line == 0:
			lines = append(lines, f.Fix)
		default:
			lines = append(lines, fmt.Sprintf("line %d: %s", f.Line, f.Fix))
		}
	}
	return strings.Join(lines, "\n")
}
