// Package rootfs turns the layers of an image into directories on which a
// build step can run.
//
// Each layer is downloaded, verified and unpacked once, into a directory of its
// own in a Store, in the form that overlayfs takes as a lower directory when it
// is mounted with "userxattr": a whiteout is a character device 0:0, an opaque
// directory has user.overlay.opaque=y. A Rootfs is such a stack of directories,
// which nobody changes or removes until it is closed. Where overlay cannot be
// mounted, Flatten copies the stack into one tree.
//
// # What it promises
//
// A layer is in the store whole or not at all, also after a kill, a full disk or
// a power cut, and when several processes unpack it at once. Its bytes had the
// digest of the manifest and its tar the diffID of the configuration, both
// checked in the pass that unpacks. Reading is bounded by Limits.
//
// No privilege is needed, and none is used: every file belongs to the caller.
// Owners other than 0:0 are in a side table of the layer, device nodes and
// extended attributes outside user.* are left out, and both are counted. The
// other user.* attributes are kept; user.overlay.* is never taken from a tar.
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
// The store's directory is 0700 because an image's set-uid files in it are the
// caller's. The caller, and whatever runs with its uid, is trusted.
//
// # What it does not do
//
// It mounts nothing, runs nothing, talks to no registry, and changes no owner. It
// does not choose a platform. It works on Linux only; elsewhere OpenStore returns
// an UnsupportedError.
package rootfs
