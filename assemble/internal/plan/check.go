package plan

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// checkNode finds what no instruction can have in its words.
func checkNode(n *parser.Node) error {
	for word := n.Next; word != nil; word = word.Next {
		// A JSON form can write one that the file does not have.
		if strings.ContainsRune(word.Value, 0) {
			return errors.New("NUL byte in an argument")
		}
	}
	copies := strings.EqualFold(n.Value, "COPY") || strings.EqualFold(n.Value, "ADD")
	for _, h := range n.Heredocs {
		if strings.Contains(h.Name, "/") || h.Name == "." || h.Name == ".." {
			return fmt.Errorf("a here-document cannot be called %s", h.Name)
		}
		if copies && h.Expand && len(h.Content) > maxWord {
			return wrong("quote its name, <<'"+h.Name+"', if it needs no variables",
				"the here-document is larger than %d MiB", maxWord>>20)
		}
	}
	return nil
}

// checkEarly finds what is wrong whatever the variables are, so that it is told
// before anything is fetched. What has variables is checked when they are known.
func checkEarly(n *parser.Node, parsed any) error {
	switch p := parsed.(type) {
	case *instructions.RunCommand:
		return checkRun(n, p)
	case *instructions.CopyCommand:
		if err := checkFrom(p.From); err != nil {
			return err
		}
		return copyOf(p).checkEarly()
	case *instructions.AddCommand:
		return addOf(p).checkEarly()
	case *instructions.ExposeCommand:
		for _, port := range p.Ports {
			if _, err := parsePort(port); err != nil && isPlain(port) {
				return err
			}
		}
	case *instructions.StopSignalCommand:
		if isPlain(p.Signal) {
			return checkSignal(p.Signal)
		}
	}
	return nil
}

// isPlain reports whether nothing of the words will be expanded.
func isPlain(words ...string) bool {
	for _, w := range words {
		if strings.ContainsAny(w, "$'\"\\`") {
			return false
		}
	}
	return true
}

func (c copySource) checkEarly() error {
	if !isPlain(c.paths...) || !isPlain(c.exec.Chown, c.exec.Chmod, c.exec.Checksum) {
		return nil
	}
	x := c.exec
	for _, doc := range c.contents {
		x.Inline = append(x.Inline, InlineFile{Name: doc.Path})
	}
	return x.setSources(c.paths[:len(c.paths)-1])
}

// checkFrom refuses variables in COPY --from, as BuildKit does: the stages that a
// build needs would depend on what they do.
func checkFrom(from string) error {
	// Without a value all variables are lost, and change the word.
	expanded, _, err := shell.NewLex('\\').ProcessWord(from, noEnv{})
	if err != nil || expanded != from {
		return wrong("name a stage, FROM "+clip(from)+" AS x, and write --from=x",
			"variables are not expanded in --from")
	}
	return nil
}

// checkRun refuses flags that are known but not supported, and mounts that are
// wrong.
func checkRun(n *parser.Node, p *instructions.RunCommand) error {
	plain := true
	for _, flag := range n.Flags {
		name, value, _ := strings.Cut(flag, "=")
		if name == "--device" || name == "--security" && value != instructions.SecuritySandbox {
			return wrong("remove the flag, or do this step in the base image",
				"%s is not supported", name)
		}
		plain = plain && !strings.Contains(flag, "$")
	}
	if !plain {
		return nil
	}
	return p.Expand(func(word string) (string, error) {
		word, _, err := shell.NewLex('\\').ProcessWord(word, noEnv{})
		return word, err
	})
}

// noEnv is an environment without variables.
type noEnv struct{}

func (noEnv) Get(string) (string, bool) { return "", false }
func (noEnv) Keys() []string            { return nil }
