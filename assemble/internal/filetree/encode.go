package filetree

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// indexMagic is the version of all that an index depends on: its format, and what
// ReadIndex makes of a tar.
const indexMagic = "decant layer index 1\n"

// maxIndex bounds what DecodeIndex reads: all that maxMetadata lets in.
const maxIndex = 768 << 20

var errIndex = errors.New("it is damaged, or of another version")

// EncodeIndex writes entries for DecodeIndex: the magic, the length, numbers as
// varints, strings with their length in front, of a name only where it differs
// from the one before, and the sha256 of it all.
func EncodeIndex(w io.Writer, entries []layer.Entry) error {
	b := append([]byte(indexMagic), make([]byte, 8)...)
	b = binary.AppendUvarint(b, uint64(len(entries)))
	last := layer.Entry{}
	for i := range entries {
		b = appendEntry(b, &entries[i], &last)
		last = entries[i]
	}
	binary.BigEndian.PutUint64(b[len(indexMagic):], uint64(len(b)+sha256.Size))
	sum := sha256.Sum256(b)
	if _, err := w.Write(append(b, sum[:]...)); err != nil {
		return fmt.Errorf("writing the index of a layer: %w", err)
	}
	return nil
}

func appendEntry(b []byte, e, last *layer.Entry) []byte {
	same := 0
	for same < min(len(e.Name), len(last.Name)) && e.Name[same] == last.Name[same] {
		same++
	}
	b = binary.AppendUvarint(b, uint64(same))
	b = appendString(b, e.Name[same:])
	kind := byte(e.Kind) << 2
	if e.Opaque {
		kind |= 1
	}
	if e.Data != nil {
		kind |= 2
	}
	b = append(b, kind)
	for _, n := range []uint32{e.Mode, e.UID, e.GID, e.Major, e.Minor} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = appendString(b, e.Target)
	b = binary.AppendUvarint(b, uint64(len(e.Xattrs)))
	for _, x := range e.Xattrs {
		b = appendString(appendString(b, x.Name), string(x.Value))
	}
	if e.Base == last.Base { // as it is in all of a directory
		b = append(b, 0)
	} else {
		b = appendString(append(b, 1), e.Base)
	}
	b = appendString(b, e.Source)
	if e.Data != nil {
		b = appendString(b, string(e.Data))
	}
	b = binary.AppendVarint(b, e.Size)
	b = binary.AppendVarint(b, e.MTime)
	b = binary.AppendVarint(b, e.CTime)
	return binary.AppendUvarint(b, e.Inode)
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// DecodeIndex reads what EncodeIndex wrote, and to the end of r. It takes memory
// in proportion to what it read; anything that EncodeIndex did not write is an
// error.
func DecodeIndex(r io.Reader) ([]layer.Entry, error) {
	b, err := readFramed(r)
	if err != nil {
		return nil, fmt.Errorf("reading the index of a layer: %w", err)
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if sha256.Sum256(body) != [sha256.Size]byte(sum) {
		return nil, fmt.Errorf("reading the index of a layer: %w", errIndex)
	}
	d := decoder{rest: string(body[len(indexMagic)+8:])}
	count := d.count(16) // each has at least 16 fields
	if count > maxEntries {
		return nil, &LimitError{"entries in an index", maxEntries}
	}
	entries := make([]layer.Entry, count)
	last := &layer.Entry{}
	for i := range entries {
		d.entry(&entries[i], last)
		last = &entries[i]
	}
	if d.bad || d.rest != "" {
		return nil, fmt.Errorf("reading the index of a layer: %w", errIndex)
	}
	return entries, nil
}

// readFramed reads as many bytes as the index says it has, and no more come.
func readFramed(r io.Reader) ([]byte, error) {
	head := make([]byte, len(indexMagic)+8)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, errors.Join(errIndex, err)
	}
	size := binary.BigEndian.Uint64(head[len(indexMagic):])
	if string(head[:len(indexMagic)]) != indexMagic || size > maxIndex ||
		size < uint64(len(head)+1+sha256.Size) {
		return nil, errIndex
	}
	var buf bytes.Buffer
	buf.Grow(int(min(size, 8<<20)) + bytes.MinRead) // a length that lies costs no more
	buf.Write(head)
	rest := io.LimitReader(r, int64(size)-int64(len(head))+1)
	if _, err := buf.ReadFrom(rest); err != nil {
		return nil, err
	}
	if uint64(buf.Len()) != size {
		return nil, errIndex
	}
	return buf.Bytes(), nil
}

// A decoder takes values off the front. After the first that is not there, it is
// bad and all values are zero.
type decoder struct {
	rest string
	bad  bool
}

func (d *decoder) entry(e, last *layer.Entry) {
	same := d.uint(uint64(len(last.Name)))
	e.Name = last.Name[:same] + d.string()
	kind := d.byte()
	e.Kind, e.Opaque = layer.Kind(kind>>2), kind&1 != 0
	d.bad = d.bad || e.Kind > layer.BlockDevice
	for _, n := range []*uint32{&e.Mode, &e.UID, &e.GID, &e.Major, &e.Minor} {
		*n = uint32(d.uint(math.MaxUint32))
	}
	e.Target = d.string()
	if n := d.count(2); n > 0 {
		e.Xattrs = make([]layer.Xattr, n)
		for i := range e.Xattrs {
			e.Xattrs[i] = layer.Xattr{Name: d.string(), Value: []byte(d.string())}
		}
	}
	if e.Base = last.Base; d.byte() != 0 {
		e.Base = d.string()
	}
	e.Source = d.string()
	if kind&2 != 0 {
		e.Data = []byte(d.string())
	}
	e.Size, e.MTime, e.CTime = d.int(), d.int(), d.int()
	e.Inode = d.uint(math.MaxUint64)
}

func (d *decoder) fail() { d.rest, d.bad = "", true }

func (d *decoder) byte() byte {
	if d.rest == "" {
		d.fail()
		return 0
	}
	c := d.rest[0]
	d.rest = d.rest[1:]
	return c
}

// uint is at most limit.
func (d *decoder) uint(limit uint64) uint64 {
	n, size := binary.Uvarint([]byte(d.rest[:min(len(d.rest), binary.MaxVarintLen64)]))
	if size <= 0 || n > limit {
		d.fail()
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *decoder) int() int64 {
	n, size := binary.Varint([]byte(d.rest[:min(len(d.rest), binary.MaxVarintLen64)]))
	if size <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

// count is that of things which take at least size bytes each.
func (d *decoder) count(size int) uint64 { return d.uint(uint64(len(d.rest) / size)) }

func (d *decoder) string() string {
	n := d.uint(uint64(len(d.rest)))
	if n > uint64(len(d.rest)) {
		d.fail()
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}
