package rootfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/decant-build/decant/assemble/internal/layer"
)

const (
	// indexMagic is the version of all that an index depends on.
	indexMagic = "decant entries 1\n"
	// maxEntryBytes bounds the names and attributes of one layer or step, and
	// maxIndex the index that keeps them.
	maxEntryBytes = 768 << 20
	maxIndex      = 1 << 30
	// minEntry is less than any entry takes in an index.
	minEntry  = 8
	opaqueBit = 0x80
	asideBit  = 0x40
	asideDir  = "aside"
)

var errIndex = errors.New("the index is damaged")

// encodeIndex writes entries for decodeIndex: magic, numbers as varints, strings with
// their length before them, the sha256 of it all. Names are whole, so that they need
// not be copied to be read. Content is where entries are in home: in its layerDir under
// the name, or in its asideDir. Data is not kept.
func encodeIndex(entries []layer.Entry, home string) []byte {
	aside := filepath.Join(home, asideDir)
	b := binary.AppendUvarint([]byte(indexMagic), uint64(len(entries)))
	for i := range entries {
		e := &entries[i]
		kind := byte(e.Kind)
		if e.Opaque {
			kind |= opaqueBit
		}
		target := e.Target
		if e.Kind == layer.File && e.Base == aside {
			kind |= asideBit
			target = e.Source
		}
		b = appendText(append(b, kind), e.Name)
		b = appendText(b, target)
		for _, n := range []uint32{e.Mode, e.UID, e.GID, e.Major, e.Minor} {
			b = binary.AppendUvarint(b, uint64(n))
		}
		b = binary.AppendVarint(b, e.Size)
		b = binary.AppendVarint(b, e.MTime)
		b = binary.AppendVarint(b, e.CTime)
		b = binary.AppendUvarint(b, e.Inode)
		b = binary.AppendUvarint(b, uint64(len(e.Xattrs)))
		for _, x := range e.Xattrs {
			b = appendText(appendText(b, x.Name), string(x.Value))
		}
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// readIndex reads the index in the home of a layer or step. One that is damaged, or
// too large, is none, and so is one whose copies set aside are.
func readIndex(home string) ([]layer.Entry, bool) {
	f, err := os.Open(filepath.Join(home, "entries"))
	if err != nil {
		return nil, false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() > maxIndex {
		return nil, false
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, false
	}
	entries, err := decodeIndex(b, home)
	return entries, err == nil && intactAside(entries, filepath.Join(home, asideDir))
}

// intactAside looks at the copies that were set aside.
func intactAside(entries []layer.Entry, aside string) bool {
	for i := range entries {
		e := &entries[i]
		if e.Base != aside {
			continue
		}
		st, err := lstat(filepath.Join(aside, e.Source))
		if err != nil || fileType(st) != unix.S_IFREG || st.Size != e.Size {
			return false
		}
	}
	return true
}

// decodeIndex takes memory in proportion to b.
func decodeIndex(b []byte, home string) ([]layer.Entry, error) {
	end := len(b) - sha256.Size
	if end < 0 || !bytes.HasPrefix(b, []byte(indexMagic)) {
		return nil, errIndex
	}
	if sum := sha256.Sum256(b[:end]); !bytes.Equal(sum[:], b[end:]) {
		return nil, errIndex
	}
	r := indexReader{
		b: b[:end], s: string(b[:end]), at: len(indexMagic),
		dir: filepath.Join(home, layerDir), aside: filepath.Join(home, asideDir),
	}
	count := r.count(minEntry)
	entries := make([]layer.Entry, count)
	for i := range entries {
		r.entry(&entries[i])
	}
	if r.bad || r.at != end {
		return nil, errIndex
	}
	return entries, nil
}

// An indexReader reads strings from s and numbers from b, which are the same.
type indexReader struct {
	b   []byte
	s   string
	at  int
	bad bool

	dir, aside string
}

func (r *indexReader) entry(e *layer.Entry) {
	if r.at >= len(r.b) {
		r.bad = true
		return
	}
	kind := r.b[r.at]
	e.Kind, e.Opaque = layer.Kind(kind&^(opaqueBit|asideBit)), kind&opaqueBit != 0
	r.at++
	e.Name, e.Target = r.text(), r.text()
	e.Mode, e.UID, e.GID, e.Major, e.Minor = r.id(), r.id(), r.id(), r.id(), r.id()
	e.Size, e.MTime, e.CTime, e.Inode = r.signed(), r.signed(), r.signed(), r.unsigned()
	if n := r.count(2); n > 0 {
		e.Xattrs = make([]layer.Xattr, n)
		for i := range e.Xattrs {
			e.Xattrs[i] = layer.Xattr{Name: r.text(), Value: []byte(r.text())}
		}
	}
	switch {
	case e.Kind == layer.File && kind&asideBit != 0:
		e.Base, e.Source, e.Target = r.aside, e.Target, ""
	case e.Kind == layer.File:
		e.Base, e.Source = r.dir, e.Name
	}
}

func (r *indexReader) unsigned() uint64 {
	n, size := binary.Uvarint(r.b[r.at:])
	if size <= 0 {
		r.bad = true
		return 0
	}
	r.at += size
	return n
}

func (r *indexReader) signed() int64 {
	n, size := binary.Varint(r.b[r.at:])
	if size <= 0 {
		r.bad = true
		return 0
	}
	r.at += size
	return n
}

func (r *indexReader) id() uint32 {
	n := r.unsigned()
	r.bad = r.bad || n > math.MaxUint32
	return uint32(n)
}

// count reads how many things follow that take at least size bytes each.
func (r *indexReader) count(size int) int {
	n := r.unsigned()
	if n > uint64((len(r.b)-r.at)/size) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *indexReader) text() string {
	n := r.count(1)
	r.at += n
	return r.s[r.at-n : r.at]
}
