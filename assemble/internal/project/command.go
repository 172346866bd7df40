package project

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// chooseCommands decides what runs: Setup, Install and Build.
func (p *Project) chooseCommands(w *workspace, site *pkg, f framework, o Overrides) error {
	p.Setup = p.Manager.setup()
	p.Install, p.Sources.Install = p.Manager.install(p.Lockfile != ""), p.Sources.Manager
	if p.Lockfile != "" {
		p.Sources.Install = p.Lockfile
	}
	if o.Install != "" {
		p.Install, p.Sources.Install = o.Install, "--install-command"
	}
	if o.Build != "" {
		p.Build, p.Sources.Build = o.Build, "--build-command"
		return nil
	}
	if site != w.named {
		// The user named the root. Its own build script knows best what to do.
		if name, ok := w.named.buildScript(framework{}); ok {
			p.Build, p.Sources.Build = p.Manager.script(".", name), "the script "+name+" of package.json"
			return nil
		}
	}
	build, source, err := p.buildOf(w, site, f)
	p.Build, p.Sources.Build = build, source
	return err
}

// buildOf is the command that builds site, after those of the workspace that it
// depends on.
func (p *Project) buildOf(w *workspace, site *pkg, f framework) (
	command, source string, err error,
) {
	name, scripted := site.buildScript(f)
	if !scripted && f.command == "" {
		return "", "", &NoBuildError{File: site.file(),
			Fix: `add "scripts": {"build": "…"}, or give --build-command; ` +
				"a finished site needs --dist DIR"}
	}
	if scripted && f.name == "nuxt" && !nuxtStatic(site, name) {
		p.warn("the script %q makes a server: nuxt generate runs instead", name)
		scripted = false
	}
	turbo, ok := w.top.has("turbo")
	if ok && scripted && site.dir != "." && site.manifest.Name != "" && exists(w.fsys, "turbo.json") {
		args := "run " + shellQuote(name) + " --filter=" + shellQuote(site.manifest.Name+"...")
		return p.Manager.exec(".", turbo+" "+args), "turbo.json", nil
	}
	var commands []string
	for _, dep := range w.buildOrder(site) {
		if dep != site {
			commands = append(commands, p.Manager.script(dep.dir, "build"))
		}
	}
	if scripted {
		commands = append(commands, p.Manager.script(site.dir, name))
		source = "the script " + name + " of " + site.file()
	} else {
		commands = append(commands, p.Manager.exec(site.dir, f.command))
		source = "the default of " + f.name
	}
	return strings.Join(commands, " && "), source, nil
}

// watching matches scripts that do not end, or do not build.
var watching = regexp.MustCompile(
	`(^|:)(dev|start|serve|preview|watch|test|lint|clean|format|deploy|release)`)

// buildScript is the name of the script that builds the site: build, or else
// one like docs:build, or one that calls the framework.
func (p *pkg) buildScript(f framework) (string, bool) {
	scripts := p.manifest.Scripts
	if f.name == "nuxt" && scripts["generate"] != "" {
		return "generate", true
	}
	if scripts["build"] != "" {
		return "build", true
	}
	var names []string
	for name, command := range scripts {
		if command != "" && !watching.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if f.command != "" && strings.Contains(scripts[name], f.command) {
			return name, true
		}
	}
	for _, name := range names {
		if strings.HasSuffix(name, ":build") || strings.HasPrefix(name, "build:") {
			return name, true
		}
	}
	return "", false
}

// setup installs the manager into an image that has node and npm only.
func (m Manager) setup() string {
	if m.File != "" {
		return ""
	}
	at := func(pkg string) string {
		if m.Version == "" {
			return pkg
		}
		return shellQuote(pkg + "@" + m.Version)
	}
	// --force: some images have a yarn that would be in the way.
	const npm = "npm install --global --force --no-audit --no-fund "
	if m.checksHash() {
		return m.checkedSetup(npm)
	}
	switch m.Name {
	case PNPM, Yarn:
		return npm + at(string(m.Name))
	case Berry:
		return npm + at("@yarnpkg/cli-dist")
	case Bun:
		// The package "bun" gets its binary by an install script, which npm blocks.
		version := m.Version
		if version == "" {
			version = "latest"
		}
		return npm + `"@oven/bun-linux-$(uname -m | sed s/x86_64/x64/)@"` + shellQuote(version) +
			` && ln -sf "$(npm root --global)"/@oven/bun-linux-*/bin/bun /usr/local/bin/bun` +
			" && ln -sf bun /usr/local/bin/bunx"
	}
	return ""
}

