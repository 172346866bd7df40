package filetree

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// Sum returns the sha256 of all that decides what the entries are in a layer: of
// Files the content, which is asked for where it is not in Data, and not where
// that is or when it was changed.
func Sum(
	entries []layer.Entry, content func(layer.Entry) ([sha256.Size]byte, error),
) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	var b []byte
	for i := range entries {
		e := entries[i]
		file := sha256.Sum256(e.Data)
		if e.Kind == layer.File && e.Data == nil && e.Size > 0 {
			if file, err = content(e); err != nil {
				return sum, fmt.Errorf("summing %q: %w", e.Name, err)
			}
		}
		e.Base, e.Source, e.Data = "", "", nil
		e.MTime, e.CTime, e.Inode = 0, 0, 0
		b = appendEntry(b[:0], &e, &layer.Entry{})
		b = append(b, file[:]...)
		h.Write(binary.AppendUvarint(nil, uint64(len(b))))
		h.Write(b)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
