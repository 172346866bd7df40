package assemble_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// casesDir holds the conformance suite; its README.md explains the format.
const casesDir = "../testdata/dockerfile"

// A dockerfileCase is one txtar file of the suite: a Dockerfile, its context, and
// what BuildKit makes of them.
type dockerfileCase struct {
	name, path string
	archive    *txtar.Archive

	base    string   // the image whose tree the golden tree is compared with
	args    []string // of the build command
	absent  []string // must occur nowhere in config, history and layers
	differs string   // why buildah's result is another one; "" if it is the same
	noPlain string   // why a plain user cannot build it
	apart   string   // why decant's result is not BuildKit's; "" if it is
}

// loadCases reads the suite, in the order of the names.
func loadCases(t *testing.T) []*dockerfileCase {
	t.Helper()
	dir := casesDir
	if plain := os.Getenv(plainEnv); plain != "" {
		dir = filepath.Join(plain, "cases")
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []*dockerfileCase
	for _, path := range paths {
		c, err := loadCase(path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		cases = append(cases, c)
	}
	if len(cases) < 100 {
		t.Fatalf("found %d cases in %s, want at least 100", len(cases), dir)
	}
	return cases
}

func loadCase(path string) (*dockerfileCase, error) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		return nil, err
	}
	c := &dockerfileCase{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), path: path,
		archive: archive, base: "base"}
	for line := range strings.Lines(string(archive.Comment)) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#"))
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "args":
			c.args = append(c.args, strings.Fields(value)...)
		case "base":
			c.base = value
		case "absent":
			c.absent = append(c.absent, value)
		case "differs-from-buildah":
			c.differs = value
		case "differs-from-buildkit":
			c.apart = value
		case "not-plain-user":
			c.noPlain = value
		}
	}
	return c, c.check()
}

// check finds what would make a case pass without testing anything.
func (c *dockerfileCase) check() error {
	_, fails := c.section("want.error")
	_, tree := c.section("want.tree")
	_, config := c.section("want.config")
	if fails == (tree || config) || tree != config {
		return fmt.Errorf("needs want.error, or want.tree and want.config")
	}
	_, apart := c.section(decantPrefix + "tree")
	_, refused := c.section(decantPrefix + "error")
	if (apart || refused) != (c.apart != "") {
		return fmt.Errorf("differs-from-buildkit goes with %stree or %[1]serror", decantPrefix)
	}
	for _, f := range c.archive.Files {
		if strings.HasPrefix(f.Name, "want.") && !strings.HasPrefix(f.Name, decantPrefix) && !slices.Contains(goldens(), f.Name) {
			return fmt.Errorf("unknown section %s", f.Name)
		}
	}
	return nil
}

// decantPrefix begins the sections that decant is held to where it differs from
// BuildKit, and says so.
const decantPrefix = "want.decant."

// asDecant is the case with what decant is held to.
func (c *dockerfileCase) asDecant() *dockerfileCase {
	if c.apart == "" {
		return c
	}
	own := *c
	archive := *c.archive
	own.archive = &archive
	archive.Files = nil
	_, refused := c.section(decantPrefix + "error")
	for _, f := range c.archive.Files {
		name, is := strings.CutPrefix(f.Name, decantPrefix)
		_, replaced := c.section(decantPrefix + strings.TrimPrefix(f.Name, "want."))
		switch {
		case is:
			f.Name = "want." + name
		case replaced, refused && strings.HasPrefix(f.Name, "want."):
			continue
		}
		archive.Files = append(archive.Files, f)
	}
	return &own
}

// goldens are the sections that say what is expected.
func goldens() []string {
	return []string{"want.config", "want.tree", "want.error", "want.warning", "want.history"}
}

func (c *dockerfileCase) section(name string) (string, bool) {
	for _, f := range c.archive.Files {
		if f.Name == name {
			return string(f.Data), true
		}
	}
	return "", false
}

