package project

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func member(name, extra string) string {
	return `{"name":"` + name + `","scripts":{"build":"vite build"}` + extra + `}`
}

var (
	usesVite = `,"devDependencies":{"vite":"8"}`
	usesUI   = `,"dependencies":{"@w/ui":"*","@w/none":"*"},"devDependencies":{"vite":"8"}`
)

func TestDetectBuildsMembersFromTheRoot(t *testing.T) {
	base := map[string]string{
		"apps/web/package.json": member("@w/web", usesUI), "apps/web/index.html": "",
		"packages/ui/package.json":   member("@w/ui", `,"dependencies":{"@w/core":"*","@w/web":"*"}`),
		"packages/core/package.json": member("@w/core", ""),
		"packages/none/package.json": `{"name":"@w/none"}`,
	}
	tests := []struct {
		name    string
		files   map[string]string
		install string
		build   string
	}{
		{"npm", map[string]string{"package.json": `{"workspaces":["apps/*","packages/*"]}`, "package-lock.json": ""},
			"npm ci --include=dev --no-audit --no-fund",
			"npm run build --workspace=packages/core && npm run build --workspace=packages/ui && " +
				"npm run build --workspace=apps/web"},
		{"pnpm", map[string]string{"package.json": `{"packageManager":"pnpm@10.1.0"}`, "pnpm-lock.yaml": "",
			"pnpm-workspace.yaml": "packages:\n  - 'apps/**'\n  - packages/*\n  - '!packages/core'\n"},
			`pnpm install --prod=false --store-dir="$HOME/.local/share/pnpm/store" --frozen-lockfile`,
			"pnpm --dir=packages/ui run build && pnpm --dir=apps/web run build"},
		{"yarn", map[string]string{"package.json": `{"workspaces":{"packages":["{apps,packages}/*"]}}`, "yarn.lock": ""},
			"yarn install --non-interactive --production=false --frozen-lockfile",
			"yarn --cwd packages/core run build && yarn --cwd packages/ui run build && yarn --cwd apps/web run build"},
		{"bun", map[string]string{"package.json": `{"workspaces":["apps/web","packages/ui"]}`, "bun.lock": ""},
			"bun install --frozen-lockfile",
			"bun run --cwd=packages/ui build && bun run --cwd=apps/web build"},
		{"turbo", map[string]string{"turbo.json": "{}", "package-lock.json": "",
			"package.json": `{"workspaces":["apps/*"],"devDependencies":{"turbo":"2"}}`},
			"npm ci --include=dev --no-audit --no-fund", "npx --no -- turbo run build --filter=@w/web..."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := maps.Clone(base)
			maps.Copy(files, tt.files)
			dir := tree(t, files)
			for _, from := range []string{"apps/web", "."} {
				p := detect(t, filepath.Join(dir, from), Overrides{})
				if root, _ := filepath.EvalSymlinks(dir); p.Root != root || p.Dir != "apps/web" || p.Name != "@w/web" {
					t.Errorf("from %s: root %s, dir %s, name %s", from, p.Root, p.Dir, p.Name)
				}
				if p.Install != tt.install || p.Build != tt.build {
					t.Errorf("from %s: install %q\nbuild %q", from, p.Install, p.Build)
				}
				if p.OutputDirs[0] != "apps/web/dist" {
					t.Errorf("outputs %v", p.OutputDirs)
				}
			}
		})
	}
}

func TestDetectAsksWhichMember(t *testing.T) {
	files := map[string]string{"package.json": `{"workspaces":["apps/*"]}`, "package-lock.json": "",
		"apps/a/package.json": member("a", usesVite), "apps/a/index.html": "",
		"apps/b/package.json": member("b", usesVite), "apps/b/index.html": "",
		"apps/lib/package.json": member("lib", usesVite)}
	_, err := Detect(t.Context(), tree(t, files), Overrides{})
	var choice *ChoiceError
	if !errors.As(err, &choice) || strings.Join(choice.Packages, " ") != "apps/a apps/b" || choice.Hint() == "" {
		t.Fatal(err)
	}
	files["package.json"] = `{"workspaces":["apps/*"],"scripts":{"build":"make"}}`
	if p := detect(t, tree(t, files), Overrides{}); p.Build != "npm run build" || p.Dir != "." {
		t.Errorf("%q in %s", p.Build, p.Dir)
	}
}

func TestDetectStaysInAPackageThatIsNoMember(t *testing.T) {
	own := map[string]string{"package.json": `{"workspaces":["apps/*"]}`, "package-lock.json": "",
		"examples/x/package.json": dev("vite build", "vite"), "examples/x/package-lock.json": ""}
	dir := tree(t, own)
	p := detect(t, filepath.Join(dir, "examples", "x"), Overrides{})
	if p.Dir != "." || filepath.Base(p.Root) != "x" || p.Build != "npm run build" {
		t.Errorf("%s %s %s", p.Root, p.Dir, p.Build)
	}
}

// A package.json that another user put into /tmp must not decide what is built.
func TestDetectTrustsNoParentThatAnyoneCanWrite(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("directories have no sticky bit there")
	}
	dir := tree(t, map[string]string{"package.json": `{"workspaces":["*"]}`, "package-lock.json": "",
		"x/package.json": dev("vite build", "vite")})
	if p := detect(t, filepath.Join(dir, "x"), Overrides{}); p.Dir != "x" {
		t.Fatalf("not a member: %s", p.Dir)
	}
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if p := detect(t, filepath.Join(dir, "x"), Overrides{}); p.Dir != "." {
		t.Errorf("root %s", p.Root)
	}
}

func TestMatchesMember(t *testing.T) {
	tests := []struct {
		patterns string
		dir      string
		want     bool
	}{
		{"apps/*", "apps/web", true}, {"apps/*", "apps/web/x", false}, {"./apps/*/", "apps/web", true},
		{"**", "a/b/c", true}, {"packages/**", "packages/a/b", true}, {"packages/**/x", "packages/x", true},
		{"*;!web", "web", false}, {"!web;*", "web", true}, {"{a,b}/*", "b/x", true}, {"[", "x", false},
		{strings.Repeat("**/", 16) + "x", strings.Repeat("a/", 16) + "y", false},
		{"**/**/x", "a/b/x", true},
		{"", "x", false}, {"apps/*", "apps", false}, {".", "x", false},
	}
	for _, tt := range tests {
		if got := matchesMember(strings.Split(tt.patterns, ";"), tt.dir); got != tt.want {
			t.Errorf("%q has %q: %v", tt.patterns, tt.dir, got)
		}
	}
}
