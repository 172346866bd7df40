package plan

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Bounds of what is read and made of one Dockerfile.
const (
	maxDockerfile = 16 << 20 // bytes of the file
	maxLine       = 64<<10 - 1
	// maxWord is the length of an instruction with its continuation lines, of a
	// here-document that is expanded, and of what a word expands to.
	maxWord = 1 << 20
)

// scratch is the base without files.
const scratch = "scratch"

// Dockerfile is a parsed Dockerfile. It does not change and is safe for
// concurrent use.
type Dockerfile struct {
	Name string

	lines    []string // of the source, without line ends
	escape   rune
	check    linter.Config
	metaArgs []metaArg
	stages   []stageSource
	// directives is how many lines at the top are directives.
	directives int
	byName     map[string]int // the last stage of a name
	warnings   []Warning
}

// ParseDockerfile reads a whole Dockerfile; name is for messages. The error is a
// *DockerfileError with all faults of the file at once.
//
// The file is UTF-8, perhaps with a byte order mark. Files beyond a bound that
// no real one comes near (16 MiB, 64 KiB a line, 1 MiB an instruction) are
// refused. So is a syntax directive that names another language than that of
// docker/dockerfile; any version of that will do, "-labs" too, for an
// instruction or flag that is not supported is refused where it is used.
func ParseDockerfile(name string, src []byte) (*Dockerfile, error) {
	d := &Dockerfile{Name: name, escape: parser.DefaultEscapeToken, byName: map[string]int{}}
	if faults := checkText(src); len(faults) > 0 {
		return nil, &DockerfileError{Name: name, Faults: faults}
	}
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	for line := range strings.Lines(string(src)) {
		d.lines = append(d.lines, strings.TrimRight(line, "\r\n"))
	}
	var faults faults
	lines := bytes.SplitAfter(src, []byte("\n"))
	d.readDirectives(src, lines, &faults)
	l := newLints(d.check)
	// After a faulty directive the parser would not see an escape that follows.
	sound := faults.none() || d.escape == parser.DefaultEscapeToken
	if checkLines(lines, d.escape, &faults) && sound {
		if ast := parseLines(lines, &faults, l); ast != nil {
			d.readInstructions(ast, &faults, l)
			lintFile(d.stages, l)
		}
	}
	d.warnings = l.warnings()
	if faults.none() {
		faults.list = append(faults.list, *l.strict...)
	}
	return d, faults.err(name)
}

// Warnings are those of the file as such, by line; Resolve and Evaluate return
// further ones.
func (d *Dockerfile) Warnings() []Warning { return d.warnings }

// Target finds a stage by its name, in any case, or by its number. "" is the last
// one. The error is a *TargetError.
func (d *Dockerfile) Target(name string) (int, error) {
	if name == "" {
		return len(d.stages) - 1, nil
	}
	if i, ok := d.byName[strings.ToLower(name)]; ok {
		return i, nil
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(d.stages) {
		return i, nil
	}
	e := &TargetError{Name: d.Name, Target: name}
	for _, s := range d.stages {
		if s.name != "" {
			e.Stages = append(e.Stages, s.name)
		}
	}
	return 0, e
}

// TargetError is about a --target that the file does not have.
type TargetError struct {
	Name   string // of the file
	Target string
	Stages []string // the names that there are
}

func (e *TargetError) Error() string {
	return fmt.Sprintf("%s: no stage is called %q", e.Name, e.Target)
}

// Hint says what the stages are called.
func (e *TargetError) Hint() string {
	if near := nearest(e.Target, e.Stages); near != "" {
		return fmt.Sprintf("did you mean --target %s?", near)
	}
	if len(e.Stages) == 0 {
		return "none of its stages has a name; --target takes a number, from 0, too"
	}
	return "its stages are " + strings.Join(e.Stages, ", ")
}

// checkText finds what no text file has.
func checkText(src []byte) []Fault {
	switch {
	case len(src) > maxDockerfile:
		return []Fault{{Text: fmt.Sprintf("it is larger than %d MiB", maxDockerfile>>20),
			Fix: "is this the Dockerfile?"}}
	case bytes.HasPrefix(src, []byte("\xff\xfe")), bytes.HasPrefix(src, []byte("\xfe\xff")):
		return []Fault{{Line: 1, Text: "the file is UTF-16", Fix: "save it as UTF-8"}}
	}
	var found faults
	number := 0
	for line := range bytes.Lines(src) {
		number++
		if i := bytes.IndexByte(line, 0); i >= 0 {
			found.add(number, fmt.Sprintf("NUL byte in column %d", i+1), "")
		} else if !utf8.Valid(line) {
			found.add(number, "bytes that are not UTF-8", "save the file as UTF-8")
		}
	}
	return found.list
}

// checkLines finds what is too long, which the parser reports without a line or
// lexes with a recursion that is as deep. It returns whether all is well.
func checkLines(lines [][]byte, escape rune, found *faults) bool {
	size, start, open, before := 0, 0, false, len(found.list)
	for i, line := range lines {
		if len(line) > maxLine {
			found.add(i+1, fmt.Sprintf("the line is longer than %d bytes", maxLine), "")
		}
		text := bytes.TrimSpace(line)
		if open && (len(text) == 0 || text[0] == '#') {
			continue
		}
		if !open {
			size, start = 0, i+1
		}
		size += len(text)
		open = bytes.HasSuffix(text, []byte(string(escape)))
		if size-len(text) <= maxWord && size > maxWord {
			found.add(start, fmt.Sprintf("the instruction is longer than %d MiB", maxWord>>20), "")
		}
	}
	return len(found.list) == before
}

// parseLines runs the parser until it finds no further fault: lines that have one
// are left out of the next run. It returns nil if what follows a fault could not
// be told from a here-document's text.
func parseLines(lines [][]byte, found *faults, l lints) *parser.Node {
	for {
		result, err := parser.Parse(bytes.NewReader(bytes.Join(lines, nil)))
		if err == nil {
			for _, w := range result.Warnings {
				if w.URL == linter.RuleNoEmptyContinuation.URL && w.Location != nil {
					l.rules.Run(&linter.RuleNoEmptyContinuation, []parser.Range{*w.Location},
						linter.RuleNoEmptyContinuation.Format())
				}
			}
			return result.AST
		}
		first, last := span(err)
		if found.full() || last > len(lines) {
			return nil
		}
		if first < 1 || isBlank(lines[first-1]) {
			// There is no instruction left, or there never was one.
			if found.none() {
				found.add(0, err.Error(), "a Dockerfile begins with FROM")
			}
			return nil
		}
		message, fix := explain(err)
		found.add(first, clip(strings.TrimSpace(string(lines[first-1])))+": "+message, fix)
		if bytes.Contains(bytes.Join(lines[first-1:last], nil), []byte("<<")) {
			return nil
		}
		for i := first - 1; i < last; i++ {
			lines[i] = []byte("\n")
		}
	}
}

// span is the lines that an error of the parser is about.
func span(err error) (first, last int) {
	var located *parser.LocationError
	if !errors.As(err, &located) || len(located.Locations) == 0 {
		return 0, 0
	}
	ranges := located.Locations[0]
	if len(ranges) == 0 {
		return 0, 0
	}
	return ranges[0].Start.Line, ranges[len(ranges)-1].End.Line
}

// isBlank reports whether the line is none of an instruction.
func isBlank(line []byte) bool {
	line = bytes.TrimSpace(line)
	return len(line) == 0 || line[0] == '#'
}
