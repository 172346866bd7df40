// Package sandbox runs build steps in a throwaway container that the calling
// process makes alone: no daemon, no root, no set-uid helper, no cgo.
//
// A Sandbox is a root file system under construction: the layer directories of a
// base, read-only, under an upper directory that takes the changes. Run executes
// one command on it, Import writes a tar into it, Export reads one out. Each of
// the three starts a process 1 of its own (this program again, see MaybeInit) in
// new user, mount, PID, IPC, UTS and cgroup namespaces, and ends with it: the
// kernel kills what is left in a PID namespace whose process 1 is gone.
//
// # What it promises
//
// A step sees the root, what Step names, a /proc with its own processes, a /dev
// with null, zero, full, random, urandom, tty, ptmx and shm, the processors and
// the cgroup under /sys, and the environment it is given. Its standard streams
// are pipes, and connections to a Forward end in process 1: no descriptor of a file
// or socket of the host reaches it. Nothing of it is left after Run returns, and
// nothing of a Sandbox after Close; after a SIGKILL of the caller only a directory
// is, for Sweep. What decant itself puts into the root (resolv.conf, secrets, mount
// points) is not among the Changes.
//
// # Who is trusted with what
//
// The caller is trusted: it chooses the binds, the environment and the secrets,
// and everything runs with its user id and never with more. The image and the
// step are not trusted. They may be malicious in every file, symlink, name and
// system call, and are held by these walls, each of which a test tries from
// inside:
//
//   - a user namespace with one id, the caller's. A step has the ten capabilities
//     that package managers need for files and users, over its own namespaces only;
//     with a user id other than 0 it has none. no_new_privs is set, and set-uid files
//     have no effect;
//   - a mount namespace that holds nothing of the host's but what is listed
//     above. Every destination is resolved after pivot_root, with openat2 and
//     without magic links, so no symlink of the image leads a mount out;
//   - /proc without what concerns the whole machine, and read-only where it does
//     not concern a process: user id 0 of the host may write sysctls from any
//     namespace;
//   - a seccomp filter against new namespaces, mounts, tracing, keys, modules,
//     clocks, io_uring, bpf, terminal injection, foreign ABIs, unknown calls, and
//     sockets of families other than unix, inet, inet6 and netlink;
//   - Landlock where the kernel has it: no file outside the root is opened for
//     writing, whatever link leads there; no abstract unix socket and no process
//     outside is reached;
//   - a process limit, a session and a keyring of its own, no core dumps.
//
// With RecordOwners a thread of process 1 answers the step's changes of owner. It has the
// namespace's privileges, and does with them what the step asked for to a file that the
// step names: it makes sure that this leads through no magic link of /proc, and that the
// file is on a mount of the step's own, so the worst that a step can do by changing paths
// and memory meanwhile is to note an owner on another of its files. The step can also
// write such notes itself: they decide about its own files only.
//
// # What it does not protect against
//
//   - Flaws of the kernel. There is no second kernel here; who runs code of
//     strangers wants a virtual machine around decant.
//   - The network. It is the host's unless NoNetwork is set, as npm needs it: a
//     step can reach what listens on 127.0.0.1, and on kernels before 6.12 the
//     abstract unix sockets of the host.
//   - Writable binds. What is bound writable can be changed and poisoned.
//   - Use of memory, processor and disk, beyond Limits. With user id 0 outside,
//     the process limit needs Linux 6.14.
//   - An outer /proc. Where the kernel refuses a new one (a container with a
//     masked /proc) the outer one is shown read-only, with the command lines of
//     the processes there, and Config.Warn is told.
//   - Anything, with Isolation Chroot: it is for a machine that is itself thrown
//     away, and is taken only when asked for.
//
// Owners are not real by default: see Owners. RecordOwners has two limits. Who reads an
// owner to set it elsewhere (sed -i, cp -p without attributes, tar) reads 0. And who
// changes its own user (su, setpriv) goes on as the step's; Config.Warn is told.
//
// It works on Linux (amd64, arm64); elsewhere Open returns a RefusedError.
package sandbox
