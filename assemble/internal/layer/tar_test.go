package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math"
	"path"
	"strings"
	"testing"
)

// FuzzHeader writes a header and reads it with archive/tar.
func FuzzHeader(f *testing.F) {
	long := strings.Repeat("n", 99)
	f.Add("a/b.js", "", uint8(File), uint32(0o644), int64(5), int64(12345), uint32(0), uint32(0), "")
	f.Add(strings.Repeat("long/", 50), "", uint8(Dir), uint32(0o755), int64(0), int64(0),
		uint32(1), uint32(1<<21-1), "x")
	f.Add("ü", strings.Repeat("t", 101), uint8(Link), uint32(0), int64(0), int64(math.MaxInt32),
		uint32(1<<21), uint32(1<<32-2), "")
	f.Add(long, "", uint8(Dir), uint32(0o1777), int64(0), int64(1), uint32(0), uint32(0), "")
	f.Add(long+"n", "", uint8(Dir), uint32(0o1777), int64(0), int64(1), uint32(0), uint32(0), "")
	f.Add("huge", "", uint8(File), uint32(0o600), int64(maxOctal+1), int64(1), uint32(0), uint32(0),
		"\x00=\n")
	f.Add("new\nline", "a=b\n9 x=y\n", uint8(Link), uint32(0), int64(0), int64(1),
		uint32(0), uint32(0), "9 x=y\n")
	for kind := HardLink; kind <= BlockDevice; kind++ {
		f.Add("d/"+long[4:], long, uint8(kind), uint32(0o4755), int64(9), int64(1),
			uint32(7), uint32(3), "v")
	}
	f.Fuzz(func(t *testing.T, name, target string, kind uint8, mode uint32, size, time int64,
		uid, gid uint32, value string) {
		e := &Entry{Name: name, Kind: Kind(kind % 8), Mode: mode, Target: target, Size: size,
			UID: uid, GID: gid, Source: "x"}
		switch {
		case e.Kind >= CharDevice:
			e.Major, e.Minor = uid, gid
		case e.Kind != Whiteout && value != "":
			e.Xattrs = []Xattr{{"user.a", []byte(value)}, {"user.b", []byte(target)}}
		}
		if e.Kind == HardLink {
			e.Target = path.Join("f", path.Clean("/"+target)) // a name that was found
		}
		why, _ := faultOf(e)
		if why != "" || strings.ContainsRune(e.Target, 0) || len(name)+len(target) > 500_000 {
			return // the reader has a limit of a MiB
		}
		time &= 0x7fffffff
		b := appendHeader(nil, e)
		if len(b)%blockSize != 0 {
			t.Fatalf("the header has %d bytes", len(b))
		}
		stamp(b[len(b)-blockSize:], time)
		h, err := tar.NewReader(bytes.NewReader(b)).Next()
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if d := sameAs(h, e); d != "" || h.ModTime.Unix() != time {
			t.Errorf("%s, at %d, want %d", d, h.ModTime.Unix(), time)
		}
	})
}

func TestPlainNamesNeedNoExtraHeader(t *testing.T) {
	for name, want := range map[string]int{
		strings.Repeat("n", 100): 1,
		strings.Repeat("n", 101): 3,
		"ü":                      3,
	} {
		if got := len(appendHeader(nil, &Entry{Name: name})) / blockSize; got != want {
			t.Errorf("%q: %d blocks", name, got)
		}
	}
}

func TestCutCoversTheTreeInOrder(t *testing.T) {
	const huge = 9 << 30
	var entries []Entry
	for i := range 3000 {
		entries = append(entries, Entry{Name: fmt.Sprintf("%04d", i), Size: int64(i % 700 * 100)})
	}
	entries[100].Size, entries[101].Size, entries[2999].Size = huge, pieceSize, pieceSize+1
	entries[500].Kind = Dir
	entries[500].Size = 1 << 40 // of a directory: it means nothing
	next, piece := 0, int64(0)
	chunks := cut(entries)
	for i, c := range chunks[:len(chunks)-1] {
		size := int64(0)
		for k := c.first; k < c.first+c.count; k++ {
			if e := &entries[k]; e.Kind == File {
				size += blockSize + padded(e.Size)
			}
		}
		large := isLarge(&entries[c.first])
		if c.first != next || int64(c.piece) != piece || c.count == 0 || large && c.count != 1 {
			t.Fatalf("chunk %d is %+v, next is entry %d, piece %d", i, c, next, piece)
		}
		if !large && c.count > 1 && size > pieceSize {
			t.Errorf("chunk %d has %d bytes", i, size)
		}
		piece++
		if !large || piece == pieces(entries[c.first].Size) {
			next, piece = c.first+c.count, 0
		}
	}
	if end := chunks[len(chunks)-1]; next != len(entries) || end.count != 0 {
		t.Errorf("the chunks end at %d, with %+v", next, end)
	}
}

func TestAnEditMovesFewChunks(t *testing.T) {
	entries := make([]Entry, 0, 4000)
	for i := range 4000 {
		entries = append(entries, Entry{Name: fmt.Sprintf("%04d.js", i), Size: int64(i * 7919 % 90_000)})
	}
	names := func(entries []Entry) map[string]bool {
		m := make(map[string]bool)
		for _, c := range cut(entries) {
			if c.count > 0 {
				m[entries[c.first].Name+" "+entries[c.first+c.count-1].Name] = true
			}
		}
		return m
	}
	before := names(entries)
	for i := 50; i < 4000; i += 397 {
		edited := append([]Entry(nil), entries...)
		edited[i].Size += 40_000
		after, moved := names(edited), 0
		for chunk := range after {
			if !before[chunk] {
				moved++
			}
		}
		if moved > 12 {
			t.Errorf("an edit of %d moved %d of %d chunks", i, moved, len(after))
		}
	}
}

func TestIncompressibleDataIsStored(t *testing.T) {
	for name, c := range map[string]struct {
		raw  string
		want bool
	}{
		"noise":           {noise(1, pieceSize), true},
		"text":            {text(1, pieceSize), false},
		"a quarter text":  {noise(1, pieceSize*3/4) + text(1, pieceSize/4), false},
		"noise and zeros": {noise(1, pieceSize) + strings.Repeat("\x00", 1024), true},
		"short":           {noise(1, 1000), false},
	} {
		if got := stored([]byte(c.raw)); got != c.want {
			t.Errorf("%s: stored is %t", name, got)
		}
	}
}

func TestAnEncoderForgetsWhatItHadBefore(t *testing.T) {
	for _, c := range []Compression{Gzip, Zstd} {
		used, err := newEncoder(c)
		if err != nil {
			t.Fatal(err)
		}
		for i, raw := range []string{text(1, pieceSize), noise(1, pieceSize), text(2, 3000),
			text(1, 200_000), noise(2, 200_000), text(2, pieceSize), "", "x"} {
			fresh, err := newEncoder(c)
			if err != nil {
				t.Fatal(err)
			}
			want, err := fresh.append(nil, []byte(raw))
			if err != nil {
				t.Fatal(err)
			}
			got, err := used.append([]byte("before"), []byte(raw))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got[len("before"):], want) {
				t.Errorf("%s: chunk %d depends on those before", c, i)
			}
			if raw == "" {
				continue
			}
			d, err := newDecoder(c, bytes.NewReader(want))
			if err != nil {
				t.Fatal(err)
			}
			if back, err := io.ReadAll(d); err != nil || string(back) != raw {
				t.Errorf("%s: chunk %d is not read back: %v", c, i, err)
			}
		}
	}
}
