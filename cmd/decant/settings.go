package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	yaml "go.yaml.in/yaml/v3"
)

// Where a setting comes from: a flag wins over the environment, the environment
// over the file. The file is .decant.yaml or the key "decant" of package.json;
// its keys are the long names of the build flags.

// maxSettings bounds the configuration files.
const maxSettings = 4 << 20

// environment lists the flags that an environment variable can set.
var environment = map[string]string{"base": "DECANT_BASE", "builder": "DECANT_BUILDER"}

// notInFile lists flags that a project's file cannot set: those that make no
// sense there, and those by which a project would take what only the user can
// give: this machine's files, a way out of the sandbox, trust in a registry.
var notInFile = []string{
	"help", "quiet", "isolation", "secret", "insecure-registry", "ca-file", "allow-secrets",
	"digest-file", "metadata-file", "image-refs", "check", "ssh",
}

// settings is what the files of a directory say.
type settings struct {
	dir         string
	file        string // for messages; "" when there is none
	values      map[string]any
	packageName string
}

func loadSettings(dir string) (*settings, error) {
	s := &settings{dir: dir}
	if err := s.readPackage(filepath.Join(dir, "package.json")); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, ".decant.yaml")
	data, err := readBounded(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return nil, err
	case s.values != nil:
		return nil, usagef("keep one of the two", "both %s and %s have settings", name, s.file)
	}
	s.file = name
	if err := yaml.Unmarshal(data, &s.values); err != nil {
		return nil, usagef("it is a YAML mapping of flag names to values", "reading %s: %w", name, err)
	}
	return s, nil
}

