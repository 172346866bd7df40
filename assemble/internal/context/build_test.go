package context

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/patternmatcher"

	"github.com/decant-build/decant/assemble/internal/layer"
)

func openContext(t testing.TB, dir, dockerfile string) *BuildContext {
	t.Helper()
	c, err := OpenBuildContext(dir, dockerfile, BuildContextOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// listed lists paths of a context that is in order.
func listed(t testing.TB, c *BuildContext, paths ...string) []string {
	t.Helper()
	return shown(t)(c.List(t.Context(), paths...))
}

func matched(t testing.TB, c *BuildContext, patterns ...string) []string {
	t.Helper()
	return shown(t)(c.Match(t.Context(), patterns...))
}

func shown(t testing.TB) func([]layer.Entry, error) []string {
	return func(entries []layer.Entry, err error) []string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(entries, func(a, b layer.Entry) int {
			return comparePaths(a.Name, b.Name)
		}) {
			t.Errorf("not sorted: %q", show(entries))
		}
		return show(entries)
	}
}

// contextProblems lists a context that is not in order.
func contextProblems(t testing.TB, err error) (list []string, hint string) {
	t.Helper()
	var scanErr *ScanError
	if !errors.As(err, &scanErr) {
		t.Fatalf("got %v, want a *ScanError", err)
	}
	for _, p := range scanErr.Problems {
		list = append(list, p.String())
	}
	return list, scanErr.Hint()
}

var contextTree = []string{"Dockerfile", "a/b/c", "a/b/d", "a/in -> b", "a/out -> ../dist",
	"abs -> /a/b/c", "dist/app.js", "dist/css/x.css", "empty/", "gone -> nowhere", "loop -> loop",
	"package-lock.json", "package.json", "top -> ..", "up -> a/out/../package.json", "up2 -> a/in/.."}

func TestListHasWhatPathsNeed(t *testing.T) {
	tests := []struct {
		name  string
		paths []string
		want  []string
	}{
		{"a file", []string{"package.json"}, []string{"package.json"}},
		{"a file below", []string{"a/b/c"}, []string{"a/", "a/b/", "a/b/c"}},
		{"a directory", []string{"dist"}, []string{"dist/", "dist/app.js", "dist/css/",
			"dist/css/x.css"}},
		{"an empty directory", []string{"empty"}, []string{"empty/"}},
		{"several, one in another", []string{"a/b/d", "dist/css", "a/b", "dist/css/x.css"},
			[]string{"a/", "a/b/", "a/b/c", "a/b/d", "dist/", "dist/css/", "dist/css/x.css"}},
		{"unclean", []string{"./a//b/../b/c/"}, []string{"a/", "a/b/", "a/b/c"}},
		{"above the top is the top", []string{"../../package.json", "/a/b/d"},
			[]string{"a/", "a/b/", "a/b/d", "package.json"}},
		{"nothing", []string{"nowhere", "a/nowhere/x", "package.json/x"},
			[]string{"a/", "package.json"}},
		{"no paths", nil, nil},
		{"a link on the way", []string{"a/out/app.js"},
			[]string{"a/", "a/out -> ../dist", "dist/", "dist/app.js"}},
		{"a link at the end", []string{"a/out"}, []string{"a/", "a/out -> ../dist", "dist/",
			"dist/app.js", "dist/css/", "dist/css/x.css"}},
		{"an absolute link", []string{"abs"}, []string{"a/", "a/b/", "a/b/c", "abs -> /a/b/c"}},
		{"a link above the top", []string{"top/package.json"},
			[]string{"package.json", "top -> .."}},
		{"a link through a link", []string{"up"}, []string{"a/", "a/out -> ../dist", "dist/",
			"package.json", "up -> a/out/../package.json"}},
		{"a dangling link", []string{"gone"}, []string{"gone -> nowhere"}},
		{"links below are not followed", []string{"a"}, []string{"a/", "a/b/", "a/b/c", "a/b/d",
			"a/in -> b", "a/out -> ../dist"}},
	}
	c := openContext(t, grow(t, contextTree...), "")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, listed(t, c, test.paths...)); diff != "" {
				t.Error(diff)
			}
		})
	}
	everything := listed(t, c, "")
	if len(everything) != len(contextTree)+4 { // and a, a/b, dist, dist/css
		t.Errorf("got %q", everything)
	}
	if diff := cmp.Diff(everything, listed(t, c, "dist", ".", "a/out")); diff != "" {
		t.Error(diff)
	}
}

