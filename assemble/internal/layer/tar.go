package layer

import (
	"encoding/binary"
	"path"
	"strconv"
	"strings"
)

// year2000 is 2000-01-01 00:00:00 UTC: the time of all that has no content.
const year2000 = 946684800

// maxOctal is the largest number that the size field of USTAR holds.
const maxOctal = 1<<33 - 1

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

// appendHeader appends an entry's header, but for its time: stamp completes the
// last block of it. Its length does not depend on the time.
func appendHeader(dst []byte, e *Entry) []byte {
	name, kind, mode, size := e.Name, byte('0'), e.Mode, e.Size
	switch e.Kind {
	case File:
	case Dir:
		name, kind, size = name+"/", '5', 0
	case Link:
		kind, mode, size = '2', 0o777, 0
	}
	var records []byte
	if !fits(name, nameLen) {
		records = appendRecord(records, "path", name)
	}
	if e.Kind == Link && !fits(e.Target, targetLen) {
		records = appendRecord(records, "linkpath", e.Target)
	}
	if size > maxOctal {
		records = appendRecord(records, "size", strconv.FormatInt(size, 10))
		size = 0
	}
	if len(records) > 0 {
		dst = appendBlock(dst, "PaxHeaders.0/"+path.Base(name), 'x', 0, int64(len(records)), "")
		stamp(dst[len(dst)-blockSize:], 0)
		dst = pad(append(dst, records...), int64(len(records)))
	}
	target := ""
	if e.Kind == Link {
		target = e.Target
	}
	return appendBlock(dst, name, kind, mode, size, target)
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
func appendBlock(
	dst []byte, name string, kind byte, mode uint32, size int64, target string,
) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, blockSize)...)
	b := dst[at:]
	copyASCII(b[nameField:nameField+nameLen], name)
	octal(b[modeField:], 8, int64(mode))
	octal(b[uidField:], 8, 0)
	octal(b[gidField:], 8, 0)
	octal(b[sizeField:], 12, size)
	b[typeField] = kind
	copyASCII(b[targetField:targetField+targetLen], target)
	copy(b[magicField:], "ustar\x0000")
	octal(b[majorField:], 8, 0)
	octal(b[minorField:], 8, 0)
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
