package site

import (
	"fmt"
	"strings"
)

// quoted writes a word of nginx's configuration. The text has no control characters,
// and no dollar sign but where a variable is meant: those that come from outside were
// refused otherwise.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// pattern writes text as a regular expression that matches its bytes and nothing else,
// in characters that mean nothing to nginx.
func pattern(text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z',
			c == '/', c == '-', c == '_', c == '~':
			b.WriteByte(c)
		case c == '.':
			b.WriteString(`\.`)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}
