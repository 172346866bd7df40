package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/decant-build/decant/assemble"
)

// destinations are where a build's image goes: to registries under refs, and
// to places on disk.
type destinations struct {
	refs    []string
	outputs []assemble.Output
}

// fileKinds are outputs that are also sources.
var fileKinds = []assemble.OutputKind{assemble.Layout, assemble.OCIArchive, assemble.DockerArchive}

// destinations joins --tag, --output and DECANT_REPO. Without --output a tag
// with a registry host is pushed and any other is stored; with it, only what
// it names is written, under the tags. project names an image that has no tag.
func (o *buildOptions) destinations(project string) (destinations, error) {
	tags := o.tags
	if len(tags) == 0 {
		if repo := os.Getenv("DECANT_REPO"); repo != "" {
			tags = []string{strings.TrimSuffix(repo, "/") + "/" + project}
		} else {
			tags = []string{project}
		}
	}
	for _, tag := range tags {
		if err := assemble.CheckName(tag); err != nil {
			return destinations{}, err
		}
	}
	if len(o.outputs) > 0 {
		return namedDestinations(o.outputs, tags)
	}
	var d destinations
	var stored []string
	for _, tag := range tags {
		if hasHost(tag) {
			d.refs = append(d.refs, tag)
		} else {
			stored = append(stored, tag)
		}
	}
	if len(stored) > 0 {
		return d.withStore(stored)
	}
	return d, nil
}

// onlyFiles reports that no image is made.
func (d destinations) onlyFiles() bool {
	return len(d.refs) == 0 && len(d.outputs) > 0 &&
		!slices.ContainsFunc(d.outputs, func(o assemble.Output) bool { return o.Kind != assemble.Files })
}

func namedDestinations(outputs, tags []string) (destinations, error) {
	var d destinations
	for i, dst := range outputs {
		if slices.Contains(outputs[:i], dst) {
			continue
		}
		kind, path, _ := strings.Cut(dst, ":")
		switch kind {
		case "registry":
			for _, tag := range tags {
				if !hasHost(tag) {
					return d, usagef("write -t HOST/"+tag+", or set DECANT_REPO",
						"pushing %s: the name has no registry host", tag)
				}
			}
			d.refs = tags
		case "store":
			var err error
			if d, err = d.withStore(tags); err != nil {
				return d, err
			}
		case string(assemble.Layout), string(assemble.OCIArchive), string(assemble.DockerArchive), string(assemble.Files):
			if path == "" {
				return d, usagef("write "+kind+":PATH", "output %q has no path", dst)
			}
			if path == "-" {
				return d, usagef("name a file or directory; ./- is one of that name",
					"output %q: standard output is for the image's reference", dst)
			}
			d.outputs = append(d.outputs,
				assemble.Output{Kind: assemble.OutputKind(kind), Path: path, Names: tags})
		default:
			return d, usagef("one of registry, store, oci:DIR, oci-archive:FILE, docker-archive:FILE, dir:DIR",
				"unknown output %q", dst)
		}
	}
	return d, nil
}

func (d destinations) withStore(names []string) (destinations, error) {
	dir, err := storeDir()
	if err != nil {
		return d, err
	}
	d.outputs = append(d.outputs, assemble.Output{Kind: assemble.Store, Path: dir, Names: names})
	return d, nil
}

// storeDir is $DECANT_STORE_DIR, or decant's part of the user's data.
func storeDir() (string, error) {
	if dir := os.Getenv("DECANT_STORE_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "decant", "store"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", usagef("set DECANT_STORE_DIR to a directory for images", "finding the image store: %w", err)
	}
	return filepath.Join(home, ".local", "share", "decant", "store"), nil
}

// hasHost tells registry.example.com/web from me/web by docker's rule: the
// first element of a longer name is a host if it has a dot or a port, or is
// localhost.
func hasHost(ref string) bool {
	host, _, ok := strings.Cut(ref, "/")
	return ok && (strings.ContainsAny(host, ".:") || host == "localhost")
}

// genericDirs are names of output directories that say nothing of the project.
var genericDirs = regexp.MustCompile(`^(dist|build|public|out|output|www|html|_site|site|browser|static)$`)

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// projectName is how an image without a tag is called: the package's name
// without its scope, or that of the directory.
func projectName(dir string, s *settings) string {
	name := s.packageName
	if i := strings.LastIndex(name, "/"); i >= 0 {
		name = name[i+1:]
	}
	if name == "" {
		if abs, err := filepath.Abs(dir); err == nil {
			dir = abs
		}
		name = filepath.Base(dir)
		if genericDirs.MatchString(name) {
			name = filepath.Base(filepath.Dir(dir))
		}
	}
	name = strings.Trim(notInName.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if name == "" {
		return "site"
	}
	return name
}
