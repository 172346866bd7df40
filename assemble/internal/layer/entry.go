package layer

import "slices"

// Kind says what an Entry becomes in the tar.
type Kind uint8

// The kinds of entry a layer can hold. Sockets have no place in a layer.
const (
	File Kind = iota
	Dir
	Link     // a symbolic link
	HardLink // another name of a File of the same layer
	Whiteout // the absence of what lower layers have under the name
	Fifo
	CharDevice
	BlockDevice
)

// Entry is one name in a layer, with all that decides its bytes. What the
// fields do not allow is an EntryError of the build.
//
// The fields from Size to Inode are what lstat said of a source on disk. They
// never reach the tar, except for the Size of a File; they tell an unchanged
// file from a changed one without reading it.
type Entry struct {
	// Name is the path in the image: slash-separated, relative, clean, UTF-8,
	// without a trailing slash, and with no element that begins with ".wh.". Of a
	// Whiteout it is what is removed, not the name that stands for the removal in
	// the tar.
	Name string
	Kind Kind
	// Mode is what the tar says of everything but links and whiteouts: permission,
	// set-uid, set-gid and sticky bits as chmod takes them, 0o644 or 0o4755.
	Mode uint32
	// UID and GID are the owner of all but whiteouts, as numbers of the image.
	UID, GID uint32
	// Target is what a Link points to, as it is written into the tar, or the Name of
	// the File that a HardLink is another name of. That File comes before all its
	// HardLinks, so it has the first of its names in the order of Compare; they have
	// its Mode, UID, GID and Xattrs, for they are one file, and those that an
	// unpacker reads last are those that it gets.
	Target string
	// Opaque hides what lower layers have in a Dir.
	Opaque bool
	// Major and Minor number a device, and are 0 in all else. No device is 0:0,
	// which an overlay takes for a whiteout.
	Major, Minor uint32
	// Xattrs are sorted by name, each once. None is of an overlay's own, and a
	// Whiteout has none.
	Xattrs []Xattr

	// Source is the file on disk that holds a File's content, relative to Base, or if
	// that is empty to the Dir of the Tree. Source is empty for generated content,
	// which is in Data. Base is absolute and clean; a build opens each one once.
	Base   string
	Source string
	Data   []byte

	Size  int64
	MTime int64 // Unix nanoseconds
	CTime int64 // Unix nanoseconds; 0 on systems that have none
	Inode uint64
}

// Xattr is an extended attribute, as security.capability.
type Xattr struct {
	Name  string
	Value []byte
}

// Tree is what goes into one layer: entries in the order of Sort, no Name twice.
// What is below a name that is there too is below a Dir; parents may be missing.
type Tree struct {
	// Dir is the absolute directory that the Sources of entries without a Base are
	// relative to. It need not exist when there are none.
	Dir string
	// ScannedAt is the Unix time in nanoseconds before the first lstat.
	ScannedAt int64
	Entries   []Entry
}

// Sort brings entries into the order of a Tree, which is that of their Names by
// Compare. Entries of equal Names keep their order; a Tree may not have any.
func Sort(entries []Entry) {
	slices.SortStableFunc(entries, func(a, b Entry) int { return Compare(a.Name, b.Name) })
}

// Compare orders paths by the bytes of their elements, as cmp.Compare orders
// values: parents come first, and what is below a directory follows it before
// any other name ("a", "a/b", "a-b").
func Compare(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		x, y := a[i], b[i]
		switch {
		case x == y:
			continue
		case x == '/':
			return -1
		case y == '/', x > y:
			return 1
		}
		return -1
	}
	return len(a) - len(b)
}
