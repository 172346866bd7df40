package filetree

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

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
		"a long name":               {tarFile(strings.Repeat("n/", maxPathLength), "")},
		"a long target":             {tarKind(tar.TypeSymlink, "l", strings.Repeat("n/", maxPathLength))},
		"large attributes":          {{xattr, ""}},
		"a whiteout as parent":      {tarFile(".wh.a/b", "")},
		"a whiteout of no name":     {tarFile("a/.wh.", "")},
		"a whiteout of dots":        {tarFile("a/.wh...", "")},
		"a hard link to the root":   {tarKind(tar.TypeLink, "h", "/..")},
		"a file again after a link": {tarFile("f", "1"), tarKind(tar.TypeLink, "h", "f"), tarFile("f", "2")},
		"a negative owner":          {{tar.Header{Name: "f", Uid: -1, Format: tar.FormatGNU}, ""}},
		"a huge owner":              {{tar.Header{Name: "f", Gid: 1 << 32, Format: tar.FormatGNU}, ""}},
		"an unknown type":           {tarKind('Z', "z", "")},
	} {
		_, err := ReadIndex(context.Background(), bytes.NewReader(makeTar(t, entries...)))
		var limit *LimitError
		var format *FormatError
		if !errors.As(err, &limit) && !errors.As(err, &format) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	cut := makeTar(t, tarFile("a", strings.Repeat("x", 5000)))[:3000]
	if _, err := ReadIndex(context.Background(), bytes.NewReader(cut)); !errors.Is(err, io.ErrUnexpectedEOF) {
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

func everyField() []layer.Entry {
	return []layer.Entry{
		{Name: "a", Kind: layer.Dir, Mode: 0o1777, UID: 1, GID: 1<<32 - 2, Opaque: true},
		{Name: "a/caf\xe9", Mode: 0o4755, Size: 1 << 40, MTime: -5, CTime: 1 << 60, Inode: 1<<64 - 1,
			Base: "/base", Source: "s/1", Xattrs: []layer.Xattr{{Name: "x", Value: []byte("\x00")}}},
		{Name: "a/data", Size: 4, Data: []byte("data"), Base: "/base"},
		{Name: "a/empty", Data: []byte{}},
		{Name: "b", Kind: layer.BlockDevice, Major: 8, Minor: 1},
		{Name: "h", Kind: layer.HardLink, Target: "a/data"},
		{Name: "l", Kind: layer.Link, Target: "../x"},
		{Name: "w", Kind: layer.Whiteout},
	}
}

func TestAnIndexComesBackAsItWas(t *testing.T) {
	for _, want := range [][]layer.Entry{everyField(), {}} {
		var buf bytes.Buffer
		if err := EncodeIndex(&buf, want); err != nil {
			t.Fatal(err)
		}
		got, err := DecodeIndex(&buf)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	}
}

func TestDecodeIndexRefusesDamage(t *testing.T) {
	var buf bytes.Buffer
	if err := EncodeIndex(&buf, everyField()); err != nil {
		t.Fatal(err)
	}
	whole := buf.Bytes()
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 0x55
		if _, err := DecodeIndex(bytes.NewReader(bad)); err == nil {
			t.Errorf("byte %d: no error", i)
		}
		if _, err := DecodeIndex(bytes.NewReader(whole[:i])); err == nil {
			t.Errorf("%d bytes: no error", i)
		}
	}
	if _, err := DecodeIndex(bytes.NewReader(append(bytes.Clone(whole), 0))); err == nil {
		t.Error("a byte too many: no error")
	}
}

// frame gives a body the head and sum of an index.
func frame(body []byte) []byte {
	b := binary.BigEndian.AppendUint64([]byte(indexMagic),
		uint64(len(indexMagic)+8+len(body)+sha256.Size))
	b = append(b, body...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func FuzzDecodeIndex(f *testing.F) {
	var buf bytes.Buffer
	if err := EncodeIndex(&buf, everyField()); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes()[len(indexMagic)+8 : buf.Len()-sha256.Size])
	f.Fuzz(func(t *testing.T, body []byte) {
		entries, err := DecodeIndex(bytes.NewReader(frame(body)))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := EncodeIndex(&again, entries); err != nil {
			t.Fatal(err)
		}
		got, err := DecodeIndex(&again)
		if d := cmp.Diff(entries, got); d != "" || err != nil {
			t.Errorf("%v, -want +got:\n%s", err, d)
		}
	})
}

// FuzzReadIndex lays hostile layers on a stage: the tree holds together, and what
// is copied from it is what a layer takes.
func FuzzReadIndex(f *testing.F) {
	f.Add(makeTar(f, tarFile("../../a", "1"), tarKind(tar.TypeSymlink, "l", "/.."), tarFile("l/etc/x", "1"),
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
		if err == nil && !slices.EqualFunc(got, all, func(a, b layer.Entry) bool { return a.Name == b.Name }) {
			t.Errorf("a copy of all is not all: %s\n%s", show(got), show(all))
		}
	})
}

func TestExtractGivesWhatIsMissing(t *testing.T) {
	lower := []tarEntryText{tarFile("lib/a", "first"), tarFile("./lib/a", "A"), tarFile("lib/b", "B"),
		tarKind(tar.TypeLink, "lib/c", "lib/b")}
	upper := []tarEntryText{tarFile("lib/d", "D"), tarFile("lib/empty", "")}
	stage := New()
	for i, entries := range [][]tarEntryText{lower, upper} {
		if err := stage.Apply(index(t, entries...), i); err != nil {
			t.Fatal(err)
		}
	}
	got, err := New().Copy(t.Context(), CopySpec{From: stage, Sources: []string{"lib"}, Dest: "/"})
	if err != nil {
		t.Fatal(err)
	}
	missing := Missing(got)
	want := map[int][]string{0: {"lib/a", "lib/b"}, 1: {"lib/d"}}
	if d := cmp.Diff(want, missing); d != "" {
		t.Fatalf("-want +got:\n%s", d)
	}
	for i, entries := range [][]tarEntryText{lower, upper} {
		dir := t.TempDir()
		files, err := Extract(t.Context(), bytes.NewReader(makeTar(t, entries...)), missing[i], dir)
		if err != nil {
			t.Fatal(err)
		}
		Fill(got, i, dir, files)
	}
	if m := Missing(got); len(m) > 0 {
		t.Errorf("still missing: %v", m)
	}
	for i, want := range []string{"A", "B", "", "D", ""} {
		if got[i].Source == "" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(got[i].Base, got[i].Source))
		if err != nil || string(b) != want {
			t.Errorf("%s: got %q, %v", got[i].Name, b, err)
		}
	}
}

func TestExtractOfWhatIsNotThere(t *testing.T) {
	for _, e := range []tarEntryText{tarFile("b", ""), tarKind(tar.TypeSymlink, "a", "b")} {
		_, err := Extract(t.Context(), bytes.NewReader(makeTar(t, e)), []string{"a"}, t.TempDir())
		var absent *AbsentError
		if !errors.As(err, &absent) {
			t.Errorf("got %v", err)
		}
	}
}

func packed(t testing.TB, plain []byte) map[string][]byte {
	t.Helper()
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	z, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{g, z} {
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return map[string][]byte{"plain": plain, "gzip": gz.Bytes(), "zstd": zs.Bytes()}
}

// helloBzip2 is the text "hello\n", no tar.
const helloBzip2 = "BZh91AY&SY\xc1\xc0\x80\xe2\x00\x00\x01\x41\x00\x00\x10\x02\x44\xa0\x00\x30\xcd\x00" +
	"\xc3\x46\x29\x97\x17\x72\x45\x38\x50\x90\xc1\xc0\x80\xe2"

func TestReadArchive(t *testing.T) {
	plain := makeTar(t, tarKind(tar.TypeDir, "./", ""), tarFile("../bin/x", "X"), tarFile("/e", ""),
		tarKind(tar.TypeSymlink, "l", "/etc/passwd"), tarKind(tar.TypeLink, "h", "bin/x"))
	for name, b := range packed(t, plain) {
		t.Run(name, func(t *testing.T) {
			if !IsArchive(b) {
				t.Error("it is not taken for an archive")
			}
			dir := t.TempDir()
			got, err := ReadArchive(t.Context(), bytes.NewReader(b), dir)
			if err != nil {
				t.Fatal(err)
			}
			want := "d 755 0:0 .\n f 644 0:0 bin/x " + dir + "/0\n f 644 0:0 e\n" +
				"l 0:0 l /etc/passwd\n h h bin/x"
			if d := cmp.Diff(normal(want), show(got)); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "0")); err != nil || string(b) != "X" {
				t.Errorf("got %q, %v", b, err)
			}
		})
	}
}

