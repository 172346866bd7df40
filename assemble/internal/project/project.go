package project

import (
	"cmp"
	"context"
	"fmt"
	"path"
)

// Project is a node project and how it is built. Commands are for /bin/sh, and
// run in the directory that Root becomes in the sandbox. Paths inside the
// project have slashes and start at Root.
type Project struct {
	// Root is the absolute directory that the build needs: the workspace's root,
	// or the package's own directory.
	Root string
	// Dir is the directory of the package whose site is built; "." is Root.
	Dir  string
	Name string // of the package; "" if it has none

	Node     Node
	Manager  Manager
	Lockfile string // "" if there is none

	// Setup puts the package manager into the image; "" if that has it.
	Setup   string
	Install string
	Build   string
	// Env is what all of them see beyond PATH and HOME.
	Env []Variable

	Framework string // "vite", "next"; "" if none is known
	Mode      Mode
	// OutputDirs are where the site is expected, most likely first; never empty.
	OutputDirs []string
	// OutputGiven is set when the user named OutputDirs' only directory.
	OutputGiven bool

	// Warnings are what the user should know, one sentence each.
	Warnings []string
	Sources  Sources
}

// Variable is one of the environment.
type Variable struct{ Name, Value string }

// Mode says how a site answers a path that is no file.
type Mode string

// The modes. What is neither known to be the one nor the other has "".
const (
	SPA Mode = "spa" // with index.html: the paths are the application's own
	MPA Mode = "mpa" // with 404.html: every page is a file
)

// Sources says in a few words what each choice came from, as "node 22 from
// .nvmrc".
type Sources struct {
	Root, Node, Manager, Install, Build, Framework, Output string
}

// Overrides replace what detection finds. The zero value overrides nothing.
type Overrides struct {
	Install string // a command for /bin/sh
	Build   string // a command for /bin/sh
	// OutputDir is relative to the package's directory, and may leave it for
	// another of the workspace.
	OutputDir string
	Builder   string // an image with node
}

// Detect finds out how the project in dir is built.
//
// Where there is a way out an error has a method Hint() string; an
// OverrideError is the caller's to fix.
func Detect(ctx context.Context, dir string, o Overrides) (*Project, error) {
	w, err := openWorkspace(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer w.close()
	p := &Project{Root: w.root, Sources: Sources{Root: w.why}, Warnings: w.warnings}

	site, err := p.choosePackage(w, o)
	if err != nil {
		return nil, err
	}
	p.Dir, p.Name = site.dir, site.manifest.Name
	if err := p.chooseManager(w, site, o.Install == ""); err != nil {
		return nil, err
	}
	if err := p.chooseNode(w, site, o.Builder); err != nil {
		return nil, err
	}
	f, known := site.framework()
	if err := p.chooseOutput(site, f, known, o); err != nil {
		return nil, err
	}
	if err := p.chooseCommands(w, site, f, o); err != nil {
		return nil, err
	}
	p.chooseEnv(w, site, f)
	return p, nil
}

// IsProject reports whether dir has a package.json that something can be built
// from, and in a few words why. A package.json that cannot be read counts:
// Detect says what is wrong with it.
func IsProject(dir string) (yes bool, why string) {
	d, err := openDir(dir)
	if err != nil {
		return false, ""
	}
	defer d.Close()
	p, err := readPackage(d.FS(), ".")
	switch {
	case isNotExist(err):
		return false, "no package.json"
	case err != nil:
		return true, "it has a package.json"
	}
	f, known := p.framework()
	if name, ok := p.buildScript(f); ok {
		return true, fmt.Sprintf("its package.json has the script %q", name)
	}
	if known {
		return true, "its package.json depends on " + f.name
	}
	return false, "its package.json has no build script"
}

// choosePackage decides whose site is built: the package in the directory the
// user named, or, if that is a workspace's root and no site itself, its only
// member that is one.
func (p *Project) choosePackage(w *workspace, o Overrides) (*pkg, error) {
	named := w.named
	if _, known := named.framework(); known || len(w.members) == 0 || named.dir != "." {
		return named, nil
	}
	var sites []*pkg
	for _, m := range w.members {
		if m.isSite() {
			sites = append(sites, m)
		}
	}
	_, hasBuild := named.buildScript(framework{})
	switch {
	case len(sites) == 1:
		p.Sources.Root = "the workspace's only site is " + sites[0].dir
		return sites[0], nil
	case len(sites) > 1 && !hasBuild && o.Build == "":
		e := &ChoiceError{Root: w.root}
		for _, s := range sites {
			e.Packages = append(e.Packages, s.dir)
		}
		return nil, e
	}
	return named, nil
}

// chooseOutput fills in the framework and where its site will be.
func (p *Project) chooseOutput(site *pkg, f framework, known bool, o Overrides) error {
	if known {
		p.Framework = f.name
		p.Sources.Framework = f.name + " from " + f.why
	}
	found := f.output(site)
	if found.server != nil {
		found.server.Package = cmp.Or(p.Name, site.dir)
		if o.Build == "" && o.OutputDir == "" {
			return found.server
		}
		p.warn("%s; going on with the command or directory given", found.server)
	}
	p.Mode = found.mode
	p.Warnings = append(p.Warnings, found.warnings...)
	if o.OutputDir != "" {
		dir, err := site.within(o.OutputDir)
		if err != nil {
			return &OverrideError{Flag: "--output-dir", Value: o.OutputDir, What: err.Error(),
				Fix: "name a directory of the project, relative to its package.json"}
		}
		p.OutputDirs, p.OutputGiven, p.Sources.Output = []string{dir}, true, "--output-dir"
		return nil
	}
	p.Sources.Output = found.why
	for _, dir := range append(found.dirs, usualDirs...) {
		p.addOutput(site, dir)
	}
	if site.dir != "." {
		// nx writes beside the applications.
		p.addOutputAt(path.Join("dist", site.dir, "browser"))
		p.addOutputAt(path.Join("dist", site.dir))
	}
	return nil
}

// usualDirs are tried where a framework's own are not there.
var usualDirs = []string{"dist", "build", "out", "_site", ".output/public", "public", "www"}

// addOutput ignores a directory that a configuration names outside of the
// project: nothing of it could be published.
func (p *Project) addOutput(site *pkg, dir string) {
	if dir, err := site.within(dir); err == nil {
		p.addOutputAt(dir)
	}
}

func (p *Project) addOutputAt(dir string) {
	for _, have := range p.OutputDirs {
		if have == dir {
			return
		}
	}
	p.OutputDirs = append(p.OutputDirs, dir)
}

func (p *Project) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}
