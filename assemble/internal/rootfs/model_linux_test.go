package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A model is one tree in memory to which layers are applied one after the other,
// as the specification describes it. Paths have no symlinks in them.
type model map[string]modelFile

type modelFile struct {
	kind  byte
	what  string // content or target
	layer int
}

func (m model) apply(layer int, entries []tar.Header) error {
	for _, h := range entries {
		if err := m.entry(layer, h); err != nil {
			return err
		}
	}
	return nil
}

func (m model) entry(layer int, h tar.Header) error {
	parent, err := m.directory(layer, path.Dir(h.Name), 0)
	if err != nil {
		return err
	}
	base, white := strings.CutPrefix(path.Base(h.Name), ".wh.")
	name := path.Join(parent, base)
	switch {
	case white && base == ".wh..opq":
		m.remove(parent+"/", layer)
	case white:
		m.remove(name+"/", layer)
		if f, ok := m[name]; ok && f.layer < layer && !m.hasChildren(name) {
			delete(m, name)
		}
	case h.Typeflag == tar.TypeDir:
		if m[name].kind != tar.TypeDir {
			m.replace(name, modelFile{tar.TypeDir, "", layer})
		}
		m[name] = modelFile{tar.TypeDir, "", layer}
	case h.Typeflag == tar.TypeLink:
		dir, err := m.existing(path.Dir(h.Linkname), 0)
		target, ok := m[path.Join(dir, path.Base(h.Linkname))]
		if err != nil || !ok || target.kind == tar.TypeDir {
			return fmt.Errorf("a link to nothing")
		}
		if strings.HasPrefix(dir+"/", name+"/") {
			return fmt.Errorf("a link takes the place of the directory that it links into")
		}
		if path.Join(dir, path.Base(h.Linkname)) != name {
			m.replace(name, modelFile{target.kind, target.what, layer})
		}
	case h.Typeflag == tar.TypeSymlink:
		m.replace(name, modelFile{tar.TypeSymlink, h.Linkname, layer})
	default:
		m.replace(name, modelFile{tar.TypeReg, h.PAXRecords["body"], layer})
	}
	return nil
}

// remove takes away what layers below have under a prefix.
func (m model) remove(prefix string, layer int) {
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(m))) {
		if strings.HasPrefix("/"+name, "/"+strings.TrimPrefix(prefix, "./")) && m[name].layer < layer {
			if !m.hasChildren(name) {
				delete(m, name)
			}
		}
	}
}

func (m model) hasChildren(name string) bool {
	for other := range m {
		if strings.HasPrefix(other, name+"/") {
			return true
		}
	}
	return false
}

func (m model) replace(name string, f modelFile) {
	for other := range m {
		if other == name || strings.HasPrefix(other, name+"/") {
			delete(m, other)
		}
	}
	m[name] = f
}

// directory resolves a name and makes what is missing; existing does not.
func (m model) directory(layer int, name string, links int) (string, error) {
	return m.walk(name, links, func(p string) error {
		m.replace(p, modelFile{tar.TypeDir, "", layer})
		return nil
	}, layer)
}

func (m model) existing(name string, links int) (string, error) {
	return m.walk(name, links, func(p string) error { return fmt.Errorf("%s is missing", p) }, 0)
}

func (m model) walk(
	name string, links int, missing func(string) error, layer int,
) (string, error) {
	at := "."
	parts := strings.Split(name, "/")
	for i, part := range parts {
		if part == "" || part == "." || part == ".." {
			at = path.Join(at, part)
			if strings.HasPrefix(at, "..") {
				at = "."
			}
			continue
		}
		p := path.Join(at, part)
		f, ok := m[p]
		switch {
		case ok && f.kind == tar.TypeDir:
			// On the way to an entry of this layer: it outlives a whiteout there.
			m[p] = modelFile{tar.TypeDir, "", max(layer, f.layer)}
		case ok && f.kind == tar.TypeSymlink:
			if links >= maxLinks {
				return "", fmt.Errorf("a loop")
			}
			target := path.Join(append([]string{at, f.what}, parts[i+1:]...)...)
			if path.IsAbs(f.what) {
				target = path.Join(append([]string{f.what}, parts[i+1:]...)...)
			}
			return m.walk(target, links+1, missing, layer)
		case ok && f.layer == layer:
			return "", fmt.Errorf("%s is a file", p)
		default:
			if err := missing(p); err != nil {
				return "", err
			}
		}
		at = p
	}
	return at, nil
}

