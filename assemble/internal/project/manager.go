package project

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// ManagerName names a package manager. Yarn 1 and its successor have little but
// the name in common.
type ManagerName string

// The package managers.
const (
	NPM   ManagerName = "npm"
	PNPM  ManagerName = "pnpm"
	Yarn  ManagerName = "yarn"
	Berry ManagerName = "yarn-berry"
	Bun   ManagerName = "bun"
)

// Manager is the package manager that installs and runs scripts.
type Manager struct {
	Name ManagerName
	// Version is exact or a range; "" is whatever the image has.
	Version string
	// Hash is what packageManager says of the manager's own tarball, as
	// "sha512.…" in hexadecimal; "" if it says nothing.
	Hash string
	// File is the manager itself where the project carries it, a path from the
	// root; "" otherwise.
	File string
	// CacheDir is where Project.Env makes it keep downloads, in the sandbox. It
	// may be kept between builds and shared by projects.
	CacheDir string
}

// Tarball names the npm package that a manager can be unpacked from and run as
// plain files, without an install.
type Tarball struct {
	Package, Version string
	// Bin is the program in the package. Node runs it, but for bun's, which is a
	// binary.
	Bin string
}

// Tarball is where the manager comes from on a machine of the given GOARCH. ok
// is false for a manager that the image or the project has, and for a version
// that is no exact one.
func (m Manager) Tarball(goarch string) (t Tarball, ok bool) {
	if _, err := semver.StrictNewVersion(m.Version); err != nil || m.File != "" {
		return Tarball{}, false
	}
	switch m.Name {
	case PNPM:
		return Tarball{"pnpm", m.Version, "bin/pnpm.cjs"}, true
	case Yarn:
		return Tarball{"yarn", m.Version, "bin/yarn.js"}, true
	case Berry:
		return Tarball{"@yarnpkg/cli-dist", m.Version, "bin/yarn.js"}, true
	case Bun:
		arch := map[string]string{"amd64": "x64", "arm64": "aarch64"}[goarch]
		return Tarball{"@oven/bun-linux-" + arch, m.Version, "bin/bun"}, arch != ""
	}
	return Tarball{}, false
}

// chooseManager decides by packageManager, then devEngines, then volta, then the
// lockfile, then npm; and finds that manager's lockfile. installs is set unless
// the user has a command for that.
func (p *Project) chooseManager(w *workspace, site *pkg, installs bool) error {
	found, err := locks(w.fsys)
	if err != nil {
		return err
	}
	if err := p.declaredManager(w, site); err != nil {
		return err
	}
	if p.Manager.Name == "" && len(found) > 0 {
		p.Manager.Name, p.Sources.Manager = found[0].manager, found[0].name
		if len(found) > 1 && found[1].manager != found[0].manager {
			p.warn("several lockfiles: %s counts, not %s; delete one, or set packageManager",
				found[0].name, found[1].name)
		}
	}
	if p.Manager.Name == "" {
		p.Manager.Name, p.Sources.Manager = NPM, "the default"
	}
	format := ""
	for _, l := range found {
		if l.manager == p.Manager.Name {
			p.Lockfile, format = l.name, l.version
			break
		}
	}
	if p.Lockfile == "" && installs {
		p.warnNoLockfile(found)
	}
	if p.Manager.Name == Berry {
		p.Manager.File = yarnPath(w)
	}
	if p.Manager.Version == "" {
		p.Manager.Version = defaultVersion(p.Manager.Name, format)
		if p.Manager.Version != "" && p.Manager.File == "" && installs {
			p.warn("the version of %s is open: pin it with packageManager in package.json",
				p.Manager.Name.command())
		}
	}
	if p.Manager.Hash != "" && !p.Manager.checksHash() && installs {
		p.warn("the hash in packageManager is not checked: it is not that of %s's npm package",
			p.Manager.Name)
	}
	p.Manager.CacheDir = cacheDirs[p.Manager.Name]
	return nil
}

// checksHash reports whether Hash is that of the npm package which setup
// installs. That of the newer yarn is of a single file from another host.
func (m Manager) checksHash() bool {
	_, err := semver.StrictNewVersion(m.Version)
	return m.Hash != "" && (m.Name == PNPM || m.Name == Yarn) && err == nil
}

// warnNoLockfile says that versions are not fixed, and what is in the way.
func (p *Project) warnNoLockfile(others []lock) {
	if len(others) > 0 {
		p.warn("%s is that of %s, but %s installs (%s): dependencies are resolved anew in every build",
			others[0].name, others[0].manager, p.Manager.Name, p.Sources.Manager)
		return
	}
	p.warn("no lockfile: dependencies are resolved anew in every build; commit what %s install writes",
		p.Manager.Name.command())
}

