package project

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"
)

// manifest is what decant needs of a package.json. A field of a type that npm
// would not take either is as good as absent, but for scripts.
type manifest struct {
	Name            string
	Scripts         map[string]string
	Dependencies    map[string]string
	DevDependencies map[string]string
	PackageManager  string
	Engines         map[string]string
	Volta           map[string]string
	DevEngines      devEngines
	Workspaces      []string
}

// devEngines has one entry or several; the first that is named counts.
type devEngines struct {
	Runtime, PackageManager []engine
}

type engine struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// pkg is a package: its manifest, and its place in the project.
type pkg struct {
	fsys     fs.FS // of the project's root
	dir      string
	manifest manifest
}

// readPackage reads the package.json of dir.
func readPackage(fsys fs.FS, dir string) (*pkg, error) {
	file := path.Join(dir, "package.json")
	data, err := read(fsys, file, maxManifest)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(file, data)
	return &pkg{fsys: fsys, dir: dir, manifest: m}, err
}

func parseManifest(file string, data []byte) (manifest, error) {
	// Editors of Windows write a byte order mark, and npm does not mind it.
	body := bytes.TrimPrefix(data, []byte("\ufeff"))
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return manifest{}, syntaxError(file, body, err)
	}
	if fields == nil {
		return manifest{}, &ManifestError{File: file, What: "null is not a package",
			Fix: "it is a JSON object with at least the key \"scripts\""}
	}
	var m manifest
	if err := m.readScripts(fields["scripts"]); err != nil {
		return manifest{}, &ManifestError{File: file, What: err.Error(),
			Fix: `write "scripts": {"build": "vite build"}`}
	}
	lenient(fields["name"], &m.Name)
	lenient(fields["packageManager"], &m.PackageManager)
	m.Dependencies = stringsOf(fields["dependencies"])
	m.DevDependencies = stringsOf(fields["devDependencies"])
	m.Engines = stringsOf(fields["engines"])
	m.Volta = stringsOf(fields["volta"])
	var dev map[string]json.RawMessage
	lenient(fields["devEngines"], &dev)
	m.DevEngines.Runtime = engines(dev["runtime"])
	m.DevEngines.PackageManager = engines(dev["packageManager"])
	m.readWorkspaces(fields["workspaces"])
	return m, nil
}

func (m *manifest) readScripts(raw json.RawMessage) error {
	if len(raw) == 0 {
		return nil
	}
	var scripts map[string]json.RawMessage
	if json.Unmarshal(raw, &scripts) != nil {
		return errors.New(`"scripts" is not an object of commands`)
	}
	m.Scripts = stringsOf(raw)
	return nil
}

// readWorkspaces takes both forms: a list of patterns, and yarn 1's object.
func (m *manifest) readWorkspaces(raw json.RawMessage) {
	var object struct{ Packages []string }
	if !lenient(raw, &m.Workspaces) && lenient(raw, &object) {
		m.Workspaces = object.Packages
	}
}

// lenient reads raw into dst, and reports whether it could.
func lenient[T any](raw json.RawMessage, dst *T) bool {
	var value T
	if len(raw) == 0 || string(raw) == "null" || json.Unmarshal(raw, &value) != nil {
		return false
	}
	*dst = value
	return true
}

// stringsOf is the string values of an object.
func stringsOf(raw json.RawMessage) map[string]string {
	var object map[string]json.RawMessage
	lenient(raw, &object)
	values := make(map[string]string, len(object))
	for key, v := range object {
		var s string
		if lenient(v, &s) {
			values[key] = s
		}
	}
	return values
}

func engines(raw json.RawMessage) []engine {
	var one engine
	var list []engine
	if lenient(raw, &one) {
		return []engine{one}
	}
	lenient(raw, &list)
	return list
}

// syntaxError tells where a JSON document is broken. Columns count characters,
// as editors do.
func syntaxError(file string, data []byte, err error) error {
	e := &ManifestError{File: file, What: err.Error(),
		Fix: "it is not valid JSON: look for a missing or surplus comma, a comment, or single quotes"}
	offset := int64(-1)
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &syntax) {
		offset = syntax.Offset - 1
		if len(bytes.TrimSpace(data)) == 0 {
			e.What = "the file is empty"
		}
	} else if errors.As(err, &wrong) {
		e.What, e.Fix = wrong.Value+" is not a package", `it is a JSON object, as {"scripts": {}}`
		offset = 0
	}
	if offset >= 0 && offset <= int64(len(data)) {
		before := string(data[:offset])
		e.Line = 1 + strings.Count(before, "\n")
		e.Column = 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	}
	return e
}

// file is the path of the package's package.json.
func (p *pkg) file() string { return path.Join(p.dir, "package.json") }

// has reports whether the package depends on one of the named, to run or to
// build.
func (p *pkg) has(names ...string) (name string, ok bool) {
	for _, name := range names {
		if _, ok := p.version(name); ok {
			return name, true
		}
	}
	return "", false
}

// version is the range in which the package wants a dependency.
func (p *pkg) version(name string) (string, bool) {
	v, ok := p.manifest.Dependencies[name]
	if !ok {
		v, ok = p.manifest.DevDependencies[name]
	}
	return v, ok
}

// text reads a configuration file of the package.
func (p *pkg) text(names ...string) (name, content string) {
	return text(p.fsys, p.dir, names...)
}

// within turns a path relative to the package into one relative to the root.
func (p *pkg) within(name string) (string, error) {
	name = strings.ReplaceAll(name, `\`, "/")
	if path.IsAbs(name) || strings.ContainsRune(name, 0) {
		return "", errors.New("not a relative path")
	}
	joined := path.Join(p.dir, name)
	if !fs.ValidPath(joined) {
		return "", errors.New("a path out of the project")
	}
	return joined, nil
}
