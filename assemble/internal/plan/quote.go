package plan

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Literal makes a pattern for Copy.Sources that matches the path s and nothing
// else.
func Literal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '*', '?', '[':
			b.WriteString("[" + string(c) + "]")
		case '\\':
			b.WriteString(`[\\]`)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// escape protects s from the expansion of variables, quotes and backslashes.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`, `$`, `\$`).Replace(s)
}

// oneLine replaces what would end a line, control the terminal that shows it, or
// is no text at all.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}

// plainWord reports whether COPY reads s as one word without JSON around it. A
// word with "<<" could be a here-document; "[" could begin JSON, and "--" a flag.
func plainWord(s string) bool {
	return s != "" && oneLine(s) == s && !strings.ContainsFunc(s, unicode.IsSpace) &&
		!strings.Contains(s, "<<") && !strings.HasPrefix(s, "[") && !strings.HasPrefix(s, "-") &&
		!strings.HasSuffix(s, `\`)
}

// plainShell reports whether RUN hands s to the shell as it stands.
func plainShell(s string) bool {
	return s != "" && oneLine(s) == s && strings.TrimSpace(s) == s && !strings.Contains(s, "<<") &&
		!strings.HasPrefix(s, "[") && !strings.HasPrefix(s, "-") && !strings.HasSuffix(s, `\`)
}
