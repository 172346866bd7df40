package plan

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

var (
	amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = v1.Platform{OS: "linux", Architecture: "arm64"}
)

// bases are the images that the tests' Dockerfiles start from.
var bases = map[string]State{
	"node": {Platform: amd64, Config: ImageConfig{Env: []string{"PATH=/bin", "NODE_VERSION=22"},
		Cmd: []string{"node"}}},
	"nginx": {Platform: amd64, Config: ImageConfig{Env: []string{"PATH=/usr/bin"},
		Entrypoint: []string{"/docker-entrypoint.sh"}, Cmd: []string{"nginx", "-g", "daemon off;"},
		ExposedPorts: map[string]struct{}{"80/tcp": {}}, StopSignal: "SIGQUIT"}},
	"app": {Platform: amd64, Config: ImageConfig{WorkingDir: "/srv", User: "web",
		Shell: []string{"/bin/bash", "-ec"}}},
}

func options(o ResolveOptions) ResolveOptions {
	if o.TargetPlatform.OS == "" {
		o.TargetPlatform = amd64
	}
	if o.BuildPlatform.OS == "" {
		o.BuildPlatform = amd64
	}
	return o
}

// evaluateAll carries a Dockerfile out as far as this package does: all stages
// that the target needs. It returns them by index, and all warnings.
func evaluateAll(text string, o ResolveOptions) (map[int]*Evaluated, []Warning, error) {
	d, err := ParseDockerfile("Dockerfile", []byte(text))
	if err != nil {
		return nil, nil, err
	}
	g, err := d.Resolve(options(o))
	if err != nil {
		return nil, nil, err
	}
	warnings := append(d.Warnings(), g.Warnings...)
	done := map[int]*Evaluated{}
	for i, s := range g.Stages {
		if s == nil {
			continue
		}
		base := Scratch(s.Platform)
		if s.Base.Stage >= 0 {
			base = done[s.Base.Stage].Final
		} else if s.Base.Image != "" {
			base = bases[s.Base.Image]
		}
		e, err := g.Evaluate(i, base)
		if err != nil {
			return nil, nil, err
		}
		done[i] = e
		warnings = append(warnings, e.Warnings...)
	}
	return done, warnings, nil
}

// last evaluates a Dockerfile and returns its last stage.
func last(t *testing.T, text string, o ResolveOptions) *Evaluated {
	t.Helper()
	stages, _, err := evaluateAll(text, o)
	if err != nil {
		t.Fatalf("evaluating:\n%s\n%v", text, err)
	}
	highest := 0
	for i := range stages {
		highest = max(highest, i)
	}
	return stages[highest]
}

// only is the step of type T, of which there is to be one.
func only[T Exec](t *testing.T, e *Evaluated) T {
	t.Helper()
	var found []T
	for _, s := range e.Steps {
		if x, ok := s.(T); ok {
			found = append(found, x)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d steps of %T, want 1: %+v", len(found), *new(T), e.Steps)
	}
	return found[0]
}

// report is the error as cmd prints it.
func report(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		text += "\nhint: " + strings.ReplaceAll(hinted.Hint(), "\n", "\nhint: ")
	}
	return text
}

func (w Warning) String() string { return fmt.Sprintf("%d %s: %s", w.Line, w.Rule, w.Text) }
