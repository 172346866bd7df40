package project

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func TestFindOutput(t *testing.T) {
	old, now := time.Unix(1000, 0), time.Unix(2000, 0)
	// before is there from the start, after what the build wrote.
	tests := []struct {
		name          string
		p             Project
		before, after string
		want, problem string
	}{
		{"the default", Project{OutputDirs: []string{"dist", "build"}}, "index.html", "dist/index.html build/index.html",
			"dist", ""},
		{"the next best", Project{OutputDirs: []string{"dist", "build"}}, "public/index.html", "build/index.html",
			"build", ""},
		{"a source is no site", Project{OutputDirs: []string{"public"}}, "public/index.html", "x/y/index.html", "x/y", ""},
		{"a source the build changed is", Project{OutputDirs: []string{"public"}}, "public/index.html",
			"public/index.html", "public", ""},
		{"the topmost", Project{OutputDirs: []string{"out"}}, "", "site/index.html site/a/index.html site/a/b/index.html",
			"site", ""},
		{"angular", Project{OutputDirs: []string{"dist"}}, "", "dist/shop/browser/index.html dist/shop/server/x.html",
			"dist/shop/browser", ""},
		{"nuxt", Project{OutputDirs: []string{".output/public"}}, "", ".output/public/index.html .output/public/200.html",
			".output/public", ""},
		{"only a fallback", Project{OutputDirs: []string{"build"}}, "", "build/200.html", "build", ""},
		{"several", Project{OutputDirs: []string{"dist"}, Dir: "."}, "", "b/index.html a/index.html", "",
			"a, b"},
		{"modules are none", Project{OutputDirs: []string{"dist"}, Dir: "."}, "", "node_modules/x/index.html", "",
			"no index.html"},
		{"none but a directory", Project{OutputDirs: []string{"dist"}, Dir: "."}, "", "dist/main.js", "", "there is dist"},
		{"given", Project{OutputDirs: []string{"dist"}, OutputGiven: true}, "", "dist/main.js a/index.html", "dist", ""},
		{"given, not made", Project{OutputDirs: []string{"dist"}, OutputGiven: true}, "", "a/index.html", "",
			"did not make dist"},
		{"given, a file", Project{OutputDirs: []string{"dist"}, OutputGiven: true}, "", "dist", "", "not a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fsys := fstest.MapFS{}
			for _, name := range strings.Fields(tt.before) {
				fsys[name] = &fstest.MapFile{ModTime: old}
			}
			before, err := FindPages(fsys)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range strings.Fields(tt.after) {
				fsys[name] = &fstest.MapFile{ModTime: now}
			}
			got, err := tt.p.FindOutput(fsys, before)
			if tt.problem == "" {
				if err != nil || got != tt.want {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			var out *OutputError
			if !errors.As(err, &out) || !strings.Contains(err.Error(), tt.problem) || out.Hint() == "" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestFindOutputFollowsLinksInsideOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege there")
	}
	outside := tree(t, map[string]string{"index.html": ""})
	dir := tree(t, map[string]string{"real/site/index.html": ""})
	for name, target := range map[string]string{"in": "real/../real/site", "abs": outside,
		"up": "../" + filepath.Base(outside), "loop": "loop", "chain": "in"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, want := range map[string]string{"in": "real/site", "chain": "real/site", "abs": "", "up": "", "loop": ""} {
		p := Project{OutputDirs: []string{name}, OutputGiven: true}
		got, err := p.FindOutput(root.FS(), nil)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	p := Project{OutputDirs: []string{"in"}, Dir: "."}
	if got, err := p.FindOutput(root.FS(), nil); got != "real/site" {
		t.Errorf("a linked default: %q, %v", got, err)
	}
}

func TestOutputHintIsRelativeToThePackage(t *testing.T) {
	p := Project{Dir: "apps/web"}
	for dir, want := range map[string]string{"apps/web/dist": "dist", "dist/apps/web": "../../dist/apps/web"} {
		if got := p.relative(dir); got != want {
			t.Errorf("%s: %s", dir, got)
		}
		if back, err := (&pkg{dir: p.Dir}).within(p.relative(dir)); err != nil || back != dir {
			t.Errorf("%s does not come back: %s %v", dir, back, err)
		}
	}
}

func TestFindPagesReportsAnUnreadableTree(t *testing.T) {
	if _, err := FindPages(os.DirFS(filepath.Join(t.TempDir(), "none"))); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
