package plan

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// stageSource is a stage as it is written.
type stageSource struct {
	node           *parser.Node // of FROM
	name           string       // lower-case
	base, platform string       // not expanded
	commands       []command
}

// command is an instruction of a stage. Its node is parsed again for each
// evaluation, for that changes the parser's result in place.
type command struct {
	node *parser.Node
	refs []reference
	args []string // that it declares
	// trigger is what ONBUILD is about, of which refs and args are empty.
	trigger *command
	onBuild bool // it is a trigger itself
}

// reference is a stage or image that an instruction reads.
type reference struct {
	name string
	flag string // as "COPY --from=x", for messages
}

// metaArg is one before the first FROM.
type metaArg struct {
	node *parser.Node
	args []instructions.KeyValuePairOptional
}

// readInstructions makes stages of what the parser returned.
func (d *Dockerfile) readInstructions(ast *parser.Node, found *faults, l lints) {
	headless := false
	for _, n := range ast.Children {
		if found.full() {
			return
		}
		parsed, err := parseInstruction(n, l)
		_, isArg := parsed.(*instructions.ArgCommand)
		isFrom := strings.EqualFold(n.Value, "FROM")
		switch {
		case err != nil && !isFrom:
			found.instruction(n, "", err)
			continue
		case isFrom:
			d.addStage(n, parsed, err, found)
			continue
		case len(d.stages) == 0 && isArg:
			d.metaArgs = append(d.metaArgs, metaArg{n, parsed.(*instructions.ArgCommand).Args})
			continue
		case len(d.stages) == 0:
			if !headless {
				found.add(n.StartLine, excerpt(n, "")+": it comes before the first FROM",
					"a Dockerfile begins with FROM; only ARG can precede it")
			}
			headless = true
			continue
		}
		c, err := newCommand(n, parsed, l)
		if err != nil {
			found.instruction(n, "", err)
		}
		lintQuotes(n, l)
		last := &d.stages[len(d.stages)-1]
		last.commands = append(last.commands, c)
	}
	if len(d.stages) == 0 && found.none() {
		found.add(0, "it has no FROM", "a Dockerfile begins with FROM")
	}
}

// addStage begins a stage, also if its FROM is wrong: what follows is judged as
// if it were not.
func (d *Dockerfile) addStage(n *parser.Node, parsed any, err error, found *faults) {
	s := stageSource{node: n}
	if from, ok := parsed.(*instructions.Stage); ok && err == nil {
		s.name, s.base, s.platform = from.Name, from.BaseName, from.Platform
		err = checkNode(n)
	}
	if err != nil {
		found.instruction(n, "", err)
	}
	if s.name != "" {
		d.byName[s.name] = len(d.stages)
	}
	d.stages = append(d.stages, s)
}

// parseInstruction makes an instruction of a node, always a new one.
func parseInstruction(n *parser.Node, l lints) (any, error) {
	for i, flag := range n.Flags {
		if fixed := utf8Flag(flag); fixed != flag {
			n = cloneFlags(n)
			n.Flags[i] = fixed
		}
	}
	return instructions.ParseInstructionWithLinter(n, l.rules)
}

// utf8Flag undoes what the parser does to a flag: it takes each byte for a
// character.
func utf8Flag(flag string) string {
	raw := make([]byte, 0, len(flag))
	for _, r := range flag {
		if r > 0xff {
			return flag
		}
		raw = append(raw, byte(r))
	}
	if !utf8.Valid(raw) {
		return flag
	}
	return string(raw)
}

func cloneFlags(n *parser.Node) *parser.Node {
	c := *n
	c.Flags = slices.Clone(n.Flags)
	return &c
}

// newCommand checks what can be checked before anything is expanded.
func newCommand(n *parser.Node, parsed any, l lints) (command, error) {
	c := command{node: n}
	if err := checkNode(n); err != nil {
		return c, err
	}
	switch p := parsed.(type) {
	case *instructions.ArgCommand:
		for _, a := range p.Args {
			c.args = append(c.args, a.Key)
		}
	case *instructions.CopyCommand:
		if p.From != "" {
			c.refs = []reference{{p.From, clip(n.Value + " --from=" + p.From)}}
		}
	case *instructions.RunCommand:
		for _, m := range instructions.GetMounts(p) {
			if m.From != "" {
				c.refs = append(c.refs, reference{m.From, clip(n.Value + " --mount=from=" + m.From)})
			}
		}
	case *instructions.OnbuildCommand:
		trigger, err := parseTrigger(p.Expression, n, l)
		if err != nil {
			return c, err
		}
		c.trigger = &trigger
	}
	return c, checkEarly(n, parsed)
}

// parseTrigger reads the instruction of an ONBUILD. It is located where at is.
func parseTrigger(text string, at *parser.Node, l lints) (command, error) {
	if len(text) > maxWord {
		return command{}, fmt.Errorf("the trigger is longer than %d MiB", maxWord>>20)
	}
	result, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return command{}, err
	}
	if len(result.AST.Children) != 1 {
		return command{}, errors.New("the trigger is not one instruction")
	}
	n := result.AST.Children[0]
	n.StartLine, n.EndLine = at.StartLine, at.EndLine
	parsed, err := parseInstruction(n, l)
	if err != nil {
		return command{}, err
	}
	switch parsed.(type) {
	case *instructions.OnbuildCommand, *instructions.MaintainerCommand, *instructions.Stage:
		return command{}, fmt.Errorf("%s cannot be a trigger", strings.ToUpper(n.Value))
	}
	c, err := newCommand(n, parsed, l)
	c.onBuild = true
	return c, err
}

// plainName is what a stage can be called; an image of one word looks the same.
var plainName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]*$`)
