package site

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// CacheRule is a regular expression, of paths in the site with a slash in front, and
// what it says of the names that it matches. The first that matches counts.
type CacheRule struct {
	Pattern   string
	Immutable bool
}

// frameworkDirs are directories that a framework keeps to itself: all names in them
// change with their content.
var frameworkDirs = []struct{ dir, but string }{
	{"_next/static", ""},
	{"_nuxt", `(?!builds/)`}, // latest.json tells an open page of a new build
	{"_app/immutable", ""},
	{"_astro", ""},
	{"_expo/static", ""},
}

// Bounds of the rules. More exceptions than that make a pattern useless.
const (
	maxExceptions = 40
	maxRules      = 24
)

// A sign is the part of a name that may be a hash: where it is, and how it looks.
type sign struct {
	top       string // the first directory of the path; "" for a file at the top
	separator string // in front of it: a dash, a dot, or nothing
	length    int
}

type likelihood int

const (
	never  likelihood = iota // it is a word
	maybe                    // if its neighbours are
	surely                   // no word looks so
)

// candidate is a name with a part that may be a hash.
type candidate struct {
	path string
	tok  string
	how  likelihood
}

// group is what is known of the names with one sign.
type group struct {
	sign
	alphabet string
	hashed   []string // the paths of names that are
	except   []string // and of those that only match the same pattern
}

// judgeNames makes the rules. By path, workers are registered service workers, and loaded
// what pages load: a script of theirs whose name may have a hash was put there by the
// build that made the page.
func (a *Analysis) judgeNames(files []file, workers, loaded map[string]bool) {
	candidates := map[sign][]candidate{}
	dirs := map[string]bool{}
	for _, f := range files {
		if dir := frameworkDir(f.path); dir != "" {
			dirs[dir] = true
			a.Hashed++
			continue
		}
		for s, tok := range signs(f.path) {
			how := judge(tok)
			switch {
			case neverHashed(f.path), workers[f.path], s.separator == "" && !within(tok, hexAlphabet):
				how = never
			case how == maybe && loaded[f.path] && isCode(f.path):
				how = surely
			}
			candidates[s] = append(candidates[s], candidate{f.path, tok, how})
		}
	}
	for _, d := range frameworkDirs {
		if dirs[d.dir] {
			a.Rules = append(a.Rules, CacheRule{"/" + pattern(d.dir) + "/" + d.but, true})
		}
	}
	var groups []group
	for s, all := range candidates {
		if g := newGroup(s, all); len(g.hashed) > 0 && len(g.except) <= maxExceptions {
			groups = append(groups, g)
		}
	}
	slices.SortFunc(groups, func(x, y group) int {
		return cmp.Or(cmp.Compare(len(y.hashed), len(x.hashed)), cmp.Compare(x.top, y.top),
			cmp.Compare(x.separator, y.separator), cmp.Compare(x.length, y.length))
	})
	a.addGroups(groups[:min(len(groups), maxRules)])
}

// addGroups adds the patterns of groups, behind the exceptions to them.
func (a *Analysis) addGroups(groups []group) {
	hashed, except := map[string]bool{}, map[string]bool{}
	for _, g := range groups {
		for _, name := range g.hashed {
			hashed[name] = true
		}
		for _, name := range g.except {
			except[name] = true
		}
	}
	// A name may be an exception to one pattern, and hashed by the sign of another.
	maps.DeleteFunc(except, func(name string, _ bool) bool { return hashed[name] })
	a.Hashed += len(hashed)
	for _, name := range slices.Sorted(maps.Keys(except)) {
		a.Rules = append(a.Rules, CacheRule{"/" + pattern(name) + "$", false})
	}
	for _, g := range groups {
		a.Rules = append(a.Rules, CacheRule{g.pattern(g.alphabet), true})
	}
}

func isCode(name string) bool {
	ext := path.Ext(name)
	return ext == ".js" || ext == ".mjs" || ext == ".css"
}

// newGroup decides of the names that leave it open: they are hashes if most of their
// neighbours are, look like those, and one of them is of the same type, unless they are
// code, which hardly ever comes from elsewhere.
func newGroup(s sign, all []candidate) group {
	g := group{sign: s}
	sure := 0
	open := 0
	var toks []string
	types := map[string]bool{}
	for _, c := range all {
		switch c.how {
		case surely:
			sure++
			toks = append(toks, c.tok)
			types[path.Ext(c.path)] = true
		case maybe:
			open++
		}
	}
	g.alphabet = alphabetOf(toks)
	for _, c := range all {
		mixed := g.alphabet == urlAlphabet
		alike := within(c.tok, g.alphabet) &&
			!(mixed && (dated.MatchString(c.tok) || within(c.tok, upperAlphabet)))
		typical := isCode(c.path) || types[path.Ext(c.path)]
		switch {
		case c.how == surely, c.how == maybe && sure > open && alike && typical:
			g.hashed = append(g.hashed, c.path)
		case !isPlain(c.path) && within(c.tok, g.alphabet):
			g.except = append(g.except, c.path)
		}
	}
	return g
}

func frameworkDir(name string) string {
	for _, d := range frameworkDirs {
		rest, inside := strings.CutPrefix(name, d.dir+"/")
		if inside && !(d.but != "" && strings.HasPrefix(rest, "builds/")) && !isPlain(name) {
			return d.dir
		}
	}
	return ""
}

