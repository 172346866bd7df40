package layer

import (
	"encoding/binary"
	"math"
)

// A decoder takes a record apart. After a failure it returns zeros.
type decoder struct {
	rest   string
	failed bool
	bases  []string
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

// uint32 reads a number of that size; bytes that say more are not such a record.
func (d *decoder) uint32() uint32 {
	n := d.uvarint()
	if n > math.MaxUint32 {
		d.failed = true
		return 0
	}
	return uint32(n)
}

func (d *decoder) string() string { return d.take(d.uvarint()) }

func (d *decoder) bytes(dst []byte) { copy(dst, d.take(uint64(len(dst)))) }

func (d *decoder) fixed32() uint32 {
	var b [4]byte
	d.bytes(b[:])
	return binary.BigEndian.Uint32(b[:])
}

func (d *decoder) byte() byte {
	var b [1]byte
	d.bytes(b[:])
	return b[0]
}

func (d *decoder) entry(e *Entry, sum *sum256) {
	e.Name = d.string()
	e.Kind = Kind(d.byte())
	if e.Kind == Whiteout {
		return
	}
	e.Mode, e.UID, e.GID = d.uint32(), d.uint32(), d.uint32()
	if n := d.count(2); n > 0 {
		e.Xattrs = make([]Xattr, n)
		for i := range e.Xattrs {
			e.Xattrs[i] = Xattr{Name: d.string(), Value: []byte(d.string())}
		}
	}
	switch e.Kind {
	case Link, HardLink:
		e.Target = d.string()
	case Dir:
		e.Opaque = d.byte() != 0
	case CharDevice, BlockDevice:
		e.Major, e.Minor = d.uint32(), d.uint32()
	case File:
		d.bytes(sum[:])
		d.file(e)
	}
}

// file reads the size of a file and where it lies.
func (d *decoder) file(e *Entry) {
	e.Size = d.size()
	e.Source = d.source(e.Name)
	if e.Source == "" {
		return
	}
	if n := d.uvarint(); n < uint64(len(d.bases)) {
		e.Base = d.bases[n]
	} else {
		d.failed = true
	}
	e.MTime, e.CTime, e.Inode = d.varint(), d.varint(), d.uvarint()
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
