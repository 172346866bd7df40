package filetree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/decant-build/decant/assemble/internal/layer"
)

type tarEntryText struct {
	tar.Header
	body string
}

func tarFile(name, body string) tarEntryText {
	return tarEntryText{tar.Header{Name: name, Mode: 0o644, Size: int64(len(body))}, body}
}

func tarKind(kind byte, name, target string) tarEntryText {
	return tarEntryText{tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o755}, ""}
}

func makeTar(t testing.TB, entries ...tarEntryText) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := e.Header
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func index(t testing.TB, entries ...tarEntryText) []layer.Entry {
	t.Helper()
	got, err := ReadIndex(context.Background(), bytes.NewReader(makeTar(t, entries...)))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestReadIndex(t *testing.T) {
	dirOf := func(name string, mode int64) tarEntryText {
		return tarEntryText{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}, ""}
	}
	tests := []struct {
		name    string
		entries []tarEntryText
		want    string
	}{
		{"names are cleaned, the root is left out", []tarEntryText{
			dirOf("./", 0o700), dirOf("a/", 0o1777), tarFile("./a/f", "12"), tarFile("../../b", ""),
			tarFile("/abs/../c", ""),
		}, "d 1777 0:0 a\n f 644 0:0 a/f\n f 644 0:0 b\n f 644 0:0 c"},
		{"links", []tarEntryText{
			tarFile("f", ""), tarKind(tar.TypeLink, "h", "/../f"), tarKind(tar.TypeSymlink, "l", "/../x"),
		}, "f 644 0:0 f\n h h f\n l 0:0 l /../x"},
		{"devices and pipes", []tarEntryText{
			{tar.Header{Typeflag: tar.TypeChar, Name: "c", Mode: 0o600, Devmajor: 1, Devminor: 3}, ""},
			tarKind(tar.TypeFifo, "p", ""),
		}, "c 600 0:0 c 1,3\n p 755 0:0 p"},
		{"whiteouts", []tarEntryText{tarFile("a/.wh.b", ""), tarFile(".wh.c", "")}, "w a/b\n w c"},
		{"an opaque directory, before and after its entry", []tarEntryText{
			dirOf("a", 0o700), tarFile("a/.wh..wh..opq", ""), tarFile("b/.wh..wh..opq", ""),
			dirOf("b", 0o711), tarFile("c/.wh..wh..opq", ""), tarFile(".wh..wh..opq", ""),
		}, "D 700 0:0 a\n D 711 0:0 b\n D 755 0:0 c\n D 755 0:0 ."},
		{"AUFS's own files are left out", []tarEntryText{
			tarFile(".wh..wh.plnk/1", ""), tarFile(".wh..wh.aufs", ""), tarFile("a", ""),
		}, "f 644 0:0 a"},
		{"the last of a name wins", []tarEntryText{
			tarFile("f", "1"), tarFile("f", "22"), dirOf("d", 0o700), dirOf("d", 0o711),
			tarKind(tar.TypeSymlink, "l", "x"), tarFile("l", ""),
		}, "f 644 0:0 f\n d 711 0:0 d\n f 644 0:0 l"},
		{"what replaces a file or a whiteout hides what is below", []tarEntryText{
			tarFile("f", ""), dirOf("f", 0o755), tarFile(".wh.w", ""), dirOf("w", 0o755),
			tarFile(".wh.v", ""), tarFile("v", ""),
		}, "D 755 0:0 f\n D 755 0:0 w\n f 644 0:0 v"},
		{"a whiteout leaves what the same layer has", []tarEntryText{
			tarFile("f", ""), tarFile(".wh.f", ""), dirOf("d", 0o755), tarFile(".wh.d", ""),
		}, "f 644 0:0 f\n D 755 0:0 d"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := index(t, test.entries...)
			for i := range got {
				if _, _, blob := Blob(got[i]); blob || got[i].Data != nil {
					t.Errorf("%q has content", got[i].Name)
				}
			}
			if d := cmp.Diff(normal(test.want), show(got)); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestReadIndexKeepsWhatDecides(t *testing.T) {
	long := strings.Repeat("long/", 60) + "f"
	h := tar.Header{Name: long, Mode: 0o4755, Uid: 7, Gid: 9, Size: 1, PAXRecords: map[string]string{
		"SCHILY.xattr.security.capability": "\x01\x00", "SCHILY.xattr.user.a": "b",
		"SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.opaque": "y",
	}}
	got := index(t, tarEntryText{h, "x"}, tarFile("etc/passwd", passwdText),
		tarFile("./etc/group", groupText), tarFile("etc/shadow", "s"))
	want := []layer.Entry{
		{Name: long, Mode: 0o4755, UID: 7, GID: 9, Size: 1, Xattrs: []layer.Xattr{
			{Name: "security.capability", Value: []byte("\x01\x00")}, {Name: "user.a", Value: []byte("b")}}},
		{Name: "etc/passwd", Mode: 0o644, Size: int64(len(passwdText)), Data: []byte(passwdText)},
		{Name: "etc/group", Mode: 0o644, Size: int64(len(groupText)), Data: []byte(groupText)},
		{Name: "etc/shadow", Mode: 0o644, Size: 1},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestReadIndexReadsToTheEnd(t *testing.T) {
	r := io.MultiReader(bytes.NewReader(makeTar(t, tarFile("a", "1"))), strings.NewReader("after"))
	if _, err := ReadIndex(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("%d bytes are left, %v", len(rest), err)
	}
}

func TestReadIndexRefuses(t *testing.T) {
	xattr := tar.Header{Name: "a", PAXRecords: map[string]string{
		"SCHILY.xattr.user.a": strings.Repeat("x", maxXattrBytes)}}
	for name, entries := range map[string][]tarEntryText{
		"a long name":             {tarFile(strings.Repeat("n/", maxPathLength), "")},
		"a long target":           {tarKind(tar.TypeSymlink, "l", strings.Repeat("n/", maxPathLength))},
		"large attributes":        {{xattr, ""}},
		"a whiteout as parent":    {tarFile(".wh.a/b", "")},
		"a whiteout of no name":   {tarFile("a/.wh.", "")},
		"a whiteout of dots":      {tarFile("a/.wh...", "")},
		"a hard link to the root": {tarKind(tar.TypeLink, "h", "/..")},
		"a file again after a link": {tarFile("f", "1"), tarKind(tar.TypeLink, "h", "f"),
			tarFile("f", "2")},
		"a negative owner": {{tar.Header{Name: "f", Uid: -1, Format: tar.FormatGNU}, ""}},
		"a huge owner":     {{tar.Header{Name: "f", Gid: 1 << 32, Format: tar.FormatGNU}, ""}},
		"an unknown type":  {tarKind('Z', "z", "")},
	} {
		_, err := ReadIndex(context.Background(), bytes.NewReader(makeTar(t, entries...)))
		var limit *LimitError
		var format *FormatError
		if !errors.As(err, &limit) && !errors.As(err, &format) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	cut := makeTar(t, tarFile("a", strings.Repeat("x", 5000)))[:3000]
	_, err := ReadIndex(context.Background(), bytes.NewReader(cut))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut tar: got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ReadIndex(ctx, bytes.NewReader(cut)); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: got %v", err)
	}
}

func TestReadIndexRefusesASparseGiant(t *testing.T) {
	// The header of an old GNU sparse file of 1 TiB, of which it has one byte.
	var b [512]byte
	copy(b[:], "sparse")
	copy(b[100:], "0000644\x00")
	copy(b[124:], "00000001000\x00")
	copy(b[136:], "00000000000\x00")
	b[156] = 'S'
	copy(b[257:], "ustar  \x00")
	copy(b[386:], "00000000000\x0000000001000\x00")
	copy(b[483:], "\x80\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00")
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], []byte{'0', byte('0' + sum>>12&7), byte('0' + sum>>9&7), byte('0' + sum>>6&7),
		byte('0' + sum>>3&7), byte('0' + sum&7), 0, ' '})
	_, err := ReadIndex(context.Background(), bytes.NewReader(append(b[:], make([]byte, 1536)...)))
	var limit *LimitError
	if !errors.As(err, &limit) || limit.Hint() == "" {
		t.Errorf("got %v", err)
	}
}

// FuzzReadIndex lays hostile layers on a stage: the tree holds together, and what
// is copied from it is what a layer takes.
func FuzzReadIndex(f *testing.F) {
	f.Add(makeTar(f, tarFile("../../a", "1"), tarKind(tar.TypeSymlink, "l", "/.."),
		tarFile("l/etc/x", "1"),
		tarKind(tar.TypeLink, "h", "l")))
	f.Add(makeTar(f, tarFile("bin/.wh..wh..opq", ""), tarFile("etc/.wh.conf", ""),
		tarKind(tar.TypeDir, "html", ""), tarFile("bin", "1"), tarFile("bin/x", "1")))
	f.Add(makeTar(f, tarKind(tar.TypeLink, "h", "usr/bin/sh"), tarFile("etc/conf/x/y", "1")))
	f.Fuzz(func(t *testing.T, plain []byte) {
		entries, err := ReadIndex(t.Context(), bytes.NewReader(plain))
		if err != nil {
			return
		}
		tree := stack(t, stageText)
		if tree.Apply(entries, 1) != nil {
			return
		}
		all := tree.Entries("")
		for _, e := range all {
			if e.Name == "" || e.Name != clean(e.Name) {
				t.Errorf("the name %q", e.Name)
			}
			if n := tree.at(e.Name); n == nil {
				t.Errorf("%q is not there", e.Name)
			}
			_, _ = tree.Lookup(e.Name)
		}
		got, err := New().Copy(t.Context(), CopySpec{From: tree, Sources: []string{"/"}, Dest: "/"})
		same := func(a, b layer.Entry) bool { return a.Name == b.Name }
		if err == nil && !slices.EqualFunc(got, all, same) {
			t.Errorf("a copy of all is not all: %s\n%s", show(got), show(all))
		}
	})
}
