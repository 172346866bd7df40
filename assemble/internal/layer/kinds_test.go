package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// data is a generated file.
func data(name, content string) Entry {
	return Entry{Name: name, Mode: 0o644, Data: []byte(content), Size: int64(len(content))}
}

// hardLink is another name of a file.
func hardLink(name string, file Entry) Entry {
	return Entry{Name: name, Kind: HardLink, Target: file.Name,
		Mode: file.Mode, UID: file.UID, GID: file.GID, Xattrs: file.Xattrs}
}

// change is what a step might leave: every kind, and every field.
func change() Tree {
	tool := data("bin/tool", "#!/bin/sh\n")
	tool.Mode, tool.UID, tool.GID = 0o6755, 101, 1<<21
	tool.Xattrs = []Xattr{{"security.capability", []byte("\x01\x00\x00\x02\x00=\n")},
		{"user.note", nil}}
	large := data("bin/large", text(5, pieceSize+9))
	far := data("a-name/"+strings.Repeat("long/", 30)+"file", "x")
	far.UID, far.GID = 1<<21-1, 1<<32-2
	entries := []Entry{
		far, hardLink("zz", far), large, hardLink("bin/second", large), tool, hardLink("bin/tool2", tool),
		data("bin/tool2.gz", "compressed"),
		{Name: "dir", Kind: Dir, Mode: 0o1777, UID: 5, Opaque: true},
		data("dir/new", "new"),
		{Name: "dir/" + strings.Repeat("n", 120), Kind: Dir, Mode: 0o755, Opaque: true},
		{Name: "dir/sub", Kind: Dir, Mode: 0o2750, GID: 7,
			Xattrs: []Xattr{{"system.posix_acl_default", []byte{2, 0, 0, 0}}}},
		{Name: "gone", Kind: Whiteout},
		{Name: "lib/" + strings.Repeat("ü", 60), Kind: Whiteout},
		{Name: "lib/link", Kind: Link, Target: "../gone", UID: 33, GID: 33},
		{Name: "dev/null", Kind: CharDevice, Mode: 0o666, Major: 1, Minor: 3},
		{Name: "dev/disk", Kind: BlockDevice, Mode: 0o660, GID: 6, Major: 8, Minor: maxDevice},
		{Name: "dev/pipe", Kind: Fifo, Mode: 0o600, UID: 1},
	}
	Sort(entries)
	return Tree{Entries: entries}
}

// header is what a reader is to find of an entry, but for its time.
func header(e *Entry) *tar.Header {
	h := &tar.Header{Name: e.Name, Typeflag: tar.TypeReg, Mode: int64(e.Mode), Size: e.Size,
		Uid: int(e.UID), Gid: int(e.GID)}
	switch e.Kind {
	case Dir:
		h.Name, h.Typeflag = e.Name+"/", tar.TypeDir
	case Link:
		h.Typeflag, h.Mode, h.Linkname = tar.TypeSymlink, 0o777, e.Target
	case HardLink:
		h.Typeflag, h.Linkname = tar.TypeLink, e.Target
	case Whiteout:
		at := strings.LastIndexByte(e.Name, '/') + 1
		return &tar.Header{Name: e.Name[:at] + ".wh." + e.Name[at:], Typeflag: tar.TypeReg, Mode: 0o600}
	case Fifo:
		h.Typeflag = tar.TypeFifo
	case CharDevice:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(e.Major), int64(e.Minor)
	case BlockDevice:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeBlock, int64(e.Major), int64(e.Minor)
	}
	if h.Typeflag != tar.TypeReg {
		h.Size = 0
	}
	return h
}

// xattrsIn returns the attributes that a header has.
func xattrsIn(h *tar.Header) []Xattr {
	var xattrs []Xattr
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			xattrs = append(xattrs, Xattr{name, []byte(value)})
		}
	}
	slices.SortFunc(xattrs, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return xattrs
}

// sameAs says how a header differs from the one that an entry is to have.
func sameAs(got *tar.Header, e *Entry) string {
	want := header(e)
	line := func(h *tar.Header) string {
		return fmt.Sprintf("%q %c %o %d %d:%d %q %d:%d %q%q", h.Name, h.Typeflag, h.Mode, h.Size,
			h.Uid, h.Gid, h.Linkname, h.Devmajor, h.Devminor, h.Uname, h.Gname)
	}
	if g, w := line(got), line(want); g != w {
		return fmt.Sprintf("got %s, want %s", g, w)
	}
	if g := xattrsIn(got); !sameXattrs(g, e.Xattrs) {
		return fmt.Sprintf("%q has attributes %v, not %v", got.Name, g, e.Xattrs)
	}
	return ""
}

func TestEveryKindIsReadBack(t *testing.T) {
	tree := change()
	l, _ := mustBuild(t, tree, Options{})
	if err := validate.Layer(l); err != nil {
		t.Error(err)
	}
	checkTar(t, l, tree)
	const diffID = "sha256:3ee0050fafa2b0167ac07e6d95a50adc6fcf69999d14eb38f6521339307b1284"
	if l.diffID.String() != diffID {
		t.Errorf("the diffID is %s, not %s", l.diffID, diffID)
	}
}

