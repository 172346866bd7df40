package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/decant-build/decant/"

// importers names, for each path that has a rule, the only packages that may
// import it. The path ends in "/" where the rule is for all below it.
var importers = map[string][]string{
	"github.com/spf13/":      {"cmd/decant"},
	"github.com/vbauerster/": {"cmd/decant"},
	"github.com/google/go-containerregistry/pkg/v1/remote":  {"registry"},
	"github.com/google/go-containerregistry/pkg/v1/remote/": {"registry"},
	"github.com/google/go-containerregistry/pkg/authn":      {"registry"},
	"github.com/google/go-containerregistry/pkg/authn/":     {"registry"},
	"github.com/google/go-containerregistry/pkg/v1/mutate":  {},
	"github.com/google/go-containerregistry/pkg/v1/layout":  {},
	"github.com/google/go-containerregistry/pkg/v1/cache":   {},
	"github.com/moby/buildkit/":                             {"assemble/internal/plan"},
	"github.com/otiai10/copy":                               {"assemble/internal/context"},
	module + "registry":                                     {"cmd/decant"},
	module + "assemble":                                     {"cmd/decant"},
	module + "assemble/internal/layer":                      {"assemble", "assemble/internal/"},
	module + "assemble/internal/plan":                       {"assemble", "assemble/internal/"},
	module + "assemble/internal/":                           {"assemble"},
}

// TestLayering keeps the import graph that the package docs draw. It parses
// files itself, as the reads of a child "go list" are invisible to the test
// cache, which would then replay an old pass.
func TestLayering(t *testing.T) {
	files := 0
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name != "." && strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		files++
		for _, imported := range importsOf(t, root, name) {
			rule, ruled := ruleFor(imported)
			if ruled && !allowed(path.Dir(name), importers[rule]) {
				t.Errorf("%s imports %s; only %q may", name, imported, importers[rule])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Fatalf("looked at %d files only: is this the repository?", files)
	}
}

func importsOf(t *testing.T, root fs.FS, name string) []string {
	t.Helper()
	src, err := fs.ReadFile(root, name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, spec := range f.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		paths = append(paths, p)
	}
	return paths
}

// ruleFor finds the most exact rule for an import.
func ruleFor(imported string) (string, bool) {
	if _, ok := importers[imported]; ok {
		return imported, true
	}
	for dir := imported; strings.Contains(dir, "/"); {
		dir = path.Dir(dir)
		if _, ok := importers[dir+"/"]; ok {
			return dir + "/", true
		}
	}
	return "", false
}

func allowed(dir string, rule []string) bool {
	return slices.ContainsFunc(rule, func(r string) bool {
		return dir == r || strings.HasSuffix(r, "/") && strings.HasPrefix(dir, r)
	})
}

// TestTopLevel keeps the top level as it was agreed.
func TestTopLevel(t *testing.T) {
	agreed := []string{"cmd", "assemble", "registry", "testdata", "go.mod", "go.sum", "README.md"}
	built := "decant" // what the README's go build leaves; git ignores it
	entries, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != built && !strings.HasPrefix(e.Name(), ".") && !slices.Contains(agreed, e.Name()) {
			t.Errorf("%s: only %q and dot-files stand at the top", e.Name(), agreed)
		}
	}
}
