package layer

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

// Entry is one name in a layer, with all that decides its bytes.
//
// The fields from Size to Inode are what lstat said of a source on disk. They
// never reach the tar, except for Size; they tell an unchanged file from a
// changed one without reading it.
type Entry struct {
	// Name is the path in the image: slash-separated, relative, clean, UTF-8,
	// without a trailing slash. Of a Whiteout it is what is removed, not the name
	// that stands for the removal in the tar.
	Name string
	Kind Kind
	// Mode is what the tar says of everything but links and whiteouts: permission,
	// set-uid, set-gid and sticky bits as chmod takes them, 0o644 or 0o4755.
	Mode     uint32
	UID, GID uint32
	// Target is what a Link points to, as it is written into the tar, or the Name of
	// the File that a HardLink is another name of.
	Target string
	// Opaque hides what lower layers have in a Dir.
	Opaque bool
	// Major and Minor number a device.
	Major, Minor uint32
	// Xattrs are sorted by name, each once.
	Xattrs []Xattr

	// Source is the file on disk that holds a File's content, relative to Base, or if
	// that is empty to the Dir of the Tree. Source is empty for generated content,
	// which is in Data.
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

// Tree is what goes into one layer: entries sorted by Name (byte order of the
// path's elements, parents before children), no Name twice.
type Tree struct {
	// Dir is the absolute directory that the entries' Sources are relative to.
	Dir string
	// ScannedAt is the Unix time in nanoseconds before the first lstat.
	ScannedAt int64
	Entries   []Entry
}
