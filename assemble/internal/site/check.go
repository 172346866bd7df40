package site

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// maxLook is how much is read of a file whose name leaves its nature open. A
// certificate chain with the key at its end fits.
const maxLook = 64 << 10

// maxReported is how many findings are told one by one.
const maxReported = 20

// Finding is one name that should not be published.
type Finding struct {
	Path string // in the site
	Line int    // 0 is the whole file
	What string // it is, as a clause
}

func (f Finding) String() string { return Warning(f).String() }

// SecretError is a site that holds what should not be published.
type SecretError struct {
	Findings []Finding // the first, by path; at least one
	More     int       // how many files there are beyond these
}

func (e *SecretError) Error() string {
	if len(e.Findings) == 1 && e.More == 0 {
		return "checking the site: " + e.Findings[0].String()
	}
	var b strings.Builder
	files := map[string]bool{}
	for _, f := range e.Findings {
		files[f.Path] = true
	}
	fmt.Fprintf(&b, "checking the site: %d files should not be published", len(files)+e.More)
	for _, f := range e.Findings {
		b.WriteString("\n  " + f.String())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\n  and %d more", e.More)
	}
	return b.String()
}

// Hint says how to go on.
func (e *SecretError) Hint() string {
	glob := strings.ReplaceAll(literal(e.Findings[0].Path), "'", `'\''`)
	return "keep them out of the site's build; to publish one all the same, name it: " +
		"--allow-secrets='" + glob + "'"
}

// literal writes a path as a glob that matches it alone.
func literal(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

// ValidateGlobs reports the first malformed pattern.
func ValidateGlobs(globs []string) error {
	for _, glob := range globs {
		// Match reads a pattern to its end whatever the name.
		if _, err := path.Match(glob, ""); err != nil {
			return fmt.Errorf("reading pattern %q: %w", glob, err)
		}
	}
	return nil
}

// CheckNames refuses a tree that holds secrets, with a *SecretError. prefix is
// where the site is in the image, and not part of what is judged.
//
// allow are patterns of path.Match. A name passes that one of them matches: its
// path in the site, its base name, or either of a directory that it lies in.
func CheckNames(tree layer.Tree, prefix string, allow []string) error {
	if err := ValidateGlobs(allow); err != nil {
		return err
	}
	c := checker{dir: tree.Dir, allow: allow}
	defer c.close()
	for i := range tree.Entries {
		e := &tree.Entries[i]
		name, inSite := below(e.Name, prefix)
		if !inSite {
			continue
		}
		if c.inside != "" && strings.HasPrefix(name, c.inside) {
			continue
		}
		what, look := judgeName(name, e.Kind == layer.Dir)
		if what == "" && look == nil || c.allowed(name) {
			continue
		}
		if look != nil {
			var err error
			if what, err = c.look(e, name, look); err != nil {
				return fmt.Errorf("checking %q for secrets: %w", name, err)
			}
		}
		if what != "" {
			c.add(Finding{Path: name, What: what}, e.Kind == layer.Dir)
		}
	}
	if len(c.found.Findings) == 0 {
		return nil
	}
	return &c.found
}

// MissingIndex says whether the site at prefix has no index.html of its own.
func MissingIndex(entries []layer.Entry, prefix string) bool {
	index := path.Join(prefix, "index.html")
	for i := range entries {
		if entries[i].Name == index && entries[i].Kind != layer.Dir {
			return false
		}
	}
	return true
}

// below is the path in the site of a name in the image.
func below(name, prefix string) (string, bool) {
	if prefix == "" {
		return name, true
	}
	rest, found := strings.CutPrefix(name, prefix)
	if !found || len(rest) < 2 || rest[0] != '/' {
		return "", false
	}
	return rest[1:], true
}

// checker is one run of CheckNames.
type checker struct {
	dir   string
	root  *os.Root // of dir; nil until a file is looked at
	allow []string
	found SecretError
	// inside is the last directory found, with a slash: what is below it comes
	// next, and is not told as well.
	inside string
}

func (c *checker) close() {
	if c.root != nil {
		c.root.Close()
	}
}

func (c *checker) add(f Finding, isDir bool) {
	if isDir {
		c.inside = f.Path + "/"
	}
	if len(c.found.Findings) == maxReported {
		c.found.More++
		return
	}
	c.found.Findings = append(c.found.Findings, f)
}

// allowed says whether a pattern matches name or what it lies in.
func (c *checker) allowed(name string) bool {
	for _, glob := range c.allow {
		for at := name; at != "."; at = path.Dir(at) {
			for _, s := range []string{at, path.Base(at)} {
				// The patterns are valid: CheckNames saw to that.
				if matched, err := path.Match(glob, s); err == nil && matched {
					return true
				}
			}
		}
	}
	return false
}

// look reads the beginning of an entry's content. A link that leads nowhere
// gives away nothing.
func (c *checker) look(e *layer.Entry, name string, want *content) (string, error) {
	var head []byte
	if e.Kind == layer.File && e.Source == "" {
		head = e.Data[:min(len(e.Data), maxLook)]
	} else {
		source := e.Source
		if e.Kind == layer.Link {
			source = name
		}
		var err error
		head, err = c.head(source)
		if e.Kind == layer.Link && errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
	}
	for _, word := range want.words {
		if bytes.Contains(head, []byte(word)) {
			return want.what, nil
		}
	}
	return "", nil
}

// head reads the first bytes of a file of the directory, through links that stay
// in it. What is not a file has none.
func (c *checker) head(source string) ([]byte, error) {
	if c.root == nil {
		root, err := os.OpenRoot(c.dir)
		if err != nil {
			return nil, err
		}
		c.root = root
	}
	source = filepath.FromSlash(source)
	// A fifo would block the open.
	if info, err := c.root.Stat(source); err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	f, err := c.root.Open(source)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxLook))
}
