package project

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Node is the node that builds.
type Node struct {
	// Version is the tag without its variant: "22", "22.14.0".
	Version string
	// Image is a reference. The slim variant has glibc: musl wants binaries that
	// a lockfile written elsewhere often lacks.
	Image string
}

// majors of node in the order of preference: the long-term releases that are
// maintained, the newest first, then what a range may insist on.
var majors = []uint64{24, 22, 20, 26, 18, 25, 23, 21, 19, 16, 17, 15, 14, 13, 12, 10}

// defaultNode is the tag of a project that does not say.
const defaultNode = "24"

// oldestMaintained is the first major that still gets fixes.
const oldestMaintained = 20

// codenames of the long-term releases, as "lts/iron" has them.
var codenames = map[string]string{"hydrogen": "18", "iron": "20", "jod": "22", "krypton": "24",
	"gallium": "16", "fermium": "14", "erbium": "12", "dubnium": "10"}

// wish is a node version as some file of the project has it.
type wish struct{ text, from string }

// chooseNode takes the version that the developers use themselves (.nvmrc and
// its like) before the range that they promise to work with (engines).
func (p *Project) chooseNode(w *workspace, site *pkg, builder string) error {
	wishes, err := w.nodeWishes(site)
	if err != nil {
		return err
	}
	version, source := defaultNode, ""
	for _, wish := range wishes {
		tag, ok := versionTag(wish.text)
		if !ok {
			p.warn("%s: %q is no node version that decant understands", wish.from, wish.text)
			continue
		}
		version, source = tag, wish.from
		break
	}
	p.Node = Node{Version: version, Image: "docker.io/library/node:" + version + "-slim"}
	p.Sources.Node = "node " + version + ", the default"
	if source != "" {
		p.Sources.Node = "node " + version + " from " + source
	}
	if builder != "" {
		p.Node.Image, p.Sources.Node = builder, "--builder"
		return nil
	}
	if major, ok := majorOf(version); ok && major < oldestMaintained {
		p.warn("%s, is no longer maintained", p.Sources.Node)
	}
	if engines := site.manifest.Engines["node"]; engines != "" && !allows(engines, version) {
		p.warn("%s, is not what engines in %s asks for: %q", p.Sources.Node, site.file(), engines)
	}
	return nil
}

// nodeWishes collects what the package says, then what the root says.
func (w *workspace) nodeWishes(site *pkg) ([]wish, error) {
	places := []*pkg{site}
	if site.dir != "." {
		top := &pkg{fsys: w.fsys, dir: "."}
		if w.top.dir == "." {
			top = w.top
		}
		places = append(places, top)
	}
	var wishes []wish
	for _, at := range places {
		for _, name := range []string{".nvmrc", ".node-version", ".tool-versions"} {
			file := path.Join(at.dir, name)
			data, err := read(w.fsys, file, maxVersion)
			if isNotExist(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if v := versionIn(name, string(data)); v != "" {
				wishes = append(wishes, wish{v, file})
			}
		}
		if v := at.manifest.Volta["node"]; v != "" {
			wishes = append(wishes, wish{v, "volta in " + at.file()})
		}
		for _, e := range at.manifest.DevEngines.Runtime {
			if e.Name == "node" && e.Version != "" {
				wishes = append(wishes, wish{e.Version, "devEngines in " + at.file()})
				break
			}
		}
	}
	for _, at := range places {
		if v := at.manifest.Engines["node"]; v != "" {
			wishes = append(wishes, wish{v, "engines in " + at.file()})
		}
	}
	return wishes, nil
}

// versionIn is the version in a file of the named kind, without comments.
func versionIn(name, data string) string {
	for _, line := range strings.Split(strings.TrimPrefix(data, "\ufeff"), "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case name != ".tool-versions":
			return fields[0]
		case (fields[0] == "nodejs" || fields[0] == "node") && len(fields) > 1:
			return fields[1]
		}
	}
	return ""
}

var (
	partial  = regexp.MustCompile(`^v?([0-9]{1,3}(?:\.[0-9]{1,4}){0,2})$`)
	codename = regexp.MustCompile(`^lts[/-]([a-z]{2,20})$`)
)

// versionTag maps a version, a range or an alias of nvm to a tag of the
// official image. An exact version stays exact; a range becomes the best
// long-term major in it.
func versionTag(text string) (tag string, ok bool) {
	text = strings.ToLower(strings.TrimSpace(text))
	text = strings.TrimPrefix(text, "node@")
	if len(text) > 256 {
		return "", false
	}
	switch text {
	case "", "*", "x", "node", "latest", "current", "stable", "system", "lts", "lts/*", "--lts":
		return defaultNode, true
	case "lts/-1":
		return "22", true
	}
	if m := partial.FindStringSubmatch(text); m != nil {
		return m[1], true
	}
	if m := codename.FindStringSubmatch(text); m != nil {
		tag, ok = codenames[m[1]]
		return tag, ok
	}
	constraint, err := semver.NewConstraint(text)
	if err != nil {
		return "", false
	}
	return rangeTag(constraint)
}

// rangeTag finds the best major whose last release the range has, so that the
// major's moving tag stays inside, and else the best minor of one.
func rangeTag(c *semver.Constraints) (string, bool) {
	const last = 999
	for _, major := range majors {
		if c.Check(semver.New(major, last, last, "", "")) {
			return strconv.FormatUint(major, 10), true
		}
	}
	for _, major := range majors {
		for minor := 40; minor >= 0; minor-- {
			if c.Check(semver.New(major, uint64(minor), last, "", "")) {
				return fmt.Sprintf("%d.%d", major, minor), true
			}
		}
	}
	for _, major := range majors {
		for minor := 40; minor >= 0; minor-- {
			for patch := 20; patch >= 0; patch-- {
				v := semver.New(major, uint64(minor), uint64(patch), "", "")
				if c.Check(v) {
					return v.String(), true
				}
			}
		}
	}
	return "", false
}

func majorOf(version string) (uint64, bool) {
	text, _, _ := strings.Cut(version, ".")
	n, err := strconv.ParseUint(text, 10, 32)
	return n, err == nil
}

// allows reports whether the image of a tag can satisfy a range; a range that
// is none restricts nothing.
func allows(text, tag string) bool {
	if len(text) > 256 {
		return true
	}
	c, err := semver.NewConstraint(text)
	if err != nil {
		return true
	}
	parts := strings.Split(tag, ".")
	for len(parts) < 3 {
		parts = append(parts, "999")
	}
	v, err := semver.NewVersion(strings.Join(parts, "."))
	return err != nil || c.Check(v)
}
