package layer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func encoded(t testing.TB, r *Record) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := r.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRecordSurvivesEncoding(t *testing.T) {
	dir := t.TempDir()
	manyFiles().write(t, dir)
	tree := scan(t, dir).settled()
	conf := []byte("server {}")
	tree.Entries = append(tree.Entries,
		Entry{Name: "zz.conf", Mode: 0o600, Data: conf, Size: int64(len(conf))},
		Entry{Name: "zz.link", Kind: Link, Target: "/zz.conf"})
	l, r := mustBuild(t, tree, Options{})
	got, err := DecodeRecord(bytes.NewReader(encoded(t, r)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(encoded(t, got), encoded(t, r)) {
		t.Error("the record changes when it is decoded")
	}
	if !got.Unchanged(tree, Gzip) {
		t.Error("the decoded record does not know the tree")
	}
	from := FromRecord(got, l.Path())
	if diff := cmp.Diff([]any{l.digest, l.diffID, l.size, l.rawSize},
		[]any{from.digest, from.diffID, from.size, from.rawSize}); diff != "" {
		t.Error(diff)
	}
	checkTar(t, from, tree)
	site{"chunks/30.js": text(7, 60_000)}.write(t, dir)
	changed := scan(t, dir).settled()
	changed.Entries = append(changed.Entries, tree.Entries[len(tree.Entries)-2:]...)
	again(t, changed, Gzip, got, l.Path())
}

func TestUnchangedSeesEveryField(t *testing.T) {
	second := int64(time.Second)
	tree := Tree{ScannedAt: 100 * second, Entries: []Entry{
		{Name: "d", Kind: Dir, Mode: 0o755},
		{Name: "d/f", Mode: 0o644, Source: "f", Size: 3,
			MTime: 50*second + 1, CTime: 50*second + 1, Inode: 7},
		{Name: "d/g", Mode: 0o644, Data: []byte("xyz"), Size: 3},
		{Name: "d/l", Kind: Link, Target: "f"},
	}}
	r := &Record{compression: Gzip, scannedAt: tree.ScannedAt, entries: tree.Entries,
		sums: []sum256{{}, {}, sha256.Sum256([]byte("xyz")), {}}}
	if !r.Unchanged(tree, Gzip) {
		t.Fatal("the tree itself counts as changed")
	}
	for name, change := range map[string]func(e []Entry) []Entry{
		"name":    func(e []Entry) []Entry { e[1].Name = "d/e"; return e },
		"kind":    func(e []Entry) []Entry { e[3].Kind = Dir; return e },
		"mode":    func(e []Entry) []Entry { e[1].Mode = 0o755; return e },
		"dirmode": func(e []Entry) []Entry { e[0].Mode = 0o700; return e },
		"target":  func(e []Entry) []Entry { e[3].Target = "g"; return e },
		"source":  func(e []Entry) []Entry { e[1].Source = "g"; return e },
		"size":    func(e []Entry) []Entry { e[1].Size++; return e },
		"mtime":   func(e []Entry) []Entry { e[1].MTime++; return e },
		"ctime":   func(e []Entry) []Entry { e[1].CTime++; return e },
		"inode":   func(e []Entry) []Entry { e[1].Inode++; return e },
		"data":    func(e []Entry) []Entry { e[2].Data = []byte("xyZ"); return e },
		"fewer":   func(e []Entry) []Entry { return e[:3] },
		"more":    func(e []Entry) []Entry { return append(e, Entry{Name: "e", Kind: Dir}) },
	} {
		other := tree
		other.Entries = change(append([]Entry(nil), tree.Entries...))
		if r.Unchanged(other, Gzip) {
			t.Errorf("%s: counts as unchanged", name)
		}
	}
}

func TestStatsAreTrustedOnlyWhenOldEnough(t *testing.T) {
	const ms = int64(time.Millisecond)
	now := 1000 * int64(time.Second)
	for _, c := range []struct {
		name         string
		mtime, ctime int64
		want         bool
	}{
		{"old", now - 500*ms, now - 500*ms, true},
		{"just written", now - 50*ms, now - 50*ms, false},
		{"just moved here", now - 5000*ms, now - 50*ms, false},
		{"from the future", now + 5000*ms, now - 500*ms, false},
		{"no ctime", now - 2500*ms, 0, true},
		{"no ctime, recent", now - 1500*ms, 0, false},
		{"whole seconds", now - 3000*ms, now - 3000*ms, true},
		{"whole seconds, recent", now - 2000*ms, now - 1000*ms, false},
	} {
		if got := trusted(&Entry{MTime: c.mtime, CTime: c.ctime}, now); got != c.want {
			t.Errorf("%s: trusted is %t", c.name, got)
		}
	}
}

func TestLayerOfARecordWithoutBlob(t *testing.T) {
	_, r := mustBuild(t, Tree{}, Options{})
	l := FromRecord(r, "")
	if _, err := l.Uncompressed(); err == nil {
		t.Error("read a layer that is nowhere")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// FuzzDecodeRecord feeds garbage whose checksum is right, so that it gets beyond
// that; what is accepted must be usable.
func FuzzDecodeRecord(f *testing.F) {
	dir := f.TempDir()
	site{"a.js": text(1, 2000), "a.js.gz": "x", "big": noise(1, pieceSize+1)}.write(f, dir)
	tree := scan(f, dir)
	_, r := mustBuild(f, tree, Options{})
	good := encoded(f, r)
	f.Add(good[headSize : len(good)-sha256.Size])
	_, r = mustBuild(f, change(), Options{})
	good = encoded(f, r)
	f.Add(good[headSize : len(good)-sha256.Size])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := DecodeRecord(bytes.NewReader(body)); err == nil && len(body) < 50 {
			t.Error("garbage without a checksum was accepted")
		}
		b := binary.BigEndian.AppendUint64([]byte(recordMagic), uint64(headSize+len(body)+sha256.Size))
		b = append(b, body...)
		sum := sha256.Sum256(b)
		r, err := DecodeRecord(bytes.NewReader(append(b, sum[:]...)))
		if err != nil {
			return
		}
		r.Unchanged(tree, Gzip)
		encoded(t, r)
		if u := newReuse(Options{Compression: r.compression, Reuse: r, ReuseBlob: dir}); u != nil {
			for _, c := range cut(tree.Entries) {
				if old := u.match(tree.Entries, c); old >= 0 {
					u.read(nil, old)
				}
			}
			u.Close()
		}
	})
}

func TestDecodeRecordRefuses(t *testing.T) {
	_, r := mustBuild(t, Tree{Entries: []Entry{{Name: "a", Kind: Dir}}}, Options{})
	good := encoded(t, r)
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"another version": bytes.Replace(good, []byte("record 3"), []byte("record 2"), 1),
		"a flipped bit":   flip(good, headSize+3),
		"a short one":     good[:len(good)-1],
		"a long one":      append(good[:len(good):len(good)], 0),
	} {
		if _, err := DecodeRecord(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// manyEntries is a tree of n files that are not on disk, with its record.
func manyEntries(n int) (Tree, *Record) {
	tree := Tree{Dir: "/site", ScannedAt: 1e18}
	for i := range n {
		source := fmt.Sprintf("assets/%03d/chunk-%05d.js", i/100, i)
		tree.Entries = append(tree.Entries, Entry{Name: "usr/share/nginx/html/" + source, Mode: 0o644,
			Source: source, Size: int64(10_000 + i), MTime: 1e17 + int64(i), CTime: 1e17 + int64(i),
			Inode: uint64(i + 1)})
	}
	r := &Record{compression: Gzip, scannedAt: tree.ScannedAt, entries: tree.Entries,
		sums: make([]sum256, n), chunks: make([]chunkRecord, len(cut(tree.Entries)))}
	for i := range r.chunks {
		r.chunks[i] = chunkRecord{rawSize: pieceSize, size: pieceSize / 4, state: make([]byte, 108)}
	}
	return tree, r
}

func BenchmarkUnchanged(b *testing.B) {
	tree, r := manyEntries(20_000)
	for b.Loop() {
		if !r.Unchanged(tree, Gzip) {
			b.Fatal("changed")
		}
	}
}

func BenchmarkDecodeRecord(b *testing.B) {
	_, r := manyEntries(20_000)
	data := encoded(b, r)
	b.ReportMetric(float64(len(data)), "bytes")
	for b.Loop() {
		if _, err := DecodeRecord(bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
	}
}
