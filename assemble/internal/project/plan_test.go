package project

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// TestSampleProjectsPlanAsGolden detects the projects that the end-to-end tests
// build, and prints all that was found with the Dockerfile.
func TestSampleProjectsPlanAsGolden(t *testing.T) {
	const apps = "../../../testdata/apps"
	for _, name := range []string{"vue-ts", "eleventy", "pnpm-app", "yarn-app", "workspace", "workspace/apps/web"} {
		t.Run(name, func(t *testing.T) {
			p, err := Detect(t.Context(), filepath.Join(apps, filepath.FromSlash(name)), Overrides{})
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			fmt.Fprintf(&got, "# framework=%s mode=%s manager=%s@%s lockfile=%s dir=%s\n# outputs=%v\n# %+v\n",
				p.Framework, p.Mode, p.Manager.Name, p.Manager.Version, p.Lockfile, p.Dir, p.OutputDirs, p.Sources)
			for _, w := range p.Warnings {
				fmt.Fprintf(&got, "# warning: %s\n", w)
			}
			got.WriteString(p.Plan(PlanOptions{Base: "nginx", WebRoot: "/usr/share/nginx/html"}).Dockerfile())
			golden(t, strings.ReplaceAll(name, "/", "-")+".golden", got.String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}
