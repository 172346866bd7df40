// Package filetree holds the merged file tree of a stage in memory, and computes
// what a COPY, an ADD or a WORKDIR writes into it.
//
// A stage is a stack of layers, each a []layer.Entry. ReadIndex makes these of
// the tar of a base layer, Apply lays one on top of a Tree, and Copy gives the
// entries of a new one: a change set. Nothing is unpacked and no content is read,
// but for /etc/passwd and /etc/group.
//
// # Where content is
//
// A File's content is in its Data or in the file that Base and Source name. That
// of a base layer is in a blob that may never be needed: its entries have
// neither, and what leaves a Tree (Copy, Lookup, Entries) names the layer in
// their place. Missing lists these by layer, Extract reads them from its tar,
// and Fill puts the files in. Layers are numbered by the caller, as the origin
// that Apply is given. Where a number means one layer in all of a build's trees,
// a change set may be applied to another tree before it is filled.
//
// # Layers on top of each other
//
// Apply merges as overlayfs and the unpackers of containerd and rootfs do. A
// directory keeps what it holds when a layer names it again; anything else is
// replaced. A name whose parent is a symlink goes where that points, absolute
// targets and ".." never above the root; the last element is not followed.
// Missing parents are 0755 and root's.
//
// # COPY and ADD
//
// The semantics are those of BuildKit, as its own file operations have them:
//
//   - A source is resolved in the root that it comes from, links in all its
//     elements followed. The contents of a directory are copied, links in it as
//     links, hard links of one source as hard links.
//   - The destination is resolved in the stage's root, links followed. Below it
//     nothing is: a link is replaced by a file, and a directory that meets a
//     link is an error.
//   - A directory that is there keeps its mode and owner if it is the destination
//     itself, and takes the source's further down. Parents that are made are 0755,
//     or what an octal --chmod says, and --chown's or root's.
//   - A source with wildcards that match nothing copies nothing.
//
// It differs from BuildKit on purpose where that is silent about a mistake: a
// user of --chown that the stage does not have is an error, not root; so are
// several files that would be written one over the other; --exclude applies to
// a source that is a file, as the Dockerfile reference says it does; --parents
// of the whole root copies it, which BuildKit calls not found.
//
// # What it does not do
//
// It does not walk directories, apply ignore rules, evaluate a Dockerfile, talk
// to registries or write layers. It does not verify digests: whoever opens a blob
// does, and ReadIndex and Extract read it to its end. Entries that were given to
// Apply must not be changed afterwards.
package filetree
