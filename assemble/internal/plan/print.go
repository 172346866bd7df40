package plan

import (
	"fmt"
	"strconv"
	"strings"
)

// Print returns a Dockerfile with the stages that are needed, as they are
// written, and the comments above and in them. A stage that is not needed is left
// out, or is an empty one if --from=NUMBER counts it.
func (g *Graph) Print() string {
	d := g.file
	var out strings.Builder
	write := func(lines []string) {
		for _, line := range lines {
			out.WriteString(line + "\n")
		}
	}
	write(trimBlank(d.lines[:d.firstLine(0)]))
	counted := g.highestNumber()
	for i := range d.stages {
		if g.Stages[i] == nil && i >= counted {
			continue
		}
		if out.Len() > 0 {
			out.WriteByte('\n')
		}
		if g.Stages[i] == nil {
			fmt.Fprintf(&out, "# Stage %d is not needed, but stages are counted.\nFROM scratch\n", i)
			continue
		}
		write(d.lines[d.firstLine(i):d.lastLine(i)])
	}
	return out.String()
}

// firstLine is the index of the line where a stage begins, with the comments
// right above its FROM.
func (d *Dockerfile) firstLine(stage int) int {
	line := d.stages[stage].node.StartLine - 1
	limit := 0
	if stage > 0 {
		limit = d.lastLine(stage - 1)
	}
	for line > limit && strings.HasPrefix(strings.TrimSpace(d.lines[line-1]), "#") &&
		!d.isDirective(line-1) {
		line--
	}
	return line
}

// isDirective reports whether the line is one of the directives that the file
// begins with.
func (d *Dockerfile) isDirective(index int) bool { return index < d.directives }

// lastLine is the index after a stage's last line.
func (d *Dockerfile) lastLine(stage int) int {
	s := d.stages[stage]
	if len(s.commands) == 0 {
		return s.node.EndLine
	}
	return s.commands[len(s.commands)-1].node.EndLine
}

// highestNumber is the number of stages that have to stay for the references by
// number of the needed ones.
func (g *Graph) highestNumber() int {
	count := 0
	for i, s := range g.file.stages {
		if g.Stages[i] == nil {
			continue
		}
		for _, c := range s.commands {
			refs := c.refs
			if c.trigger != nil {
				refs = c.trigger.refs
			}
			for _, ref := range refs {
				_, isName := g.file.byName[strings.ToLower(ref.name)]
				if n, err := strconv.Atoi(ref.name); err == nil && !isName {
					count = max(count, n+1)
				}
			}
		}
	}
	return count
}

// trimBlank drops the blank lines at the end.
func trimBlank(lines []string) []string {
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}
