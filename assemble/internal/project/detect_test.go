package project

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree writes files into a new directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func detect(t *testing.T, dir string, o Overrides) *Project {
	t.Helper()
	p, err := Detect(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// dev is a package.json with devDependencies and, if not empty, a build script.
func dev(build string, deps ...string) string {
	text := `{"name":"x","devDependencies":{`
	for i, d := range deps {
		if i > 0 {
			text += ","
		}
		name, version, ok := strings.Cut(d, "=")
		if !ok {
			version = "^1.0.0"
		}
		text += `"` + name + `":"` + version + `"`
	}
	text += "}"
	if build != "" {
		text += `,"scripts":{"build":"` + build + `"}`
	}
	return text + "}"
}

type site struct {
	Framework, Output string
	Mode              Mode
}

func TestDetectKnowsFrameworks(t *testing.T) {
	tests := []struct {
		name  string
		json  string
		files map[string]string
		want  site
	}{
		{"vite", dev("vite build", "vite"), nil, site{"vite", "dist", SPA}},
		{"vite outDir", dev("vite build", "vite"),
			map[string]string{"vite.config.ts": "export default {\n// outDir: 'no',\nbuild: { outDir: './site' } }"},
			site{"vite", "site", SPA}},
		{"vite root", dev("vite build", "vite"),
			map[string]string{"vite.config.js": "({ root: 'src', build: { outDir: '../site' } })"},
			site{"vite", "site", SPA}},
		{"vite resolved", dev("vite build", "vite"),
			map[string]string{"vite.config.mjs": "({ build: { outDir: path.resolve(__dirname, 'web') } })"},
			site{"vite", "web", SPA}},
		{"vite flag", dev("vite build --outDir=public_html", "vite"), nil, site{"vite", "public_html", SPA}},
		{"vite pages", dev("vite build", "vite"), map[string]string{
			"vite.config.ts": "({build:{rollupOptions:{input:{a:'index.html', b:'about/index.html'}}}})"},
			site{"vite", "dist", MPA}},
		{"cra", dev("react-scripts build", "react-scripts"), nil, site{"create-react-app", "build", SPA}},
		{"cra path", dev("BUILD_PATH=site craco build", "@craco/craco", "vite"), nil,
			site{"create-react-app", "site", SPA}},
		{"angular 20", dev("ng build", "@angular/core", "@angular/cli"), map[string]string{"angular.json": `{
			/* no outputPath */ "projects":{"myapp":{"projectType":"application","architect":{"build":{
			"builder":"@angular/build:application","options":{}}}}}}`},
			site{"angular", "dist/myapp/browser", SPA}},
		{"angular 17", dev("ng build", "@angular/core"), map[string]string{"angular.json": `{"projects":{
			"lib":{"projectType":"library"},"app":{"architect":{"build":{"builder":"@angular-devkit/build-angular:application",
			"options":{"outputPath":{"base":"out","browser":""},"outputMode":"static"}}}}}}`},
			site{"angular", "out", MPA}},
		{"angular 16", dev("ng build", "@angular/core"), map[string]string{"angular.json": `{"projects":{
			"app":{"targets":{"build":{"builder":"@angular-devkit/build-angular:browser","options":{"outputPath":"www"}}}}}}`},
			site{"angular", "www", SPA}},
		{"angular named", dev("ng build second", "@angular/core"), map[string]string{"angular.json": `{"projects":{
			"first":{"architect":{}},"second":{"architect":{"build":{"builder":"@angular/build:application"}}}}}`},
			site{"angular", "dist/second/browser", SPA}},
		{"angular broken", dev("ng build", "@angular/core"), map[string]string{"angular.json": `{`},
			site{"angular", "dist", SPA}},
		{"next", dev("next build", "next"), map[string]string{"next.config.mjs": "({output: 'export'})"},
			site{"next", "out", MPA}},
		{"next distDir", dev("next build", "next"), map[string]string{
			"next.config.ts": "const c = {\n  distDir: 'site',\n  output: prod ? \"export\" : undefined,\n}"},
			site{"next", "site", MPA}},
		{"next 12", dev("next build && next export", "next"), nil, site{"next", "out", MPA}},
		{"nuxt", dev("nuxt build", "nuxt", "vite"), nil, site{"nuxt", ".output/public", MPA}},
		{"sveltekit", dev("vite build", "@sveltejs/kit", "@sveltejs/adapter-static", "vite"),
			map[string]string{"svelte.config.js": "adapter({ pages: 'site', fallback: '200.html' })"},
			site{"sveltekit", "site", SPA}},
		{"sveltekit pages", dev("vite build", "@sveltejs/kit", "@sveltejs/adapter-static"), nil,
			site{"sveltekit", "build", MPA}},
		{"astro", dev("astro build", "astro", "vite"), map[string]string{
			"astro.config.mjs": "defineConfig({\n// output: 'server',\n outDir: './public_html' })"},
			site{"astro", "public_html", MPA}},
		{"astro adapter", dev("astro build", "astro", "@astrojs/node"), map[string]string{
			"astro.config.mjs": "import node from '@astrojs/node'"}, site{"astro", "dist/client", MPA}},
		{"vue-cli", dev("vue-cli-service build", "@vue/cli-service"),
			map[string]string{"vue.config.js": `module.exports = { outputDir: "web" }`}, site{"vue-cli", "web", SPA}},
		{"gatsby", dev("gatsby build", "gatsby"), nil, site{"gatsby", "public", MPA}},
		{"docusaurus", dev("docusaurus build --out-dir site", "@docusaurus/core"), nil,
			site{"docusaurus", "site", MPA}},
		{"vitepress", `{"devDependencies":{"vitepress":"1"},"scripts":{"docs:build":"vitepress build docs"}}`, nil,
			site{"vitepress", "docs/.vitepress/dist", MPA}},
		{"vitepress here", dev("vitepress build", "vitepress"), nil, site{"vitepress", ".vitepress/dist", MPA}},
		{"vuepress", dev("vuepress build src", "vuepress"), nil, site{"vuepress", "src/.vuepress/dist", MPA}},
		{"eleventy", dev("eleventy", "@11ty/eleventy"), nil, site{"eleventy", "_site", MPA}},
		{"eleventy config", dev("eleventy", "@11ty/eleventy"), map[string]string{
			"eleventy.config.js": "return { dir: { input: 'src', output: 'public' } }"}, site{"eleventy", "public", MPA}},
		{"react-router", dev("react-router build", "@react-router/dev", "vite"), map[string]string{
			"react-router.config.ts": "export default { ssr: false } satisfies Config"},
			site{"react-router", "build/client", SPA}},
		{"remix", dev("remix vite:build", "@remix-run/dev", "vite"), map[string]string{
			"vite.config.ts": "remix({ ssr: false, buildDirectory: 'b' })"}, site{"remix", "b/client", SPA}},
		{"tanstack", dev("vite build", "@tanstack/react-start", "vite"), map[string]string{
			"vite.config.ts": "tanstackStart({ spa: { enabled: true } })"}, site{"tanstack-start", "dist/client", SPA}},
		{"solid-start", dev("vinxi build", "@solidjs/start"), map[string]string{
			"app.config.ts": "({ server: { preset: 'static' } })"}, site{"solid-start", ".output/public", ""}},
		{"quasar", dev("quasar build -m pwa", "@quasar/app-vite"), nil, site{"quasar", "dist/pwa", SPA}},
		{"expo", dev("expo export -p web", "expo", "react-native-web"), map[string]string{
			"app.json": `{"expo":{"web":{"output":"static"}}}`}, site{"expo", "dist", MPA}},
		{"ember", dev("ember build", "ember-cli"), nil, site{"ember", "dist", SPA}},
		{"rsbuild", dev("rsbuild build", "@rsbuild/core"), map[string]string{
			"rsbuild.config.ts": "({output:{distPath:{root:'web'}}})"}, site{"rsbuild", "web", SPA}},
		{"parcel", dev("parcel build --dist-dir web", "parcel"), nil, site{"parcel", "web", ""}},
		{"webpack", dev("webpack --mode production", "webpack"), map[string]string{
			"webpack.config.js": "({output:{path: path.join(__dirname, 'web')}})"}, site{"webpack", "web", SPA}},
		{"storybook", dev("storybook build -o web", "storybook"), nil, site{"storybook", "web", MPA}},
		{"unknown", dev("make"), nil, site{"", "dist", ""}},
		{"no way out", dev("vite build --outDir ../../etc", "vite"), nil, site{"vite", "dist", SPA}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"package.json": tt.json, "package-lock.json": "{}"}
			for name, content := range tt.files {
				files[name] = content
			}
			p := detect(t, tree(t, files), Overrides{})
			if diff := cmp.Diff(tt.want, site{p.Framework, p.OutputDirs[0], p.Mode}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDetectRefusesWhatNeedsAServer(t *testing.T) {
	tests := []struct{ name, json, file, content, hint string }{
		{"next", dev("next build", "next"), "next.config.js", "({ reactStrictMode: true /* output: 'export' */ })",
			"output: 'export'"},
		{"next bare", dev("next build", "next"), "", "", "output: 'export'"},
		{"sveltekit", dev("vite build", "@sveltejs/kit", "@sveltejs/adapter-auto"), "", "", "adapter-static"},
		{"astro", dev("astro build", "astro"), "astro.config.mjs", "({ output: \"server\" })", "remove it"},
		{"react-router", dev("react-router build", "@react-router/dev"), "", "", "ssr: false"},
		{"remix", dev("remix vite:build", "@remix-run/dev"), "vite.config.ts", "remix()", "ssr: false"},
		{"tanstack", dev("vite build", "@tanstack/react-start"), "", "", "spa:"},
		{"solid-start", dev("vinxi build", "@solidjs/start"), "", "", "preset"},
		{"angular", dev("ng build", "@angular/core"), "angular.json", `{"projects":{"a":{"architect":{"build":{
			"builder":"@angular/build:application","options":{"outputMode":"server"}}}}}}`, "outputMode"},
		{"quasar", dev("quasar build -m ssr", "@quasar/app-vite"), "", "", "pwa"},
		{"expo", dev("expo export", "expo", "react-dom"), "app.json", `{"expo":{"web":{"output":"server"}}}`, "static"},
		{"hydrogen", dev("x", "@shopify/hydrogen", "vite"), "", "", "Dockerfile"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"package.json": tt.json, "package-lock.json": "{}"}
			if tt.file != "" {
				files[tt.file] = tt.content
			}
			dir := tree(t, files)
			_, err := Detect(t.Context(), dir, Overrides{})
			var server *ServerError
			if !errors.As(err, &server) || !strings.Contains(server.Hint(), tt.hint) {
				t.Fatalf("got %v, hint wanted with %q", err, tt.hint)
			}
			p := detect(t, dir, Overrides{OutputDir: "site"})
			if len(p.Warnings) == 0 || p.OutputDirs[0] != "site" {
				t.Errorf("the user's word does not count: %v %v", p.OutputDirs, p.Warnings)
			}
		})
	}
}

func TestDetectChoosesCommands(t *testing.T) {
	vite := func(extra string) string {
		return `{"name":"x","devDependencies":{"vite":"8"},"scripts":{"build":"vite build"}` + extra + `}`
	}
	npm := map[string]string{"package-lock.json": "{}"}
	tests := []struct {
		name, json     string
		files          map[string]string
		manager        Manager
		install, build string
		warning        string
	}{
		{"npm", vite(""), npm, Manager{Name: NPM},
			"npm ci --include=dev --no-audit --no-fund", "npm run build", ""},
		{"shrinkwrap", vite(""), map[string]string{"npm-shrinkwrap.json": "{}", "package-lock.json": "{}"},
			Manager{Name: NPM}, "npm ci --include=dev --no-audit --no-fund", "npm run build", ""},
		{"no lockfile", vite(""), nil, Manager{Name: NPM},
			"npm install --include=dev --no-audit --no-fund", "npm run build", "no lockfile"},
		{"pnpm by lock", vite(""), map[string]string{"pnpm-lock.yaml": "lockfileVersion: '6.0'\n"},
			Manager{Name: PNPM, Version: "8"},
			`pnpm install --prod=false --store-dir="$HOME/.local/share/pnpm/store" --frozen-lockfile`,
			"pnpm run build", "the version of pnpm is open"},
		{"pnpm pinned", vite(`,"packageManager":"pnpm@9.1.0+sha512.0aF"`), map[string]string{"pnpm-lock.yaml": ""},
			Manager{Name: PNPM, Version: "9.1.0", Hash: "sha512.0aF"},
			`pnpm install --prod=false --store-dir="$HOME/.local/share/pnpm/store" --frozen-lockfile`, "pnpm run build", ""},
		{"yarn 1", vite(""), map[string]string{"yarn.lock": "# THIS IS…\n# yarn lockfile v1\n"},
			Manager{Name: Yarn, Version: "1"},
			"yarn install --non-interactive --production=false --frozen-lockfile", "yarn run build", "is open"},
		{"berry by lock", vite(""), map[string]string{"yarn.lock": "# x\n\n__metadata:\n  version: 6\n"},
			Manager{Name: Berry, Version: "3"}, "yarn install --immutable", "yarn run build", "is open"},
		{"berry pinned", vite(`,"packageManager":"yarn@4.18.1"`), map[string]string{"yarn.lock": "__metadata:\n  version: 8\n"},
			Manager{Name: Berry, Version: "4.18.1"}, "yarn install --immutable", "yarn run build", ""},
		{"berry carried", vite(""), map[string]string{"yarn.lock": "__metadata:\n  version: 8\n",
			".yarnrc.yml": "yarnPath: .yarn/releases/yarn-4.1.0.cjs\n", ".yarn/releases/yarn-4.1.0.cjs": ""},
			Manager{Name: Berry, Version: "4", File: ".yarn/releases/yarn-4.1.0.cjs"},
			"node .yarn/releases/yarn-4.1.0.cjs install --immutable", "node .yarn/releases/yarn-4.1.0.cjs run build", ""},
		{"bun", vite(""), map[string]string{"bun.lock": "{}"}, Manager{Name: Bun, Version: "1"},
			"bun install --frozen-lockfile", "bun run build", "is open"},
		{"devEngines", vite(`,"devEngines":{"packageManager":{"name":"pnpm","version":">=10 <11"}}`),
			map[string]string{"pnpm-lock.yaml": ""}, Manager{Name: PNPM, Version: ">=10 <11"},
			`pnpm install --prod=false --store-dir="$HOME/.local/share/pnpm/store" --frozen-lockfile`, "pnpm run build", ""},
		{"volta", vite(`,"volta":{"yarn":"1.22.22"}`), map[string]string{"yarn.lock": ""},
			Manager{Name: Yarn, Version: "1.22.22"},
			"yarn install --non-interactive --production=false --frozen-lockfile", "yarn run build", ""},
		{"two lockfiles", vite(""), map[string]string{"yarn.lock": "", "package-lock.json": "{}"},
			Manager{Name: Yarn, Version: "1"},
			"yarn install --non-interactive --production=false --frozen-lockfile", "yarn run build", "several lockfiles"},
		{"the other's lockfile", vite(`,"packageManager":"npm@11.0.0"`), map[string]string{"yarn.lock": ""},
			Manager{Name: NPM, Version: "11.0.0"},
			"npm install --include=dev --no-audit --no-fund", "npm run build", "yarn.lock is that of yarn, but npm installs"},
		{"old lockfile", vite(`,"packageManager":"yarn@4.18.1"`), map[string]string{"yarn.lock": "# yarn lockfile v1\n"},
			Manager{Name: Berry, Version: "4.18.1"}, "yarn install --no-immutable", "yarn run build",
			"yarn.lock is that of yarn, but yarn-berry installs"},
		{"no script", `{"devDependencies":{"vite":"8"},"scripts":{"dev":"vite"}}`, npm, Manager{Name: NPM},
			"npm ci --include=dev --no-audit --no-fund", "npx --no -- vite build", ""},
		{"script by framework", `{"devDependencies":{"vite":"8"},"scripts":{"bundle":"vite build","build:x":"y"}}`, npm,
			Manager{Name: NPM}, "npm ci --include=dev --no-audit --no-fund", "npm run bundle", ""},
		{"script by name", `{"scripts":{"lint:build":"y","site:build":"make"}}`, npm,
			Manager{Name: NPM}, "npm ci --include=dev --no-audit --no-fund", "npm run site:build", ""},
		{"nuxt", dev("nuxt build", "nuxt"), npm, Manager{Name: NPM},
			"npm ci --include=dev --no-audit --no-fund", "npx --no -- nuxt generate", "nuxt generate runs instead"},
		{"nuxt generate", `{"dependencies":{"nuxt":"4"},"scripts":{"build":"nuxt build","generate":"nuxt generate"}}`, npm,
			Manager{Name: NPM}, "npm ci --include=dev --no-audit --no-fund", "npm run generate", ""},
		{"nuxt preset", dev("nuxi build", "nuxt"), map[string]string{"package-lock.json": "",
			"nuxt.config.ts": "({nitro:{preset:'static'}})"}, Manager{Name: NPM},
			"npm ci --include=dev --no-audit --no-fund", "npm run build", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"package.json": tt.json}
			for name, content := range tt.files {
				files[name] = content
			}
			p := detect(t, tree(t, files), Overrides{})
			tt.manager.CacheDir = cacheDirs[tt.manager.Name]
			if diff := cmp.Diff(tt.manager, p.Manager); diff != "" {
				t.Error(diff)
			}
			if p.Install != tt.install || p.Build != tt.build {
				t.Errorf("install %q, build %q", p.Install, p.Build)
			}
			if got := strings.Join(p.Warnings, "\n"); !strings.Contains(got, tt.warning) || tt.warning == "" && got != "" {
				t.Errorf("warnings %q, want %q", got, tt.warning)
			}
		})
	}
}

func TestSetupChecksTheHash(t *testing.T) {
	for _, tt := range []struct{ declared, setup, warning string }{
		{"pnpm@9.1.0+sha512.0aF", "cd /tmp && npm pack --silent pnpm@9.1.0 && " +
			"echo '0af  pnpm-9.1.0.tgz' | sha512sum -c - && " +
			"npm install --global --force --no-audit --no-fund ./pnpm-9.1.0.tgz && rm pnpm-9.1.0.tgz", ""},
		{"yarn@4.1.0+sha224.0af", "npm install --global --force --no-audit --no-fund @yarnpkg/cli-dist@4.1.0",
			"is not checked"},
		{"npm@11.0.0", "", ""},
	} {
		p := detect(t, tree(t, map[string]string{"pnpm-lock.yaml": "", "package-lock.json": "",
			"yarn.lock":    "__metadata:\n  version: 8\n",
			"package.json": `{"scripts":{"build":"x"},"packageManager":"` + tt.declared + `"}`}), Overrides{})
		if p.Setup != tt.setup {
			t.Errorf("%s: %s", tt.declared, p.Setup)
		}
		if got := strings.Join(p.Warnings, "\n"); !strings.Contains(got, tt.warning) || tt.warning == "" && got != "" {
			t.Errorf("%s: warnings %q", tt.declared, got)
		}
	}
}

func TestOverridesWin(t *testing.T) {
	dir := tree(t, map[string]string{"package.json": `{"name":"x"}`})
	p := detect(t, dir, Overrides{Install: "make deps", Build: "make site", OutputDir: "./a/b/",
		Builder: "registry.example.com/node:1"})
	if p.Install != "make deps" || p.Build != "make site" || p.OutputDirs[0] != "a/b" || !p.OutputGiven ||
		p.Node.Image != "registry.example.com/node:1" || len(p.Warnings) > 0 {
		t.Errorf("%+v", p)
	}
	for _, out := range []string{"../x", "/etc", "a/../../b", "x\x00"} {
		_, err := Detect(t.Context(), dir, Overrides{Build: "x", OutputDir: out})
		var usage *OverrideError
		if !errors.As(err, &usage) || !usage.Usage() {
			t.Errorf("--output-dir %q: %v", out, err)
		}
	}
}

func TestBadManifestsSayWhere(t *testing.T) {
	tests := []struct{ name, json, want string }{
		{"comma", "{\n  \"name\": \"ü\",\n}", "package.json:3:1"},
		{"column", "{\n  \"é\": 'x'\n}", "package.json:2:8"},
		{"empty", " \n", "the file is empty"},
		{"cut", `{"scripts": {"build": "vi`, "unexpected end"},
		{"array", "[]", "array is not a package"},
		{"null", "null", "null is not a package"},
		{"scripts", `{"scripts": ["build"]}`, `"scripts" is not an object`},
		{"manager", `{"packageManager": "deno@2.0.0", "scripts":{"build":"x"}}`, "deno"},
		{"manager hash", `{"packageManager": "pnpm@9.1.0+md5.00", "scripts":{"build":"x"}}`, "packageManager"},
		{"manager url", `{"packageManager": "pnpm@https://x/y.tgz", "scripts":{"build":"x"}}`, "packageManager"},
		{"large", "{" + strings.Repeat(" ", maxManifest) + "}", tooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := tree(t, map[string]string{"package.json": tt.json})
			_, err := Detect(t.Context(), dir, Overrides{})
			var bad *ManifestError
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), tt.want) || bad.Hint() == "" {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if yes, _ := IsProject(dir); !yes {
				t.Error("a broken package.json has to reach Detect, which explains it")
			}
		})
	}
}