func TestTheHeadOfALargeArchiveIsEnough(t *testing.T) {
	noise := make([]byte, 2*ArchiveHead)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // it never fails
	for name, b := range packed(t, makeTar(t, tarFile("noise", string(noise)))) {
		if len(b) <= ArchiveHead || !IsArchive(b[:ArchiveHead]) {
			t.Errorf("%s of %d bytes: it is not taken for an archive", name, len(b))
		}
	}
}

func TestIsArchiveDecidesByContent(t *testing.T) {
	for name, b := range packed(t, []byte("hello, not a tar")) {
		if IsArchive(b) {
			t.Errorf("%s of a text: it is taken for an archive", name)
		}
	}
	for _, s := range []string{"", "PK\x03\x04", helloBzip2, "\x1f\x8b\x08", string(make([]byte, 1024))} {
		if IsArchive([]byte(s)) {
			t.Errorf("%q is taken for an archive", s)
		}
	}
}

func TestReadArchiveRefuses(t *testing.T) {
	xz := []byte("\xfd7zXZ\x00\x00\x04")
	if !IsArchive(xz) {
		t.Error("xz is not taken for an archive")
	}
	_, err := ReadArchive(t.Context(), bytes.NewReader(xz), t.TempDir())
	wantError(t, err, "reading an archive: unpacking the archive: xz is not supported",
		"pack it with gzip or zstd, or COPY it and unpack it in a RUN")
	for name, e := range map[string]tarEntryText{
		"a whiteout": tarFile("a/.wh.b", ""), "a whiteout as parent": tarFile("a/.wh.b/c", ""),
		"a file as root": tarFile("./", "x"), "an unknown type": tarKind('Z', "z", ""),
	} {
		if e.Name == "./" {
			e.Typeflag, e.Name = tar.TypeSymlink, "."
			e.Linkname, e.Size, e.body = "x", 0, ""
		}
		_, err := ReadArchive(t.Context(), bytes.NewReader(makeTar(t, e)), t.TempDir())
		var format *FormatError
		if !errors.As(err, &format) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// zeros reads as a tar of one endless file.
type zeros struct{ head *bytes.Reader }

func (z zeros) Read(p []byte) (int, error) {
	if z.head.Len() > 0 {
		return z.head.Read(p)
	}
	clear(p)
	return len(p), nil
}

func TestAnArchiveThatGrowsTooMuchIsRefused(t *testing.T) {
	r := ratioReader{r: zeros{bytes.NewReader(nil)}, packed: &counter{n: 1 << 10}}
	n, err := io.Copy(io.Discard, &r)
	var limit *LimitError
	if !errors.As(err, &limit) || n > ratioFrom+1<<20 {
		t.Errorf("got %v after %d bytes", err, n)
	}
}

func TestSumSeesAllThatDecides(t *testing.T) {
	content := func(layer.Entry) ([32]byte, error) { return sha256.Sum256([]byte("c")), nil }
	sum := func(entries []layer.Entry) [32]byte {
		s, err := Sum(entries, content)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	base := sum(everyField())
	changes := map[string]func(e *layer.Entry){
		"name":   func(e *layer.Entry) { e.Name += "x" },
		"mode":   func(e *layer.Entry) { e.Mode ^= 1 },
		"uid":    func(e *layer.Entry) { e.UID++ },
		"target": func(e *layer.Entry) { e.Target += "x" },
		"xattrs": func(e *layer.Entry) { e.Xattrs = append(e.Xattrs, layer.Xattr{Name: "y"}) },
		"opaque": func(e *layer.Entry) { e.Opaque = !e.Opaque },
		"minor":  func(e *layer.Entry) { e.Minor++ },
	}
	for name, change := range changes {
		for i := range everyField() {
			entries := everyField()
			change(&entries[i])
			if sum(entries) == base {
				t.Errorf("%s of entry %d does not show", name, i)
			}
		}
	}
	entries := everyField()
	entries[1].MTime, entries[1].CTime, entries[1].Inode, entries[1].Base = 1, 2, 3, "/elsewhere"
	entries[2].Base = ""
	if sum(entries) != base {
		t.Error("the place and times of a file show")
	}
	entries[2].Data = []byte("Data")
	if sum(entries) == base {
		t.Error("data does not show")
	}
	if _, err := Sum(everyField(), func(layer.Entry) ([32]byte, error) {
		return [32]byte{}, os.ErrNotExist
	}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
