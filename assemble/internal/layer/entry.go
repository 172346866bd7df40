package layer

// Kind says what an Entry becomes in the tar.
type Kind uint8

// The kinds of entry a layer can hold. There are no others: devices, sockets
// and fifos have no place in a layer that decant writes.
const (
	File Kind = iota
	Dir
	Link // a symbolic link
)

// Entry is one name in a layer, with all that decides its bytes.
//
// The fields from Size to Inode are what lstat said of a source on disk. They
// never reach the tar, except for Size; they tell an unchanged file from a
// changed one without reading it.
type Entry struct {
	// Name is the path in the image: slash-separated, relative, clean, UTF-8,
	// without a trailing slash.
	Name string
	Kind Kind
	// Mode is what the tar says, for files and directories: 0o644, 0o755.
	Mode uint32
	// Target is what a Link points to, as it is written into the tar.
	Target string

	// Source is the file on disk that holds a File's content, relative to the
	// Dir of the Tree. It is empty for generated content, which is in Data.
	Source string
	Data   []byte

	Size  int64
	MTime int64 // Unix nanoseconds
	CTime int64 // Unix nanoseconds; 0 on systems that have none
	Inode uint64
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
