package filetree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/decant-build/decant/assemble/internal/layer"
)

func TestApplyLaysLayersOnTopOfEachOther(t *testing.T) {
	tests := []struct {
		name   string
		layers []string
		want   string
	}{
		{"a directory keeps what it holds and takes the metadata",
			[]string{"d 755 0:0 a\n f 644 0:0 a/f 1", "d 700 1:1 a"},
			"d 700 1:1 a\n f 644 0:0 a/f 1"},
		{"missing parents are made", []string{"f 644 0:0 a/b/f 1"},
			"d 755 0:0 a\n d 755 0:0 a/b\n f 644 0:0 a/b/f 1"},
		{"a whiteout removes all below it, and only of lower layers",
			[]string{"f 644 0:0 a/f 1\n f 644 0:0 a/g 1", "f 644 0:0 a/h 2\n w a"},
			"d 755 0:0 a\n f 644 0:0 a/h 2"},
		{"a whiteout of nothing", []string{"f 644 0:0 f", "w none\n w f/x\n w none/x"}, "f 644 0:0 f"},
		{"an opaque directory hides what is below",
			[]string{"f 644 0:0 a/f 1", "f 644 0:0 a/g 2\n D 711 0:0 a"},
			"D 711 0:0 a\n f 644 0:0 a/g 2"},
		{"an opaque root", []string{"f 644 0:0 a/f 1", "D 755 0:0 .\n f 644 0:0 b 2"}, "f 644 0:0 b 2"},
		{"a directory replaces a file and a link",
			[]string{"f 644 0:0 f\n l 0:0 l f", "d 755 0:0 f\n d 755 0:0 l"}, "d 755 0:0 f\n d 755 0:0 l"},
		{"a file replaces a directory", []string{"f 644 0:0 a/f 1", "f 644 0:0 a 2"}, "f 644 0:0 a 2"},
		{"a directory that no entry names hides a file", []string{"f 644 0:0 a", "f 644 0:0 a/b/c 1"},
			"d 755 0:0 a\n d 755 0:0 a/b\n f 644 0:0 a/b/c 1"},
		{"a link as a parent is followed",
			[]string{"d 755 0:0 usr/bin\n l 0:0 bin usr/bin", "f 755 0:0 bin/sh 1\n w bin/none"},
			"l 0:0 bin usr/bin\n d 755 0:0 usr\n d 755 0:0 usr/bin\n f 755 0:0 usr/bin/sh 1"},
		{"a whiteout goes through a link",
			[]string{"f 755 0:0 usr/bin/sh 1\n l 0:0 bin usr/bin", "w bin/sh"},
			"l 0:0 bin usr/bin\n d 755 0:0 usr\n d 755 0:0 usr/bin"},
		{"a whiteout of a link leaves where it leads",
			[]string{"f 755 0:0 usr/sh 1\n l 0:0 bin usr", "w bin"}, "d 755 0:0 usr\n f 755 0:0 usr/sh 1"},
		{"links do not leave the root", []string{"l 0:0 up ../../x", "f 644 0:0 up/f 1"},
			"l 0:0 up ../../x\n d 755 0:0 x\n f 644 0:0 x/f 1"},
		{"a link to a file as a parent: a directory hides the file",
			[]string{"f 644 0:0 f\n l 0:0 l f", "f 644 0:0 l/x 1"},
			"d 755 0:0 f\n f 644 0:0 f/x 1\n l 0:0 l f"},
		{"a hard link shares the file", []string{"f 644 0:0 z 1", "h a z"}, "f 644 0:0 a 1\n h z a"},
		{"a hard link before its file", []string{"h a z\n f 644 0:0 z 1"}, "f 644 0:0 a 1\n h z a"},
		{"a hard link to itself", []string{"f 644 0:0 a 1", "h a a"}, "f 644 0:0 a 1"},
		{"a hard link through a link", []string{"f 644 0:0 d/f 1\n l 0:0 l d", "h a l/f"},
			"f 644 0:0 a 1\n d 755 0:0 d\n h d/f a\n l 0:0 l d"},
		{"a new file ends a hard link", []string{"f 644 0:0 a 1\n h b a", "f 644 0:0 a 2"},
			"f 644 0:0 a 2\n f 644 0:0 b 1"},
		{"content in blobs", []string{"b 644 0:0 x 9", "b 644 0:0 y 9\n h z x"},
			"f 644 0:0 x 9@0/x\n f 644 0:0 y 9@1/y\n h z x"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wantEntries(t, stack(t, test.layers...).Entries(""), test.want)
		})
	}
}

