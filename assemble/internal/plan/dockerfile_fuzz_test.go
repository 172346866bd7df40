package plan

import (
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzDockerfile carries any text out as far as that goes, on a base that is not
// trusted. It is not to panic, and what is printed is to resolve again.
func FuzzDockerfile(f *testing.F) {
	cases, err := filepath.Glob("../../../testdata/dockerfile/*.txtar")
	if err != nil || len(cases) == 0 {
		f.Fatalf("no cases: %v", err)
	}
	for _, name := range cases {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range txtar.Parse(text).Files {
			if file.Name == "Dockerfile" {
				f.Add(file.Data, "COPY --from=0 a b")
			}
		}
	}
	f.Add([]byte("# escape=`\n# check=skip=all\nFROM a\nRUN --mount=type=$A x\n"),
		"# check=skip=all\nRUN x")
	f.Fuzz(func(t *testing.T, text []byte, trigger string) {
		d, err := ParseDockerfile("Dockerfile", text)
		if err != nil {
			_ = report(err)
			return
		}
		o := options(ResolveOptions{BuildArgs: map[string]string{"A": "cache", "B": ""}})
		g, err := d.Resolve(o)
		if err != nil {
			_ = report(err)
			return
		}
		printed := g.Print()
		if again, err := ParseDockerfile("Dockerfile", []byte(printed)); err != nil {
			t.Errorf("what is printed does not parse: %v\n%s", err, printed)
		} else if _, err := again.Resolve(o); err != nil {
			t.Errorf("what is printed does not resolve: %v\n%s", err, printed)
		}
		base := State{Platform: amd64, Config: ImageConfig{OnBuild: []string{trigger},
			Env: []string{"A=1", "odd", "=", "V=" + trigger}, WorkingDir: trigger}}
		for i := range d.stages {
			if e, err := g.Evaluate(i, base); err == nil {
				checkEvaluated(t, e)
			}
		}
	})
}

// checkEvaluated checks what Exec promises.
func checkEvaluated(t *testing.T, e *Evaluated) {
	for _, s := range e.Steps {
		switch x := s.(type) {
		case RunExec:
			if len(x.Argv) == 0 || !path.IsAbs(x.Dir) {
				t.Errorf("RUN without command or directory: %+v", x)
			}
			for _, m := range x.Mounts {
				if m.Target == "/" || m.Target == "" && m.Env == "" {
					t.Errorf("mount without target: %+v", m)
				}
			}
		case CopyExec:
			if len(x.Sources)+len(x.URLs)+len(x.Inline) == 0 || !path.IsAbs(x.Dest) {
				t.Errorf("COPY without source or destination: %+v", x)
			}
		case WorkdirExec:
			if path.Clean(x.Dir) != x.Dir || !path.IsAbs(x.Dir) {
				t.Errorf("WORKDIR %q", x.Dir)
			}
		}
	}
}