func (s *settings) readPackage(name string) error {
	data, err := readBounded(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var pkg struct {
		Name   json.RawMessage `json:"name"`
		Decant map[string]any  `json:"decant"`
	}
	if err := json.Unmarshal(data, &pkg); err != nil {
		return usagef("check it with: npm pkg get name", "reading %s: %w", name, err)
	}
	_ = json.Unmarshal(pkg.Name, &s.packageName) // npm would refuse another type; here it is only a default
	if pkg.Decant != nil {
		s.file, s.values = name, pkg.Decant
	}
	return nil
}

// readBounded reads a small regular file.
func readBounded(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || isNotDir(name) {
		return nil, fs.ErrNotExist
	}
	unreadable := func(err error) error {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return usagef("replace it by a file that this user can read", "reading %s: %w", name, err)
	}
	if err != nil {
		return nil, unreadable(err)
	}
	if !info.Mode().IsRegular() { // opening a fifo would wait for ever
		return nil, unreadable(errors.New("not a regular file"))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, unreadable(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	if err == nil && len(data) > maxSettings {
		err = fmt.Errorf("larger than %d bytes", maxSettings)
	}
	if err != nil {
		return nil, unreadable(err)
	}
	return bytes.TrimPrefix(data, []byte("\ufeff")), nil // a byte order mark
}

// isNotDir reports a path below something that is no directory: the input is
// wrong then, which its own check explains better.
func isNotDir(name string) bool {
	info, err := os.Stat(filepath.Dir(name))
	return err == nil && !info.IsDir()
}

// apply sets every flag that the command line left alone. A command that has
// only some of the build flags ignores the file's other keys; build names all
// that may stand there.
func (s *settings) apply(flags, build *pflag.FlagSet) error {
	for name, variable := range environment {
		f := flags.Lookup(name)
		if text := os.Getenv(variable); text != "" && f != nil && !f.Changed {
			if err := flags.Set(name, text); err != nil {
				return usagef("", "reading %s: %w", variable, err)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		if build.Lookup(key) == nil || slices.Contains(notInFile, key) {
			return s.unknownKey(key, build)
		}
		f := flags.Lookup(key)
		if f == nil || f.Changed || isChanged(flags, opposites[key]) {
			continue
		}
		if err := s.set(flags, f, s.values[key]); err != nil {
			return err
		}
	}
	return nil
}

// opposites are flags that say the contrary of one another.
var opposites = map[string]string{"spa": "no-spa", "no-spa": "spa"}

func isChanged(flags *pflag.FlagSet, name string) bool {
	f := flags.Lookup(name)
	return f != nil && f.Changed
}

func (s *settings) unknownKey(key string, build *pflag.FlagSet) error {
	var known []string
	build.VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(notInFile, f.Name) {
			known = append(known, f.Name)
		}
	})
	if build.Lookup(key) != nil {
		return usagef("give it as a flag: --"+key, "reading %s: key %q is not for a project to set", s.file, key)
	}
	hint := "the keys are the long flags of decant build"
	if near := nearest(key, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return usagef(hint, "reading %s: unknown key %q", s.file, key)
}

// pathOf returns the path in the value of a flag that has one, and what is in
// front of it.
func pathOf(flag, value string) (prefix, path string, ok bool) {
	switch flag {
	case "dist", "file":
		return "", value, true
	case "serve":
		return "", value, value != "auto" && value != "off"
	case "output":
		kind, path, ok := strings.Cut(value, ":")
		return kind + ":", path, ok
	}
	return "", "", false
}

// confine makes a path of the file one of the file's directory, which it may not
// leave: a project has no say in what else is on this machine.
func (s *settings) confine(flag, value string) (string, error) {
	if flag == "build-arg" && !strings.Contains(value, "=") {
		return "", usagef("write it as KEY=VALUE, or give it as a flag: --build-arg "+value,
			"reading %s: key %q: %s would be taken from the environment", s.file, flag, value)
	}
	prefix, path, ok := pathOf(flag, value)
	if !ok {
		return value, nil
	}
	if !filepath.IsLocal(path) {
		return "", usagef("give it as a flag: --"+flag+" "+value,
			"reading %s: key %q: %s is not in the project", s.file, flag, value)
	}
	full := filepath.Join(s.dir, path)
	if leadsOut(s.dir, full) {
		return "", usagef("give it as a flag: --"+flag+" "+value,
			"reading %s: key %q: %s leads out of the project", s.file, flag, value)
	}
	return prefix + full, nil
}

// leadsOut reports a path below dir that links take elsewhere.
func leadsOut(dir, path string) bool {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false // nothing is there yet
	}
	rel, err := filepath.Rel(root, real)
	return err != nil || !filepath.IsLocal(rel)
}

func (s *settings) set(flags *pflag.FlagSet, f *pflag.Flag, value any) error {
	texts, err := settingTexts(value)
	if err != nil {
		return usagef("", "reading %s: key %q: %w", s.file, f.Name, err)
	}
	if _, list := f.Value.(pflag.SliceValue); !list && len(texts) != 1 {
		return usagef("give one value", "reading %s: key %q takes no list", s.file, f.Name)
	}
	for _, text := range texts {
		text, err := s.confine(f.Name, text)
		if err != nil {
			return err
		}
		if err := flags.Set(f.Name, text); err != nil {
			return usagef("", "reading %s: key %q: %w", s.file, f.Name, err)
		}
	}
	return nil
}

// settingTexts gives a JSON or YAML value the form it has on a command line: a
// list is a repeated flag, a mapping a list of K=V.
func settingTexts(value any) ([]string, error) {
	switch v := value.(type) {
	case []any:
		var texts []string
		for _, element := range v {
			text, err := scalarText(element)
			if err != nil {
				return nil, err
			}
			texts = append(texts, text)
		}
		return texts, nil
	case map[string]any:
		var texts []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			text, err := scalarText(v[k])
			if err != nil {
				return nil, err
			}
			texts = append(texts, k+"="+text)
		}
		return texts, nil
	}
	text, err := scalarText(value)
	return []string{text}, err
}

func scalarText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	}
	return "", fmt.Errorf("a value of type %T is neither text nor number", value)
}