func TestApplyRefusesWhatCanBeNowhere(t *testing.T) {
	for name, text := range map[string]string{
		"a hard link to nothing": "h a b", "a loop of links": "l 0:0 a b\n l 0:0 b a\n f 644 0:0 a/x",
		"a hard link to a directory": "d 755 0:0 a\n h b a",
	} {
		if err := New().Apply(parse(t, text), 0); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestLookup(t *testing.T) {
	tree := stack(t, stageText, "f 644 0:0 usr/new 1\nl 0:0 self self\nl 0:0 rel ./usr/../etc/link")
	for name, want := range map[string]string{
		"/":               "",
		"..//../.":        "",
		"/bin/sh":         "usr/bin/sh",
		"/html/":          "srv/www",
		"/html/..":        "srv",
		"/rel":            "etc/conf",
		"/app/../usr/new": "usr/new",
	} {
		n, err := tree.Lookup(name)
		if err != nil || n.Entry.Name != want {
			t.Errorf("%s: got %q, %v", name, n.Entry.Name, err)
		}
	}
	if n, _ := tree.Lookup("usr/new"); n.Origin != 1 {
		t.Errorf("got origin %d", n.Origin)
	}
	for name, want := range map[string]PathError{
		"/self":          {"/self", "/", ErrLoop},
		"/app/none/f":    {"/app/none/f", "/app", ErrNotExist},
		"/html/none":     {"/html/none", "/srv/www", ErrNotExist},
		"/dangling/f":    {"/dangling/f", "/", ErrNotExist},
		"/etc/conf/x":    {"/etc/conf/x", "/etc/conf", ErrNotDir},
		"/etc/link/..":   {"/etc", "/etc/conf", ErrNotDir},
		"/etc/conf/./..": {"/etc", "/etc/conf", ErrNotDir},
	} {
		_, err := tree.Lookup(name)
		var got *PathError
		if !errors.As(err, &got) || *got != want || got.Hint() == "" {
			t.Errorf("%s: got %+v", name, err)
		}
	}
}

func TestCloneIsIndependent(t *testing.T) {
	tree := stack(t, stageText)
	before := show(tree.Entries(""))
	clone := tree.Clone()
	change := parse(t, "f 644 0:0 app/x 1\nd 700 0:0 etc\nw usr\nD 755 0:0 srv")
	if err := clone.Apply(change, 1); err != nil {
		t.Fatal(err)
	}
	if show(tree.Entries("")) != before {
		t.Error("a change of the clone shows in the tree")
	}
	changed := show(clone.Entries(""))
	if err := tree.Apply(parse(t, "f 644 0:0 app/y 1\nw srv"), 1); err != nil {
		t.Fatal(err)
	}
	if show(clone.Entries("")) != changed {
		t.Error("a change of the tree shows in the clone")
	}
}

func TestATreeIsReadAndClonedConcurrently(t *testing.T) {
	tree, from := stack(t, stageText), stack(t, sourceText)
	before := show(tree.Entries(""))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := fmt.Sprintf("app/%d", i)
			spec := CopySpec{From: from, Sources: []string{"a.txt"}, Dest: "/" + name}
			got, err := tree.Copy(t.Context(), spec)
			if err != nil || len(got) != 1 {
				t.Errorf("got %v, %v", got, err)
			}
			clone := tree.Clone()
			if err := clone.Apply(got, 1); err != nil {
				t.Error(err)
			}
			if n, err := clone.Lookup(name); err != nil || n.Origin != 1 {
				t.Errorf("got %v, %v", n, err)
			}
		})
	}
	wg.Wait()
	if show(tree.Entries("")) != before {
		t.Error("the tree has changed")
	}
}

func TestEntriesOfADirectory(t *testing.T) {
	tree := stack(t, stageText)
	wantEntries(t, tree.Entries("/html/../../app"), "d 750 7:7 app/keep\n f 600 7:7 app/keep/old old")
	if got := tree.Entries("etc/conf"); got != nil {
		t.Errorf("got %s", show(got))
	}
}

// large has the number of files that a node image has.
func large(n int) []layer.Entry {
	var entries []layer.Entry
	for i := range n {
		if i%20 == 0 {
			entries = append(entries, layer.Entry{
				Name: fmt.Sprintf("usr/lib/node_modules/p%d", i/20), Kind: layer.Dir, Mode: 0o755})
		}
		entries = append(entries, layer.Entry{
			Name: fmt.Sprintf("usr/lib/node_modules/p%d/f%d.js", i/20, i), Mode: 0o644, Size: 100})
	}
	return entries
}

