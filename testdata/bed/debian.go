package bed

import (
	"context"
	"embed"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// recipes are the files that Debian's packages do not bring.
//
//go:embed files
var recipes embed.FS

// recipe returns one of the embedded files.
func recipe(name string) (string, error) {
	data, err := recipes.ReadFile(path.Join("files", name))
	return string(data), err
}

// A layerRecipe says what a layer made of Debian's packages consists of.
type layerRecipe struct {
	packages []string
	more     func(t *tree) error // adds to the packages, or nil
}

// debianLayer makes a layer for an architecture as the file NAME.tar.gz in dir,
// with the versions of its packages in NAME.versions.
func (b *Bed) debianLayer(ctx context.Context, dir, name, arch string, r layerRecipe) error {
	downloads, err := os.MkdirTemp(dir, "debs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(downloads)
	files, err := b.debs(ctx, arch, downloads, false, r.packages...)
	if err != nil {
		return err
	}
	slices.Sort(files)
	t, err := newTree(dir)
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.debs(ctx, files); err != nil {
		return err
	}
	if r.more != nil {
		if err := r.more(t); err != nil {
			return err
		}
	}
	if err := t.writeLayer(filepath.Join(dir, name+".tar.gz")); err != nil {
		return fmt.Errorf("writing layer %s: %w", name, err)
	}
	var versions strings.Builder
	for _, file := range files {
		// A file is called NAME_VERSION_ARCHITECTURE.deb, a colon is written %3a.
		parts := strings.Split(filepath.Base(file), "_")
		if len(parts) == 3 {
			fmt.Fprintf(&versions, "%s %s\n", parts[0], strings.ReplaceAll(parts[1], "%3a", ":"))
		}
	}
	return os.WriteFile(filepath.Join(dir, name+".versions"), []byte(versions.String()), 0o644)
}

// version returns the version of a package in a layer that debianLayer made.
func version(dir, layer, name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, layer+".versions"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if pkg, v, _ := strings.Cut(strings.TrimSpace(line), " "); pkg == name {
			return v, nil
		}
	}
	return "", fmt.Errorf("finding the version of %s: not in layer %s", name, layer)
}

// addSystem adds what Debian's installer makes and no package holds.
func addSystem(t *tree, passwd, group string) error {
	for _, d := range []string{"bin", "lib", "lib64", "sbin"} {
		delete(t.entries, d)
		t.link(d, "usr/"+d)
		t.dir("usr/"+d, 0o755, 0)
	}
	t.dir("tmp", 0o1777, 0)
	t.dir("var/tmp", 0o1777, 0)
	t.link("var/run", "/run")
	t.link("etc/os-release", "../usr/lib/os-release")
	nsswitch, err := recipe("os/nsswitch.conf")
	if err != nil {
		return err
	}
	if err := t.file("etc/nsswitch.conf", 0o644, nsswitch); err != nil {
		return err
	}
	return addUsers(t, passwd, group)
}

// addUsers writes the user data base: Debian's and these lines.
func addUsers(t *tree, passwd, group string) error {
	users, err := recipe("os/passwd")
	if err != nil {
		return err
	}
	groups, err := recipe("os/group")
	if err != nil {
		return err
	}
	if err := t.file("etc/passwd", 0o644, users+passwd); err != nil {
		return err
	}
	return t.file("etc/group", 0o644, groups+group)
}
