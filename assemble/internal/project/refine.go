package project

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// What the configuration of each framework says. Files are read as text: an
// expression that text does not show leaves the default, and FindOutput looks
// at what was written.

func configNames(base string, extensions ...string) []string {
	var names []string
	for _, e := range extensions {
		names = append(names, base+"."+e)
	}
	return names
}

var (
	viteConfig   = configNames("vite.config", "ts", "mts", "js", "mjs", "cjs", "cts")
	nextConfig   = configNames("next.config", "js", "mjs", "ts", "cjs")
	svelteConfig = configNames("svelte.config", "js", "ts", "mjs")
	astroConfig  = configNames("astro.config", "mjs", "ts", "js", "cjs", "mts")
)

const quote = "[\"'`]"

func refineNext(p *pkg, f framework, o *output) {
	file, content := p.text(nextConfig...)
	exported := saysSetting(content, "output", quote+"export"+quote)
	if !exported && !strings.Contains(p.script(f), "next export") {
		what := "no next.config file asks for an export"
		if file != "" {
			what = file + " has no output: 'export'"
		}
		o.needsServer(f, what, "write output: 'export' into next.config.js for a static site, "+
			"or build the server with a Dockerfile")
	}
	if exported {
		o.declare(stringSetting(content, "distDir"), file)
	}
}

var nuxtBuild = regexp.MustCompile(`\bnux[ti]\s+build\b`)

// nuxtStatic reports whether the script makes files rather than a server.
func nuxtStatic(p *pkg, script string) bool {
	command := p.manifest.Scripts[script]
	if !nuxtBuild.MatchString(command) || strings.Contains(command, "--prerender") {
		return true
	}
	_, content := p.text(configNames("nuxt.config", "ts", "js", "mjs")...)
	return saysSetting(content, "preset", quote+`(static|github-pages|[a-z-]+-static)`+quote)
}

func refineSvelteKit(p *pkg, f framework, o *output) {
	if _, ok := p.has("@sveltejs/adapter-static"); !ok {
		o.needsServer(f, "it does not depend on @sveltejs/adapter-static",
			"npm install -D @sveltejs/adapter-static, use it in svelte.config.js, "+
				"and set prerender or a fallback")
	}
	file, content := p.text(append(slices.Clone(svelteConfig), viteConfig...)...)
	o.declare(stringSetting(content, "pages"), file)
	if hasSetting(content, "fallback") && !saysSetting(content, "fallback", quote+`404\.html`) {
		o.mode = SPA
	}
}

func refineReactRouter(p *pkg, f framework, o *output) {
	file, content := p.text(configNames("react-router.config", "ts", "js", "mjs", "mts")...)
	if !saysSetting(content, "ssr", "false") {
		o.needsServer(f, "ssr is on unless react-router.config.ts says ssr: false",
			"write export default { ssr: false } into react-router.config.ts; prerender may list pages")
	}
	if hasSetting(content, "prerender") {
		o.mode = ""
	}
	if dir := stringSetting(content, "buildDirectory"); dir != "" {
		o.declare(path.Join(dir, "client"), file)
	}
}

func refineRemix(p *pkg, f framework, o *output) {
	file, content := p.text(viteConfig...)
	if !saysSetting(content, "ssr", "false") {
		o.needsServer(f, "ssr is on unless vite.config.ts says ssr: false",
			"write remix({ ssr: false }) in vite.config.ts for Remix's SPA mode")
	}
	if dir := stringSetting(content, "buildDirectory"); dir != "" {
		o.declare(path.Join(dir, "client"), file)
	}
}

func refineTanStack(p *pkg, f framework, o *output) {
	_, content := p.text(append(slices.Clone(viteConfig), configNames("app.config", "ts", "js")...)...)
	if !hasSetting(content, "spa") && !hasSetting(content, "prerender") {
		o.needsServer(f, "vite.config.ts turns on neither spa nor prerender",
			"write tanstackStart({ spa: { enabled: true } }) in vite.config.ts")
	}
}

