// Package output writes images to disk and reads them back: OCI layouts, OCI
// archives, docker archives, and decant's own store.
//
// # What it promises
//
// Nothing half-done is ever visible: Stage writes beside the place, checking every
// blob's digest and size while it is copied, and syncs; Commit gives the name, by
// rename. So several outputs, and a push, can be made ready before the first of them
// is seen. After an error, a cancelled context or Abort the staging is gone and what
// was there before is untouched. Equal images give byte-identical archives.
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
// "docker-archive:FILE[:TAG|@ID]". As paths may hold colons (C:\images), the path is
// the longest text before a colon, or the whole, that names something existing.
// Archives are read in place; a compressed one is first unpacked to a temporary
// file. All that is read is taken to be hostile: documents, entries and depth are
// bounded, nothing is extracted by its name, and every byte is verified against
// the digest that asked for it.
//
// A docker archive has no manifest. Open makes one: layers that are compressed
// in the archive stay so, others are offered as uncompressed layers, whose
// digest is the diffID. So nothing is compressed or stored to learn a digest, and
// the digest of such a source need not be that of the image that was saved. What
// stays is the image ID: the digest of the config, by which an image in the archive
// can be chosen.
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
