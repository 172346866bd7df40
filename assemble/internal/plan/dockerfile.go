package plan

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// header follows the syntax line, if there is one. As a plain comment it also
// ends the part of the file in which "# escape=" would be a directive, so that
// no later comment can be one.
const header = "# What decant build does, as a Dockerfile.\n"

// Dockerfile prints the plan for BuildKit. Equal plans print equally, every
// instruction is on a line of its own, and no text of the plan can begin
// another: not a line break, not a trailing backslash, not a here-document.
func (p Plan) Dockerfile() string {
	var out printer
	if p.needsSyntax() {
		out.WriteString("# syntax=docker/dockerfile:1\n")
	}
	out.WriteString(header)
	for _, s := range p.Stages {
		out.WriteByte('\n')
		out.stage(s)
		for _, step := range s.Steps {
			step.print(&out)
		}
	}
	return out.String()
}

// needsSyntax is set for what the parser of an older Docker does not know:
// symbolic modes came with version 1.14 of the language.
func (p Plan) needsSyntax() bool {
	for _, s := range p.Stages {
		for _, step := range s.Steps {
			if c, ok := step.(Copy); ok && strings.ContainsAny(c.Chmod, "=+-") {
				return true
			}
		}
	}
	return false
}

// printer writes instructions. Text that has no form in a Dockerfile is
// collected in lost until the instruction is written below it.
type printer struct {
	bytes.Buffer
	lost []string
}

// instruction writes one line, below a comment that says why.
func (p *printer) instruction(why, name string, words ...string) {
	if why != "" {
		fmt.Fprintf(p, "# %s\n", oneLine(why))
	}
	for _, exact := range p.lost {
		fmt.Fprintf(p, "# A Dockerfile cannot write %q, the next line comes near it.\n", exact)
	}
	p.lost = nil
	p.WriteString(name)
	for _, w := range words {
		if w != "" {
			p.WriteString(" " + w)
		}
	}
	p.WriteByte('\n')
}

func (p *printer) stage(s Stage) {
	var platform, as string
	if s.Platform == BuildPlatform {
		platform = "--platform=" + BuildPlatform
	} else if s.Platform != "" {
		platform = p.flag("platform", escape(s.Platform))
	}
	if s.Name != "" {
		as = "AS " + p.word(s.Name)
	}
	p.instruction(s.Why, "FROM", platform, p.word(s.Base), as)
}

func (c Copy) print(p *printer) {
	var from, chown, chmod string
	if c.From != "" {
		from = p.flag("from", escape(c.From))
	}
	if c.Chown != "" {
		chown = p.flag("chown", escape(c.Chown))
	}
	if c.Chmod != "" {
		chmod = p.flag("chmod", escape(c.Chmod))
	}
	sources := make([]string, 0, len(c.Sources)+1)
	for _, s := range c.Sources {
		// A here-document, whatever the form; as a pattern it is a name again.
		sources = append(sources, strings.ReplaceAll(s, "<<", "[<]<"))
	}
	var paths []string
	plain := true
	for _, s := range append(sources, c.Dest) {
		// Both forms expand variables, and read quotes and backslashes.
		s = escape(s)
		plain = plain && plainWord(s)
		paths = append(paths, s)
	}
	list := strings.Join(paths, " ")
	if !plain {
		list = p.json(paths)
	}
	p.instruction(c.Why, "COPY", from, chown, chmod, list)
}

func (r Run) print(p *printer) {
	var words []string
	for _, m := range r.Mounts {
		words = append(words, p.mount(m))
	}
	if r.Network != "" {
		words = append(words, p.flag("network", escape(r.Network)))
	}
	switch {
	case len(r.Args) > 0:
		words = append(words, p.json(r.Args))
	case plainShell(r.Shell):
		words = append(words, r.Shell)
	default:
		words = append(words, p.json([]string{"/bin/sh", "-c", r.Shell}))
	}
	p.instruction(r.Why, "RUN", words...)
}

// mount writes a mount's fields as the CSV that the flag's value is.
func (p *printer) mount(m Mount) string {
	fields := []string{"type=" + string(m.Type)}
	if m.ID != "" {
		fields = append(fields, "id="+escape(m.ID))
	}
	fields = append(fields, "target="+escape(m.Target))
	var record bytes.Buffer
	w := csv.NewWriter(&record)
	// A bytes.Buffer takes every write, so that there is no error to look at.
	_ = w.Write(fields)
	w.Flush()
	return p.flag("mount", strings.TrimSuffix(record.String(), "\n"))
}

func (e Env) print(p *printer) {
	p.instruction(e.Why, "ENV", p.quote(e.Name)+"="+p.quote(e.Value))
}

func (l Label) print(p *printer) {
	p.instruction(l.Why, "LABEL", p.quote(l.Key)+"="+p.quote(l.Value))
}

func (w Workdir) print(p *printer) { p.instruction(w.Why, "WORKDIR", p.quote(w.Dir)) }

func (e Expose) print(p *printer) { p.instruction(e.Why, "EXPOSE", p.word(e.Port)) }

func (u User) print(p *printer) { p.instruction(u.Why, "USER", p.quote(u.Name)) }

func (c Cmd) print(p *printer) { p.instruction(c.Why, "CMD", p.json(c.Args)) }

func (e Entrypoint) print(p *printer) { p.instruction(e.Why, "ENTRYPOINT", p.json(e.Args)) }

// word is text that the parser splits at white space and that no quoting can
// protect, as a base's name: what a name does not have is lost.
func (p *printer) word(s string) string {
	w := strings.TrimLeft(notInNames.ReplaceAllString(s, "_"), "-")
	if w == "" {
		w = "_"
	}
	if w != s {
		p.lost = append(p.lost, s)
	}
	return w
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_@%+:,./~-]`)

var unquoted = regexp.MustCompile(`^[A-Za-z0-9_@%+:,./~-]+$`)

// quote is text that variables, quotes and backslashes change.
func (p *printer) quote(s string) string {
	s = p.line(s)
	if unquoted.MatchString(s) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(s) + `"`
}

// flag is "--name=value": split at white space unless a backslash forbids it,
// and then read by the instruction.
func (p *printer) flag(name, value string) string {
	var b strings.Builder
	for _, r := range p.line(value) {
		if strings.ContainsRune(" \t\\'\"", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return "--" + name + "=" + b.String()
}

// json is the form in which an instruction takes exact words; only bytes that
// are no UTF-8 have no place in it.
func (p *printer) json(words []string) string {
	if words == nil {
		words = []string{}
	}
	for _, w := range words {
		if !utf8.ValidString(w) {
			p.lost = append(p.lost, w)
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	// Strings always encode.
	_ = enc.Encode(words)
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), `","`, `", "`)
}

// line notes s as lost if it does not fit on one line of text.
func (p *printer) line(s string) string {
	flat := oneLine(s)
	if flat != s {
		p.lost = append(p.lost, s)
	}
	return flat
}
