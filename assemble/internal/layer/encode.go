package layer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// recordMagic is the version of all that a record depends on: its format, and
// how the tar is cut into chunks and written.
const recordMagic = "decant layer record 2\n"

// maxRecord bounds what DecodeRecord reads: about a million files.
const maxRecord = 256 << 20

// headSize is that of the magic and of the length of the record in 8 bytes.
const headSize = len(recordMagic) + 8

// Encode writes r for DecodeRecord: the magic, the length, numbers as varints,
// strings with their length in front, and the sha256 of it all.
func (r *Record) Encode(w io.Writer) error {
	b := make([]byte, 0, 128+len(r.entries)*160+len(r.chunks)*160)
	b = append(b, recordMagic...)
	b = binary.BigEndian.AppendUint64(b, 0)
	b = appendString(b, string(r.compression))
	b = binary.AppendVarint(b, r.scannedAt)
	b = append(append(b, r.digest[:]...), r.diffID[:]...)
	b = binary.AppendUvarint(b, uint64(len(r.entries)))
	for i := range r.entries {
		b = appendEntry(b, &r.entries[i], &r.sums[i])
	}
	b = binary.AppendUvarint(b, uint64(len(r.chunks)))
	for i := range r.chunks {
		c := &r.chunks[i]
		b = binary.AppendUvarint(b, uint64(c.rawSize))
		b = binary.BigEndian.AppendUint32(b, c.rawCRC)
		b = binary.AppendUvarint(b, uint64(c.size))
		b = append(b, c.sum[:]...)
		b = appendString(b, string(c.state))
	}
	binary.BigEndian.PutUint64(b[len(recordMagic):], uint64(len(b)+sha256.Size))
	sum := sha256.Sum256(b)
	if _, err := w.Write(append(b, sum[:]...)); err != nil {
		return fmt.Errorf("writing the record of a layer: %w", err)
	}
	return nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendEntry writes only what matters for the kind. A source that the name ends
// in, which is the rule, takes its length.
func appendEntry(b []byte, e *Entry, sum *sum256) []byte {
	b = appendString(b, e.Name)
	b = append(b, byte(e.Kind))
	b = binary.AppendUvarint(b, uint64(e.Mode))
	switch e.Kind {
	case Link:
		b = appendString(b, e.Target)
	case File:
		b = append(b, sum[:]...)
		b = binary.AppendUvarint(b, uint64(e.Size))
		if strings.HasSuffix(e.Name, e.Source) {
			b = binary.AppendUvarint(b, uint64(len(e.Source))<<1|1)
		} else {
			b = binary.AppendUvarint(b, uint64(len(e.Source))<<1)
			b = append(b, e.Source...)
		}
		if e.Source != "" {
			b = binary.AppendVarint(b, e.MTime)
			b = binary.AppendVarint(b, e.CTime)
			b = binary.AppendUvarint(b, e.Inode)
		}
	}
	return b
}

var errRecord = errors.New("it is damaged, or of another version")

// DecodeRecord reads what Encode wrote. It reads 256 MiB at most, and takes
// memory in proportion to what it read; anything that Encode did not write is
// an error.
func DecodeRecord(rd io.Reader) (*Record, error) {
	b, err := readRecord(rd)
	if err != nil {
		return nil, fmt.Errorf("reading the record of a layer: %w", err)
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if sha256.Sum256(body) != sum256(sum) {
		return nil, fmt.Errorf("reading the record of a layer: %w", errRecord)
	}
	r, err := decodeBody(string(body[headSize:]))
	if err != nil {
		return nil, fmt.Errorf("reading the record of a layer: %w", err)
	}
	return r, nil
}

// readRecord reads as many bytes as the record says it has, and no more come.
func readRecord(rd io.Reader) ([]byte, error) {
	head := make([]byte, headSize)
	if _, err := io.ReadFull(rd, head); err != nil {
		return nil, errors.Join(errRecord, err)
	}
	size := binary.BigEndian.Uint64(head[len(recordMagic):])
	if string(head[:len(recordMagic)]) != recordMagic || size > maxRecord ||
		size < uint64(headSize+sha256.Size) {
		return nil, errRecord
	}
	var buf bytes.Buffer
	buf.Grow(int(min(size, 8<<20)) + bytes.MinRead) // a length that lies costs no more
	buf.Write(head)
	if _, err := buf.ReadFrom(io.LimitReader(rd, int64(size)-int64(headSize)+1)); err != nil {
		return nil, err
	}
	if uint64(buf.Len()) != size {
		return nil, errRecord
	}
	return buf.Bytes(), nil
}

func decodeBody(body string) (*Record, error) {
	d := decoder{rest: body}
	r := &Record{compression: Compression(d.string()), scannedAt: d.varint()}
	d.bytes(r.digest[:])
	d.bytes(r.diffID[:])
	n := d.count(3) // a name's length, a kind, a mode
	r.entries, r.sums = make([]Entry, n), make([]sum256, n)
	for i := range r.entries {
		d.entry(&r.entries[i], &r.sums[i])
	}
	r.chunks = make([]chunkRecord, d.count(1+4+1+8+1))
	for i := range r.chunks {
		c := &r.chunks[i]
		c.rawSize = d.size()
		c.rawCRC = d.uint32()
		c.size = d.size()
		d.bytes(c.sum[:])
		c.state = []byte(d.string())
		if c.rawSize > maxRecordedSize-r.rawSize || c.size > maxRecordedSize-r.size {
			return nil, errRecord
		}
		r.rawSize += c.rawSize
		r.size += c.size
	}
	if d.failed || d.rest != "" || !r.consistent() {
		return nil, errRecord
	}
	return r, nil
}

// maxRecordedSize keeps sums of sizes from overflowing.
const maxRecordedSize = math.MaxInt64 / 4

// consistent says whether r is such as a build makes it, so that what uses it
// need not check again.
func (r *Record) consistent() bool {
	if r.compression.check() != nil {
		return false
	}
	// Before anything is laid out by them, sizes must fit the chunks there are.
	left := int64(len(r.chunks))
	for i := range r.entries {
		e := &r.entries[i]
		if e.Size < 0 || e.Size/pieceSize > left {
			return false
		}
		left -= e.Size / pieceSize
		if why, _ := faultOf(e); why != "" && (e.Kind != File || e.Source != "") {
			return false
		}
		if i > 0 && compareNames(r.entries[i-1].Name, e.Name) >= 0 {
			return false
		}
	}
	return len(cut(r.entries)) == len(r.chunks)
}

// A decoder takes a record apart. After a failure it returns zeros.
type decoder struct {
	rest   string
	failed bool
}

func (d *decoder) take(n uint64) string {
	if d.failed || n > uint64(len(d.rest)) {
		d.failed, d.rest = true, ""
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) uvarint() uint64 {
	var n uint64
	for shift := uint(0); shift < 64; shift += 7 {
		s := d.take(1)
		if s == "" {
			return 0
		}
		n |= uint64(s[0]&0x7f) << shift
		if s[0] < 0x80 {
			return n
		}
	}
	d.failed = true
	return 0
}

func (d *decoder) varint() int64 {
	n := d.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

func (d *decoder) size() int64 {
	n := d.uvarint()
	if n > maxRecordedSize {
		d.failed = true
		return 0
	}
	return int64(n)
}

// count reads the number of items that take at least width bytes each.
func (d *decoder) count(width int) int {
	n := d.uvarint()
	if n > uint64(len(d.rest)/width) {
		d.failed = true
		return 0
	}
	return int(n)
}

func (d *decoder) string() string { return d.take(d.uvarint()) }

func (d *decoder) bytes(dst []byte) { copy(dst, d.take(uint64(len(dst)))) }

func (d *decoder) uint32() uint32 {
	var b [4]byte
	d.bytes(b[:])
	return binary.BigEndian.Uint32(b[:])
}

func (d *decoder) entry(e *Entry, sum *sum256) {
	e.Name = d.string()
	var kind [1]byte
	d.bytes(kind[:])
	e.Kind = Kind(kind[0])
	e.Mode = uint32(d.uvarint())
	switch e.Kind {
	case Link:
		e.Target = d.string()
	case File:
		d.bytes(sum[:])
		e.Size = d.size()
		e.Source = d.source(e.Name)
		if e.Source != "" {
			e.MTime, e.CTime, e.Inode = d.varint(), d.varint(), d.uvarint()
		}
	}
}

func (d *decoder) source(name string) string {
	n := d.uvarint()
	if n&1 == 0 {
		return d.take(n >> 1)
	}
	if n>>1 > uint64(len(name)) {
		d.failed = true
		return ""
	}
	return name[len(name)-int(n>>1):]
}
