package filetree

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// parse reads entries, one a line, in the form that show writes:
//
//	d 755 0:0 name           a directory; D is an opaque one
//	f 644 0:0 name content   a file; without content it is empty
//	b 644 0:0 name size      a file whose content is in a blob
//	l 0:0 name target        a symlink
//	h name target            a hard link
//	w name                   a whiteout
func parse(t testing.TB, text string) []layer.Entry {
	t.Helper()
	var entries []layer.Entry
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		f = append(f, "", "")
		var e layer.Entry
		owner := ""
		switch f[0] {
		case "d", "D":
			e = layer.Entry{Kind: layer.Dir, Name: f[3], Opaque: f[0] == "D"}
			owner = f[2]
		case "f", "b":
			e = layer.Entry{Kind: layer.File, Name: f[3], Size: int64(len(f[4]))}
			owner = f[2]
			if f[0] == "b" {
				e.Size, _ = strconv.ParseInt(f[4], 10, 64)
			} else if f[4] != "" {
				e.Data = []byte(f[4])
			}
		case "l":
			e, owner = layer.Entry{Kind: layer.Link, Name: f[2], Target: f[3]}, f[1]
		case "h":
			e = layer.Entry{Kind: layer.HardLink, Name: f[1], Target: f[2]}
		case "w":
			e = layer.Entry{Kind: layer.Whiteout, Name: f[1]}
		default:
			t.Fatalf("no entry: %q", line)
		}
		if owner != "" {
			if _, err := fmt.Sscanf(owner, "%d:%d", &e.UID, &e.GID); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
		if strings.Contains("dDfb", f[0]) {
			mode, err := strconv.ParseUint(f[1], 8, 32)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			e.Mode = uint32(mode)
		}
		entries = append(entries, e)
	}
	return entries
}

func show(entries []layer.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		owner := fmt.Sprintf("%d:%d", e.UID, e.GID)
		fields := []string{"?", e.Name}
		switch e.Kind {
		case layer.Dir:
			fields = []string{"d", fmt.Sprintf("%o", e.Mode), owner, e.Name}
			if e.Opaque {
				fields[0] = "D"
			}
		case layer.File:
			fields = []string{"f", fmt.Sprintf("%o", e.Mode), owner, e.Name}
			if origin, name, ok := Blob(e); ok {
				fields = append(fields, fmt.Sprintf("%d@%d/%s", e.Size, origin, name))
			} else if len(e.Data) > 0 {
				fields = append(fields, string(e.Data))
			} else if e.Source != "" {
				fields = append(fields, e.Base+"/"+e.Source)
			}
		case layer.Link:
			fields = []string{"l", owner, e.Name, e.Target}
		case layer.HardLink:
			fields = []string{"h", e.Name, e.Target}
		case layer.Whiteout:
			fields = []string{"w", e.Name}
		case layer.Fifo:
			fields = []string{"p", fmt.Sprintf("%o", e.Mode), owner, e.Name}
		case layer.CharDevice, layer.BlockDevice:
			fields = []string{"c", fmt.Sprintf("%o", e.Mode), owner, e.Name,
				fmt.Sprintf("%d,%d", e.Major, e.Minor)}
		}
		b.WriteString(strings.Join(fields, " ") + "\n")
	}
	return b.String()
}

// normal takes the indentation of a literal away.
func normal(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// stack makes a tree of layers, bottom first.
func stack(t testing.TB, layers ...string) *Tree {
	t.Helper()
	tree := New()
	for i, text := range layers {
		if err := tree.Apply(parse(t, text), i); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// wantEntries also makes a layer of them.
func wantEntries(t testing.TB, got []layer.Entry, want string) {
	t.Helper()
	isLayer(t, got)
	if d := cmp.Diff(normal(want), show(got)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if !slices.IsSortedFunc(got, func(a, b layer.Entry) int { return layer.Compare(a.Name, b.Name) }) {
		t.Errorf("not sorted: %s", show(got))
	}
}

// isLayer fails if no layer can be made of entries.
func isLayer(t testing.TB, entries []layer.Entry) {
	t.Helper()
	if len(Missing(entries)) > 0 {
		return // there is no content to make it of
	}
	l, _, err := layer.Build(t.Context(), layer.Tree{Dir: t.TempDir(), Entries: entries},
		layer.Options{Compression: layer.Gzip, Temp: t.TempDir()})
	if err != nil {
		t.Errorf("building a layer: %v", err)
		return
	}
	if err := errors.Join(validate.Layer(l), l.Close()); err != nil {
		t.Error(err)
	}
}