// declaredManager reads what the package says itself, or the workspace's root.
func (p *Project) declaredManager(w *workspace, site *pkg) error {
	places := []*pkg{site}
	if w.top != site {
		places = append(places, w.top)
	}
	for _, at := range places {
		m := at.manifest
		if m.PackageManager != "" {
			manager, err := parseManager(at.file(), m.PackageManager)
			p.Manager, p.Sources.Manager = manager, "packageManager in "+at.file()
			return err
		}
		for _, e := range m.DevEngines.PackageManager {
			name := ManagerName(e.Name)
			if name == Yarn && berryVersion(e.Version) {
				name = Berry
			}
			if cacheDirs[name] == "" || !plainVersion(e.Version) {
				continue
			}
			p.Manager = Manager{Name: name, Version: e.Version}
			p.Sources.Manager = "devEngines in " + at.file()
			return nil
		}
		for _, name := range []ManagerName{PNPM, Yarn} {
			if v := m.Volta[string(name)]; v != "" && plainVersion(v) {
				if name == Yarn && berryVersion(v) {
					name = Berry
				}
				p.Manager, p.Sources.Manager = Manager{Name: name, Version: v}, "volta in "+at.file()
				return nil
			}
		}
	}
	return nil
}

var packageManager = regexp.MustCompile(
	`^([a-z]+)(?:@([0-9A-Za-z.^~<>=*| -]{1,80}))?(?:\+(sha(?:1|224|256|384|512)\.[0-9a-fA-F]+))?$`)

// parseManager reads "pnpm@10.34.9+sha512.0a1b…".
func parseManager(file, text string) (Manager, error) {
	match := packageManager.FindStringSubmatch(strings.TrimSpace(text))
	if match == nil {
		return Manager{}, &ManifestError{File: file, What: fmt.Sprintf("packageManager %q", text),
			Fix: "write name@version, as pnpm@10.34.9"}
	}
	m := Manager{Name: ManagerName(match[1]), Version: match[2], Hash: match[3]}
	if m.Name == Yarn && berryVersion(m.Version) {
		m.Name = Berry
	}
	if cacheDirs[m.Name] == "" || m.Name == "yarn-berry" && match[1] != "yarn" {
		return Manager{}, &ManifestError{File: file, What: fmt.Sprintf("packageManager %q", text),
			Fix: "decant knows npm, pnpm, yarn and bun; for another give --builder, --install-command " +
				"and --build-command, and remove the field"}
	}
	switch m.Version {
	case "stable", "berry", "latest", "*":
		m.Version = ""
	case "classic":
		m.Version = "1"
	}
	return m, nil
}

// plainVersion reports whether v is a version or a range, and nothing that a
// shell or npm would take for something else.
func plainVersion(v string) bool {
	if v == "" {
		return true
	}
	_, err := semver.NewConstraint(v)
	return err == nil && len(v) <= 80 && !strings.ContainsAny(v, "'\\\n")
}

// berryVersion tells yarn's second life from its first: a range counts by its
// first number.
func berryVersion(v string) bool {
	switch v {
	case "stable", "berry", "latest":
		return true
	}
	major, ok := majorOf(strings.TrimLeft(v, "^~>=v "))
	return ok && major >= 2
}

// defaultVersion is the newest major that writes a lockfile of the format.
func defaultVersion(name ManagerName, format string) string {
	switch name {
	case PNPM:
		switch {
		case strings.HasPrefix(format, "5.3"):
			return "6"
		case strings.HasPrefix(format, "5."):
			return "7"
		case strings.HasPrefix(format, "6."):
			return "8"
		}
		return "10"
	case Yarn:
		return "1"
	case Berry:
		switch format {
		case "4", "5":
			return "2"
		case "6", "7":
			return "3"
		}
		return "4"
	case Bun:
		return "1"
	}
	return ""
}

var yarnPathLine = regexp.MustCompile(`(?m)^yarnPath:[ \t]*["']?([A-Za-z0-9._/@-]+)["']?[ \t]*\r?$`)

// yarnPath is the yarn that a project carries with it.
func yarnPath(w *workspace) string {
	data, err := read(w.fsys, ".yarnrc.yml", maxConfig)
	if err != nil {
		return ""
	}
	m := yarnPathLine.FindSubmatch(data)
	if m == nil {
		return ""
	}
	file, err := (&pkg{dir: "."}).within(string(m[1]))
	if err != nil || path.IsAbs(string(m[1])) || !exists(w.fsys, file) {
		return ""
	}
	return file
}

// command is what the manager is called on a command line.
func (n ManagerName) command() string {
	if n == Berry {
		return "yarn"
	}
	return string(n)
}

// cacheDirs are below root's home, as a step runs as root of its sandbox.
var cacheDirs = map[ManagerName]string{
	NPM:   "/root/.npm",
	PNPM:  "/root/.local/share/pnpm/store",
	Yarn:  "/root/.cache/yarn",
	Berry: "/root/.yarn/berry",
	Bun:   "/root/.bun/install/cache",
}