func BenchmarkApply(b *testing.B) {
	entries := large(100_000)
	for b.Loop() {
		if err := New().Apply(entries, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCloneAndWrite(b *testing.B) {
	tree := New()
	if err := tree.Apply(large(100_000), 0); err != nil {
		b.Fatal(err)
	}
	change := large(1)
	for b.Loop() {
		if err := tree.Clone().Apply(change, 1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCopy(b *testing.B) {
	from := New()
	if err := from.Apply(large(100_000), 0); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		spec := CopySpec{From: from, Sources: []string{"usr/lib"}, Dest: "/app"}
		got, err := New().Copy(b.Context(), spec)
		if err != nil || len(got) < 100_000 {
			b.Fatal(len(got), err)
		}
	}
}

const passwdText = "root:x:0:0:root:/root:/bin/sh\nnginx:x:101:102::/:/sbin/nologin\n" +
	"broken:x:y:1\nshort\n7:x:70:71::/:\n"
const groupText = "root:x:0:\nnginx:x:103:\nweb:x:104\n"

func TestResolveOwner(t *testing.T) {
	inData := New()
	err := inData.Apply([]layer.Entry{
		{Name: "etc/real", Data: []byte(passwdText), Size: int64(len(passwdText))},
		{Name: "etc/passwd", Kind: layer.Link, Target: "/etc/real"},
		{Name: "etc/group", Data: []byte(groupText), Size: int64(len(groupText))},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"passwd": passwdText, "group": groupText} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	onDisk := New()
	err = onDisk.Apply([]layer.Entry{
		{Name: "etc/passwd", Base: dir, Source: "passwd", Size: int64(len(passwdText))},
		{Name: "etc/group", Base: dir, Source: "group", Size: int64(len(groupText))},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for which, tree := range map[string]*Tree{"data": inData, "disk": onDisk} {
		for spec, want := range map[string]Owner{
			"nginx": {101, 102}, "nginx:nginx": {101, 103}, "nginx:web": {101, 104},
			"nginx:5": {101, 5}, "1000": {1000, 1000}, "1000:nginx": {1000, 103}, "7": {7, 7},
			"root": {0, 0}, "root:root": {0, 0}, ":web": {0, 104}, "4294967294": {4294967294, 4294967294},
		} {
			uid, gid, err := tree.ResolveOwner(spec)
			if err != nil || (Owner{uid, gid}) != want {
				t.Errorf("%s: %s: got %d:%d, %v", which, spec, uid, gid, err)
			}
		}
		for _, spec := range []string{
			"nobody", "broken", "short", "nginx:nobody", "4294967295", "-1", "",
		} {
			_, _, err := tree.ResolveOwner(spec)
			var owner *OwnerError
			if !errors.As(err, &owner) || owner.Hint() == "" {
				t.Errorf("%s: %q: got %v", which, spec, err)
			}
		}
	}
	_, _, err = New().ResolveOwner("nginx")
	wantError(t, err, `looking up the user "nginx": it is not in /etc/passwd of this stage`,
		"add the user in an earlier step, or write its number")
}

func TestResolveOwnerSaysWhyItCannotRead(t *testing.T) {
	link := t.TempDir()
	if err := os.Symlink(filepath.Join(link, "..", "out"), filepath.Join(link, "passwd")); err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]layer.Entry{
		"in a blob": {Size: 1}, "a directory": {Kind: layer.Dir},
		"gone":           {Base: t.TempDir(), Source: "passwd", Size: 1},
		"a link on disk": {Base: link, Source: "passwd", Size: 1},
	} {
		e.Name = "etc/passwd"
		tree := New()
		if err := tree.Apply([]layer.Entry{e}, 0); err != nil {
			t.Fatal(err)
		}
		_, _, err := tree.ResolveOwner("nginx")
		var owner *OwnerError
		if !errors.As(err, &owner) || owner.Err == nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestUserIDsOfAnUnknownUserAreRoots(t *testing.T) {
	tree := New()
	err := tree.Apply([]layer.Entry{
		{Name: "etc/passwd", Data: []byte(passwdText), Size: int64(len(passwdText))},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]Owner{
		"": {}, "nobody": {}, "nginx": {101, 102}, "1000": {1000, 1000}, "nginx:0": {101, 0},
		"nobody:7": {0, 7}, "5:none": {5, 5},
	} {
		if uid, gid := tree.UserIDs(user); (Owner{uid, gid}) != want {
			t.Errorf("%q: got %d:%d", user, uid, gid)
		}
	}
}