func TestDetectRefusesWhatHasNoBuild(t *testing.T) {
	_, err := Detect(t.Context(), tree(t, map[string]string{"package.json": `{"scripts":{"test":"x"}}`}), Overrides{})
	var none *NoBuildError
	if !errors.As(err, &none) || !strings.Contains(none.Hint(), "--build-command") {
		t.Error(err)
	}
	if _, err := Detect(t.Context(), t.TempDir(), Overrides{}); !isNotExist(err) {
		t.Errorf("without package.json: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := tree(t, map[string]string{"package.json": `{"workspaces":["a"]}`})
	if _, err := Detect(ctx, dir, Overrides{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestDetectFollowsNoLinkOut(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege there")
	}
	outside := tree(t, map[string]string{"package.json": dev("x"), "secret": "22"})
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(outside, "package.json"), filepath.Join(dir, "package.json")); err != nil {
		t.Fatal(err)
	}
	_, err := Detect(t.Context(), dir, Overrides{})
	if err == nil || !strings.Contains(err.Error(), "leads out of the project") {
		t.Error(err)
	}
	dir = tree(t, map[string]string{"package.json": dev("x")})
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, ".nvmrc")); err != nil {
		t.Fatal(err)
	}
	_, err = Detect(t.Context(), dir, Overrides{})
	if err == nil || !strings.Contains(err.Error(), ".nvmrc") {
		t.Error(err)
	}
}

func TestIsProject(t *testing.T) {
	for json, want := range map[string]bool{
		dev("x"): true, dev("", "vite"): true, `{"name":"x"}`: false, `{`: true, "": false,
		`{"devDependencies":{"webpack":"5"}}`: false,
	} {
		files := map[string]string{"index.html": ""}
		if json != "" {
			files["package.json"] = json
		}
		yes, why := IsProject(tree(t, files))
		if yes != want || why == "" {
			t.Errorf("IsProject(%s) = %v, %q", json, yes, why)
		}
	}
	if yes, _ := IsProject(filepath.Join(t.TempDir(), "none")); yes {
		t.Error("a directory that is not there is a project")
	}
}

func TestEnvironmentIsShort(t *testing.T) {
	dir := tree(t, map[string]string{"package.json": dev("next build", "next", "husky", "cypress"),
		"next.config.js": "({output:'export'})", "package-lock.json": ""})
	p := detect(t, dir, Overrides{})
	for _, want := range []Variable{{"CI", "true"}, {"HUSKY", "0"}, {"CYPRESS_INSTALL_BINARY", "0"},
		{"NEXT_TELEMETRY_DISABLED", "1"}} {
		if !slices.Contains(p.Env, want) {
			t.Errorf("no %v in %v", want, p.Env)
		}
	}
	if slices.ContainsFunc(p.Env, func(v Variable) bool { return v.Name == "NODE_ENV" }) {
		t.Error("NODE_ENV would drop what builds")
	}
}