// tarOf returns the headers of a layer by name.
func tarOf(t testing.TB, l *Layer) map[string]*tar.Header {
	t.Helper()
	rc, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	headers := map[string]*tar.Header{}
	for tr := tar.NewReader(rc); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return headers
		}
		if err != nil {
			t.Fatal(err)
		}
		headers[h.Name] = h
	}
}

func TestAHardLinkHasTheTimeOfItsFile(t *testing.T) {
	times := func(first string, large int) []int64 {
		a, big := data("a", first), data("big.js", text(1, large))
		tree := Tree{Entries: []Entry{a, big, hardLink("c.js", a), data("c.js.gz", "z"),
			hardLink("d", big), data("x", first), {Name: "x2", Kind: HardLink, Target: "x", Mode: 0o644}}}
		Sort(tree.Entries)
		l, _ := mustBuild(t, tree, Options{})
		h, got := tarOf(t, l), []int64{}
		for _, name := range []string{"a", "c.js", "c.js.gz", "x", "x2", "big.js", "d"} {
			got = append(got, h[name].ModTime.Unix())
		}
		return got
	}
	one, two := times("one", pieceSize+1), times("two", 3*pieceSize)
	for i, want := range []int{0, 0, 0, 0, 0, 5, 5} {
		if one[i] != one[want] || two[i] != two[want] {
			t.Errorf("time %d is not that of %d: %v, %v", i, want, one, two)
		}
	}
	if one[0] == two[0] || one[5] == two[5] {
		t.Errorf("the times do not tell contents apart: %v, %v", one, two)
	}
}

func TestContentComesFromSeveralDirectories(t *testing.T) {
	var tree Tree
	dirs := map[string]string{"": t.TempDir(), "one": t.TempDir(), "two": t.TempDir()}
	for name, dir := range dirs {
		site{"sub/f": "from " + name, "large": text(len(name), pieceSize+10)}.write(t, dir)
		part := scan(t, dir)
		for _, e := range part.Entries {
			if e.Kind != File {
				continue
			}
			e.Name = name + strings.TrimPrefix(e.Name, "www")
			e.Name = strings.TrimPrefix(e.Name, "/")
			if name != "" {
				e.Base = dir
			}
			tree.Entries = append(tree.Entries, e)
		}
	}
	tree.Dir, tree.ScannedAt = dirs[""], scan(t, dirs[""]).ScannedAt
	Sort(tree.Entries)
	tree = tree.settled()
	l, r := mustBuild(t, tree, Options{})
	checkTar(t, l, tree)
	got, _ := mustBuild(t, tree, Options{Reuse: decoded(t, r), ReuseBlob: l.Path()})
	if s := got.Stats(); got.digest != l.digest || s.ReadBytes != 0 {
		t.Errorf("the record does not know the files: %+v", s)
	}
	if _, same, err := Confirm(context.Background(), scannedAgain(tree),
		Options{Compression: Gzip, Reuse: r}); err != nil || !same {
		t.Errorf("Confirm: same %v, %v", same, err)
	}
	file := filepath.Join(dirs["two"], "sub", "f")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	_, _, err := Build(context.Background(), tree, Options{Compression: Gzip, Temp: t.TempDir()})
	var changed *ChangedError
	if !errors.As(err, &changed) || changed.Path != file || changed.What != "vanished" {
		t.Errorf("%v: it should name %s", err, file)
	}
	if err := os.RemoveAll(dirs["one"]); err != nil {
		t.Fatal(err)
	}
	_, _, err = Build(context.Background(), tree, Options{Compression: Gzip, Temp: t.TempDir()})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), dirs["one"]) {
		t.Error(err)
	}
}

// scannedAgain is tree as if all its files were new on disk.
func scannedAgain(tree Tree) Tree {
	tree.Entries = slices.Clone(tree.Entries)
	for i := range tree.Entries {
		tree.Entries[i].CTime++
	}
	return tree
}

func TestDirIsNotOpenedForNothing(t *testing.T) {
	dir := t.TempDir()
	site{"f": "x"}.write(t, dir)
	tree := scan(t, dir)
	for i := range tree.Entries {
		tree.Entries[i].Base = dir
	}
	tree.Dir = filepath.Join(dir, "nowhere")
	mustBuild(t, tree, Options{})
	tree.Dir = ""
	mustBuild(t, tree, Options{})
}