// checkedSetup compares the package with the hash in packageManager before npm
// installs it, as corepack would.
func (m Manager) checkedSetup(npm string) string {
	algorithm, digest, _ := strings.Cut(m.Hash, ".")
	name := string(m.Name) + "@" + m.Version
	file := string(m.Name) + "-" + m.Version + ".tgz"
	return strings.Join([]string{
		"cd /tmp",
		"npm pack --silent " + shellQuote(name),
		"echo '" + strings.ToLower(digest) + "  " + file + "' | " + algorithm + "sum -c -",
		npm + "./" + shellQuote(file),
		"rm " + shellQuote(file),
	}, " && ")
}

// install is the manager's install command. devDependencies are wanted whatever
// NODE_ENV is: they are what builds.
func (m Manager) install(locked bool) string {
	switch m.Name {
	case PNPM:
		// Without the flag pnpm keeps its store beside the project if that is a mount.
		return `pnpm install --prod=false --store-dir="$HOME/.local/share/pnpm/store"` +
			choose(locked, " --frozen-lockfile", " --no-frozen-lockfile")
	case Yarn:
		return "yarn install --non-interactive --production=false" +
			choose(locked, " --frozen-lockfile", "")
	case Berry:
		return m.program() + " install" + choose(locked, " --immutable", " --no-immutable")
	case Bun:
		return "bun install" + choose(locked, " --frozen-lockfile", "")
	}
	return choose(locked, "npm ci", "npm install") + " --include=dev --no-audit --no-fund"
}

// script runs a script of the package in dir.
func (m Manager) script(dir, name string) string {
	name = shellQuote(name)
	in := func(flag string) string {
		if dir == "." {
			return ""
		}
		return " " + flag + "=" + shellQuote(dir)
	}
	switch m.Name {
	case PNPM:
		return "pnpm" + in("--dir") + " run " + name
	case Yarn, Berry:
		if dir == "." {
			return m.program() + " run " + name
		}
		return m.program() + " --cwd " + shellQuote(dir) + " run " + name
	case Bun:
		return "bun run" + in("--cwd") + " " + name
	}
	return "npm run " + name + in("--workspace")
}

// exec runs a program of the package's dependencies. It never downloads one.
func (m Manager) exec(dir, command string) string {
	run := map[ManagerName]string{NPM: "npx --no -- ", PNPM: "pnpm exec ", Yarn: "yarn run ",
		Berry: m.program() + " run ", Bun: "bun run "}[m.Name] + command
	if dir == "." {
		return run
	}
	if m.File != "" {
		// The program's own path starts at the root.
		up := strings.Repeat("../", strings.Count(dir, "/")+1)
		run = strings.Replace(run, m.File, path.Join(up, m.File), 1)
	}
	return "(cd " + shellQuote(dir) + " && " + run + ")"
}

// program is how yarn is called.
func (m Manager) program() string {
	if m.File != "" {
		return "node " + m.File
	}
	return m.Name.command()
}

func choose(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}

var shellSafe = regexp.MustCompile(`^[A-Za-z0-9_@%+:,./-]+$`)

// shellQuote makes one word of s for /bin/sh.
func shellQuote(s string) string {
	if shellSafe.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// chooseEnv is what the steps see. It stays short, so that decant plan can be
// read.
func (p *Project) chooseEnv(w *workspace, site *pkg, f framework) {
	p.setEnv("CI", "true")
	switch p.Manager.Name {
	case Yarn:
		p.setEnv("YARN_CACHE_FOLDER", p.Manager.CacheDir)
	case Berry:
		p.setEnv("YARN_GLOBAL_FOLDER", p.Manager.CacheDir)
		p.setEnv("YARN_ENABLE_TELEMETRY", "0")
	case Bun:
		p.setEnv("BUN_INSTALL_CACHE_DIR", p.Manager.CacheDir)
	}
	p.setEnv("npm_config_cache", cacheDirs[NPM])
	p.setEnv("npm_config_update_notifier", "false")
	for _, t := range []struct{ dependency, name, value string }{
		// There is no .git to put hooks into.
		{"husky", "HUSKY", "0"},
		// Browsers are for tests; these come from hosts that are no npm registry.
		{"cypress", "CYPRESS_INSTALL_BINARY", "0"},
		{"puppeteer", "PUPPETEER_SKIP_DOWNLOAD", "1"},
		{"playwright", "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1"},
		{"@playwright/test", "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1"},
		{"turbo", "TURBO_TELEMETRY_DISABLED", "1"},
	} {
		_, inSite := site.has(t.dependency)
		_, inTop := w.top.has(t.dependency)
		if inSite || inTop {
			p.setEnv(t.name, t.value)
		}
	}
	if f.telemetry != "" {
		name, value, _ := strings.Cut(f.telemetry, "=")
		p.setEnv(name, value)
	}
}

func (p *Project) setEnv(name, value string) {
	v := Variable{name, value}
	if !slices.Contains(p.Env, v) {
		p.Env = append(p.Env, v)
	}
}
