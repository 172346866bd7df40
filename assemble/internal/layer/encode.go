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
const recordMagic = "decant layer record 3\n"

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
	bases := basesOf(r.entries)
	b = bases.append(b)
	b = binary.AppendUvarint(b, uint64(len(r.entries)))
	for i := range r.entries {
		b = appendEntry(b, &r.entries[i], &r.sums[i], bases)
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

// A baseTable numbers the Bases of entries as they come.
type baseTable struct {
	names  []string
	number map[string]int
}

func basesOf(entries []Entry) *baseTable {
	t := &baseTable{number: make(map[string]int)}
	for i := range entries {
		e := &entries[i]
		if _, ok := t.number[e.Base]; !ok && e.Kind == File && e.Source != "" {
			t.number[e.Base] = len(t.names)
			t.names = append(t.names, e.Base)
		}
	}
	return t
}

// append writes the table, which is that of all sources in the record.
func (t *baseTable) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(t.names)))
	for _, name := range t.names {
		b = appendString(b, name)
	}
	return b
}

// appendEntry writes only what matters for the kind.
func appendEntry(b []byte, e *Entry, sum *sum256, bases *baseTable) []byte {
	b = appendString(b, e.Name)
	b = append(b, byte(e.Kind))
	if e.Kind == Whiteout {
		return b
	}
	b = binary.AppendUvarint(b, uint64(e.Mode))
	b = binary.AppendUvarint(b, uint64(e.UID))
	b = binary.AppendUvarint(b, uint64(e.GID))
	b = binary.AppendUvarint(b, uint64(len(e.Xattrs)))
	for i := range e.Xattrs {
		b = appendString(b, e.Xattrs[i].Name)
		b = appendString(b, string(e.Xattrs[i].Value))
	}
	switch e.Kind {
	case Link, HardLink:
		b = appendString(b, e.Target)
	case Dir:
		opaque := byte(0)
		if e.Opaque {
			opaque = 1
		}
		b = append(b, opaque)
	case CharDevice, BlockDevice:
		b = binary.AppendUvarint(b, uint64(e.Major))
		b = binary.AppendUvarint(b, uint64(e.Minor))
	case File:
		b = append(b, sum[:]...)
		b = appendSource(b, e, bases)
	}
	return b
}

// appendSource writes the size of a file and where it lies. A source that the
// name ends in, which is the rule, takes its length.
func appendSource(b []byte, e *Entry, bases *baseTable) []byte {
	b = binary.AppendUvarint(b, uint64(e.Size))
	if strings.HasSuffix(e.Name, e.Source) {
		b = binary.AppendUvarint(b, uint64(len(e.Source))<<1|1)
	} else {
		b = binary.AppendUvarint(b, uint64(len(e.Source))<<1)
		b = append(b, e.Source...)
	}
	if e.Source != "" {
		b = binary.AppendUvarint(b, uint64(bases.number[e.Base]))
		b = binary.AppendVarint(b, e.MTime)
		b = binary.AppendVarint(b, e.CTime)
		b = binary.AppendUvarint(b, e.Inode)
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
	d.bases = make([]string, d.count(1))
	for i := range d.bases {
		d.bases[i] = d.string()
	}
	n := d.count(3) // a name of one byte and its length, a kind
	r.entries, r.sums = make([]Entry, n), make([]sum256, n)
	for i := range r.entries {
		d.entry(&r.entries[i], &r.sums[i])
	}
	r.chunks = make([]chunkRecord, d.count(1+4+1+8+1))
	for i := range r.chunks {
		c := &r.chunks[i]
		c.rawSize = d.size()
		c.rawCRC = d.fixed32()
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
		why, _ := headerFault(e)
		if why == "" && e.Kind == File && e.Source != "" { // else it is without its data
			why = contentFault(e)
		}
		if why != "" || i > 0 && Compare(r.entries[i-1].Name, e.Name) >= 0 {
			return false
		}
	}
	return len(cut(r.entries)) == len(r.chunks)
}
