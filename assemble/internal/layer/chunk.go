package layer

import "strings"

const (
	// pieceSize is how much of a large file one chunk holds, and about what a
	// group of small files adds up to. A file is large when it is larger.
	pieceSize = 1 << 20
	// groupMin is what a group holds at least before its end may be chosen by
	// a name.
	groupMin = 128 << 10
	// groupSpread is how much follows, on average, until a name is chosen.
	groupSpread = 384 << 10
	// blockSize is the unit of a tar.
	blockSize = 512
)

// A chunk is a part of the tar that is compressed by itself: a group of whole
// entries, one piece of a large file (the first has the header too), or, with
// no entries, the two blocks of zeros at the end of the tar.
type chunk struct {
	first, count int // the entries
	piece        int // of a large file
}

func isLarge(e *Entry) bool { return e.Kind == File && e.Size > pieceSize }

// pieces returns the number of chunks of a large file of that size.
func pieces(size int64) int64 { return (size + pieceSize - 1) / pieceSize }

// padded rounds a file's size up to whole tar blocks.
func padded(size int64) int64 { return (size + blockSize - 1) / blockSize * blockSize }

// cut divides the tar into chunks.
//
// It looks at names and sizes only, of contents and of attributes, so that the
// same tree is cut in the same way everywhere. A group ends when it is full, or
// earlier at a name that its hash chooses: a file that comes, goes or grows then
// moves the ends of its own group and perhaps the next, while all later chunks
// stay what they were.
func cut(entries []Entry) []chunk {
	var chunks []chunk
	first, size := 0, int64(0)
	end := func(next int) {
		if next > first {
			chunks = append(chunks, chunk{first: first, count: next - first})
		}
		first, size = next, 0
	}
	for i := range entries {
		e := &entries[i]
		if isLarge(e) {
			end(i)
			for p := range pieces(e.Size) {
				chunks = append(chunks, chunk{first: i, count: 1, piece: int(p)})
			}
			first = i + 1
			continue
		}
		n := weight(e)
		if size > 0 && size+n > pieceSize {
			end(i)
		}
		size += n
		if size >= pieceSize || size >= groupMin && endsGroup(e.Name, n) {
			end(i + 1)
		}
	}
	end(len(entries))
	return append(chunks, chunk{first: len(entries)})
}

// weight is about what a small entry takes in the tar. It leaves out what names
// and owners take that do not fit into a block.
func weight(e *Entry) int64 {
	n := int64(blockSize)
	if e.Kind == File {
		n += padded(e.Size)
	}
	if len(e.Xattrs) > 0 {
		size := int64(0)
		for i := range e.Xattrs {
			size += int64(len(e.Xattrs[i].Name) + len(e.Xattrs[i].Value))
		}
		n += blockSize + padded(size)
	}
	return n
}

// endsGroup chooses names so that one end comes in groupSpread bytes.
func endsGroup(name string, size int64) bool {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	// The last bytes of a name hardly reach the upper bits, which decide.
	h = (h ^ h>>32) * 0x9e3779b97f4a7c15
	return h>>32 < uint64(size)<<32/groupSpread
}

// origins returns for each entry the one whose content gives it its time:
// itself, or for a precompressed sibling the file it was made from, or for a hard
// link the file's. An origin never comes after the entry.
func origins(entries []Entry) []int {
	from := make([]int, len(entries))
	for i := range entries {
		from[i] = i
		switch e := &entries[i]; e.Kind {
		case HardLink:
			if o, ok := find(entries[:i], e.Target); ok {
				from[i] = from[o]
			}
		case File:
			from[i] = originOf(entries[:i], e.Name, from)
		}
	}
	return from
}

// originOf returns the origin of the file that comes next.
func originOf(before []Entry, name string, from []int) int {
	origin := len(before)
	for _, ext := range []string{".gz", ".br", ".zst"} {
		original, ok := strings.CutSuffix(name, ext)
		if !ok {
			continue
		}
		o, ok := find(before, original)
		if ok && (before[o].Kind == File || before[o].Kind == HardLink) {
			origin = from[o]
		}
	}
	return origin
}
