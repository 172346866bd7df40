package registry

import (
	"net/http"
	"strings"
)

// challenge is what a registry wants to see before it answers.
type challenge struct {
	scheme string // "basic", "bearer", another one, or "" for none
	params map[string]string
}

// maxChallenge bounds a WWW-Authenticate header.
const maxChallenge = 16 << 10

// pickChallenge returns the challenge of a 401 that the client can meet: bearer
// before basic, and any other if there is neither.
func pickChallenge(h http.Header) challenge {
	var best challenge
	rank := map[string]int{"bearer": 3, "basic": 2}
	for _, line := range h.Values("WWW-Authenticate") {
		for _, c := range parseChallenges(line) {
			if best.scheme == "" || rank[c.scheme] > rank[best.scheme] {
				best = c
			}
		}
	}
	return best
}

// parseChallenges reads a WWW-Authenticate header: RFC 9110, section 11.6.1,
// leniently. Schemes and the names of parameters come out in lower case.
func parseChallenges(s string) []challenge {
	if len(s) > maxChallenge {
		return nil
	}
	var out []challenge
	for {
		s = strings.TrimLeft(s, " \t,")
		word, rest := cutToken(s)
		if word == "" {
			return out
		}
		after := strings.TrimLeft(rest, " \t")
		if !strings.HasPrefix(after, "=") || len(out) == 0 {
			out = append(out, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
			s = rest
			continue
		}
		value, rest := cutValue(strings.TrimLeft(after[1:], " \t"))
		params := out[len(out)-1].params
		if key := strings.ToLower(word); params[key] == "" {
			params[key] = value
		}
		s = rest
	}
}

// cutToken cuts the leading run of characters that RFC 9110 allows in a token.
func cutToken(s string) (token, rest string) {
	i := strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i:]
}

// cutValue cuts a token or a quoted string.
func cutValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		i := strings.IndexAny(s, " \t,")
		if i < 0 {
			return s, ""
		}
		return s[:i], s[i:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}
