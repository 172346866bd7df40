// Package rootfs turns the layers of an image into directories on which a
// build step can run, and keeps what such steps change.
//
// Each layer is downloaded, verified and unpacked once, into a directory of its
// own in a Store, in the form that overlayfs takes as a lower directory when it
// is mounted with "userxattr": a whiteout is a character device 0:0, an opaque
// directory has user.overlay.opaque=y. A Rootfs is such a stack of directories,
// which nobody changes or removes until it is closed. Where overlay cannot be
// mounted, Flatten copies the stack into one tree.
//
// The Store also holds the change sets of a Dockerfile's steps, by key, each as such
// a directory and as the entries that go into a layer: Write makes the one from the
// other for a COPY, Adopt the other from the one for a RUN. Rootfs.Entries gives the
// same entries for a layer of an image, so that a merged tree needs no second pass
// over its blob.
//
// # What it promises
//
// A layer or step is in the store whole or not at all, also after a kill, a full disk
// or a power cut, and when several processes make it at once. A layer's bytes had the
// digest of the manifest and its tar the diffID of the configuration, both
// checked in the pass that unpacks. Reading is bounded by Limits.
//
// No privilege is needed, and none is used: every file belongs to the caller.
// Owners other than 0:0 are in a side table of the layer, and so are device nodes and
// extended attributes outside user.*, which the directory has not; both are counted.
// The other user.* attributes are kept; user.overlay.* is never taken from a tar.
//
// A layer is stored under its chain ID, not its diffID, for what it unpacks to
// depends on the layers below it: a directory that its tar does not name takes
// the mode of the one below; a name whose parent is a symlink below goes to where
// that points; a hard link may name a file below, which is then copied.
//
// # Who is trusted
//
// The image is not. Names in its tars may hold "..", be absolute, repeat, or lead
// through symlinks. Extraction keeps the layer's directories and symlinks in
// memory and resolves names there, as in a chroot; the kernel sees only
// directories below the target, opened one and all with symlinks forbidden
// (openat2, or O_NOFOLLOW element by element), and names without a slash below
// these. A mistake in the resolution is therefore an error, not an escape, and
// this holds without a confined child process: there is no path that leads out.
// The target is 0700 and the caller's, so nobody else moves things in it.
//
// A step is trusted no more. When it is adopted nothing of it runs any longer and
// nobody else may write there, so that a walk which follows no symlink stays inside.
//
// The store's directory is 0700 because an image's set-uid files in it are the
// caller's. The caller, and whatever runs with its uid, is trusted.
//
// # What it does not do
//
// It mounts nothing, runs nothing, talks to no registry, and changes no owner. It
// does not choose a platform. It works on Linux only; elsewhere OpenStore returns
// an UnsupportedError.
package rootfs