func (m model) names() string {
	var names []string
	for name, f := range m {
		names = append(names, fmt.Sprintf("%s:%c:%s", name, f.kind, f.what))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// modelOf reads a view as a model.
func modelOf(t *testing.T, v View) model {
	t.Helper()
	m := model{}
	var walk func(s spot, name string)
	walk = func(s spot, name string) {
		names, err := v.names(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			c, err := v.child(s, n)
			if isAbsent(err) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			p := path.Join(name, n)
			switch {
			case c.isDir():
				m[p] = modelFile{kind: tar.TypeDir}
				walk(c, p)
			case c.isLink():
				target, err := c.readLink()
				if err != nil {
					t.Fatal(err)
				}
				m[p] = modelFile{kind: tar.TypeSymlink, what: target}
			default:
				b, err := v.ReadFile("/"+p, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				m[p] = modelFile{kind: tar.TypeReg, what: string(b)}
			}
		}
	}
	root, err := v.root()
	if err != nil {
		t.Fatal(err)
	}
	walk(root, ".")
	return m
}

func randomLayer(r *rand.Rand) []tar.Header {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	name := func() string {
		n := pick("a", "b", "c")
		for range r.IntN(3) {
			n += "/" + pick("a", "b", "c")
		}
		return n
	}
	var entries []tar.Header
	for range 1 + r.IntN(6) {
		switch r.IntN(12) {
		case 0, 1, 2, 3:
			entries = append(entries, file(name(), fmt.Sprint(r.IntN(1000))))
		case 4, 5, 6:
			entries = append(entries, dir(name(), 0o755))
		case 7, 8:
			entries = append(entries, symlink(name(), pick("a", "b", "/c", "../a", "/a/b", "b/c", "..")))
		case 9:
			n := name()
			entries = append(entries, whiteout(path.Join(path.Dir(n), ".wh."+path.Base(n))))
		case 10:
			entries = append(entries, whiteout(name()+"/.wh..wh..opq"))
		case 11:
			entries = append(entries, hardlink(name(), name()))
		}
	}
	return entries
}

// TestUnpackIsAsIfAppliedInOneTree compares random images with a model that knows
// nothing of overlayfs, and, for some of them, with what the kernel shows.
func TestUnpackIsAsIfAppliedInOneTree(t *testing.T) {
	images, good := 120, 0
	if testing.Short() {
		images = 60
	}
	for seed := range images {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		want := model{}
		var layers []v1.Layer
		var entries [][]tar.Header
		for i := range 1 + r.IntN(4) {
			e := randomLayer(r)
			if want.apply(i+1, e) != nil {
				break
			}
			entries = append(entries, e)
			layers = append(layers, layerOf(t, e...))
		}
		if len(layers) < 2 {
			continue
		}
		want = model{}
		for i, e := range entries {
			if err := want.apply(i+1, e); err != nil {
				t.Fatal(err)
			}
		}
		s := openStore(t)
		rootfs, err := s.Unpack(context.Background(), imageOf(t, layers...), Options{})
		var refused *EntryError
		if errors.As(err, &refused) {
			continue // a symlink below may be linked to, but not then written through
		}
		if err != nil {
			t.Errorf("seed %d: %v\n%s", seed, err, show(entries))
			continue
		}
		good++
		if got := modelOf(t, rootfs.View()).names(); got != want.names() {
			t.Errorf("seed %d:\ngot  %s\nwant %s\n%s", seed, got, want.names(), show(entries))
		}
		if seed%20 == 0 {
			if d := mounted(t, rootfs).diff(flattened(t, s, rootfs)); d != "" {
				t.Errorf("seed %d: mounted (-) and flattened (+) differ:\n%s%s", seed, d, show(entries))
			}
		}
		if err := rootfs.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() && seed > 50 {
			return
		}
	}
	if good < images/6 {
		t.Errorf("only %d of %d images could be compared", good, images)
	}
}

func show(layers [][]tar.Header) string {
	var b strings.Builder
	for i, entries := range layers {
		fmt.Fprintf(&b, "layer %d:", i+1)
		for _, h := range entries {
			fmt.Fprintf(&b, "  %c %s", h.Typeflag, h.Name)
			if h.Linkname != "" {
				fmt.Fprintf(&b, "->%s", h.Linkname)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}
