// Package cache keeps what a build may reuse in the next one, in one directory
// that may be deleted at any time:
//
//	CACHEDIR.TAG        tells backups to leave the directory out
//	layers/KEY/record   of a layer: layer.Record; written last
//	layers/KEY/DIGEST   the layer itself, compressed
//	manifests/          package registry's; here it is only counted and freed
//	packages/NAME/      a package manager's own cache; NAME.lock says who uses it
//	mounts/ID-N/        what a RUN --mount=type=cache keeps; ID is a hash, and N counts
//	                    those that were used at once; ID-N.lock says who uses it
//	index/KEY           something small: a checksum and bytes, or a format of its own
//	temp/run-X/         what one process is writing; run-X.lock is its own
//	lock                held by whoever changes what others may read
//
// # What it promises
//
// An entry is there whole or not at all: after a kill, a full disk, and when
// several processes build the same site at once. What a process uses is not
// removed under it until that process closes its Cache. A damaged entry is as
// good as none. Nothing outside the directory is read or written through a
// symbolic link in it. What killed processes left is removed by the next one.
//
// Where the file system has no locks, all of this holds but for one thing: what
// is in use may be removed, and whoever uses it then finds it gone.
//
// # What it does not do
//
// It does not verify blobs, which package layer does while it reads them, and
// does not know the unpacked base images below rootfs/, of which package rootfs
// alone can tell whether they are in use. It is no secret store: whoever may
// write the directory decides what is in the next image, which is why Open
// refuses a directory of somebody else.
package cache