// isPlain says that a name is no-cache before any rule.
func isPlain(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".html", ".htm", ".xhtml", ".webmanifest":
		return true
	}
	return false
}

// neverHashed are names that something looks up again and again, whatever they look
// like.
func neverHashed(name string) bool {
	base := strings.ToLower(path.Base(name))
	return isPlain(name) || strings.Contains(base, "service-worker") ||
		strings.HasSuffix(base, "-sw.js") || strings.HasPrefix(base, "ngsw")
}

// endings are what stands behind a hash besides the extension.
var endings = map[string]bool{
	".chunk": true, ".bundle": true, ".min": true, ".module": true, ".async": true, ".worker": true,
	".js": true, ".mjs": true, ".css": true, ".license": true, ".d": true,
}

// signs yields the parts of a name that may be a hash.
func signs(name string) func(func(sign, string) bool) {
	return func(yield func(sign, string) bool) {
		top, _, deep := strings.Cut(name, "/")
		if !deep {
			top = ""
		}
		base := path.Base(name)
		ext := path.Ext(base)
		stem := strings.TrimSuffix(base, ext)
		if ext == "" || len(ext) > 12 {
			return
		}
		for endings[strings.ToLower(path.Ext(stem))] {
			stem = strings.TrimSuffix(stem, path.Ext(stem))
		}
		emit := func(separator, tok string) bool {
			if len(tok) < 8 || len(tok) > 64 {
				return true
			}
			return yield(sign{top, separator, len(tok)}, tok)
		}
		if before, tok, found := cutLast(stem, "."); found && before != "" {
			emit(".", tok)
			return
		}
		// Eight characters of base64, which may be dashes themselves.
		if n := len(stem); n > 9 && stem[n-9] == '-' {
			if !emit("-", stem[n-8:]) {
				return
			}
		}
		if before, tok, found := cutLast(stem, "-"); found {
			if before != "" && len(tok) != 8 {
				emit("-", tok)
			}
			return
		}
		emit("", stem)
	}
}

func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}

// The alphabets of hashes, narrowest first.
const (
	hexAlphabet   = "[0-9a-f]"
	upperAlphabet = "[0-9A-Z]"
	urlAlphabet   = "[0-9A-Za-z_-]"
)

func within(tok, alphabet string) bool {
	return !strings.ContainsFunc(tok, func(r rune) bool {
		c := byte(r)
		switch {
		case r > 0x7f:
			return true
		case isDigit(c):
			return false
		case alphabet == hexAlphabet:
			return c < 'a' || c > 'f'
		case alphabet == upperAlphabet:
			return c < 'A' || c > 'Z'
		}
		return !isURLSafe(c)
	})
}

func alphabetOf(toks []string) string {
	for _, alphabet := range []string{hexAlphabet, upperAlphabet} {
		if !slices.ContainsFunc(toks, func(tok string) bool { return !within(tok, alphabet) }) {
			return alphabet
		}
	}
	return urlAlphabet
}

var (
	// dated is a word, or nothing, and a number: page2024, 20240131.
	dated = regexp.MustCompile(`^(?:[a-z]*|[A-Z][a-z]*|[A-Z]+)[_-]?[0-9]+$`)
	// worded is a word, or several in camel case or with dashes.
	worded = regexp.MustCompile(`^(?:[A-Za-z]?[a-z]+|[A-Z]+)` +
		`(?:[A-Z][a-z]{2,}|[_-](?:[A-Za-z]?[a-z]+|[A-Z]+))*$`)
)

// judge says whether a part of a name is a hash.
func judge(tok string) likelihood {
	if !within(tok, urlAlphabet) {
		return never
	}
	digits := strings.ContainsAny(tok, "0123456789")
	switch {
	case within(tok, hexAlphabet) && digits && strings.ContainsAny(tok, "abcdef"):
		if dated.MatchString(tok) {
			return maybe
		}
		return surely
	case strings.Trim(tok, "0123456789") == "":
		return never
	case dated.MatchString(tok):
		return maybe
	case len(tok) == 8 && digits && within(tok, upperAlphabet):
		return surely
	case len(tok) != 8:
		// Names in camel case do not change so often between capitals, small letters and
		// digits, in all of which a long hash has some.
		if digits && 2*turns(tok) >= len(tok) && len(tok) <= 24 {
			return surely
		}
		return never
	case worded.MatchString(tok) && !within(tok, upperAlphabet):
		return never
	case turns(tok) >= 4, digits && turns(tok) == 3 && tok == strings.ToLower(tok):
		return surely
	}
	return maybe
}

// turns counts how often a capital, a small letter and a digit follow another kind.
func turns(tok string) int {
	kind := func(c byte) int {
		switch {
		case isDigit(c):
			return 0
		case c >= 'a' && c <= 'z':
			return 1
		case c >= 'A' && c <= 'Z':
			return 2
		}
		return 3
	}
	n := 0
	for i := 1; i < len(tok); i++ {
		if kind(tok[i]) != kind(tok[i-1]) {
			n++
		}
	}
	return n
}

// pattern is the rule of a sign.
func (s sign) pattern(alphabet string) string {
	dir := "/"
	if s.top != "" {
		dir = "/" + pattern(s.top) + "/(?:.+/)?"
	}
	before := "[^/]+" + pattern(s.separator)
	if s.separator == "" {
		before = ""
	}
	return fmt.Sprintf(`%s%s%s{%d}(?:\.[A-Za-z0-9]+)+$`, dir, before, alphabet, s.length)
}
