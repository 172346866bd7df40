package layer

import (
	"encoding/binary"
	"path"
	"strconv"
	"strings"
)

// year2000 is 2000-01-01 00:00:00 UTC: the time of all that has no content.
const year2000 = 946684800

// The largest numbers that the size and the owner fields of USTAR hold.
const (
	maxOctal      = 1<<33 - 1
	maxOctalOwner = 1<<21 - 1
)

// Names that stand for what a layer takes away, by the OCI image specification
// (layer.md, "Whiteouts").
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
)

// whiteoutMode is what tells nobody anything, as what has it is never unpacked,
// but lets a plain tar reader remove it.
const whiteoutMode = 0o600

// contentTime derives a file's time from the sha256 of its content. 29 bits of
// seconds are 17 years, so it never lies in the future.
func contentTime(sum sum256) int64 {
	return year2000 + int64(binary.BigEndian.Uint32(sum[len(sum)-4:])&0x1fffffff)
}

// Offsets and lengths of the fields of a USTAR header (POSIX.1-2024, pax).
const (
	nameField, nameLen     = 0, 100
	modeField              = 100
	uidField, gidField     = 108, 116
	sizeField              = 124
	timeField              = 136
	sumField, sumLen       = 148, 8
	typeField              = 156
	targetField, targetLen = 157, 100
	magicField             = 257
	majorField, minorField = 329, 337
)

// A block is what one header block says, but for its time.
type block struct {
	name         string
	kind         byte
	mode         uint32
	uid, gid     uint32
	size         int64
	target       string
	major, minor uint32
}

// blockOf returns what the header of an entry says.
func blockOf(e *Entry) block {
	b := block{name: e.Name, mode: e.Mode, uid: e.UID, gid: e.GID}
	switch e.Kind {
	case File:
		b.kind, b.size = '0', e.Size
	case Dir:
		b.kind, b.name = '5', e.Name+"/"
	case Link:
		b.kind, b.mode, b.target = '2', 0o777, e.Target
	case HardLink:
		b.kind, b.target = '1', e.Target
	case Whiteout:
		dir, base := path.Split(e.Name)
		b = block{name: dir + whiteoutPrefix + base, kind: '0', mode: whiteoutMode}
	case Fifo:
		b.kind = '6'
	case CharDevice:
		b.kind, b.major, b.minor = '3', e.Major, e.Minor
	case BlockDevice:
		b.kind, b.major, b.minor = '4', e.Major, e.Minor
	}
	return b
}

// appendHeader appends an entry's header, but for its time: stamp completes the
// last block of it. Its length does not depend on the time.
func appendHeader(dst []byte, e *Entry) []byte {
	b := blockOf(e)
	records := b.moveRecords()
	for i := range e.Xattrs {
		records = appendRecord(records, "SCHILY.xattr."+e.Xattrs[i].Name, string(e.Xattrs[i].Value))
	}
	if len(records) > 0 {
		dst = appendBlock(dst, block{name: "PaxHeaders.0/" + path.Base(b.name), kind: 'x',
			size: int64(len(records))})
		stamp(dst[len(dst)-blockSize:], 0)
		dst = pad(append(dst, records...), int64(len(records)))
	}
	return appendBlock(dst, b)
}

// appendOpaque appends what hides the lower layers' part of a directory: a whole
// entry, which stands right behind that of the directory, so that no unpacker
// hides what the layer itself has in it.
func appendOpaque(dst []byte, dir string) []byte {
	e := Entry{Name: dir + "/" + opaqueName, Mode: whiteoutMode}
	dst = appendHeader(dst, &e)
	stamp(dst[len(dst)-blockSize:], year2000)
	return dst
}

// moveRecords returns the PAX records of what does not fit into the block, and
// takes out of it the numbers that they have. Names stay as far as they fit.
func (b *block) moveRecords() []byte {
	var records []byte
	if !fits(b.name, nameLen) {
		records = appendRecord(records, "path", b.name)
	}
	if !fits(b.target, targetLen) {
		records = appendRecord(records, "linkpath", b.target)
	}
	if b.size > maxOctal {
		records = appendRecord(records, "size", strconv.FormatInt(b.size, 10))
		b.size = 0
	}
	if b.uid > maxOctalOwner {
		records = appendRecord(records, "uid", strconv.FormatUint(uint64(b.uid), 10))
		b.uid = 0
	}
	if b.gid > maxOctalOwner {
		records = appendRecord(records, "gid", strconv.FormatUint(uint64(b.gid), 10))
		b.gid = 0
	}
	return records
}

// fits says whether s can stand in a field of USTAR, which is ASCII.
func fits(s string, limit int) bool {
	return len(s) <= limit && strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

// appendRecord appends one PAX record, "length key=value\n", in which length
// counts its own digits.
func appendRecord(dst []byte, key, value string) []byte {
	n := len(key) + len(value) + len(" =\n")
	total := n + len(strconv.Itoa(n))
	total = n + len(strconv.Itoa(total))
	dst = strconv.AppendInt(dst, int64(total), 10)
	dst = append(dst, ' ')
	dst = append(dst, key...)
	dst = append(dst, '=')
	dst = append(dst, value...)
	return append(dst, '\n')
}

// appendBlock appends one block without time and checksum. A name or target
// that does not fit is written as far as it does; its PAX record counts.
func appendBlock(dst []byte, h block) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, blockSize)...)
	b := dst[at:]
	copyASCII(b[nameField:nameField+nameLen], h.name)
	octal(b[modeField:], 8, int64(h.mode))
	octal(b[uidField:], 8, int64(h.uid))
	octal(b[gidField:], 8, int64(h.gid))
	octal(b[sizeField:], 12, h.size)
	b[typeField] = h.kind
	copyASCII(b[targetField:targetField+targetLen], h.target)
	copy(b[magicField:], "ustar\x0000")
	octal(b[majorField:], 8, int64(h.major))
	octal(b[minorField:], 8, int64(h.minor))
	return dst
}

// stamp writes the time into a header block, and then the checksum.
func stamp(block []byte, time int64) {
	octal(block[timeField:], 12, time)
	field := block[sumField : sumField+sumLen]
	copy(field, "        ")
	total := int64(0)
	for _, c := range block {
		total += int64(c)
	}
	octal(field, 7, total)
}

// octal writes n as width-1 digits and a zero byte.
func octal(field []byte, width int, n int64) {
	field[width-1] = 0
	for i := width - 2; i >= 0; i-- {
		field[i] = '0' + byte(n&7)
		n >>= 3
	}
}

func copyASCII(field []byte, s string) {
	n := 0
	for i := 0; i < len(s) && n < len(field); i++ {
		if s[i] < 0x80 {
			field[n] = s[i]
			n++
		}
	}
}

// pad fills up the last block of size bytes.
func pad(dst []byte, size int64) []byte {
	return append(dst, make([]byte, padded(size)-size)...)
}

// appendEnd appends the two blocks of zeros that end a tar.
func appendEnd(dst []byte) []byte { return append(dst, make([]byte, 2*blockSize)...) }