func TestMatchHasWhatPatternsNeed(t *testing.T) {
	grown := append([]string{"l.d -> a/b", "pkg/x/package.json", "pkg/y/src/package.json", "[x]",
		"pkg/link -> x", "star*"}, contextTree...)
	tests := []struct {
		name, pattern string
		want          []string
	}{
		{"a plain path", "a/b/c", []string{"a/", "a/b/", "a/b/c"}},
		{"a star", "package*.json", []string{"package-lock.json", "package.json"}},
		{"a question mark", "a/b/?", []string{"a/", "a/b/", "a/b/c", "a/b/d"}},
		{"a class", "a/b/[c]", []string{"a/", "a/b/", "a/b/c"}},
		{"an escape", `\[x]`, []string{"[x]"}},
		{"an escaped star", `star\*`, []string{"star*"}},
		{"a directory", "dis?", []string{"dist/", "dist/app.js", "dist/css/", "dist/css/x.css"}},
		{"a star on the way", "pkg/*/package.json",
			[]string{"pkg/", "pkg/x/", "pkg/x/package.json", "pkg/y/"}},
		{"a matched link is followed", "*.d", []string{"a/", "a/b/", "a/b/c", "a/b/d", "l.d -> a/b"}},
		{"a link to another directory", "a/o*", []string{"a/", "a/out -> ../dist", "dist/",
			"dist/app.js", "dist/css/", "dist/css/x.css"}},
		{"two stars", "pkg/**/package.json", []string{"pkg/", "pkg/link -> x", "pkg/x/",
			"pkg/x/package.json", "pkg/y/", "pkg/y/src/", "pkg/y/src/package.json"}},
		{"no match", "*.md", nil},
	}
	c := openContext(t, grow(t, grown...), "")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, matched(t, c, test.pattern)); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, bad := range []string{"a[", `x\`, "[]a]"} {
		if _, err := c.Match(t.Context(), bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestMatchDoesNotReadWhatNoPatternMayMatch(t *testing.T) {
	dir := grow(t, "src/.wh.x", "src/y", "package.json", "lib/src/.wh.y", "lib/z/ok")
	c := openContext(t, dir, "")
	if got := matched(t, c, "*.json", "lib/?/*"); !slices.Equal(got,
		[]string{"lib/", "lib/z/", "lib/z/ok", "package.json"}) {
		t.Errorf("got %q", got)
	}
	_, err := c.Match(t.Context(), "s*")
	if list, _ := contextProblems(t, err); len(list) != 1 || !strings.Contains(list[0], "src/.wh.x") {
		t.Errorf("got %q", list)
	}
}

func TestOpenBuildContextTakesTheDockerfilesOwnIgnoreFile(t *testing.T) {
	dir := grow(t, "a", "b", "sub/Dockerfile", "Dockerfile", "other/")
	write(t, dir, ignoreFile, "a\n.dockerignore")
	write(t, dir, "Dockerfile.web.dockerignore", "b\n*ocker*\nsub\nother")
	write(t, filepath.Join(dir, "other"), "Dockerfile.dockerignore", "")
	tests := []struct {
		dockerfile string
		want       []string
	}{
		{"", []string{"b"}},
		{"Dockerfile", []string{"b"}},
		{"Dockerfile.web", []string{"a"}},
		{"sub/Dockerfile", []string{"b"}},
		{"other/Dockerfile", []string{".dockerignore", "a", "b"}},
	}
	for _, test := range tests {
		dockerfile := test.dockerfile
		if dockerfile != "" {
			dockerfile = filepath.Join(dir, dockerfile)
		}
		got := listed(t, openContext(t, dir, dockerfile), "a", "b", ".dockerignore")
		slices.Sort(test.want)
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.dockerfile, got, test.want)
		}
	}
}

func TestListLeavesNothingOutOnItsOwn(t *testing.T) {
	grown := []string{".env", ".git/HEAD", "node_modules/a/index.js"}
	got := listed(t, openContext(t, grow(t, grown...), ""), "")
	want := []string{".env", ".git/", ".git/HEAD", "node_modules/", "node_modules/a/",
		"node_modules/a/index.js"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestListKeepsIgnoredDirectoriesOnlyForWhatIsInThem(t *testing.T) {
	dir := grow(t, "a/b/keep", "a/b/x", "a/c/x", "d/e/x", "f/g/")
	write(t, dir, ignoreFile, "a\n!a/b/keep\n!a/c/keep\nd\n!d/e/keep\nf/g\n.dockerignore")
	c := openContext(t, dir, "")
	for name, want := range map[string][]string{
		"":      {"a/", "a/b/", "a/b/keep", "f/"},
		"a":     {"a/", "a/b/", "a/b/keep"},
		"a/b/x": nil,
		"a/c":   nil,
		"d":     nil,
		"f/g":   {"f/"},
	} {
		if diff := cmp.Diff(want, listed(t, c, name)); diff != "" {
			t.Errorf("%q: %s", name, diff)
		}
	}
}

func TestIgnoredNamesTheLine(t *testing.T) {
	dir := grow(t, "dist/a/b", "dist/keep", "src/x.log", "src/y", "link -> dist")
	write(t, dir, ignoreFile, "\ufeff# built\n\n  /dist/ \n!dist/keep\n**/*.log\r\n#!x\n!src/z")
	c := openContext(t, dir, "")
	for name, want := range map[string]string{
		"dist":         ".dockerignore:3: dist",
		"dist/a/b":     ".dockerignore:3: dist",
		"./dist/a/":    ".dockerignore:3: dist",
		"link/a":       ".dockerignore:3: dist",
		"src/x.log":    ".dockerignore:5: **/*.log",
		"dist/keep":    "",
		"link/keep":    "",
		"dist/nowhere": "",
		"nowhere.log":  "",
		"src/y":        "",
		"":             "",
	} {
		if got, ok := c.Ignored(name); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", name, got, ok, want)
		}
	}
	own := openContext(t, dir, filepath.Join(dir, "Dockerfile"))
	if _, ok := own.Ignored("dist"); !ok {
		t.Error("the directory's file does not count for a Dockerfile that has none")
	}
}

func TestOpenBuildContextRefusesWhatItCannotRead(t *testing.T) {
	dir := grow(t, "file", "dir/.dockerignore/x", "bad/x")
	write(t, filepath.Join(dir, "bad"), "Own.dockerignore", "x\n[a")
	for _, test := range []struct{ dir, dockerfile, problem, hint string }{
		{"nowhere", "", "there is no such directory", "Dockerfile copies from"},
		{"file", "", "it is not a directory", "Dockerfile copies from"},
		{"dir", "", `".dockerignore": it cannot be read: it is not a file`, ""},
		{"bad", "bad/Own", `"Own.dockerignore": the pattern "[a" is malformed`, "mend"},
	} {
		dockerfile := test.dockerfile
		if dockerfile != "" {
			dockerfile = filepath.Join(dir, dockerfile)
		}
		_, err := OpenBuildContext(filepath.Join(dir, test.dir), dockerfile, BuildContextOptions{})
		list, hint := contextProblems(t, err)
		if !slices.Equal(list, []string{test.problem}) || !strings.Contains(hint, test.hint) {
			t.Errorf("%s: got %q, %q", test.dir, list, hint)
		}
	}
}

func TestListIsBounded(t *testing.T) {
	dir := grow(t, "a", "b/c", "b/d", "e")
	write(t, dir, ignoreFile, "x")
	c, err := OpenBuildContext(dir, "", BuildContextOptions{MaxEntries: 5})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	listed(t, c, "b")
	_, err = c.List(t.Context(), "")
	list, hint := contextProblems(t, err)
	if !slices.Equal(list, []string{"it holds more than 5 files and directories"}) ||
		!strings.Contains(hint, ignoreFile) {
		t.Errorf("got %q, %q", list, hint)
	}
}

func TestListStopsWhenCancelled(t *testing.T) {
	c := openContext(t, grow(t, "a/b"), "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.List(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestListRefusesLinksThatLeadBackOnlyWhenAskedFor(t *testing.T) {
	c := openContext(t, grow(t, "loop -> loop", "x"), "")
	listed(t, c, "")
	_, err := c.List(t.Context(), "loop/x")
	if list, _ := contextProblems(t, err); !slices.Equal(list,
		[]string{`"loop": it is a link that leads back to itself (-> "loop")`}) {
		t.Errorf("got %q", list)
	}
}

// filterAll decides about every single name by the matcher, as docker does, and
// then adds the directories that hold what is kept.
func filterAll(t testing.TB, dir string, patterns []string) (want []string, err error) {
	t.Helper()
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	infos := map[string]matches{".": {}}
	kept := map[string]bool{}
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		ignored, own, err := matcher.MatchesUsingParentResults(name, infos[path.Dir(name)])
		infos[name] = own
		for at := name; !ignored && at != "."; at = path.Dir(at) {
			kept[at] = true
		}
		return err
	})
	for name := range kept {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.IsDir() {
			name += "/"
		}
		want = append(want, name)
	}
	slices.Sort(want)
	return want, err
}

func FuzzListEqualsFilteringEverything(f *testing.F) {
	for _, seed := range []string{"*\n!a/b/c", "a\n!a/b", "**\n!**/c", "a/*\n!*/b", "!a\na",
		"a\n!?/b/c\na/b/d", "*\n!a*\na/b", "a**c", "*\n![a-b]/b/c", `a` + "\n" + `!\a/b`,
		"a\n!a/**/d", "*\n!a/b/../c", "a\n!a\na", "a/b\n!a/b/c\na/b/c/d", "*/b\n!a", "**/d\n!d/d/d",
		"a**\n!a**/c", "# x\n\n !a", "*\n!d/*/d", "*\\b", "*^c", "*|", "x|*b", "*c{1}",
		"a\n![/a0]/b/c", "a\n!b/*x|d", "a**/c", "**/b", "a/**/d", "?"} {
		f.Add(seed)
	}
	names := []string{"a/b/c/d", "a/b/d", "a/c", "ab/b/c", "b/a/c/d", "b/b", "c", "d/d/d/d", "d/e/"}
	dir := grow(f, names...)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Count(text, "\n") > 20 {
			t.Skip()
		}
		dockerfile := filepath.Join(t.TempDir(), "Dockerfile")
		write(t, filepath.Dir(dockerfile), "Dockerfile.dockerignore", text)
		c, err := OpenBuildContext(dir, dockerfile, BuildContextOptions{})
		if err != nil {
			return
		}
		defer c.Close()
		want, err := filterAll(t, dir, c.rules.patterns)
		if err != nil {
			t.Fatalf("%q were taken: %v", c.rules.patterns, err)
		}
		all, err := c.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		got := show(all)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", c.rules.patterns, diff)
		}
		// One by one is as good as all at once.
		for _, name := range []string{"a/b/c/d", "a/c", "ab/b/c", "c", "d/d/d/d"} {
			one := show(must(c.List(t.Context(), name)))
			if slices.Contains(one, name) != slices.Contains(want, name) {
				t.Errorf("%q: %s: got %q", c.rules.patterns, name, one)
			}
			if _, left := c.Ignored(name); left == slices.Contains(want, name) {
				t.Errorf("%q: %s: ignored %v", c.rules.patterns, name, left)
			}
		}
	})
}

func must(entries []layer.Entry, err error) []layer.Entry {
	if err != nil {
		panic(err)
	}
	return entries
}

func FuzzMatchFindsAllThatPathMatchDoes(f *testing.F) {
	for _, seed := range []string{"*", "a/*", "*/b", "?/[a-c]", "a/b/*", `\a/b`, "a*/b/c", "[!a]",
		"a//b",
		"**/c", "../*"} {
		f.Add(seed)
	}
	names := []string{"a/b/c/d", "a/b/d", "a/c", "ab/b/c", "b/a/c/d", "b/b", "c", "d/d/d/d"}
	c := openContext(f, grow(f, names...), "")
	all := show(must(c.List(f.Context(), "")))
	f.Fuzz(func(t *testing.T, pattern string) {
		if strings.Contains(pattern, "[") && strings.Contains(pattern, "/") {
			t.Skip() // path.Match lets a class match a slash
		}
		entries, err := c.Match(t.Context(), pattern)
		if err != nil {
			return
		}
		got := show(entries)
		clean := path.Clean("/" + pattern)[1:]
		for _, name := range all {
			if ok, err := path.Match(clean, strings.TrimSuffix(name, "/")); err != nil {
				t.Errorf("%q was taken: %v", pattern, err)
			} else if ok && !slices.Contains(got, name) {
				t.Errorf("%q: %s is not in %q", pattern, name, got)
			}
		}
	})
}

func BenchmarkListOfAHundredThousandFiles(b *testing.B) {
	dir := b.TempDir()
	for i := range 1000 {
		sub := filepath.Join(dir, "d"+string(rune('a'+i%26)), strings.Repeat("x", 1+i/26))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range 100 {
			name := filepath.Join(sub, "file"+strings.Repeat("y", j)+".js")
			if err := os.WriteFile(name, nil, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	write(b, dir, ignoreFile, "**/*.log\n**/.cache\nnode_modules\n!node_modules/keep\n*.md\n.git\n")
	c := openContext(b, dir, "")
	b.ReportAllocs()
	for b.Loop() {
		if entries, err := c.List(b.Context(), ""); err != nil || len(entries) < 100000 {
			b.Fatal(len(entries), err)
		}
	}
}
