package layer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"time"
)

// A Record is what a build remembers so that the next one need neither read nor
// compress again: the stats and content sums of the entries, and where each
// chunk lies in the blob. It does not change; safe for concurrent use.
type Record struct {
	compression    Compression
	scannedAt      int64
	digest, diffID sum256
	size, rawSize  int64
	entries        []Entry  // without Data, once decoded
	sums           []sum256 // of the content of the entries
	chunks         []chunkRecord

	// confirmed marks entries whose stats are to be trusted since Confirm read the
	// files; nil for none. It is of one process, and not written.
	confirmed []bool
}

// A chunkRecord is what is remembered of one chunk of the blob.
type chunkRecord struct {
	rawSize int64
	rawCRC  uint32 // Castagnoli, of the tar bytes
	size    int64
	sum     chunkSum
	state   []byte // of the diffID's hash after the chunk; see resumeHash
}

// A chunkSum finds damage of a compressed chunk: a CRC of 64 bits, made of the
// two of 32 that processors compute as fast as they read. A part of the sha256,
// in its place, took as long as making the digest does. It need not withstand
// forgery: who can write the blob can write the record.
type chunkSum [8]byte

func sumChunk(compressed []byte) chunkSum {
	var sum chunkSum
	binary.BigEndian.PutUint32(sum[:4], crc32.Checksum(compressed, crc32.MakeTable(crc32.Castagnoli)))
	binary.BigEndian.PutUint32(sum[4:], crc32.ChecksumIEEE(compressed))
	return sum
}

// Margins of trust. A file that was written just before it was scanned may be
// written again without a change in its times, which move in steps.
const (
	clockTick      = int64(100 * time.Millisecond) // the kernel's is at most 10 ms
	coarseTimeStep = int64(2 * time.Second)        // FAT's
)

// trusted says whether the stat of an entry, taken at scannedAt, tells every
// later change of its content.
func trusted(e *Entry, scannedAt int64) bool {
	margin := clockTick
	if e.CTime%int64(time.Second) == 0 {
		margin = coarseTimeStep
	}
	return e.MTime < scannedAt-margin && e.CTime < scannedAt-margin
}

// sameStat says whether two files on disk are one and the same, unchanged.
func sameStat(a, b *Entry) bool {
	return a.Source != "" && a.Source == b.Source && a.Base == b.Base && a.Size == b.Size &&
		a.MTime == b.MTime && a.CTime == b.CTime && a.Inode == b.Inode
}

// sameHeader says whether two entries differ in content and time at most.
func sameHeader(a, b *Entry) bool {
	if a.Name != b.Name || a.Kind != b.Kind {
		return false
	}
	switch a.Kind {
	case Whiteout:
		return true
	case Link: // which has no mode
		return a.Target == b.Target && a.UID == b.UID && a.GID == b.GID &&
			sameXattrs(a.Xattrs, b.Xattrs)
	case HardLink:
		return a.Target == b.Target && sameOwnership(a, b)
	case File:
		return a.Size == b.Size && sameOwnership(a, b)
	case Dir:
		return a.Opaque == b.Opaque && sameOwnership(a, b)
	}
	return a.Major == b.Major && a.Minor == b.Minor && sameOwnership(a, b)
}

// sameOwnership says whether two entries have the same mode, owner and attributes.
func sameOwnership(a, b *Entry) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && sameXattrs(a.Xattrs, b.Xattrs)
}

func sameXattrs(a, b []Xattr) bool {
	return slices.EqualFunc(a, b, func(x, y Xattr) bool {
		return x.Name == y.Name && bytes.Equal(x.Value, y.Value)
	})
}

// knows says whether entry i of the record has the content of e, as far as can be
// told without reading a file.
func (r *Record) knows(i int, e *Entry) bool {
	old := &r.entries[i]
	switch {
	case e.Kind != File:
		return true
	case e.Source == "":
		return old.Source == "" && sha256.Sum256(e.Data) == r.sums[i]
	}
	return sameStat(old, e) &&
		(trusted(old, r.scannedAt) || r.confirmed != nil && r.confirmed[i])
}

// Unchanged reports whether a build of tree would give the layer that r is of. It
// reads nothing: an entry that its stat cannot vouch for counts as changed.
func (r *Record) Unchanged(tree Tree, compression Compression) bool {
	if !r.sameHeaders(tree, compression) {
		return false
	}
	for i := range tree.Entries {
		if !r.knows(i, &tree.Entries[i]) {
			return false
		}
	}
	return true
}

// sameHeaders says whether tree differs from that of r in contents and times at
// most.
func (r *Record) sameHeaders(tree Tree, compression Compression) bool {
	if r.compression != compression || len(r.entries) != len(tree.Entries) {
		return false
	}
	for i := range tree.Entries {
		if !sameHeader(&r.entries[i], &tree.Entries[i]) {
			return false
		}
	}
	return true
}

// FromRecord returns the layer that r is of, whose bytes are in blobPath or, if
// that is "", nowhere. It reads nothing; Compressed verifies what it reads.
func FromRecord(r *Record, blobPath string) *Layer {
	return &Layer{
		compression: r.compression,
		digest:      toHash(r.digest),
		diffID:      toHash(r.diffID),
		size:        r.size,
		rawSize:     r.rawSize,
		path:        blobPath,
		stats:       Stats{RawBytes: r.rawSize, CompressedBytes: r.size},
	}
}

// refreshed is r after a scan that found everything unchanged.
func (r *Record) refreshed(tree Tree) *Record {
	fresh := *r
	fresh.entries, fresh.scannedAt, fresh.confirmed = tree.Entries, tree.ScannedAt, nil
	return &fresh
}
