// Package output writes images to disk and reads them back: OCI layouts, OCI
// archives, docker archives, and decant's own store.
//
// # What it promises
//
// Nothing half-done is ever visible: what is written is staged beside its place,
// every blob's digest and size are checked while it is copied, files and
// directories are synced, and names are given last, by rename. After an error or
// a cancelled context the staging is gone and what was there before is untouched.
// Equal images give byte-identical archives.
//
// # Existing targets
//
//   - A directory that is an OCI layout is added to: blobs that are there are
//     kept, an entry with the same tag is replaced, all others stay. Writers lock
//     the directory, so that two at once both end up in it. An empty or missing
//     directory becomes a layout. Any other is an ExistsError.
//   - A file that is an archive of the same kind, or empty, is replaced, as docker
//     save -o does. Any other is an ExistsError.
//
// # Sources
//
// Open reads "oci:DIR[:TAG|@DIGEST]", "oci-archive:FILE[:TAG|@DIGEST]" and
// "docker-archive:FILE[:TAG]". As paths may hold colons (C:\images), the path is
// the longest text before a colon, or the whole, that names something existing.
// Archives are read in place; a compressed one is first unpacked to a temporary
// file. All that is read is taken to be hostile: documents, entries and depth are
// bounded, nothing is extracted by its name, and every byte is verified against
// the digest that asked for it.
//
// A docker archive has no manifest. Open makes one: layers that are compressed
// in the archive stay so, others are offered as uncompressed layers, whose
// digest is the diffID. So nothing is compressed or stored to learn a digest, and
// the digest of such a source is not that of the image that was saved.
//
// # What it does not do
//
// It does not talk to registries, change images, compress layers, or remove
// blobs that no entry of a layout needs any more. Non-distributable layers are
// left out of layouts and OCI archives, as in a push.
//
// Where a file system has no locks, index.json is still replaced in one step, but
// of two writers at once one may be lost.
package output