func refineSolidStart(p *pkg, f framework, o *output) {
	_, content := p.text(append(configNames("app.config", "ts", "js", "mjs"), viteConfig...)...)
	spa := saysSetting(content, "ssr", "false")
	if !spa && !saysSetting(content, "preset", quote+`(static|github-pages|github_pages)`+quote) {
		o.needsServer(f, "app.config.ts has neither ssr: false nor the preset static",
			`write defineConfig({ server: { preset: "static" } }) into app.config.ts, or ssr: false`)
	}
	if spa {
		o.mode = SPA
	}
	if version, _ := p.version("@solidjs/start"); berryVersion(version) {
		o.dirs = []string{"dist/client", ".output/public"}
	}
}

func alwaysServer(_ *pkg, f framework, o *output) {
	o.needsServer(f, "it has no static form", "build it with a Dockerfile, on an image that has node")
}

func refineAstro(p *pkg, f framework, o *output) {
	file, content := p.text(astroConfig...)
	if saysSetting(content, "output", quote+"server"+quote) {
		o.needsServer(f, file+" has output: 'server'",
			"remove it for a static site: pages are then made when it is built")
	}
	o.declare(stringSetting(content, "outDir"), file)
	adapter, ok := p.has("@astrojs/node", "@astrojs/vercel", "@astrojs/netlify", "@astrojs/cloudflare")
	if ok && strings.Contains(content, adapter) {
		client := path.Join(o.dirs[0], "client")
		o.dirs = slices.Insert(o.dirs, 0, client)
		o.warnings = append(o.warnings, fmt.Sprintf(
			"astro uses %s: pages with prerender = false need a server and will be missing", adapter))
	}
}

var pressRoot = regexp.MustCompile(
	`(?:vite|vue)press\s+build\s+["']?([^\s"'&|;-][^\s"'&|;]{0,200})`)

// refinePress finds the directory of the sources, which has the output in it.
func refinePress(p *pkg, f framework, o *output) {
	command := p.script(f)
	hidden := "." + f.name + "/dist"
	if m := pressRoot.FindStringSubmatch(command); m != nil {
		o.declare(path.Join(m[1], hidden), "the build script")
	} else if strings.Contains(command, "press build") {
		o.declare(hidden, "the build script")
	}
	if dir, ok := flagValue(command, "--outDir", "--dest", "-d"); ok {
		o.declare(dir, "the build script")
	}
}

var eleventyOutput = regexp.MustCompile(`setOutputDirectory\(\s*["']([^"'\n]{1,200})["']`)

func refineEleventy(p *pkg, f framework, o *output) {
	names := configNames("eleventy.config", "js", "mjs", "cjs", "ts")
	file, content := p.text(append([]string{".eleventy.js"}, names...)...)
	o.declare(stringSetting(content, "output"), file)
	if m := eleventyOutput.FindStringSubmatch(content); m != nil {
		o.declare(m[1], file)
	}
	scriptFlag("--output")(p, f, o)
}

func refineQuasar(p *pkg, f framework, o *output) {
	switch mode, _ := flagValue(p.script(f), "-m", "--mode"); mode {
	case "ssr":
		o.needsServer(f, "the build script has the mode ssr",
			"build with quasar build, or quasar build -m pwa")
	case "pwa":
		o.declare("dist/pwa", "the build script")
	}
}

func refineExpo(p *pkg, f framework, o *output) {
	file, content := p.text("app.json", "app.config.js", "app.config.ts")
	switch {
	case saysSetting(content, "output", quote+"server"+quote):
		o.needsServer(f, file+` has web.output "server"`, `set expo.web.output to "static" or "single"`)
	case saysSetting(content, "output", quote+"static"+quote):
		o.mode = MPA
	default:
		o.mode = SPA
	}
	scriptFlag("--output-dir")(p, f, o)
}

func refineVueCLI(p *pkg, f framework, o *output) {
	setting("outputDir", "vue.config.js", "vue.config.cjs", "vue.config.ts")(p, f, o)
	scriptFlag("--dest")(p, f, o)
}

