package layer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestBuildRefusesWhatNoUnpackerTakes(t *testing.T) {
	file := data("f", "x")
	xattrs := func(x ...Xattr) Entry { e := file; e.Xattrs = x; return e }
	with := func(name string, edit func(e *Entry)) []Entry {
		e := hardLink(name, file)
		edit(&e)
		return []Entry{file, e}
	}
	many := make([]Xattr, 9)
	for i := range many {
		many[i] = Xattr{fmt.Sprintf("user.%d", i), make([]byte, maxXattrValue)}
	}
	for name, entries := range map[string][]Entry{
		"whiteout of the root":      {{Name: ".", Kind: Whiteout}},
		"whiteout of nothing":       {{Kind: Whiteout}},
		"whiteout of a whiteout":    {{Name: "a/.wh.b", Kind: Whiteout}},
		"whiteout outside":          {{Name: "../b", Kind: Whiteout}},
		"whiteout of what is there": {{Name: "f", Kind: Whiteout}, file},
		"below a whiteout":          {{Name: "f", Kind: Whiteout}, data("f/x", "")},
		"whiteout with attributes":  {{Name: "a", Kind: Whiteout, Xattrs: []Xattr{{"user.a", nil}}}},
		"opaque file":               {{Name: "a", Opaque: true}},
		"opaque link":               {{Name: "a", Kind: Link, Target: "b", Opaque: true}},
		"hard link to nothing":      with("g", func(e *Entry) { e.Target = "h" }),
		"hard link to no name":      with("g", func(e *Entry) { e.Target = "" }),
		"hard link to a later file": with("a", func(*Entry) {})[1:],
		"hard link before its file": {with("a", func(*Entry) {})[1], file},
		"hard link to itself":       {hardLink("f", file)},
		"hard link to a hard link":  append(with("g", func(*Entry) {}), hardLink("h", data("g", ""))),
		"hard link to a directory":  {{Name: "d", Kind: Dir}, {Name: "l", Kind: HardLink, Target: "d"}},
		"hard link outside":         with("g", func(e *Entry) { e.Target = "../f" }),
		"hard link, other mode":     with("g", func(e *Entry) { e.Mode = 0o600 }),
		"hard link, other owner":    with("g", func(e *Entry) { e.UID = 1 }),
		"hard link, other group":    with("g", func(e *Entry) { e.GID = 1 }),
		"hard link, other xattrs":   with("g", func(e *Entry) { e.Xattrs = []Xattr{{"user.a", nil}} }),
		"below a hard link":         append(with("g", func(*Entry) {}), data("g/x", "")),
		"no number":                 {{Name: "c", Kind: CharDevice}},
		"a large number":            {{Name: "c", Kind: BlockDevice, Major: 8, Minor: maxDevice + 1}},
		"number of a file":          {{Name: "c", Minor: 1}},
		"number of a fifo":          {{Name: "c", Kind: Fifo, Major: 1}},
		"no owner":                  {{Name: "c", UID: noOwner}},
		"no group":                  {{Name: "c", Kind: Link, Target: "x", GID: noOwner}},
		"mode of a device":          {{Name: "c", Kind: CharDevice, Major: 1, Mode: 0o20666}},
		"xattr without a name":      {xattrs(Xattr{"", nil})},
		"xattr with =":              {xattrs(Xattr{"user.a=b", nil})},
		"xattr with NUL":            {xattrs(Xattr{"user.a\x00", nil})},
		"xattr not UTF-8":           {xattrs(Xattr{"user.\xff", nil})},
		"xattr with a long name":    {xattrs(Xattr{"user." + strings.Repeat("n", 251), nil})},
		"xattr with a large value":  {xattrs(Xattr{"user.a", make([]byte, maxXattrValue+1)})},
		"too many xattrs":           {xattrs(many...)},
		"xattr twice":               {xattrs(Xattr{"user.a", nil}, Xattr{"user.a", nil})},
		"xattrs unsorted":           {xattrs(Xattr{"user.b", nil}, Xattr{"user.a", nil})},
		"xattr of an overlay":       {xattrs(Xattr{"trusted.overlay.origin", nil})},
		"xattr of a user's overlay": {xattrs(Xattr{"user.overlay.opaque", []byte("y")})},
		"relative base":             {{Name: "a", Source: "a", Base: "b"}},
		"unclean base":              {{Name: "a", Source: "a", Base: t.TempDir() + "/../x"}},
		"kind beyond":               {{Name: "a", Kind: BlockDevice + 1}},
	} {
		_, _, err := Build(context.Background(), Tree{Entries: entries},
			Options{Compression: Gzip, Temp: t.TempDir()})
		var entry *EntryError
		if !errors.As(err, &entry) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzChange makes trees of a few names at random, most of them bad: what is
// accepted is written as it was meant, and takes away nothing else.
func FuzzChange(f *testing.F) {
	for seed := range uint64(64) {
		f.Add(seed, "x", "user.x")
	}
	f.Add(uint64(1), ".wh.x", "trusted.overlay.x")
	f.Fuzz(func(t *testing.T, seed uint64, name, xattr string) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		names := []string{"a", "a/b", "a/b/c", "a/.wh.x", "b", name, "c/" + name, "d", "e", "."}
		pick := func() string { return names[rnd.IntN(len(names))] }
		var entries []Entry
		for range 1 + rnd.IntN(4) {
			e := Entry{Name: pick(), Kind: Kind(rnd.IntN(9)), Mode: uint32(rnd.IntN(0o10001)),
				Opaque: rnd.IntN(9) == 0}
			switch {
			case e.Kind == Link || e.Kind == HardLink:
				e.Target = pick()
			case e.Kind >= CharDevice:
				e.Major = uint32(rnd.IntN(3))
			}
			if rnd.IntN(4) == 0 {
				e.UID, e.GID, e.Xattrs = rnd.Uint32(), rnd.Uint32(), []Xattr{{xattr, []byte(name)}}
			}
			if len(entries) > 0 && e.Kind == HardLink {
				e = hardLink(e.Name, entries[0])
			}
			entries = append(entries, e)
		}
		Sort(entries)
		tree := Tree{Entries: entries}
		if checkEntries(entries) != nil || len(name)+len(xattr) > 1<<16 {
			return
		}
		l, r := mustBuild(t, tree, Options{Compression: Zstd})
		checkTar(t, l, tree)
		if !decoded(t, r).Unchanged(tree, Zstd) {
			t.Error("the decoded record does not know the tree")
		}
	})
}
