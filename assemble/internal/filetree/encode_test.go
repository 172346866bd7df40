package filetree

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/decant-build/decant/assemble/internal/layer"
)

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
