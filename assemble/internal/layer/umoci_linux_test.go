package layer

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// unpackedBy lets umoci unpack an image of layers, and returns its directory.
func unpackedBy(t *testing.T, layers ...v1.Layer) string {
	t.Helper()
	if _, err := exec.LookPath("umoci"); err != nil {
		if os.Getenv("DECANT_TEST_REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	img, err := mutate.ConfigFile(mutate.ConfigMediaType(
		mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON),
		&v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}})
	if err == nil {
		img, err = mutate.AppendLayers(img, layers...)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	dir := t.TempDir()
	p, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	name := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "image"})
	if err := p.AppendImage(img, name); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("umoci", "unpack", "--rootless", "--image", string(p)+":image",
		filepath.Join(dir, "bundle"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("umoci: %v\n%s", err, out)
	}
	return filepath.Join(dir, "bundle", "rootfs")
}

// found says of every name below a directory what is there.
func found(t *testing.T, dir string) map[string]string {
	t.Helper()
	names := map[string]string{}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			what += " " + string(content)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(file)
			if err != nil {
				return err
			}
			what = "link " + target
		}
		names[strings.TrimPrefix(file, dir+"/")] = what
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestUmociUnpacksAChangeAsMeant has a layer that replaces, without a whiteout,
// each kind by each other, and takes away what is to go.
func TestUmociUnpacksAChangeAsMeant(t *testing.T) {
	dir := func(name string) Entry { return Entry{Name: name, Kind: Dir, Mode: 0o755} }
	link := func(name, target string) Entry { return Entry{Name: name, Kind: Link, Target: target} }
	lower := Tree{Entries: []Entry{
		dir("dir-file"), dir("dir-file/in"), data("dir-file/in/x", "old"),
		dir("dir-link"), data("dir-link/x", "old"),
		dir("gone"), dir("gone/in"), data("gone/in/x", "old"),
		data("file-dir", "old"), data("file-link", "old"),
		link("link-dir", "kept"), link("link-file", "kept/x"),
		dir("kept"), data("kept/x", "old"), data("kept/y", "old"),
		dir("opaque"), dir("opaque/in"), data("opaque/in/x", "old"), data("opaque/new", "old"),
	}}
	tool := data("tool", "run")
	tool.Mode = 0o4755
	upper := Tree{Entries: []Entry{
		data("dir-file", "new"), link("dir-link", "kept"),
		dir("file-dir"), data("file-dir/x", "new"), link("file-link", "kept"),
		{Name: "gone", Kind: Whiteout},
		dir("kept"), {Name: "kept/y", Kind: Whiteout}, data("kept/z", "new"),
		dir("link-dir"), data("link-dir/own", "new"), data("link-file", "new"),
		{Name: "opaque", Kind: Dir, Mode: 0o700, Opaque: true}, data("opaque/new", "new"),
		{Name: "pipe", Kind: Fifo, Mode: 0o640},
		tool, hardLink("tool2", tool),
	}}
	want := map[string]string{
		"dir-file": "-rw-r--r-- new", "dir-link": "link kept",
		"file-dir": "drwxr-xr-x", "file-dir/x": "-rw-r--r-- new", "file-link": "link kept",
		"kept": "drwxr-xr-x", "kept/x": "-rw-r--r-- old", "kept/z": "-rw-r--r-- new",
		"link-dir": "drwxr-xr-x", "link-dir/own": "-rw-r--r-- new", "link-file": "-rw-r--r-- new",
		"opaque": "drwx------", "opaque/new": "-rw-r--r-- new", "pipe": "prw-r-----",
		"tool": "urwxr-xr-x run", "tool2": "urwxr-xr-x run",
	}
	var layers []v1.Layer
	for _, tree := range []Tree{lower, upper} {
		Sort(tree.Entries)
		l, _ := mustBuild(t, tree, Options{})
		layers = append(layers, l)
	}
	root := unpackedBy(t, layers...)
	if d := cmp.Diff(want, found(t, root)); d != "" {
		t.Errorf("-want +umoci:\n%s", d)
	}
	var one, two syscall.Stat_t
	if err := syscall.Stat(filepath.Join(root, "tool"), &one); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Stat(filepath.Join(root, "tool2"), &two); err != nil {
		t.Fatal(err)
	}
	if one.Ino != two.Ino || one.Mtim.Sec < year2000 {
		t.Errorf("the hard link is %+v, its file %+v", two, one)
	}
}