var buildPath = regexp.MustCompile(`(?m)(?:^|\s)BUILD_PATH=["']?([^\s"'&|;]{1,200})`)

func refineCRA(p *pkg, f framework, o *output) {
	_, env := p.text(".env.production", ".env")
	for _, place := range []string{env, p.script(f)} {
		if m := buildPath.FindStringSubmatch(place); m != nil {
			o.declare(m[1], "BUILD_PATH")
		}
	}
}

var htmlInput = regexp.MustCompile(`[\w/-]\.html` + quote)

func refineVite(p *pkg, f framework, o *output) {
	file, content := p.text(viteConfig...)
	root := stringSetting(content, "root")
	if dir := stringSetting(content, "outDir"); dir != "" {
		// From the root if it is a plain string, from here if it was resolved.
		o.declare(dir, file)
		o.declare(path.Join(root, dir), file)
	} else if root != "" {
		o.declare(path.Join(root, "dist"), file)
	}
	scriptFlag("--outDir")(p, f, o)
	if hasSetting(content, "input") && len(htmlInput.FindAllString(content, 2)) > 1 {
		o.mode = MPA
	}
}

func refineWebpack(p *pkg, f framework, o *output) {
	setting("path", configNames("webpack.config", "js", "cjs", "mjs", "ts")...)(p, f, o)
	scriptFlag("--output-path", "-o")(p, f, o)
}

// angularConfig is what decant needs of angular.json.
type angularConfig struct {
	DefaultProject string `json:"defaultProject"`
	Projects       map[string]struct {
		ProjectType string `json:"projectType"`
		Architect   map[string]angularTarget
		Targets     map[string]angularTarget
	} `json:"projects"`
}

type angularTarget struct {
	Builder string `json:"builder"`
	Options struct {
		OutputPath json.RawMessage `json:"outputPath"`
		OutputMode string          `json:"outputMode"`
	} `json:"options"`
}

// refineAngular finds the application that ng build makes. Without a path the
// builder takes dist/NAME; the newer builders put the site into browser below.
func refineAngular(p *pkg, f framework, o *output) {
	file, content := p.text("angular.json", ".angular.json")
	var config angularConfig
	if json.Unmarshal([]byte(content), &config) != nil {
		return
	}
	var names []string
	for name, project := range config.Projects {
		if project.ProjectType != "library" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if named := angularProject(p.script(f)); named != "" {
		names = []string{named}
	} else if _, ok := config.Projects[config.DefaultProject]; ok {
		names = []string{config.DefaultProject}
	}
	for _, name := range slices.Backward(names) {
		project := config.Projects[name]
		target, ok := project.Architect["build"]
		if !ok {
			target = project.Targets["build"]
		}
		for _, dir := range slices.Backward(target.dirs(name)) {
			o.declare(dir, file)
		}
		switch target.Options.OutputMode {
		case "server":
			o.needsServer(f, file+` has outputMode "server"`,
				`set outputMode to "static" in angular.json, or remove it with the ssr option`)
		case "static":
			o.mode = MPA
		}
	}
}

var ngBuild = regexp.MustCompile(`\bng\s+build\s+["']?([\w@][\w@/.-]*)`)

// angularProject is the project that a script names.
func angularProject(command string) string {
	if m := ngBuild.FindStringSubmatch(command); m != nil {
		return m[1]
	}
	name, _ := flagValue(command, "--project")
	return name
}

// dirs are where the target writes the site.
func (t angularTarget) dirs(project string) []string {
	base, browser := path.Join("dist", project), "browser"
	var plain string
	var split struct{ Base, Browser *string }
	if lenient(t.Options.OutputPath, &plain) {
		base = plain
	} else if lenient(t.Options.OutputPath, &split) {
		if split.Base != nil {
			base = *split.Base
		}
		if split.Browser != nil {
			browser = *split.Browser
		}
	}
	if strings.HasSuffix(t.Builder, ":browser") || strings.HasSuffix(t.Builder, ":browser-esbuild") ||
		browser == "" {
		return []string{base}
	}
	return []string{path.Join(base, browser), base}
}
