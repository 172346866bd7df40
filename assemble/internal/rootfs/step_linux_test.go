package rootfs

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"golang.org/x/sync/errgroup"

	"github.com/decant-build/decant/assemble/internal/filetree"
	"github.com/decant-build/decant/assemble/internal/layer"
)

func keyOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// upperIn makes the directories that an overlay writes to.
func upperIn(t testing.TB, s *Store) mountOrder {
	t.Helper()
	dir, err := os.MkdirTemp(s.Temp(), "run")
	if err != nil {
		t.Fatal(err)
	}
	o := mountOrder{Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
	if err := errors.Join(os.Mkdir(o.Upper, 0o755), os.Mkdir(o.Work, 0o755)); err != nil {
		t.Fatal(err)
	}
	return o
}

// closes registers the Close of a step.
func closes(t testing.TB, s *Step, err error) *Step {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A stack is what is below a step, with its merged tree.
type stack struct {
	dirs  []string
	tree  *filetree.Tree
	names map[string]layer.Entry
}

func stackOf(t testing.TB, r *Rootfs) *stack {
	t.Helper()
	st := &stack{dirs: slices.Clone(r.Layers), tree: filetree.New()}
	for i := range r.Layers {
		entries, err := r.Entries(i)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.tree.Apply(entries, i); err != nil {
			t.Fatal(err)
		}
	}
	st.index()
	return st
}

func (st *stack) index() {
	st.names = map[string]layer.Entry{}
	for _, e := range st.tree.Entries("/") {
		st.names[e.Name] = e
	}
}

func (st *stack) lower(name string) (layer.Entry, bool) {
	e, ok := st.names[name]
	return e, ok
}

func (st *stack) add(t testing.TB, s *Step) {
	t.Helper()
	if err := st.tree.Apply(s.Entries, len(st.dirs)); err != nil {
		t.Fatal(err)
	}
	st.dirs = append(st.dirs, s.Dir)
	st.index()
}

func (st *stack) mode(dir string) uint32 { return st.names[dir].Mode }

// text shows entries without what only this disk knows.
func text(entries []layer.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%s %c %o %d:%d", e.Name, "fdlhwpcb"[e.Kind], e.Mode, e.UID, e.GID)
		if e.Target != "" {
			fmt.Fprintf(&b, " -> %s", e.Target)
		}
		if e.Kind == layer.File {
			fmt.Fprintf(&b, " %d", e.Size)
		}
		if e.Opaque {
			b.WriteString(" opaque")
		}
		if e.Major != 0 || e.Minor != 0 {
			fmt.Fprintf(&b, " %d,%d", e.Major, e.Minor)
		}
		for _, x := range e.Xattrs {
			fmt.Fprintf(&b, " %s=%q", x.Name, x.Value)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// timeless drops the times of a listing.
func (l listing) timeless() listing {
	other := listing{}
	for name, what := range l {
		parts := strings.SplitN(what, " ", 3)
		other[name] = parts[0] + " " + strings.Join(parts[2:], "")
	}
	return other
}

// builtOf writes a step's layer.
func builtOf(t testing.TB, entries []layer.Entry) v1.Layer {
	t.Helper()
	l, _, err := layer.Build(context.Background(), layer.Tree{Entries: entries},
		layer.Options{Compression: layer.Gzip, Temp: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := validate.Layer(l); err != nil {
		t.Fatal(err)
	}
	return l
}

var stepBase = [][]tar.Header{
	{
		dir("etc", 0o755), file("etc/a", "a"), file("etc/b", "b"), fileMode("etc/shadow", "s", 0o640),
		dir("gone", 0o755), file("gone/x", "x"), dir("again", 0o711), file("again/old", "1"),
		dir("deep/er", 0o750), file("deep/er/f", "1"), symlink("lib", "usr/lib"), dir("usr/lib", 0o755),
		file("usr/lib/x", "1"), symlink("link", "etc/a"), file("tofile/x", "1"), file("todir", "1"),
		hardlink("etc/h", "etc/a"), fileMode("usr/su", "su", 0o4755), symlink("tolink", "etc"),
	},
	{file("etc/b", "bb"), whiteout("usr/lib/.wh.x"), file("usr/lib/y", "2"), dir("sticky", 0o1777)},
}

const stepScript = `
umask 022
echo new > etc/new; chmod 600 etc/new
rm -r gone; rm etc/b; rm again/old; rmdir again; mkdir again; echo 2 > again/new
echo more >> deep/er/f
rm -r tofile; echo file > tofile
rm todir; mkdir todir; echo in > todir/in
rm tolink; mkdir tolink; echo in > tolink/a
ln -s nowhere broken; ln -sf etc/new link
echo linked > one; ln one two; mkdir sub; ln one sub/three
mkfifo pipe; chmod 622 pipe
chmod 2755 sub; chmod 700 sticky
mkdir closed; echo x > closed/secret; chmod 0 closed/secret; chmod 0 closed
rm lib; mkdir -p lib/own; echo 1 > lib/own/f
cp usr/su usr/su2; chmod 4711 usr/su2
mv etc/shadow etc/moved
touch -d @0 epoch
`

func layersOf(t testing.TB, layers [][]tar.Header) []v1.Layer {
	t.Helper()
	var list []v1.Layer
	for _, entries := range layers {
		list = append(list, layerOf(t, entries...))
	}
	return list
}

// TestAdoptGivesWhatTheStepSaw compares the merged view in which a step ran with its
// change set: as a lower directory, as one that was written from its entries, and as
// a layer that was built and unpacked.
func TestAdoptGivesWhatTheStepSaw(t *testing.T) {
	s := openStore(t)
	layers := layersOf(t, stepBase)
	r := unpack(t, s, layers...)
	st := stackOf(t, r)
	o := upperIn(t, s)
	o.Lowers, o.Script = st.dirs, stepScript
	o.Xattrs = []string{"user.note=text=etc/new"}
	want := mountedAs(t, o)
	step, err := s.Adopt(context.Background(), keyOf("run"), o.Upper, AdoptOptions{Lower: st.lower})
	closes(t, step, err)
	if d := mountedAs(t, mountOrder{Lowers: append(st.dirs, step.Dir)}).diff(want); d != "" {
		t.Errorf("mounted again (-) and as the step saw it (+):\n%s", d)
	}

	written, err := s.Write(context.Background(), keyOf("copy"), step.Entries, st.mode)
	closes(t, written, err)
	got := mountedAs(t, mountOrder{Lowers: append(st.dirs, written.Dir)})
	if d := got.diff(want); d != "" {
		t.Errorf("written (-) and as the step saw it (+):\n%s", d)
	}
	if d := cmp.Diff(text(step.Entries), text(written.Entries)); d != "" {
		t.Errorf("entries -adopted +written:\n%s", d)
	}

	other := openStore(t)
	built := builtOf(t, step.Entries)
	if a, b := digestOf(t, built), digestOf(t, builtOf(t, written.Entries)); a != b {
		t.Errorf("the layer of what was adopted is %s, that of what was written %s", a, b)
	}
	again := unpack(t, other, append(layers, built)...)
	if d := mounted(t, again).timeless().diff(want.timeless()); d != "" {
		t.Errorf("built and unpacked (-) and as the step saw it (+):\n%s", d)
	}
	listed, err := again.Entries(2)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(text(step.Entries), text(listed)); d != "" {
		t.Errorf("entries -adopted +unpacked:\n%s", d)
	}
}

func digestOf(t testing.TB, l v1.Layer) v1.Hash {
	t.Helper()
	d, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestStepIsThereForLater(t *testing.T) {
	s := openStore(t)
	ctx := context.Background()
	entries := []layer.Entry{
		{Name: "d", Kind: layer.Dir, Mode: 0o750, UID: 7, GID: 8, MTime: noon.UnixNano()},
		{Name: "d/f", Mode: 0o640, Data: []byte("text"), Size: 4, UID: 1000, MTime: noon.UnixNano(),
			Xattrs: []layer.Xattr{{Name: "security.capability", Value: []byte("x")}}},
		{Name: "d/h", Kind: layer.HardLink, Target: "d/f", Mode: 0o640, UID: 1000,
			Xattrs: []layer.Xattr{{Name: "security.capability", Value: []byte("x")}}},
		{Name: "null", Kind: layer.CharDevice, Mode: 0o666, Major: 1, Minor: 3},
		{Name: "w", Kind: layer.Whiteout},
	}
	if _, ok := s.Step(keyOf("a")); ok {
		t.Error("a step is there that nobody made")
	}
	made, err := s.Write(ctx, keyOf("a"), entries, nil)
	closes(t, made, err)
	other, err := OpenStore(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	found, ok := other.Step(keyOf("a"))
	if !ok {
		t.Fatal("the step is not there")
	}
	closes(t, found, nil)
	if d := cmp.Diff(made.Entries, found.Entries); d != "" {
		t.Errorf("-made +found:\n%s", d)
	}
	if d := cmp.Diff(text(entries), text(found.Entries)); d != "" {
		t.Errorf("-given +found:\n%s", d)
	}
	for _, e := range found.Entries {
		if e.Kind == layer.File && (e.Base != found.Dir || e.Source != e.Name || e.Data != nil) {
			t.Errorf("%s is in %q, %q", e.Name, e.Base, e.Source)
		}
	}
	st, err := lstat(filepath.Join(found.Dir, "d/f"))
	if err != nil || st.Ino != found.Entries[1].Inode || st.Ctim.Nano() != found.Entries[1].CTime {
		t.Errorf("the entry is not that of the file: %+v, %v", found.Entries[1], err)
	}
	b, err := getXattr(filepath.Join(found.Dir, "d/f"), ownerXattr, st)
	if err != nil || string(b) != "1000:0" {
		t.Errorf("the noted owner is %q, %v", b, err)
	}
}

func TestADamagedStepIsNone(t *testing.T) {
	entries := []layer.Entry{{Name: "f", Mode: 0o644, Data: []byte("1"), Size: 1}}
	for _, damage := range []struct {
		name string
		do   func(dir string) error
	}{
		{"no record", func(dir string) error { return os.Remove(filepath.Join(dir, "record")) }},
		{"no index", func(dir string) error { return os.Remove(filepath.Join(dir, "entries")) }},
		{"a short index", func(dir string) error {
			return os.Truncate(filepath.Join(dir, "entries"), 40)
		}},
		{"another bit", func(dir string) error {
			name := filepath.Join(dir, "entries")
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			b[len(indexMagic)+3] ^= 1
			return os.WriteFile(name, b, 0o600)
		}},
		{"another key", func(dir string) error {
			name := filepath.Join(dir, "record")
			r, ok := readRecord(name)
			if !ok {
				return errors.New("no record")
			}
			r.Chain += "0"
			return r.write(name)
		}},
		{"a crash", func(dir string) error {
			name := filepath.Join(dir, "record")
			r, ok := readRecord(name)
			if !ok {
				return errors.New("no record")
			}
			r.Boot = "another"
			return errors.Join(r.write(name), os.Truncate(filepath.Join(dir, "fs/f"), 0))
		}},
	} {
		t.Run(damage.name, func(t *testing.T) {
			s := openStore(t)
			made, err := s.Write(context.Background(), keyOf("a"), entries, nil)
			if err != nil {
				t.Fatal(err)
			}
			home := filepath.Dir(made.Dir)
			if err := errors.Join(made.Close(), made.Close(), damage.do(home)); err != nil {
				t.Fatal(err)
			}
			if _, ok := s.Step(keyOf("a")); ok {
				t.Fatal("it is taken for whole")
			}
			again, err := s.Write(context.Background(), keyOf("a"), entries, nil)
			closes(t, again, err)
			if b, err := os.ReadFile(filepath.Join(again.Dir, "f")); err != nil || string(b) != "1" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

func TestEntriesAreThoseOfTheTar(t *testing.T) {
	owned := func(h tar.Header, uid, gid int) tar.Header {
		h.Uid, h.Gid = uid, gid
		return h
	}
	s := openStore(t)
	layers := append(slices.Clone(stepBase), []tar.Header{
		owned(fileMode("etc/b", "bbb", 0o4750), 33, 34), owned(dir("etc", 0o700), 5, 0),
		whiteout("etc/.wh.a"), dir("again", 0o755), whiteout("again/.wh..wh..opq"),
		xattr(file("cap", "1"), "security.capability", "\x01\x00\xff"),
		xattr(dir("noted", 0o755), "user.note", "text"), file("deep/er/new", ""),
		{Typeflag: tar.TypeChar, Name: "dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3, Uid: 9},
		{Typeflag: tar.TypeBlock, Name: "over", Mode: 0o660, Devmajor: 8}, file("over", "file"),
		{Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o622}, owned(symlink("sl", "x"), 3, 4),
		owned(file("linked/b", "1"), 1, 2), owned(hardlink("linked/a", "linked/b"), 1, 2),
		file("implied/by/this", "1"),
	})
	r := unpack(t, s, layersOf(t, layers)...)
	want, err := treeOfTars(layersOf(t, layers))
	if err != nil {
		t.Fatal(err)
	}
	st := stackOf(t, r)
	if d := cmp.Diff(text(want.Entries("/")), text(st.tree.Entries("/"))); d != "" {
		t.Errorf("-tars +directories:\n%s", d)
	}
	for i := range r.Layers {
		if err := os.Remove(filepath.Join(filepath.Dir(r.Layers[i]), "entries")); err != nil {
			t.Fatal(err)
		}
		first, err1 := r.Entries(i)
		again, err2 := r.Entries(i)
		if d := cmp.Diff(first, again); d != "" || err1 != nil || err2 != nil {
			t.Errorf("layer %d, -walked +remembered: %v, %v\n%s", i, err1, err2, d)
		}
		for _, e := range again {
			if e.Kind != layer.File {
				continue
			}
			if info, err := os.Lstat(filepath.Join(e.Base, e.Source)); err != nil || info.Size() != e.Size {
				t.Errorf("%s: %v", e.Name, err)
			}
		}
	}
}

func TestPruneTakesSteps(t *testing.T) {
	s := openStore(t)
	ctx := context.Background()
	unpack(t, s, layerOf(t, file("a", "1")))
	entries := []layer.Entry{{Name: "f", Mode: 0o644, Data: []byte("1"), Size: 1}}
	open, err := s.Write(ctx, keyOf("open"), entries, nil)
	closes(t, open, err)
	shut, err := s.Write(ctx, keyOf("shut"), entries, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := shut.Close(); err != nil {
		t.Fatal(err)
	}
	u, err := s.Usage(ctx)
	if err != nil || u.Layers != 1 || u.InUse != 1 || u.Steps.Steps != 2 || u.Steps.InUse != 1 ||
		u.Steps.Bytes == 0 {
		t.Errorf("usage is %+v, %v", u, err)
	}
	p, err := s.Prune(ctx, PruneOptions{})
	p.Steps.Bytes = 0
	if want := (Pruned{InUse: 1, Steps: StepUsage{Steps: 1, InUse: 1}}); err != nil || p != want {
		t.Errorf("pruned %+v, %v", p, err)
	}
	if _, ok := s.Step(keyOf("shut")); ok {
		t.Error("a step is there that was pruned")
	}
	if again, ok := s.Step(keyOf("open")); !ok {
		t.Error("a step that is open was pruned")
	} else if err := again.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(open.Dir, "f")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.path("locks", stepPlace(keyOf("shut")).id)); err == nil {
		t.Error("a lock was left, or made by asking")
	}
}

// TestAStepIsNotPrunedWhileItIsOpened has one side make and open a step, again and
// again, while the other prunes.
func TestAStepIsNotPrunedWhileItIsOpened(t *testing.T) {
	s := openStore(t)
	ctx, cancel := context.WithCancel(context.Background())
	entries := []layer.Entry{{Name: "f", Mode: 0o644, Data: []byte("1"), Size: 1}}
	var g errgroup.Group
	g.Go(func() error {
		for ctx.Err() == nil {
			if _, err := s.Prune(ctx, PruneOptions{}); err != nil && ctx.Err() == nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		defer cancel()
		for range 100 {
			step, ok := s.Step(keyOf("a"))
			if !ok {
				var err error
				if step, err = s.Write(ctx, keyOf("a"), entries, nil); err != nil {
					return err
				}
			}
			_, err := os.Lstat(filepath.Join(step.Dir, "f"))
			if err := errors.Join(err, step.Close()); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	expectClean(t, s)
}

func TestFlattenTakesStepsToo(t *testing.T) {
	s := openStore(t)
	r := unpack(t, s, layersOf(t, stepBase)...)
	step, err := s.Write(context.Background(), keyOf("a"), []layer.Entry{
		{Name: "deep/er/g", Mode: 0o600, Data: []byte("1"), Size: 1},
		{Name: "etc", Kind: layer.Dir, Mode: 0o700, Opaque: true},
		{Name: "gone", Kind: layer.Whiteout},
	}, stackOf(t, r).mode)
	closes(t, step, err)
	dirs := append(slices.Clone(r.Layers), step.Dir)
	dst := filepath.Join(filepath.Dir(s.dir), "flat")
	if err := Flatten(context.Background(), dirs, dst); err != nil {
		t.Fatal(err)
	}
	flat, err := list(dst)
	if err != nil {
		t.Fatal(err)
	}
	delete(flat, ".")
	if d := flat.diff(mountedAs(t, mountOrder{Lowers: dirs})); d != "" {
		t.Errorf("flattened (-) and mounted (+):\n%s", d)
	}
	if st, err := lstat(filepath.Join(dst, "deep/er")); err != nil || st.Mode&permissions != 0o750 {
		t.Errorf("a directory that the step passes through has another mode: %v", err)
	}
	if _, ok := flat["etc/a"]; ok || flat["gone"] != "" || flat["deep/er/g"] == "" {
		t.Errorf("flattened to %v", flat)
	}
	for name := range flat {
		if st, err := lstat(filepath.Join(dst, name)); err != nil || isWhiteout(st) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
