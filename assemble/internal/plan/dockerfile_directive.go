package plan

import (
	"bytes"
	"regexp"
	"strings"
	"unicode"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// readDirectives reads the comments at the top that are directives. One that is
// wrong is taken out of lines, for the parser would stop at it.
func (d *Dockerfile) readDirectives(src []byte, lines [][]byte, found *faults) {
	var p parser.DirectiveParser
	for i := range lines {
		line := bytes.TrimLeftFunc(bytes.TrimRight(lines[i], "\r\n"), unicode.IsSpace)
		directive, err := p.ParseLine(line)
		if err == nil && directive == nil {
			break
		}
		if err == nil {
			d.directives = i + 1
			err = d.readDirective(directive)
		}
		if err != nil {
			message, fix := explain(err)
			found.add(i+1, clip(string(line))+": "+message, fix)
			lines[i] = []byte("\n")
		}
	}
	if ref, _, at, ok := parser.DetectSyntax(src); ok && !ownSyntax.MatchString(ref) {
		found.add(lineOf(at), "the syntax "+clip(ref)+" is not supported",
			"remove the line if the file is a plain Dockerfile, which needs none")
	}
}

func (d *Dockerfile) readDirective(directive *parser.Directive) error {
	switch directive.Name {
	case "escape":
		if directive.Value != "`" && directive.Value != `\` {
			return wrong("", "the escape character is \\ or `")
		}
		d.escape = rune(directive.Value[0])
	case "check":
		options, _, _ := strings.Cut(directive.Value, " ")
		config, err := linter.ParseLintOptions(options)
		if err != nil {
			return err
		}
		d.check = *config
	}
	return nil
}

// ownSyntax matches the references of Docker's own syntax, also in a mirror.
var ownSyntax = regexp.MustCompile(`^(\S+/)?docker/dockerfile(-upstream)?(:[^/@]*)?(@\S+)?$`)
