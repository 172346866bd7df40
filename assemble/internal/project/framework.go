package project

import (
	"path"
	"regexp"
	"slices"
)

// framework is what decant knows of one: how to recognise it, and where its
// site goes.
type framework struct {
	name string
	// deps are the packages of which one makes the framework.
	deps []string
	// command is the build where no script has one; it is also how a script that
	// builds is recognised.
	command string
	// dirs are the default output directories, relative to the package.
	dirs []string
	mode Mode
	// telemetry is a variable that keeps the build from calling home.
	telemetry string
	// refine reads the configuration; may be nil.
	refine func(*pkg, framework, *output)

	why string // the dependency that was found
}

// output is what is known of a site before it is built.
type output struct {
	dirs     []string
	mode     Mode
	why      string
	server   *ServerError
	warnings []string
}

// frameworks is in the order in which they are tried: those that build with
// another of the list before that one.
var frameworks = []framework{
	{name: "next", deps: []string{"next"}, command: "next build", dirs: []string{"out"}, mode: MPA,
		telemetry: "NEXT_TELEMETRY_DISABLED=1", refine: refineNext},
	{name: "nuxt", deps: []string{"nuxt", "nuxt3", "nuxt-edge", "nuxt-nightly"},
		command: "nuxt generate", dirs: []string{".output/public", "dist"}, mode: MPA,
		telemetry: "NUXT_TELEMETRY_DISABLED=1"},
	{name: "sveltekit", deps: []string{"@sveltejs/kit"}, command: "vite build",
		dirs: []string{"build"}, mode: MPA, refine: refineSvelteKit},
	{name: "analog", deps: []string{"@analogjs/platform"}, command: "vite build",
		dirs: []string{"dist/analog/public"}},
	{name: "react-router", deps: []string{"@react-router/dev"}, command: "react-router build",
		dirs: []string{"build/client"}, mode: SPA, refine: refineReactRouter},
	{name: "remix", deps: []string{"@remix-run/dev"}, command: "remix vite:build",
		dirs: []string{"build/client"}, mode: SPA, refine: refineRemix},
	{name: "tanstack-start",
		deps:    []string{"@tanstack/react-start", "@tanstack/solid-start", "@tanstack/start"},
		command: "vite build", dirs: []string{"dist/client", ".output/public", "dist"}, mode: SPA,
		refine: refineTanStack},
	{name: "solid-start", deps: []string{"@solidjs/start"}, command: "vinxi build",
		dirs: []string{".output/public", "dist/client"}, refine: refineSolidStart},
	{name: "qwik", deps: []string{"@builder.io/qwik-city", "@qwik.dev/router"}, command: "qwik build",
		dirs: []string{"dist"}, mode: MPA},
	{name: "hydrogen", deps: []string{"@shopify/hydrogen"}, refine: alwaysServer},
	{name: "redwood", deps: []string{"@redwoodjs/core"}, refine: alwaysServer},
	{name: "blitz", deps: []string{"blitz"}, refine: alwaysServer},
	{name: "astro", deps: []string{"astro"}, command: "astro build", dirs: []string{"dist"}, mode: MPA,
		telemetry: "ASTRO_TELEMETRY_DISABLED=1", refine: refineAstro},
	{name: "gatsby", deps: []string{"gatsby"}, command: "gatsby build",
		dirs: []string{"public"}, mode: MPA,
		telemetry: "GATSBY_TELEMETRY_DISABLED=1"},
	{name: "docusaurus", deps: []string{"@docusaurus/core"}, command: "docusaurus build",
		dirs: []string{"build"}, mode: MPA, refine: scriptFlag(`--out-dir`)},
	{name: "vitepress", deps: []string{"vitepress"}, command: "vitepress build", mode: MPA,
		dirs: []string{".vitepress/dist", "docs/.vitepress/dist"}, refine: refinePress},
	{name: "vuepress", deps: []string{"vuepress", "vuepress-webpack", "vuepress-vite"},
		command: "vuepress build",
		dirs:    []string{"docs/.vuepress/dist", "src/.vuepress/dist", ".vuepress/dist"},
		mode:    MPA, refine: refinePress},
	{name: "eleventy", deps: []string{"@11ty/eleventy"}, command: "eleventy", dirs: []string{"_site"},
		mode: MPA, refine: refineEleventy},
	{name: "observable", deps: []string{"@observablehq/framework"}, command: "observable build",
		dirs: []string{"dist"}, mode: MPA, telemetry: "OBSERVABLE_TELEMETRY_DISABLE=true"},
	{name: "sanity", deps: []string{"sanity"}, command: "sanity build", dirs: []string{"dist"},
		mode: SPA},
	{name: "vike", deps: []string{"vike", "vite-plugin-ssr"}, command: "vite build",
		dirs: []string{"dist/client"}},
	{name: "angular", deps: []string{"@angular/core"}, command: "ng build", mode: SPA,
		telemetry: "NG_CLI_ANALYTICS=false", refine: refineAngular},
	{name: "quasar", deps: []string{"@quasar/app-vite", "@quasar/app-webpack", "@quasar/app"},
		command: "quasar build", dirs: []string{"dist/spa", "dist/pwa"}, mode: SPA, refine: refineQuasar},
	{name: "expo", deps: []string{"expo"}, command: "expo export --platform web",
		dirs:      []string{"dist"},
		telemetry: "EXPO_NO_TELEMETRY=1", refine: refineExpo},
	{name: "ember", deps: []string{"ember-cli"}, command: "ember build --environment=production",
		dirs: []string{"dist"}, mode: SPA, refine: scriptFlag(`--output-path`, `-o`)},
	{name: "vue-cli", deps: []string{"@vue/cli-service"}, command: "vue-cli-service build",
		dirs: []string{"dist"}, mode: SPA, refine: refineVueCLI},
	{name: "create-react-app", deps: []string{"react-scripts", "@craco/craco", "react-app-rewired"},
		command: "react-scripts build", dirs: []string{"build"}, mode: SPA, refine: refineCRA},
	{name: "preact-cli", deps: []string{"preact-cli"}, command: "preact build",
		dirs: []string{"build"},
		mode: SPA, refine: scriptFlag(`--dest`)},
	{name: "gridsome", deps: []string{"gridsome"}, command: "gridsome build",
		dirs: []string{"dist"}, mode: MPA},
	{name: "umi", deps: []string{"umi", "@umijs/max"}, command: "umi build",
		dirs: []string{"dist"}, mode: SPA,
		refine: setting("outputPath", ".umirc.ts", ".umirc.js", "config/config.ts", "config/config.js")},
	{name: "hexo", deps: []string{"hexo"}, command: "hexo generate", dirs: []string{"public"},
		mode: MPA},
	{name: "stencil", deps: []string{"@stencil/core"}, command: "stencil build",
		dirs: []string{"www"}},
	{name: "rspress", deps: []string{"@rspress/core", "rspress"}, command: "rspress build",
		dirs: []string{"doc_build"}, mode: MPA},
	{name: "rsbuild", deps: []string{"@rsbuild/core"}, command: "rsbuild build",
		dirs:   []string{"dist"},
		mode:   SPA,
		refine: setting("root", "rsbuild.config.ts", "rsbuild.config.mjs", "rsbuild.config.js")},
	{name: "vite", deps: []string{"vite", "rolldown-vite", "vite-plus"}, command: "vite build",
		dirs: []string{"dist"}, mode: SPA, refine: refineVite},
	{name: "parcel", deps: []string{"parcel", "parcel-bundler"}, command: "parcel build",
		dirs: []string{"dist"}, refine: scriptFlag(`--dist-dir`, `--out-dir`, `-d`)},
	{name: "webpack", deps: []string{"webpack"}, command: "webpack", dirs: []string{"dist"}, mode: SPA,
		refine: refineWebpack},
	{name: "storybook", deps: []string{"storybook"}, command: "storybook build",
		dirs: []string{"storybook-static"}, mode: MPA, telemetry: "STORYBOOK_DISABLE_TELEMETRY=1",
		refine: scriptFlag(`--output-dir`, `-o`)},
}

