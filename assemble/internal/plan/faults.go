package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// maxFaults bounds what is told about one file: with a few dozen faults it is no
// Dockerfile.
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

// faults collects what is wrong.
type faults struct {
	list []Fault
}

func (f *faults) none() bool { return len(f.list) == 0 }
func (f *faults) full() bool { return len(f.list) >= maxFaults }

// add notes a fault, unless there are enough of them.
func (f *faults) add(line int, text, fix string) {
	switch len(f.list) {
	case maxFaults:
	case maxFaults - 1:
		f.list = append(f.list, Fault{Text: "there are more faults than these"})
	default:
		f.list = append(f.list, Fault{Line: line, Text: oneLine(text), Fix: oneLine(fix)})
	}
}

// instruction notes what is wrong with one.
func (f *faults) instruction(n *parser.Node, prefix string, err error) {
	message, fix := explain(err)
	f.add(n.StartLine, prefix+excerpt(n, message)+": "+message, fix)
}

// err is the *DockerfileError of all faults, or nil.
func (f *faults) err(name string) error {
	if f.none() {
		return nil
	}
	slices.SortStableFunc(f.list, func(a, b Fault) int {
		// The note that there are more stays last.
		if a.Line == 0 || b.Line == 0 {
			return 0
		}
		return a.Line - b.Line
	})
	return &DockerfileError{Name: name, Faults: f.list}
}

// fixable is an error that knows what to do about it.
type fixable struct {
	text, fix string
}

func (e *fixable) Error() string { return e.text }

// wrong makes a fixable error.
func wrong(fix, format string, args ...any) error {
	return &fixable{text: fmt.Sprintf(format, args...), fix: fix}
}

// explain splits an error into what is wrong and what to do about it. The
// suggestions of BuildKit have no type to look for; they are the end of the text.
func explain(err error) (message, fix string) {
	if e, ok := err.(*fixable); ok {
		return e.text, e.fix
	}
	message = err.Error()
	const question = " (did you mean "
	i := strings.LastIndex(message, question)
	if i < 0 || !strings.HasSuffix(message, "?)") {
		return message, ""
	}
	word := strings.TrimSuffix(message[i+len(question):], "?)")
	message = message[:i]
	if strings.Contains(message, "--") {
		word = "--" + word
	}
	return message, "did you mean " + word + "?"
}

// excerpt names an instruction: with the flag that a message is about, or as far
// as it fits on a line.
func excerpt(n *parser.Node, message string) string {
	for _, flag := range n.Flags {
		name, _, _ := strings.Cut(flag, "=")
		if len(name) > len("--") && strings.Contains(message, name) {
			return clip(n.Value + " " + flag)
		}
	}
	return clip(strings.TrimSpace(n.Original))
}

// clip shortens text for a message.
func clip(s string) string {
	const width = 72
	runes := []rune(oneLine(s))
	if len(runes) <= width {
		return string(runes)
	}
	return string(runes[:width-1]) + "…"
}
