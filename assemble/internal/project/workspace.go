package project

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// Bounds of the search for a workspace and its members.
const (
	maxParents = 12
	maxDepth   = 6
	maxDirs    = 20_000
	maxMembers = 2_000
)

const pnpmWorkspace = "pnpm-workspace.yaml"

// workspace is the directory that the build needs, and its packages. A package
// that is in no workspace is one of its own, without members.
type workspace struct {
	root     string // absolute
	dir      *os.Root
	fsys     fs.FS
	named    *pkg // the package in the directory the user named
	top      *pkg // the package of the root; the named one if it is that
	members  []*pkg
	why      string
	warnings []string
}

func (w *workspace) close() { w.dir.Close() }

// openWorkspace finds the workspace that the package in dir belongs to. The
// caller closes it.
func openWorkspace(ctx context.Context, dir string) (_ *workspace, err error) {
	abs, err := absolute(dir)
	if err != nil {
		return nil, err
	}
	root, patterns, err := findRoot(abs)
	if err != nil {
		return nil, err
	}
	d, err := openDir(root)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	w := &workspace{root: root, dir: d, fsys: d.FS(), why: "the package's own directory"}
	rel, err := filepath.Rel(root, abs)
	if err != nil {
		return nil, fmt.Errorf("opening the project: %w", err)
	}
	if w.named, err = readPackage(w.fsys, filepath.ToSlash(rel)); err != nil {
		return nil, err
	}
	w.top = w.named
	if rel != "." {
		w.why = "the workspace that has " + filepath.ToSlash(rel)
		if exists(w.fsys, "package.json") {
			if w.top, err = readPackage(w.fsys, "."); err != nil {
				return nil, err
			}
		}
	}
	if len(patterns) > 0 {
		err = w.findMembers(ctx, patterns)
	}
	return w, err
}

// findRoot walks up from dir to the directory whose workspace has it as a
// member, and returns dir itself if there is none.
func findRoot(dir string) (root string, patterns []string, err error) {
	own, err := workspacePatterns(dir)
	if err != nil {
		return "", nil, err
	}
	if len(own) > 0 || hasLockfile(dir) && !hasLockfileAbove(dir) {
		return dir, own, nil
	}
	for parent, n := filepath.Dir(dir), 0; n < maxParents; n++ {
		info, err := os.Stat(parent)
		if err != nil || info.Mode()&fs.ModeSticky != 0 {
			// Anyone may have put a package.json into /tmp.
			break
		}
		// What is wrong with a stranger's package.json does not concern this one.
		patterns, _ := workspacePatterns(parent)
		rel, err := filepath.Rel(parent, dir)
		if err == nil && matchesMember(patterns, filepath.ToSlash(rel)) {
			return parent, patterns, nil
		}
		if _, err := os.Lstat(filepath.Join(parent, ".git")); err == nil {
			break
		}
		next := filepath.Dir(parent)
		if next == parent {
			break
		}
		parent = next
	}
	return dir, own, nil
}

// workspacePatterns is what dir's files say about members.
func workspacePatterns(dir string) ([]string, error) {
	d, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	data, err := read(d.FS(), pnpmWorkspace, maxConfig)
	if err == nil {
		var file struct{ Packages []string }
		if err := yaml.Unmarshal(data, &file); err != nil {
			return nil, &ManifestError{File: pnpmWorkspace, What: err.Error(),
				Fix: `it is YAML, as packages: ["apps/*"]`}
		}
		return file.Packages, nil
	}
	if !exists(d.FS(), "package.json") {
		return nil, nil
	}
	p, err := readPackage(d.FS(), ".")
	if err != nil {
		return nil, err
	}
	return p.manifest.Workspaces, nil
}

// findMembers reads the packages that the patterns match, in the order of their
// directories.
func (w *workspace) findMembers(ctx context.Context, patterns []string) error {
	dirs := 0
	err := fs.WalkDir(w.fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil || !d.IsDir() {
			return nil
		}
		dirs++
		if dirs > maxDirs || len(w.members) >= maxMembers {
			w.warnings = append(w.warnings,
				"the workspace is very large: not all of its packages were looked at")
			return fs.SkipAll
		}
		if skipDir(name) || strings.Count(name, "/") >= maxDepth {
			return fs.SkipDir
		}
		if name == "." || !matchesMember(patterns, name) ||
			!exists(w.fsys, path.Join(name, "package.json")) {
			return nil
		}
		if name == w.named.dir {
			w.members = append(w.members, w.named)
			return nil
		}
		m, err := readPackage(w.fsys, name)
		if err != nil {
			return err
		}
		w.members = append(w.members, m)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the workspace %s: %w", w.root, err)
	}
	return nil
}

// skipDir names directories that hold no sources.
func skipDir(name string) bool {
	base := path.Base(name)
	return base == "node_modules" || len(base) > 1 && base[0] == '.'
}

// matchesMember applies the patterns in their order; one with a "!" takes back.
func matchesMember(patterns []string, dir string) bool {
	member := false
	for _, pattern := range patterns {
		pattern, negated := strings.CutPrefix(pattern, "!")
		for _, p := range expandBraces(pattern) {
			// Each ** tries every length: two in a row would only multiply the tries.
			segments := slices.CompactFunc(strings.Split(path.Clean(p), "/"), func(a, b string) bool {
				return a == "**" && b == "**"
			})
			if len(segments) <= 16 && matchSegments(segments, strings.Split(dir, "/")) {
				member = !negated
			}
		}
	}
	return member
}

// matchSegments matches a path against a pattern in which ** is any number of
// directories.
func matchSegments(pattern, name []string) bool {
	if len(pattern) == 0 {
		return len(name) == 0
	}
	if pattern[0] == "**" {
		for i := range len(name) + 1 {
			if matchSegments(pattern[1:], name[i:]) {
				return true
			}
		}
		return false
	}
	if len(name) == 0 {
		return false
	}
	ok, err := path.Match(pattern[0], name[0])
	return ok && err == nil && matchSegments(pattern[1:], name[1:])
}

// expandBraces writes out the first {a,b} of a pattern; more is rare and no
// match.
func expandBraces(pattern string) []string {
	before, rest, ok := strings.Cut(pattern, "{")
	list, after, closed := strings.Cut(rest, "}")
	if !ok || !closed {
		return []string{pattern}
	}
	var all []string
	for _, choice := range strings.Split(list, ",") {
		all = append(all, before+choice+after)
	}
	return all
}

// buildOrder is the packages of the workspace that have to be built for site,
// each after what it depends on, site last.
func (w *workspace) buildOrder(site *pkg) []*pkg {
	byName := make(map[string]*pkg, len(w.members))
	for _, m := range w.members {
		if m.manifest.Name != "" {
			byName[m.manifest.Name] = m
		}
	}
	var order []*pkg
	seen := map[*pkg]bool{}
	var visit func(p *pkg)
	visit = func(p *pkg) {
		if seen[p] {
			return
		}
		seen[p] = true
		for _, name := range p.dependencies() {
			if m := byName[name]; m != nil {
				visit(m)
			}
		}
		if _, ok := p.manifest.Scripts["build"]; ok || p == site {
			order = append(order, p)
		}
	}
	visit(site)
	return order
}

// dependencies is the names of all that the package depends on, sorted.
func (p *pkg) dependencies() []string {
	var names []string
	for name := range p.manifest.Dependencies {
		names = append(names, name)
	}
	for name := range p.manifest.DevDependencies {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