// framework is the first of the list that the package depends on.
func (p *pkg) framework() (f framework, known bool) {
	for _, f := range frameworks {
		dep, ok := p.has(f.deps...)
		if !ok || !f.buildable(p) {
			continue
		}
		f.why = dep + " in " + p.file()
		return f, true
	}
	return framework{}, false
}

// buildable excludes what is a dependency of many projects that are no site of
// that kind: a library has webpack or Storybook to test with, a phone's
// application has expo.
func (f framework) buildable(p *pkg) bool {
	switch f.name {
	case "expo":
		_, web := p.has("react-native-web", "react-dom")
		return web
	case "webpack", "storybook", "hexo", "sanity":
		_, ok := p.buildScript(f)
		return ok
	}
	return true
}

// isSite tells a member of a workspace that is a site from a library: both may
// depend on vite, but only a site has a page.
func (p *pkg) isSite() bool {
	f, known := p.framework()
	if f.name != "vite" {
		return known
	}
	_, content := p.text(viteConfig...)
	return exists(p.fsys, path.Join(p.dir, "index.html")) || hasSetting(content, "root") ||
		htmlInput.MatchString(content)
}

// output is where f's site of p will be.
func (f framework) output(p *pkg) output {
	o := output{dirs: slices.Clone(f.dirs), mode: f.mode, why: "the default of " + f.name}
	if f.name == "" {
		o.why = "a directory with an index.html that the build writes"
	}
	if f.refine != nil {
		f.refine(p, f, &o)
	}
	return o
}

