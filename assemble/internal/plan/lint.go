package plan

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Warning is something in a Dockerfile that works, but hardly as it was meant.
type Warning struct {
	Line int // 0 if it is no line's
	// Rule is the name of a check of BuildKit, or one of the Rule constants.
	Rule string
	Text string
}

// The rules that BuildKit does not have. "# check=skip=" takes their names, but
// "# check=error=true" is not about them: what BuildKit builds is built.
const (
	RuleCurlyQuotes    = "CurlyQuotes"    // typographic quotes make a JSON form a shell form
	RuleUnknownStage   = "UnknownStage"   // an image whose name is nearly that of a stage
	RuleUnusedBuildArg = "UnusedBuildArg" // a build argument that no ARG declares
)

// lints collects warnings, as the "check" directives allow.
type lints struct {
	rules *linter.Linter
	found *[]Warning
	// strict are those that "# check=error=true" makes errors.
	strict *[]Fault
}

// newLints starts without a warning. The config is not changed.
func newLints(config linter.Config) lints {
	l := lints{found: new([]Warning), strict: new([]Fault)}
	config.Warn = func(rule, _, _, text string, location []parser.Range) {
		l.add(lineOf(location), rule, text)
		if config.ReturnAsError {
			*l.strict = append(*l.strict, Fault{Line: lineOf(location),
				Text: oneLine(rule + ": " + text)})
		}
	}
	l.rules = linter.New(&config)
	return l
}

// with is l for an instruction with these comments above it.
func (l lints) with(comments []string) lints {
	l.rules = l.rules.WithMergedConfigFromComments(comments)
	return l
}

// note is a warning of this package's own rules.
func (l lints) note(line int, rule, text string) {
	if _, skip := l.rules.SkippedRules[rule]; !skip && !l.rules.SkipAll {
		l.add(line, rule, text)
	}
}

func (l lints) add(line int, rule, text string) {
	*l.found = append(*l.found, Warning{Line: line, Rule: rule, Text: oneLine(text)})
}

// warnings returns what was found, by line, each once.
func (l lints) warnings() []Warning {
	slices.SortFunc(*l.found, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), strings.Compare(a.Rule, b.Rule),
			strings.Compare(a.Text, b.Text))
	})
	return slices.Compact(*l.found)
}

// lineOf is the line where a location begins, or 0.
func lineOf(location []parser.Range) int {
	if len(location) == 0 {
		return 0
	}
	return location[0].Start.Line
}

// lintFile checks the stages as a whole: their names, and how instructions are
// written.
func lintFile(stages []stageSource, l lints) {
	seen := map[string]bool{}
	for _, s := range stages {
		if s.name == "context" || s.name == scratch {
			l.rules.Run(&linter.RuleReservedStageName, s.node.Location(),
				linter.RuleReservedStageName.Format(s.name))
		}
		if s.name != "" && seen[s.name] {
			l.rules.Run(&linter.RuleDuplicateStageName, s.node.Location(),
				linter.RuleDuplicateStageName.Format(s.name))
		}
		seen[s.name] = true
	}
	var words []*parser.Node
	for _, s := range stages {
		words = append(words, s.node)
		for _, c := range s.commands {
			words = append(words, c.node)
		}
	}
	lintCasing(words, l)
}

// lintCasing wants instructions to be all lower-case or all upper-case, whichever
// most of them are.
func lintCasing(nodes []*parser.Node, l lints) {
	lower, upper := 0, 0
	for _, n := range nodes {
		switch n.Value {
		case strings.ToLower(n.Value):
			lower++
		case strings.ToUpper(n.Value):
			upper++
		}
	}
	want, casing := strings.ToUpper, "uppercase"
	if lower > upper {
		want, casing = strings.ToLower, "lowercase"
	}
	for _, n := range nodes {
		if want(n.Value) != n.Value {
			l.rules.Run(&linter.RuleConsistentInstructionCasing, n.Location(),
				linter.RuleConsistentInstructionCasing.Format(n.Value, casing))
		}
	}
}

// curlyQuotes matches a JSON form that was written with the quotes of a word
// processor.
var curlyQuotes = regexp.MustCompile(
	`(?i)^\s*(?:RUN|CMD|ENTRYPOINT|SHELL|VOLUME|COPY|ADD|HEALTHCHECK(?:\s+--\S+)*\s+CMD)` +
		`(?:\s+--\S+)*\s+\[\s*[“”„‘’‚«»]`)

// lintQuotes finds such a form: it is no JSON, and goes to the shell as it is.
func lintQuotes(n *parser.Node, l lints) {
	if !n.Attributes["json"] && curlyQuotes.MatchString(n.Original) {
		l.note(n.StartLine, RuleCurlyQuotes, strings.ToUpper(n.Value)+
			` is no JSON array because of its typographic quotes: write straight ones, "`)
	}
}
