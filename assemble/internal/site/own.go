package site

import (
	"fmt"
	"slices"
	"strings"
)

// maxConf bounds a configuration of the user's.
const maxConf = 1 << 20

// ConfError is a configuration that nginx would not take.
type ConfError struct {
	File string
	Line int // 0 is the whole file
	What string
	Fix  string
}

func (e *ConfError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.What)
	}
	return fmt.Sprintf("%s: %s", e.File, e.What)
}

// Hint returns the way out.
func (e *ConfError) Hint() string { return e.Fix }

// CheckConf looks whether text may be a configuration of nginx, and says where it goes in
// the image: a whole one, with http and events, is nginx.conf, and one of servers is
// default.conf. It knows words and braces but no directives: only nginx knows all of
// those that its modules bring.
func CheckConf(file string, text []byte) (place string, err error) {
	if len(text) > maxConf {
		return "", &ConfError{file, 0, "it is larger than any configuration", "name the right file"}
	}
	directives, fault := parseConf(string(text))
	if fault != nil {
		fault.File = file
		return "", fault
	}
	top := map[string]int{}
	for _, d := range directives {
		if len(d.in) == 0 {
			top[d.words[0]] = d.line
		}
	}
	has := func(path ...string) bool {
		return slices.ContainsFunc(directives, func(d directive) bool {
			return slices.Equal(append(slices.Clone(d.in), d.words[0]), path)
		})
	}
	const fix = "the least is: server { listen 8080; root /usr/share/nginx/html; }"
	whole := top["http"] > 0 || top["events"] > 0
	switch {
	case whole && !(top["http"] > 0 && top["events"] > 0):
		return "", &ConfError{file, 0, "it has http or events, and not the other",
			"write both, or servers only"}
	case whole && (has("http", "server", "listen") || has("http", "include")):
		return mainConfFile, nil
	case whole:
		return "", &ConfError{file, 0, "it has no server that listens", fix}
	case top["server"] == 0:
		return "", &ConfError{file, 0, "it has no server", fix}
	case !has("server", "listen") && !has("server", "include"):
		return "", &ConfError{file, top["server"], "no server of it listens", fix}
	}
	return confFile, nil
}

// directive is one of a configuration, with the names of those that it is in.
type directive struct {
	in    []string
	words []string
	line  int
	block bool
}

// parseConf reads a configuration as nginx does: words, quotes, comments, braces.
func parseConf(text string) ([]directive, *ConfError) {
	var all []directive
	var in []string
	var opened []int // the lines of the braces
	p := confReader{text: text, line: 1}
	words, first := []string(nil), 0
	for {
		word, kind, fault := p.next()
		if fault != "" {
			return nil, &ConfError{Line: p.line, What: fault, Fix: "nginx would not start"}
		}
		switch kind {
		case wordToken:
			if len(words) == 0 {
				first = p.line
			}
			words = append(words, word)
			continue
		case semicolon:
			if len(words) == 0 {
				fault = "a semicolon ends nothing"
				break
			}
			all = append(all, directive{in: slices.Clone(in), words: words, line: first})
		case openBrace:
			if len(words) == 0 {
				fault = "a brace opens nothing"
				break
			}
			all = append(all, directive{in: slices.Clone(in), words: words, line: first, block: true})
			in, opened = append(in, words[0]), append(opened, p.line)
		case closeBrace:
			switch {
			case len(words) > 0:
				return nil, &ConfError{Line: first, What: fmt.Sprintf("%q has no semicolon", words[0]),
					Fix: "end it with ;"}
			case len(in) == 0:
				fault = "a brace closes nothing"
			default:
				in, opened = in[:len(in)-1], opened[:len(opened)-1]
			}
		case end:
			switch {
			case len(words) > 0:
				return nil, &ConfError{Line: first, What: fmt.Sprintf("%q has no semicolon", words[0]),
					Fix: "end it with ;"}
			case len(in) > 0:
				return nil, &ConfError{Line: opened[len(opened)-1],
					What: fmt.Sprintf("the brace of %q is not closed", in[len(in)-1]),
					Fix:  "close it with }"}
			}
			return all, nil
		}
		if fault != "" {
			return nil, &ConfError{Line: p.line, What: fault, Fix: "nginx would not start"}
		}
		words = nil
	}
}

type tokenKind int

const (
	wordToken tokenKind = iota
	semicolon
	openBrace
	closeBrace
	end
)

// confReader splits text into words.
type confReader struct {
	text string
	at   int
	line int
}

func (p *confReader) next() (word string, kind tokenKind, fault string) {
	for p.at < len(p.text) {
		c := p.text[p.at]
		switch {
		case c == '\n':
			p.line++
			p.at++
		case c == ' ' || c == '\t' || c == '\r':
			p.at++
		case c == '#':
			n := strings.IndexByte(p.text[p.at:], '\n')
			if n < 0 {
				n = len(p.text) - p.at
			}
			p.at += n
		case c == ';':
			p.at++
			return "", semicolon, ""
		case c == '{':
			p.at++
			return "", openBrace, ""
		case c == '}':
			p.at++
			return "", closeBrace, ""
		case c == '"' || c == '\'':
			return p.quotedWord(c)
		default:
			return p.bareWord(), wordToken, ""
		}
	}
	return "", end, ""
}

// unescape is what nginx makes of a character behind a backslash; others keep it.
func unescape(b *strings.Builder, c byte) {
	switch c {
	case '"', '\'', '\\':
		b.WriteByte(c)
	case 't':
		b.WriteByte('\t')
	case 'r':
		b.WriteByte('\r')
	case 'n':
		b.WriteByte('\n')
	default:
		b.WriteByte('\\')
		b.WriteByte(c)
	}
}

func (p *confReader) quotedWord(quote byte) (string, tokenKind, string) {
	var b strings.Builder
	from := p.line
	for p.at++; p.at < len(p.text); p.at++ {
		c := p.text[p.at]
		switch {
		case c == '\\' && p.at+1 < len(p.text):
			p.at++
			unescape(&b, p.text[p.at])
		case c == quote:
			p.at++
			if p.at < len(p.text) && !strings.ContainsRune(" \t\r\n;{)", rune(p.text[p.at])) {
				return "", wordToken, "something follows a quote at once"
			}
			return b.String(), wordToken, ""
		default:
			b.WriteByte(c)
		}
		if c == '\n' {
			p.line++
		}
	}
	p.line = from
	return "", wordToken, "a quote is not closed"
}

// bareWord ends at space, a semicolon or an opening brace; the brace of a variable is
// part of it.
func (p *confReader) bareWord() string {
	var b strings.Builder
	for variable := false; p.at < len(p.text); p.at++ {
		c := p.text[p.at]
		switch {
		case c == '\\' && p.at+1 < len(p.text):
			p.at++
			unescape(&b, p.text[p.at])
			variable = false
			continue
		case c == '{' && variable:
		case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ';' || c == '{':
			return b.String()
		}
		b.WriteByte(c)
		variable = c == '$'
	}
	return b.String()
}