// set replaces golden sections and writes the case back.
func (c *dockerfileCase) set(t *testing.T, sections map[string]string) {
	t.Helper()
	c.archive.Files = slices.DeleteFunc(c.archive.Files, func(f txtar.File) bool {
		return slices.Contains([]string{"want.config", "want.tree", "want.error"}, f.Name)
	})
	for _, name := range goldens() {
		if text, ok := sections[name]; ok {
			c.archive.Files = append(c.archive.Files, txtar.File{Name: name, Data: []byte(text)})
		}
	}
	if err := os.WriteFile(c.path, txtar.Format(c.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// unpack writes the case's context below a new directory and returns it. The
// context is called ctx, so that a name such as ../secret is beside it.
func (c *dockerfileCase) unpack(t *testing.T, work string) string {
	t.Helper()
	dir := filepath.Join(work, "ctx")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range c.archive.Files {
		if f.Name == "setup" || strings.HasPrefix(f.Name, "want.") {
			continue
		}
		if err := writeFile(filepath.Join(dir, f.Name), f.Data); err != nil {
			t.Fatal(err)
		}
	}
	script, _ := c.section("setup")
	for line := range strings.Lines(script) {
		if err := setupLine(dir, strings.TrimSpace(line)); err != nil {
			t.Fatalf("%s: setup: %s: %v", c.path, strings.TrimSpace(line), err)
		}
	}
	return dir
}

func writeFile(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		return err
	}
	return os.Chmod(name, 0o644) // whatever the umask
}

// setupLine does what txtar cannot express:
//
//	mkdir DIR             chmod MODE NAME      ln TARGET NAME       ln -s TARGET NAME
//	bytes NAME HEX        repeat NAME N TEXT   many DIR N           move FROM TO
//	tar NAME FILE...      tgz NAME FILE...     fifo NAME
func setupLine(dir, line string) error {
	word := strings.Fields(line)
	if len(word) == 0 {
		return nil
	}
	at := func(i int) string { return filepath.Join(dir, word[i]) }
	switch {
	case word[0] == "mkdir" && len(word) == 2:
		return os.MkdirAll(at(1), 0o755)
	case word[0] == "chmod" && len(word) == 3:
		mode, err := strconv.ParseUint(word[1], 8, 12)
		if err != nil {
			return err
		}
		return os.Chmod(at(2), tarMode(int64(mode)))
	case word[0] == "ln" && len(word) == 4 && word[1] == "-s":
		return os.Symlink(word[2], at(3))
	case word[0] == "ln" && len(word) == 3:
		return os.Link(at(1), at(2))
	case word[0] == "bytes" && len(word) == 3:
		data, err := hex.DecodeString(word[2])
		if err != nil {
			return err
		}
		return writeFile(at(1), data)
	case word[0] == "repeat" && len(word) >= 4:
		return repeat(at(1), word[2], strings.Join(word[3:], " "))
	case word[0] == "many" && len(word) == 3:
		return many(at(1), word[2])
	case word[0] == "move" && len(word) == 3:
		return os.Rename(at(1), at(2))
	case word[0] == "fifo" && len(word) == 2:
		return makeFifo(at(1))
	case (word[0] == "tar" || word[0] == "tgz") && len(word) > 2:
		return archiveFiles(dir, at(1), word[2:], word[0] == "tgz")
	}
	return fmt.Errorf("not a command of setup sections")
}

// tarMode turns the twelve bits that tar and chmod know into Go's.
func tarMode(bits int64) os.FileMode {
	mode := os.FileMode(bits & 0o777)
	special := map[int64]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky}
	for bit, m := range special {
		if bits&bit != 0 {
			mode |= m
		}
	}
	return mode
}

func repeat(name, times, text string) error {
	n, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	before, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	return writeFile(name, append(before, bytes.Repeat([]byte(text+"\n"), n)...))
}

func many(dir, number string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	for i := range n {
		name := filepath.Join(dir, fmt.Sprint(i%100), fmt.Sprint(i))
		if err := writeFile(name, []byte("x")); err != nil {
			return err
		}
	}
	return nil
}

// archiveFiles packs files of dir as 7:8, which ADD keeps.
func archiveFiles(dir, to string, names []string, compress bool) error {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range names {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		target, _ := os.Readlink(filepath.Join(dir, name))
		h, err := tar.FileInfoHeader(info, target)
		if err != nil {
			return err
		}
		h.Name, h.Uid, h.Gid, h.Uname, h.Gname = name, 7, 8, "", ""
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if !compress {
		return writeFile(to, buf.Bytes())
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(buf.Bytes()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return writeFile(to, zipped.Bytes())
}
