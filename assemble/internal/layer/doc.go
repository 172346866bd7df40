// Package layer writes files as one reproducible, compressed tar and hands it
// out as a v1.Layer.
//
// # What it promises
//
// Equal names, modes, link targets and contents give an equal digest: whatever
// the number of processors, the time zone, the umask, the owner, the place of
// the directory, the times on disk, and whether an earlier build is reused. The
// compressor and its level are pinned (go.mod and compress.go), so digests do
// not move with the Go release. Memory stays flat whatever the size of the
// tree. A file that changes while it is read is an error, never a torn layer.
//
// # The tar
//
// Headers are USTAR; a PAX record is added only where a name, a target or a
// size does not fit. Owners are 0:0 without names. A file's time is 2000-01-01
// plus the low 29 bits of its content's sha256, in seconds: servers that make
// an ETag of time and length then notice an index.html whose length did not
// change. A precompressed sibling (x.js.gz beside x.js) has its original's
// time. Directories and links have 2000-01-01.
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
// It does not walk directories, decide what goes in, follow or judge the targets
// of symbolic links, write whiteouts, or give the spool its final name: the
// owner moves it, and syncs it if it is to outlive the process.
package layer
