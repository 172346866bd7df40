package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// maxEnviron bounds the variables of a stage. Linux gives a process no more.
const maxEnviron = 2 << 20

// environ is the variables of a stage: of ENV and of ARG alike, in the order in
// which they were set last.
type environ struct {
	values map[string]variable
	next   int
	bytes  int
	cached []string // of list, until the next set
}

type variable struct {
	value string
	order int
}

func newEnviron() *environ { return &environ{values: map[string]variable{}} }

// set adds or replaces a variable, and fails if there is no room.
func (e *environ) set(name, value string) error {
	old, ok := e.values[name]
	if ok {
		e.bytes -= len(name) + len(old.value)
	}
	e.bytes += len(name) + len(value)
	e.values[name] = variable{value, e.next}
	e.next++
	e.cached = nil
	if e.bytes > maxEnviron {
		return fmt.Errorf("the variables come to more than %d MiB", maxEnviron>>20)
	}
	return nil
}

// Get makes e what the lexer of BuildKit looks variables up in.
func (e *environ) Get(name string) (string, bool) {
	v, ok := e.values[name]
	return v.value, ok
}

// Keys returns the names, in order.
func (e *environ) Keys() []string {
	names := make([]string, 0, len(e.values))
	for name := range e.values {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return e.values[a].order - e.values[b].order })
	return names
}

// list returns K=V for each variable. It is not to be changed.
func (e *environ) list() []string {
	if e.cached == nil {
		for _, name := range e.Keys() {
			e.cached = append(e.cached, name+"="+e.values[name].value)
		}
		e.cached = slices.Clip(e.cached)
	}
	return e.cached
}

// expansion is a word with its variables replaced.
type expansion struct {
	text  string
	words []string // text, split at white space
	// unset and used are the names that did not have a value, and those that had,
	// sorted.
	unset, used []string
}

// expand replaces the variables of a word: all forms of ${}, with quotes and
// escapes processed. The size of the result is bounded, whatever the variables.
func expand(word string, escape rune, env *environ) (expansion, error) {
	return expandWith(shell.NewLex(escape), word, env)
}

// expandRaw replaces variables and leaves quotes as they are: for the text of a
// here-document.
func expandRaw(text string, env *environ) (expansion, error) {
	lex := shell.NewLex('\\')
	lex.SkipProcessQuotes = true
	return expandWith(lex, text, env)
}

func expandWith(lex *shell.Lex, word string, env *environ) (expansion, error) {
	tooLong := fmt.Errorf("it expands to more than %d MiB", maxWord>>20)
	if len(word) > maxWord {
		return expansion{}, tooLong
	}
	b := &budget{env: env, left: maxWord, square: replaceAll.MatchString(word), size: len(word)}
	result, err := lex.ProcessWordWithMatches(word, b)
	if err == nil && (b.spent || len(result.Result) > maxWord) {
		err = tooLong
	}
	if err != nil {
		return expansion{}, lexError(err, word)
	}
	return expansion{text: result.Result, words: result.Words,
		unset: sortedKeys(result.Unmatched), used: sortedKeys(result.Matched)}, nil
}

// replaceAll matches ${name//pattern/replacement}, whose result can be as long as
// the product of both.
var replaceAll = regexp.MustCompile(`\$\{\w+//`)

// budget hands out variables until their values together are too long for what
// may become of them. A doubled variable, doubled again in the next line, would
// soon fill the memory.
type budget struct {
	env    *environ
	size   int // of the word, and what was handed out for it
	left   int
	square bool
	spent  bool
}

func (b *budget) Get(name string) (string, bool) {
	value, ok := b.env.Get(name)
	b.size += len(value)
	b.left -= len(value)
	const most = 64 << 20
	if b.left < 0 || b.square && b.size > most/b.size {
		b.spent = true
		return "", ok
	}
	return value, ok
}

func (b *budget) Keys() []string { return b.env.Keys() }

// lexError takes the word out of an error of the lexer, which is quoted in front
// of every message and can be long.
func lexError(err error, word string) error {
	prefix := fmt.Sprintf("failed to process %q: ", word)
	if text, ok := strings.CutPrefix(err.Error(), prefix); ok {
		return fmt.Errorf("expanding %s: %s", clip(word), text)
	}
	return err
}

func sortedKeys(set map[string]struct{}) []string {
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