func decoded(t testing.TB, r *Record) *Record {
	t.Helper()
	got, err := DecodeRecord(bytes.NewReader(encoded(t, r)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(encoded(t, got), encoded(t, r)) {
		t.Fatal("the record changes when it is decoded")
	}
	return got
}

// edits change each one field that decides the bytes of a change.
func edits() map[string]func(e map[string]*Entry) {
	return map[string]func(e map[string]*Entry){
		"uid":           func(e map[string]*Entry) { e["dir/sub"].UID++ },
		"gid":           func(e map[string]*Entry) { e["dir/sub"].GID++ },
		"uid of a file": func(e map[string]*Entry) { e["dir/new"].UID++ },
		"gid of a link": func(e map[string]*Entry) { e["lib/link"].GID++ },
		"set-uid bit":   func(e map[string]*Entry) { e["dir/new"].Mode |= 0o4000 },
		"opaque":        func(e map[string]*Entry) { e["dir"].Opaque = false },
		"major":         func(e map[string]*Entry) { e["dev/null"].Major++ },
		"minor":         func(e map[string]*Entry) { e["dev/null"].Minor++ },
		"device kind":   func(e map[string]*Entry) { e["dev/null"].Kind = BlockDevice },
		"fifo's mode":   func(e map[string]*Entry) { e["dev/pipe"].Mode = 0o644 },
		"xattr's name":  func(e map[string]*Entry) { e["dir/sub"].Xattrs[0].Name = "user.x" },
		"xattr's value": func(e map[string]*Entry) { e["dir/sub"].Xattrs[0].Value = []byte{1} },
		"no xattr":      func(e map[string]*Entry) { e["dir/sub"].Xattrs = nil },
		"link's xattr": func(e map[string]*Entry) {
			e["lib/link"].Xattrs = []Xattr{{"trusted.x", nil}}
		},
		"hard link":  func(e map[string]*Entry) { *e["zz"] = hardLink("zz", *e["bin/large"]) },
		"a whiteout": func(e map[string]*Entry) { *e["gone"] = data("gone", "") },
		"a removed file": func(e map[string]*Entry) {
			*e["dir/new"] = Entry{Name: "dir/new", Kind: Whiteout}
		},
		"a content": func(e map[string]*Entry) {
			*e["bin/tool2.gz"] = data("bin/tool2.gz", "Compressed")
		},
	}
}

// edited is a change with one edit.
func edited(edit func(e map[string]*Entry)) Tree {
	tree := change()
	byName := map[string]*Entry{}
	for i := range tree.Entries {
		byName[tree.Entries[i].Name] = &tree.Entries[i]
	}
	edit(byName)
	return tree
}

func TestEveryFieldOfAChangeIsRemembered(t *testing.T) {
	l, r := mustBuild(t, change(), Options{})
	r = decoded(t, r)
	if !r.Unchanged(change(), Gzip) {
		t.Fatal("the change itself counts as changed")
	}
	for name, edit := range edits() {
		t.Run(name, func(t *testing.T) {
			tree := edited(edit)
			if r.Unchanged(tree, Gzip) {
				t.Error("counts as unchanged")
			}
			if _, same, err := Confirm(context.Background(), tree,
				Options{Compression: Gzip, Reuse: r}); err != nil || same {
				t.Errorf("Confirm: same %v, %v", same, err)
			}
			got, _ := again(t, tree, Gzip, r, l.Path())
			if s := got.Stats(); got.diffID == l.diffID || s.ReusedChunks == 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestAHardLinkIsNotReusedWhenItsFileChanged has the two in chunks of their own.
func TestAHardLinkIsNotReusedWhenItsFileChanged(t *testing.T) {
	build := func(content string) Tree {
		tree := Tree{Entries: []Entry{data("a", content)}}
		for i := range 8 {
			tree.Entries = append(tree.Entries, data(fmt.Sprintf("m%d", i), noise(i, pieceSize+1)))
		}
		tree.Entries = append(tree.Entries, hardLink("z", tree.Entries[0]))
		return tree
	}
	l, r := mustBuild(t, build("one"), Options{})
	got, _ := again(t, build("two"), Gzip, r, l.Path())
	if s := got.Stats(); s.CompressedChunks != 2 {
		t.Errorf("the file and the link are two chunks: %+v", s)
	}
}

func TestAGroupWithAttributesStaysSmall(t *testing.T) {
	var entries []Entry
	for i := range 64 {
		e := data(fmt.Sprintf("f%02d", i), "x")
		e.Xattrs = []Xattr{{"user.a", make([]byte, maxXattrValue)}}
		entries = append(entries, e)
	}
	for _, c := range cut(entries) {
		if c.count > pieceSize/maxXattrValue {
			t.Errorf("a chunk has %d entries of 64 KiB each", c.count)
		}
	}
}

func TestSortIsByPathElements(t *testing.T) {
	want := []string{"a", "a/b", "a/b/c", "a/b-c", "a/bc", "a-b", "a.b", "ab", "b", "ü"}
	var entries []Entry
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(want)) {
		entries = append(entries, Entry{Name: want[i]})
	}
	Sort(entries)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for i, a := range want {
		for k, b := range want {
			if c := Compare(a, b); c < 0 != (i < k) || c > 0 != (i > k) {
				t.Errorf("Compare(%q, %q) is %d", a, b, c)
			}
		}
	}
}