// declare puts a directory that the project names before the defaults.
func (o *output) declare(dir, why string) {
	if dir != "" {
		o.dirs, o.why = slices.Insert(o.dirs, 0, dir), why
	}
}

// needsServer refuses a set-up, with what to change.
func (o *output) needsServer(f framework, what, fix string) {
	o.server = &ServerError{Framework: f.name, What: what, Fix: fix}
}

// script is the command that builds, or the framework's own.
func (p *pkg) script(f framework) string {
	if name, ok := p.buildScript(f); ok {
		return p.manifest.Scripts[name]
	}
	return f.command
}

// flagValue is the argument of one of the named flags in a command.
func flagValue(command string, names ...string) (string, bool) {
	for _, name := range names {
		re := regexp.MustCompile(`(?:^|\s)` + regexp.QuoteMeta(name) +
			`(?:=|\s+)["']?([^\s"';&|]{1,200})`)
		if m := re.FindStringSubmatch(command); m != nil {
			return m[1], true
		}
	}
	return "", false
}

// scriptFlag looks for the output directory in the build script.
func scriptFlag(names ...string) func(*pkg, framework, *output) {
	return func(p *pkg, f framework, o *output) {
		if dir, ok := flagValue(p.script(f), names...); ok {
			o.declare(dir, "the build script")
		}
	}
}

// setting looks for the output directory in the first of the files that is
// there.
func setting(key string, files ...string) func(*pkg, framework, *output) {
	return func(p *pkg, _ framework, o *output) {
		if file, content := p.text(files...); file != "" {
			o.declare(stringSetting(content, key), file)
		}
	}
}

// stringSetting is the value of "key: 'value'", or of a call that resolves a
// path, if its argument is a plain string.
func stringSetting(content, key string) string {
	re := regexp.MustCompile(`(?:^|[^\w$])["']?` + key + `["']?\s*[:=]\s*` +
		`(?:(?:path\.)?(?:resolve|join)\(\s*` +
		`(?:__dirname|import\.meta\.dirname|process\.cwd\(\))\s*,\s*)?` +
		"[\"'`]([^\"'`$\n]{1,200})[\"'`]")
	if m := re.FindStringSubmatch(content); m != nil {
		return path.Clean(m[1])
	}
	return ""
}

// saysSetting reports whether content has "key: value" for a value that matches
// the expression, also behind a condition on the same line.
func saysSetting(content, key, value string) bool {
	re := regexp.MustCompile(`(?:^|[^\w$])["']?` + key + `["']?\s*[:=][^,\n}]{0,100}` + value)
	return re.MatchString(content)
}

// hasSetting reports whether content sets key to anything.
func hasSetting(content, key string) bool {
	return regexp.MustCompile(`(?:^|[^\w$])["']?` + key + `["']?\s*[:=]`).MatchString(content)
}
