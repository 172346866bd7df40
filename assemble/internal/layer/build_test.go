package layer

import (
	"archive/tar"
	stdgzip "compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// small is the site of the goldens: every kind of chunk, both ways to compress;
// for reading.
var small = sync.OnceValue(func() site {
	return site{
		"index.html":                      "<!doctype html><title>x</title>",
		"empty.txt":                       "",
		"block.bin":                       noise(1, 512),
		"assets/app.js":                   text(1, 300_000),
		"assets/app.js.gz":                noise(2, 90_000),
		"assets/app.js.br":                noise(3, 80_000),
		"assets/exact.js":                 text(2, pieceSize),
		"assets/less.js":                  text(3, pieceSize-1),
		"assets/more.js":                  text(4, pieceSize+1),
		"assets/more.js.gz":               noise(5, pieceSize+pieceSize/2),
		"img/a.jpg":                       noise(6, 600_000),
		"img/b.jpg":                       noise(7, 2*pieceSize),
		"grüße/ナ.txt":                     "non-ASCII",
		strings.Repeat("l/", 60) + "name": "long",
		strings.Repeat("n", 101):          "long too",
	}
})

func TestEveryLayerIsValidAndReadBack(t *testing.T) {
	dir := t.TempDir()
	small().write(t, dir)
	if err := os.Symlink("index.html", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(strings.Repeat("ü/", 80), filepath.Join(dir, "longlink")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "nothing"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Compression{Gzip, Zstd} {
		t.Run(string(c), func(t *testing.T) {
			tree := scan(t, dir)
			l, _ := mustBuild(t, tree, Options{Compression: c})
			if c == Gzip { // validate.Layer of go-containerregistry v0.22.1 knows no other
				if err := validate.Layer(l); err != nil {
					t.Error(err)
				}
			}
			checkTar(t, l, tree)
			if n, _ := l.UncompressedSize(); n%blockSize != 0 || n != l.Stats().RawBytes {
				t.Errorf("the tar has %d bytes, its stats say %d", n, l.Stats().RawBytes)
			}
		})
	}
}

// checkTar compares the tar of a layer with the files that it is made of.
func checkTar(t *testing.T, l *Layer, tree Tree) {
	t.Helper()
	rc, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	tr := tar.NewReader(rc)
	for i := range tree.Entries {
		e := &tree.Entries[i]
		h, err := tr.Next()
		if err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		if d := sameAs(h, e); d != "" {
			t.Error(d)
		}
		got, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == File && string(got) != content(t, tree, e) {
			t.Errorf("%s: another content", e.Name)
		}
		if want := wantTime(t, tree, e); !h.ModTime.Equal(want) {
			t.Errorf("%s: its time is %s, not %s", e.Name, h.ModTime, want)
		}
		if e.Opaque {
			checkOpaque(t, tr, e)
		}
	}
	if _, err := tr.Next(); err != io.EOF {
		t.Errorf("after the last entry: %v", err)
	}
}

// checkOpaque reads what hides the lower part of a directory.
func checkOpaque(t *testing.T, tr *tar.Reader, dir *Entry) {
	t.Helper()
	h, err := tr.Next()
	if err != nil {
		t.Fatal(err)
	}
	want := data(dir.Name+"/.wh..wh..opq", "")
	want.Mode = 0o600
	if d := sameAs(h, &want); d != "" || h.ModTime.Unix() != year2000 {
		t.Errorf("%s, at %s", d, h.ModTime)
	}
}

func content(t testing.TB, tree Tree, e *Entry) string {
	t.Helper()
	if e.Source == "" {
		return string(e.Data)
	}
	b, err := os.ReadFile(pathOf(tree, e))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func pathOf(tree Tree, e *Entry) string {
	if e.Base != "" {
		return filepath.Join(e.Base, e.Source)
	}
	return filepath.Join(tree.Dir, e.Source)
}

func wantTime(t testing.TB, tree Tree, e *Entry) time.Time {
	if e.Kind != File && e.Kind != HardLink {
		return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	for again := true; again; {
		again = false
		if o, ok := find(tree.Entries, e.Target); ok && e.Kind == HardLink {
			e, again = &tree.Entries[o], true
			continue
		}
		for _, ext := range []string{".gz", ".br", ".zst"} {
			for i := range tree.Entries {
				if o := &tree.Entries[i]; (o.Kind == File || o.Kind == HardLink) && o.Name+ext == e.Name {
					e, again = o, true
				}
			}
		}
	}
	sum := sha256.Sum256([]byte(content(t, tree, e)))
	low := int64(sum[28])<<24 | int64(sum[29])<<16 | int64(sum[30])<<8 | int64(sum[31])
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).
		Add(time.Duration(low&0x1fffffff) * time.Second)
}

func TestGoldenDigests(t *testing.T) {
	dir := t.TempDir()
	small().write(t, dir)
	tree := scan(t, dir)
	const diffID = "sha256:c260cc1cf390db27af600f83cb38da0526b587332e35fe83fd0daee1db6b936e"
	for c, want := range map[Compression]string{
		Gzip: "sha256:998a05b8010e965fa055c688e168fafdbc9e4306af99ce9ab55fc42d75fd3523",
		Zstd: "sha256:8be9c259822dbc9dc8933beb0a067701907b67a5343b9aeca4672e4890349127",
	} {
		l, _ := mustBuild(t, tree, Options{Compression: c})
		if l.digest.String() != want {
			t.Errorf("%s: the digest is %s, not %s: "+
				"a new compressor or level changes the digest of every user's image", c, l.digest, want)
		}
		if l.diffID.String() != diffID {
			t.Errorf("%s: the diffID is %s, not %s", c, l.diffID, diffID)
		}
	}
}

func TestDigestDependsOnNothingButContent(t *testing.T) {
	dir := t.TempDir()
	small().write(t, dir)
	for _, c := range []Compression{Gzip, Zstd} {
		want, _ := mustBuild(t, scan(t, dir), Options{Compression: c, Jobs: 2})
		check := func(name string, tree Tree, o Options) {
			o.Compression = c
			got, _ := mustBuild(t, tree, o)
			if got.digest != want.digest || got.diffID != want.diffID {
				t.Errorf("%s: %s differs", c, name)
			}
		}
		check("one job", scan(t, dir), Options{Jobs: 1})
		check("seven jobs", scan(t, dir), Options{Jobs: 7})
		other := t.TempDir()
		small().write(t, other)
		check("another place, in another order", scan(t, other), Options{})
		old := time.Unix(1, 0)
		for name := range small() {
			file := filepath.Join(other, filepath.FromSlash(name))
			if err := errors.Join(os.Chtimes(file, old, old), os.Chmod(file, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		check("other times and modes on disk", scan(t, other), Options{})
	}
}

func TestConcatenatedGzipReadsAlikeEverywhere(t *testing.T) {
	dir := t.TempDir()
	small().write(t, dir)
	l, _ := mustBuild(t, scan(t, dir), Options{})
	blob, err := os.Open(l.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	zr, err := stdgzip.NewReader(blob)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, zr); err != nil {
		t.Fatal(err)
	}
	if got := hashOf(h); got != l.diffID {
		t.Errorf("the standard library reads %s, not %s", got, l.diffID)
	}
}

func TestEmptyTree(t *testing.T) {
	l, _ := mustBuild(t, Tree{}, Options{})
	if err := validate.Layer(l); err != nil {
		t.Error(err)
	}
	checkTar(t, l, Tree{})
}

func TestGeneratedEntries(t *testing.T) {
	conf := []byte("server {}")
	large := []byte(text(9, 3*pieceSize+5))
	tree := Tree{Entries: []Entry{
		{Name: "etc", Kind: Dir, Mode: 0o755},
		{Name: "etc/default.conf", Mode: 0o644, Data: conf, Size: int64(len(conf))},
		{Name: "etc/large", Mode: 0o755, Data: large, Size: int64(len(large))},
	}}
	l, r := mustBuild(t, tree, Options{})
	checkTar(t, l, tree)
	if !r.Unchanged(tree, Gzip) {
		t.Error("the same data counts as changed")
	}
	tree.Entries[1].Data = []byte("Server {}")
	if r.Unchanged(tree, Gzip) {
		t.Error("changed data counts as unchanged")
	}
}

func TestBuildRefuses(t *testing.T) {
	file := func(name string) Entry { return Entry{Name: name, Mode: 0o644} }
	for name, entries := range map[string][]Entry{
		"absolute":        {file("/a")},
		"empty":           {file("")},
		"dot":             {file(".")},
		"unclean":         {file("a//b")},
		"trailing slash":  {file("a/")},
		"escape":          {file("../a")},
		"inner escape":    {file("a/../../b")},
		"NUL":             {file("a\x00b")},
		"not UTF-8":       {file("a\xff")},
		"whiteout":        {file("a/.wh.b")},
		"opaque":          {file(".wh..wh..opq")},
		"whiteout dir":    {file(".wh.x/b")},
		"twice":           {file("a"), file("a")},
		"unsorted":        {file("b"), file("a")},
		"below later":     {{Name: "a-b", Kind: Dir}, {Name: "a", Kind: Dir}},
		"below a file":    {file("a"), file("a/b")},
		"below a link":    {{Name: "a", Kind: Link, Target: "/etc"}, file("a/b")},
		"no target":       {{Name: "a", Kind: Link}},
		"unknown kind":    {{Name: "a", Kind: 7}},
		"type bits":       {{Name: "a", Mode: 0o100644}},
		"negative size":   {{Name: "a", Size: -1}},
		"size of data":    {{Name: "a", Size: 1}},
		"source and data": {{Name: "a", Source: "a", Data: []byte("x"), Size: 1}},
		"source outside":  {{Name: "a", Source: "../a"}},
		"absolute source": {{Name: "a", Source: "/etc/passwd"}},
	} {
		temp := t.TempDir()
		_, _, err := Build(context.Background(), Tree{Dir: temp, Entries: entries},
			Options{Compression: Gzip, Temp: temp})
		var entry *EntryError
		if !errors.As(err, &entry) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ok := []Entry{{Name: "a", Kind: Dir, Mode: 0o755}, file("a/b"), file("a-b")}
	if err := checkEntries(ok); err != nil {
		t.Error(err)
	}
	if _, _, err := Build(context.Background(), Tree{}, Options{Compression: "lzma"}); err == nil {
		t.Error("an unknown compression is accepted")
	}
}

func TestStatsAndProgress(t *testing.T) {
	dir := t.TempDir()
	small().write(t, dir)
	var files int
	var bytes int64
	l, _ := mustBuild(t, scan(t, dir), Options{Progress: func(f int, b int64) {
		if f < files || b < bytes {
			t.Error("progress goes back")
		}
		files, bytes = f, b
	}})
	want := int64(0)
	for content := range maps.Values(small()) {
		want += int64(len(content))
	}
	if files != len(small()) || bytes != want {
		t.Errorf("progress ends at %d files, %d bytes", files, bytes)
	}
	if s := l.Stats(); s.Files != files || s.ReadBytes < want || s.CompressedBytes != l.size {
		t.Errorf("%+v", s)
	}
}

func TestLayerOutlivesAMove(t *testing.T) {
	dir := t.TempDir()
	small().write(t, dir)
	l, _ := mustBuild(t, scan(t, dir), Options{})
	to := filepath.Join(t.TempDir(), "blob")
	if err := os.Rename(l.Path(), to); err != nil {
		t.Fatal(err)
	}
	l.Moved(to)
	docker := l.As(types.DockerLayer)
	if err := validate.Layer(docker); err != nil {
		t.Error(err)
	}
	if mt, _ := docker.MediaType(); mt != types.DockerLayer {
		t.Errorf("the media type is %s", mt)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(to); err != nil {
		t.Error("Close removed what was moved")
	}
}

func TestDamagedBlobIsNotHandedOut(t *testing.T) {
	dir := t.TempDir()
	small().write(t, dir)
	l, _ := mustBuild(t, scan(t, dir), Options{})
	good, err := os.ReadFile(l.Path())
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"short": good[:len(good)-1],
		"long":  append(good[:len(good):len(good)], 0),
		"flip":  append([]byte{good[0] ^ 1}, good[1:]...),
	} {
		if err := os.WriteFile(l.Path(), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		rc, err := l.Compressed()
		n := int64(0)
		if err == nil {
			n, err = io.Copy(io.Discard, rc)
			rc.Close()
		}
		var damaged *DamagedError
		if !errors.As(err, &damaged) || n >= l.size {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Compressed(); !errors.Is(err, ErrNoBlob) {
		t.Errorf("after Close: %v", err)
	}
}

func TestCancelLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	for i := range 12 {
		site{fmt.Sprintf("f%d", i): text(i, 3*pieceSize)}.write(t, dir)
	}
	temp := t.TempDir()
	tree := scan(t, dir)
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, _, err := Build(ctx, tree, Options{Compression: Gzip, Temp: temp,
		Progress: func(files int, _ int64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	// Nothing of Build runs any more; the runtime may still end what has returned.
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

func TestMemoryDoesNotGrowWithTheSite(t *testing.T) {
	dir := t.TempDir()
	site{"big": ""}.write(t, dir)
	if err := os.Truncate(filepath.Join(dir, "big"), 64<<20); err != nil {
		t.Fatal(err)
	}
	tree := scan(t, dir)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	mustBuild(t, tree, Options{Jobs: 2})
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 24<<20 {
		t.Errorf("a build of 64 MiB allocates %d MiB", got>>20)
	}
}
