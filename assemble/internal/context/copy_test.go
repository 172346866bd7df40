package context

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// tree lists a directory as grow takes it: files, links, and directories with a
// slash if nothing is in them.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		switch {
		case d.IsDir():
			if below, err := os.ReadDir(path); err != nil || len(below) > 0 {
				return err
			}
			name += "/"
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			name += " -> " + target
		}
		list = append(list, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// copied copies a project that is in order and lists the copy.
func copied(t testing.TB, src string, o CopyOptions) []string {
	t.Helper()
	dst := t.TempDir()
	result, err := CopyProject(context.Background(), src, dst, o)
	if err != nil {
		t.Fatal(err)
	}
	list := tree(t, dst)
	files := 0
	for _, name := range list {
		if !strings.HasSuffix(name, "/") {
			files++
		}
	}
	if result.Files != files {
		t.Errorf("it says %d files, %d are there", result.Files, files)
	}
	return list
}

// copyProblems copies a project that is not in order.
func copyProblems(t testing.TB, ctx context.Context, src string, o CopyOptions) (list []string,
	hint string) {
	t.Helper()
	_, err := CopyProject(ctx, src, t.TempDir(), o)
	var scanErr *ScanError
	if !errors.As(err, &scanErr) {
		t.Fatalf("got %v, want a *ScanError", err)
	}
	for _, p := range scanErr.Problems {
		list = append(list, p.String())
	}
	return list, scanErr.Hint()
}

// write makes one file with that content.
func write(t testing.TB, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCopyProjectFollowsDockerignore(t *testing.T) {
	grown := []string{"README.md", "a/b/c.ts", "a/b/d.ts", "a/e.md", "docs/x.md", "empty/",
		"src/README.md", "src/app.ts", "src/link -> app.ts", "temp/deep/keep", "temp/deep/x", "tempa"}
	tests := []struct {
		name, ignore string
		gone         []string // of grown
	}{
		{"nothing", "", nil},
		{"comments, spaces and a mark", "\ufeff# *\n\n  docs  \n", []string{"docs/x.md"}},
		{"a name is at the top only", "README.md", []string{"README.md"}},
		{"a leading slash is the top", "/README.md", []string{"README.md"}},
		{"a trailing slash is nothing", "docs/", []string{"docs/x.md"}},
		{"paths are cleaned", "./a/../docs/.", []string{"docs/x.md"}},
		{"a star stays in its directory", "*.md", []string{"README.md"}},
		{"one level down", "*/*.md\ndocs", []string{"a/e.md", "docs/x.md", "src/README.md"}},
		{"two stars cross directories", "**/*.md\ndocs",
			[]string{"README.md", "a/e.md", "docs/x.md", "src/README.md"}},
		{"a question mark is one", "temp?", []string{"tempa"}},
		{"a class", "temp[a-c]", []string{"tempa"}},
		{"an empty directory", "empty", []string{"empty/"}},
		{"a link", "src/link", []string{"src/link -> app.ts"}},
		{"an exception", "*.md\n!README.md", nil},
		{"the last line wins", "!README.md\n*.md", []string{"README.md"}},
		{"an exception in a directory", "temp\n!temp/deep/keep", []string{"temp/deep/x"}},
		{"an exception with a star", "a\n!a/b/*.ts", []string{"a/e.md"}},
		{"an exception from an exception", "a\n!a/b\na/b/c.ts", []string{"a/b/c.ts", "a/e.md"}},
		{"all but one", "*\n!src/app.ts", []string{"README.md", "a/b/c.ts", "a/b/d.ts", "a/e.md",
			"docs/x.md", "empty/", "src/README.md", "src/link -> app.ts", "temp/deep/keep",
			"temp/deep/x", "tempa"}},
		{"two stars and an exception", "**\n!**/app.ts", []string{"README.md", "a/b/c.ts",
			"a/b/d.ts", "a/e.md", "docs/x.md", "empty/", "src/README.md", "src/link -> app.ts",
			"temp/deep/keep", "temp/deep/x", "tempa"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			src := grow(t, grown...)
			write(t, src, ignoreFile, test.ignore)
			want := []string{ignoreFile}
			for _, name := range grown {
				if !slices.Contains(test.gone, name) {
					want = append(want, name)
				}
			}
			got := copied(t, src, CopyOptions{})
			if len(got) > 0 && got[0] != ignoreFile {
				want = want[1:] // it was ignored itself
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzCopyProjectAgreesWithTheMatcher asks the matcher about every single file,
// as docker's documentation has it; a copy that skips directories must not differ.
func FuzzCopyProjectAgreesWithTheMatcher(f *testing.F) {
	for _, seed := range []string{"*\n!a/b/c", "a\n!a/b", "**\n!**/c", "a/*\n!*/b", "!a\na",
		"a\n!?/b/c\na/b/d", "*\n!a*\na/b", "a**c", "*\n![a-b]/b/c", `a` + "\n" + `!\a/b`,
		"a\n!a/**/d", "*\n!a/b/../c", "a\n!a\na", "a/b\n!a/b/c\na/b/c/d"} {
		f.Add(seed)
	}
	names := []string{"a/b/c/d", "a/b/d", "a/c", "ab/b/c", "b/a/c/d", "b/b", "c", "d/d/d/d"}
	src := grow(f, names...)
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := ignorefile.ReadAll(strings.NewReader(text))
		if err != nil || len(lines) > 20 {
			t.Skip()
		}
		dst := t.TempDir()
		_, err = CopyProject(t.Context(), src, dst, CopyOptions{Ignore: lines})
		matcher, bad := patternmatcher.New(lines)
		if bad != nil {
			if err == nil {
				t.Errorf("%q were taken: %v", lines, bad)
			}
			return
		}
		if err != nil {
			t.Skip() // a pattern that the matcher finds malformed only when it uses it
		}
		var want []string
		for _, name := range names {
			if ignored, err := matcher.MatchesOrParentMatches(name); err != nil {
				t.Fatalf("%q were taken: %v", lines, err)
			} else if !ignored {
				want = append(want, name)
			}
		}
		got := slices.DeleteFunc(tree(t, dst), func(name string) bool {
			return strings.HasSuffix(name, "/") // a directory kept whose content is not
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", lines, diff)
		}
	})
}

func TestIgnoreReadsEveryDirectoryThatHoldsAnException(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	elements := []string{"a", "b", "c", "ab", "*", "**", "?", "[ab]", "a*", "*b", "a**", `\a`, "b."}
	pick := func(from []string, n int) string {
		var parts []string
		for range 1 + random.IntN(n) {
			parts = append(parts, from[random.IntN(len(from))])
		}
		return strings.Join(parts, "/")
	}
	back := 0
	for range 20000 {
		lines := []string{pick(elements, 3), "!" + pick(elements, 4), "!" + pick(elements, 4)}
		random.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		g, problem := newIgnore(ignoreFile, lines, nil)
		if problem != nil {
			t.Fatalf("%q: %s", lines, problem)
		}
		name := pick(elements[:4], 5)
		if g.covers(name) {
			continue
		}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if g.covers(dir) {
				back++
				if !g.mayHold(dir) {
					t.Errorf("%q: %s is kept, but %s is not read", lines, name, dir)
				}
			}
		}
	}
	if back < 100 {
		t.Errorf("only %d names were in ignored directories", back)
	}
}

func TestIgnoreDoesNotReadDirectoriesWithoutExceptions(t *testing.T) {
	g, problem := newIgnore(ignoreFile, []string{"*", "!src/app", "!*.json", "!lib/*/x"}, nil)
	if problem != nil {
		t.Fatal(problem)
	}
	for dir, want := range map[string]bool{"src": true, "src/app": false, "src/b": false, "dist": false,
		"a.json": false, "lib": true, "lib/a": true, "lib/a/x": false, "lib/a/y": false} {
		if got := g.mayHold(dir); got != want {
			t.Errorf("%s: got %v, want %v", dir, got, want)
		}
	}
}

func TestCopyProjectLeavesOutWhatNoPatternBringsBack(t *testing.T) {
	src := grow(t, ".env", ".git/HEAD", ".hg/x", ".svn/x", "dist/x", "keep/dist/x", "node_modules/a/x",
		"packages/a/.git", "packages/a/dist/x", "packages/a/node_modules/x", "packages/b/dist/x",
		"packages/b/node_modules -> ../../node_modules")
	write(t, src, ignoreFile, "!**/node_modules\n!.git\n!dist/x\n!packages/a/dist")
	want := []string{ignoreFile, ".env", "keep/dist/x", "packages/a/", "packages/b/dist/x"}
	got := copied(t, src, CopyOptions{Never: []string{"dist", "./packages/a/dist/"}})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCopyProjectKeepsDirectoriesWhoseContentIsIgnored(t *testing.T) {
	src := grow(t, "a/b/x", "c/d/x")
	got := copied(t, src, CopyOptions{Ignore: []string{"**/x", "c", "!c/y", "!c/d/y"}})
	if want := []string{"a/b/"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCopyProjectPutsTheCallersPatternsLast(t *testing.T) {
	src := grow(t, "a", "b", "c")
	write(t, src, ignoreFile, "a\n.dockerignore")
	got := copied(t, src, CopyOptions{Ignore: []string{"!a", "b"}})
	if want := []string{"a", "c"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCopyProjectKeepsLinksAsTheyAreWritten(t *testing.T) {
	links := []string{"absolute -> /etc/passwd", "dangling -> nowhere", "loop -> loop",
		"outside -> ../../x", "sub/dir -> ../other", "top -> ."}
	src := grow(t, append([]string{"other/file"}, links...)...)
	want := append(slices.Clone(links), "other/file")
	slices.Sort(want)
	if diff := cmp.Diff(want, copied(t, src, CopyOptions{})); diff != "" {
		t.Error(diff)
	}
}

func TestCopyProjectKeepsContentTimesAndPermissions(t *testing.T) {
	src := grow(t, "dir/file", "dir/link -> file", "script", "gone/x")
	write(t, src, ignoreFile, "gone\n!gone/y")
	modes := map[string]fs.FileMode{"dir": 0o555, "dir/file": 0o400, "script": 0o4755}
	when := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	for _, name := range []string{"dir/file", "dir", "script"} {
		path := filepath.Join(src, name)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, modes[name]); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(src, "dir"), 0o755) })
	dst := t.TempDir()
	result, err := CopyProject(t.Context(), src, dst, CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := CopyResult{Files: 4, Bytes: int64(len("dir/file" + "script" + "gone\n!gone/y"))}
	if result != want {
		t.Errorf("got %+v, want %+v", result, want)
	}
	for name, mode := range map[string]fs.FileMode{"dir": 0o755, "dir/file": 0o600,
		"script": 0o755} {
		info, err := os.Stat(filepath.Join(dst, name))
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode()&^fs.ModeDir != mode {
			t.Errorf("%s: mode %v, want %v", name, info.Mode(), mode)
		}
		if !info.ModTime().Equal(when) {
			t.Errorf("%s: time %v, want %v", name, info.ModTime(), when)
		}
	}
	if data, err := os.ReadFile(filepath.Join(dst, "dir", "file")); string(data) != "dir/file" {
		t.Errorf("content %q, %v", data, err)
	}
}

func TestCopyProjectCopiesLargeFilesWhole(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	big := strings.Repeat("0123456789abcdef", copyChunk/16+1)
	write(t, src, "big", big)
	result, err := CopyProject(t.Context(), src, dst, CopyOptions{})
	if err != nil || result.Bytes != int64(len(big)) {
		t.Fatalf("%+v, %v", result, err)
	}
	if data, err := os.ReadFile(filepath.Join(dst, "big")); string(data) != big {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

func TestCopyProjectFollowsTheTopOnly(t *testing.T) {
	src := grow(t, "real/x", "link -> real")
	if got := copied(t, filepath.Join(src, "link"), CopyOptions{}); !slices.Equal(got, []string{"x"}) {
		t.Errorf("got %q", got)
	}
}

func TestCopyProjectLeavesOutItsOwnTarget(t *testing.T) {
	src := grow(t, "cache/work/", "x")
	dst := filepath.Join(src, "cache", "work")
	if _, err := CopyProject(t.Context(), src, dst, CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, want := tree(t, dst), []string{"cache/", "x"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCopyProjectRefusesPatternsAndProjects(t *testing.T) {
	tests := []struct {
		name         string
		grown        []string
		ignore       string
		o            CopyOptions
		problem, way string
	}{
		{"malformed line", nil, "x\n[a", CopyOptions{}, `".dockerignore": the pattern "[a" is malformed`,
			"mend"},
		{"empty exception", nil, "!", CopyOptions{}, `".dockerignore": the pattern "!" is malformed`,
			"mend"},
		{"malformed exception", nil, "!a[", CopyOptions{},
			`".dockerignore": the pattern "!a[" is malformed`, "mend"},
		{"malformed option", nil, "", CopyOptions{Ignore: []string{`\`}},
			`the pattern "\\" is malformed`, "mend"},
		{"many lines", nil, strings.Repeat("x\n", maxIgnoreBytes), CopyOptions{},
			`".dockerignore": it cannot be read: it has more than 256 KiB`, ""},
		{"a directory", []string{".dockerignore/x"}, "", CopyOptions{},
			`".dockerignore": it cannot be read: it is not a file`, ""},
		{"a link out", []string{".dockerignore -> /etc/hostname"}, "", CopyOptions{},
			`".dockerignore": it cannot be read: path escapes from parent`, ""},
		{"needed", []string{"package.json"}, "*\n!dist", CopyOptions{Need: []string{"package.json"}},
			`"package.json": the build needs it, and it is ignored`, "!package.json"},
		{"needed below", []string{"a/package.json"}, "a", CopyOptions{Need: []string{"a/package.json"}},
			`"a/package.json": the build needs it, and it is ignored`, "!a/package.json"},
		{"too many", []string{"a", "b/c", "b/d", "e"}, "", CopyOptions{MaxEntries: 4},
			"it holds more than 4 files and directories", ".dockerignore"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			src := grow(t, test.grown...)
			if test.ignore != "" {
				write(t, src, ignoreFile, test.ignore)
			}
			got, hint := copyProblems(t, t.Context(), src, test.o)
			if want := []string{test.problem}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			if !strings.Contains(hint, test.way) {
				t.Errorf("hint %q lacks %q", hint, test.way)
			}
		})
	}
}

func TestCopyProjectTakesWhatIsNeededAndThereOrNot(t *testing.T) {
	src := grow(t, "package.json")
	got := copied(t, src, CopyOptions{Ignore: []string{"*", "!package.json"},
		Need: []string{"package.json", "package-lock.json"}})
	if want := []string{"package.json"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCopyProjectRefusesDirectoriesThatAreNone(t *testing.T) {
	dir := grow(t, "file", "full/x", "src/x", "empty/")
	for _, test := range []struct{ src, dst, want string }{
		{"nowhere", "empty", "reading nowhere: there is no such directory"},
		{"file", "empty", "reading file: it is not a directory"},
		{"src", "nowhere", "copying src: "},
		{"src", "file", "copying src: "},
		{"src", "full", "copying src: full is not empty"},
	} {
		_, err := CopyProject(t.Context(), filepath.Join(dir, test.src), filepath.Join(dir, test.dst),
			CopyOptions{})
		got := strings.ReplaceAll(fmt.Sprint(err), dir+string(filepath.Separator), "")
		if !strings.HasPrefix(got, test.want) {
			t.Errorf("%s to %s: got %q, want %q", test.src, test.dst, got, test.want)
		}
	}
	for _, never := range []string{"", ".", "../x", "/x"} {
		_, err := CopyProject(t.Context(), filepath.Join(dir, "src"), filepath.Join(dir, "empty"),
			CopyOptions{Never: []string{never}})
		if err == nil {
			t.Errorf("Never %q was taken", never)
		}
	}
}

// hooked is a context that does something when it is asked for the nth time
// whether it ended: before and after a directory is listed, before a file is
// opened, and before it is read.
type hooked struct {
	context.Context
	left int
	do   func() error
}

func (h *hooked) Err() error {
	if h.left--; h.left == 0 {
		return h.do()
	}
	return h.Context.Err()
}

func TestCopyProjectStopsWhenCancelled(t *testing.T) {
	src := grow(t, "a", "b", "c/d")
	for n := 1; n <= 6; n++ {
		dst := t.TempDir()
		ctx := &hooked{t.Context(), n, func() error { return context.Canceled }}
		_, err := CopyProject(ctx, src, dst, CopyOptions{})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("at look %d: got %v", n, err)
		}
		if slices.Contains(tree(t, dst), "c/d") {
			t.Errorf("at look %d: it went on", n)
		}
	}
}

func TestCopyProjectNoticesChanges(t *testing.T) {
	const vanished = ": it vanished or was replaced"
	tests := []struct {
		name string
		look int // 2 is after the top is listed, 3 before a is opened, 4 before it is read
		do   func(src string) error
		want []string
	}{
		{"file removed", 2, func(src string) error { return os.Remove(filepath.Join(src, "a")) },
			[]string{`"a"` + vanished}},
		{"two removed", 2, func(src string) error {
			return errors.Join(os.Remove(filepath.Join(src, "a")), os.Remove(filepath.Join(src, "b")))
		}, []string{`"a"` + vanished, `"b"` + vanished}},
		{"directory removed", 2, func(src string) error { return os.RemoveAll(filepath.Join(src, "c")) },
			[]string{`"c"` + vanished}},
		{"directory replaced", 2, func(src string) error {
			return errors.Join(os.Rename(filepath.Join(src, "c"), filepath.Join(src, "x")),
				os.Mkdir(filepath.Join(src, "c"), 0o755))
		}, []string{`"c"` + vanished}},
		{"directory replaced by a link", 2, func(src string) error {
			return errors.Join(os.RemoveAll(filepath.Join(src, "c")),
				os.Symlink("e", filepath.Join(src, "c")))
		}, []string{`"c"` + vanished}},
		{"file replaced by a link", 2, func(src string) error {
			return errors.Join(os.Remove(filepath.Join(src, "a")),
				os.Symlink("b", filepath.Join(src, "a")))
		}, []string{`"a"` + vanished}},
		{"file replaced by a link out", 2, func(src string) error {
			return errors.Join(os.Remove(filepath.Join(src, "a")),
				os.Symlink("/etc/hostname", filepath.Join(src, "a")))
		}, []string{`"a": it cannot be read: path escapes from parent`}},
		{"file grown", 4, func(src string) error {
			return os.WriteFile(filepath.Join(src, "a"), []byte("much more"), 0o644)
		}, []string{`"a": it changed while it was copied`}},
		{"file shrunk", 4, func(src string) error { return os.Truncate(filepath.Join(src, "a"), 0) },
			[]string{`"a": it changed while it was copied`}},
		{"file overwritten before", 3, func(src string) error {
			return os.WriteFile(filepath.Join(src, "a"), []byte("much more"), 0o644)
		}, []string{`"a": it changed while it was copied`}},
		{"file touched", 4, func(src string) error {
			return os.Chtimes(filepath.Join(src, "a"), time.Time{}, time.Unix(1, 0))
		}, []string{`"a": it changed while it was copied`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			src := grow(t, "a", "b", "c/d", "e/f")
			ctx := &hooked{t.Context(), test.look, func() error { return test.do(src) }}
			got, hint := copyProblems(t, ctx, src, CopyOptions{})
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if strings.Contains(test.want[0], "vanished") && !strings.Contains(hint, ignoreFile) {
				t.Errorf("hint %q", hint)
			}
		})
	}
}

func TestCopyProjectDoesNotMindChangesInWhatIsIgnored(t *testing.T) {
	src := grow(t, "a", "log/x", "z")
	ctx := &hooked{t.Context(), 2, func() error { return os.RemoveAll(filepath.Join(src, "log")) }}
	dst := t.TempDir()
	if _, err := CopyProject(ctx, src, dst, CopyOptions{Ignore: []string{"log"}}); err != nil {
		t.Fatal(err)
	}
	if got, want := tree(t, dst), []string{"a", "z"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func BenchmarkCopyProject5000(b *testing.B) {
	src := b.TempDir()
	for i := range 50 {
		dir := filepath.Join(src, "src", fmt.Sprint(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range 100 {
			write(b, dir, fmt.Sprint(j, ".ts"), strings.Repeat("x", 4000))
		}
	}
	write(b, src, ignoreFile, "dist\n**/*.log\ncoverage\n.env.local\n")
	for b.Loop() {
		dst := b.TempDir()
		if _, err := CopyProject(b.Context(), src, dst, CopyOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
