package filetree

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

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

// Two files of bzip2, which Go only reads: a tar of the file "x" with "X" in it, and
// the text "hello".
const (
	tarBzip2 = "QlpoOTFBWSZTWeb8AzsAAG/bgMmAYAB1AABA4AAeQAgIIABUNJoAAD1BFFA0HqAH3tiUQq8ESo63sVrn" +
		"igkBBtIzAnEoW9IzXL4Fg90kmCIgHxdyRThQkOb8Azs="
	textBzip2 = "QlpoOTFBWSZTWcHAgOIAAAFBAAAQAkSgADDNAMNGKZcXckU4UJDBwIDi"
)

func decode(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadArchiveOfBzip2(t *testing.T) {
	b, dir := decode(t, tarBzip2), t.TempDir()
	if !IsArchive(b) || IsArchive(decode(t, textBzip2)) {
		t.Error("the tar is none, or the text is one")
	}
	got, err := ReadArchive(t.Context(), bytes.NewReader(b), dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("f 644 0:0 x "+dir+"/0\n", show(got)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

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
	for _, s := range []string{"", "PK\x03\x04", "\x1f\x8b\x08", string(make([]byte, 1024))} {
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

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestAnArchiveThatGrowsTooMuchIsRefused(t *testing.T) {
	r := ratioReader{r: zeros{}, packed: &counter{n: 1 << 10}}
	n, err := io.Copy(io.Discard, &r)
	var limit *LimitError
	if !errors.As(err, &limit) || n > ratioFrom+1<<20 {
		t.Errorf("got %v after %d bytes", err, n)
	}
}
