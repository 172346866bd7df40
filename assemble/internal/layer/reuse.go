package layer

import (
	"crypto/sha256"
	"encoding"
	"fmt"
	"hash"
	"io"
	"os"
)

// A reuse is the earlier build that this one takes compressed chunks from.
type reuse struct {
	record  *Record
	blob    *os.File
	offsets []int64        // of the chunks in the blob
	from    []int          // origins of the record's entries
	entry   map[string]int // by name
	chunkOf []int          // of each entry: the first chunk that begins with it, or -1
	layout  []chunk
	whole   bool // the blob has the size it should have
}

// newReuse returns nil when there is nothing to reuse: that is no error.
func newReuse(o Options) *reuse {
	r := o.Reuse
	if r == nil || r.compression != o.Compression || o.ReuseBlob == "" {
		return nil
	}
	blob, err := os.Open(o.ReuseBlob)
	if err != nil {
		return nil
	}
	u := &reuse{record: r, blob: blob, layout: cut(r.entries), from: origins(r.entries)}
	if info, err := blob.Stat(); err == nil {
		u.whole = info.Size() == r.size
	}
	u.entry = make(map[string]int, len(r.entries))
	u.chunkOf = make([]int, len(r.entries))
	for i := range r.entries {
		u.entry[r.entries[i].Name] = i
		u.chunkOf[i] = -1
	}
	at := int64(0)
	for i, c := range u.layout {
		if c.count > 0 && c.piece == 0 {
			u.chunkOf[c.first] = i
		}
		u.offsets = append(u.offsets, at)
		at += r.chunks[i].size
	}
	return u
}

func (u *reuse) Close() error {
	if u == nil {
		return nil
	}
	return u.blob.Close()
}

// match returns the chunk of the earlier build that c may be equal to: all but
// the contents and times are the same. It returns -1 if there is none.
func (u *reuse) match(entries []Entry, c chunk) int {
	if u == nil {
		return -1
	}
	if c.count == 0 {
		return len(u.layout) - 1
	}
	first, ok := u.entry[entries[c.first].Name]
	if !ok || u.chunkOf[first] < 0 {
		return -1
	}
	old := u.chunkOf[first] + c.piece
	if old >= len(u.layout) {
		return -1
	}
	if l := u.layout[old]; l.first != first || l.count != c.count || l.piece != c.piece {
		return -1
	}
	for k := range c.count {
		if !sameHeader(&u.record.entries[first+k], &entries[c.first+k]) {
			return -1
		}
	}
	return old
}

// read appends a compressed chunk to dst. It returns false for one that is not
// in the blob as it was written.
func (u *reuse) read(dst []byte, old int) ([]byte, bool) {
	c := &u.record.chunks[old]
	if c.size > maxChunk {
		return dst, false
	}
	at := len(dst)
	dst = append(dst, make([]byte, c.size)...)
	if _, err := u.blob.ReadAt(dst[at:], u.offsets[old]); err != nil && err != io.EOF {
		return dst[:at], false
	}
	return dst, sumChunk(dst[at:]) == c.sum
}

// maxChunk is more than any chunk takes: a group has at most pieceSize and what
// the PAX records of its names take.
const maxChunk = 64 << 20

// resumeHash returns the diffID's hash as it was after a chunk. The state is that
// of crypto/sha256, which says if it is not its own.
func resumeHash(state []byte) (hash.Hash, error) {
	h := sha256.New()
	u, ok := h.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, fmt.Errorf("resuming a hash: %T has no state", h)
	}
	return h, u.UnmarshalBinary(state)
}

// saveHash returns the state of a hash; nil if it cannot tell.
func saveHash(h hash.Hash) []byte {
	m, ok := h.(encoding.BinaryMarshaler)
	if !ok {
		return nil
	}
	state, err := m.MarshalBinary()
	if err != nil {
		return nil
	}
	return state
}
