// Package layer writes files as one reproducible, compressed tar and hands it
// out as a v1.Layer.
//
// # What it promises
//
// Equal names, modes, owners, attributes, link targets and contents give an equal
// digest: whatever the number of processors, the time zone, the umask, the owners
// on disk, the place of the directories, the times on disk, and whether an
// earlier build is reused. The compressor and its level are pinned (go.mod and
// compress.go), so digests do not move with the Go release. Memory stays flat
// whatever the size of the tree. A file that changes while it is read is an
// error, never a torn layer; so is an entry that no layer may hold.
//
// # The tar
//
// Headers are USTAR; a PAX record is added only where a name, a target, a size or
// an owner does not fit, and for extended attributes (SCHILY.xattr). Owners have
// no names. A file's time is 2000-01-01 plus the low 29 bits of its content's
// sha256, in seconds: servers that make an ETag of time and length then notice
// an index.html whose length did not change. A precompressed sibling (x.js.gz
// beside x.js) has its original's time, and a hard link its file's. All else has
// 2000-01-01.
//
// # What is taken away
//
// A Whiteout of d/x is written as the empty file d/.wh.x, and an Opaque directory
// d is followed at once by the empty file d/.wh..wh..opq. There is no Whiteout of
// a name that the tree has: what replaces something needs none. containerd, umoci
// and docker remove whatever lies under the name before they unpack an entry,
// unless both are directories: a File, a Link or a device over a directory takes
// the place of all of it. A directory over a directory is united with it, and
// Opaque says when it is not to be; one over a file or a symbolic link replaces
// it.
//
// # The compression
//
// The tar is cut into chunks and each is compressed by itself, as one gzip
// member or one zstd frame: RFC 1952 §2.2 and RFC 8878 §3 let a file be a
// series of these. So chunks are compressed in parallel, and one whose files
// did not change is copied, compressed, from the blob of the earlier build.
// Where a chunk ends depends on names and sizes only (see cut).
//
// # What it does not do
//
// It does not walk directories, decide what goes in, find out what lower layers
// have, follow or judge the targets of symbolic links, or give the spool its
// final name: the owner moves it, and syncs it if it is to outlive the process.
// It has no entry for the root directory, whose mode and owner are the base's.
package layer
