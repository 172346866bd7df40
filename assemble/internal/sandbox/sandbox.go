package sandbox

import (
	"context"
	"io"
	"net"
	"time"
)

// Config describes the root of a Sandbox. The zero value of everything but Dir is
// useful.
type Config struct {
	// Lower are the layer directories, bottom first, as overlayfs takes them when
	// mounted with "userxattr". They are never written, and must not change or
	// vanish before Close. None makes an empty root.
	Lower []string
	// Dir is a directory in which Open makes one of its own, with the changes. It
	// is created if missing. On tmpfs builds are faster, on disk they fit; on
	// overlayfs (a container's own disk) the kernel refuses it as an upper.
	Dir string
	// Flatten makes one private, writable tree of Lower at dst, which does not exist.
	// It is called at most once, where overlay is refused or with Isolation Chroot.
	// Without it these are refused.
	Flatten func(ctx context.Context, dst string) error
	// FlattenTree does the same for the Lower of a TreeMount. Without it, a step that has
	// one is refused where overlay is.
	FlattenTree func(ctx context.Context, lower []string, dst string) error

	Isolation Isolation
	Owners    Owners

	// Hostname is seen inside; "sandbox" if empty.
	Hostname string
	// ResolvConf and Hosts are /etc/resolv.conf and /etc/hosts inside. Nil means a
	// copy of the host's resolv.conf, and a hosts file with localhost and Hostname.
	ResolvConf, Hosts []byte

	// Warn, if set, is told in one sentence what this host does not allow and what
	// was done instead. It is called by Open and the methods of the Sandbox, and must
	// not call these.
	Warn func(text string)
}

// Isolation says what keeps a step from the host.
type Isolation int

const (
	// Namespaces is the real thing: a user namespace with mounts, over an overlay or
	// else over a private copy. It refuses where the host does not allow it.
	Namespaces Isolation = iota
	// Chroot takes a user namespace, or root without one, and a bare chroot without
	// any mount. It is no boundary, has no /proc, and native tools may crash in it.
	// Directories cannot be bound.
	Chroot
)

// Owners says which user and group ids exist inside.
type Owners int

const (
	// FakeOwners maps the caller to the step's user, and no other id. For user 0
	// chown, set*id, capset and mknod of devices succeed without effect, so that
	// apt, npm and useradd work; every file belongs to the caller.
	FakeOwners Owners = iota
	// SingleOwner is the same without the pretence: chown to another id is EINVAL.
	SingleOwner
	// RecordOwners is FakeOwners, but for user 0 the owners that chown was asked for are
	// noted: of a file or directory as "UID:GID" in its attribute user.decant.owner, where
	// an id that was never changed is -1; of what takes no attribute, such as a symlink,
	// in RecordedOwners. Where that cannot be done, OwnersLost tells. A stat still shows 0.
	RecordOwners
	// SubIDs maps the caller to 0 and the ranges of /etc/subuid and /etc/subgid above
	// it, through newuidmap and newgidmap. Owners are real, also on the host's disk.
	// It is refused where the host has no such ranges.
	SubIDs
)

// Owner is a user and a group of the image. An id of -1 is as it was.
type Owner struct{ UID, GID int64 }

// Step is one command. Args and Stdout are needed in practice, the rest is
// optional.
type Step struct {
	// Args are the command and its arguments. A command without a slash is looked
	// up in the PATH of Env.
	Args []string
	// Env is the whole environment.
	Env []string
	// Dir is the working directory, "/" if empty. It is made if it is missing.
	Dir string
	// UID and GID are the step's ids inside. With a UID other than 0 it has no
	// capabilities.
	UID, GID int

	// Stdin is read until it ends or the command does; Run returns only after a Read
	// in progress has. Nil is an empty input.
	Stdin io.Reader
	// Stdout and Stderr take the output as it comes. If they are equal one goroutine
	// writes, and the order of the two is kept. Nil discards. A Write that fails ends
	// the command.
	Stdout, Stderr io.Writer

	Binds   []Bind
	Trees   []TreeMount
	Tmpfs   []TmpfsMount
	Secrets []Secret

	// NoNetwork leaves only a loopback interface of its own.
	NoNetwork bool
	// Forward lets the host connect to the step, also where it has no network.
	Forward []Forward
	// Timeout ends the command after that time; 0 means never.
	Timeout time.Duration
	Limits  Limits
}

// Bind shows a file or directory of the host inside, without devices and set-uid
// bits. Target is made if it is missing, and taken away afterwards.
type Bind struct {
	Source, Target string
	ReadOnly       bool
}

// TreeMount shows the merged view of a stack of layer directories, or one path in it.
// What is written there is discarded. Target is made if it is missing, and taken away
// afterwards. Isolation Chroot refuses it.
type TreeMount struct {
	Lower []string // as in Config
	// Source is a file or directory of the view, all of it if empty. Symlinks are
	// followed, inside the view. If there is none Run returns an error that is
	// fs.ErrNotExist, and nothing is executed.
	Source   string
	Target   string
	ReadOnly bool
}

// TmpfsMount is a directory that is empty, in memory, and gone afterwards. Target is made
// if it is missing, and taken away too.
type TmpfsMount struct {
	Target string
	Size   int64 // in bytes; 0 means half of the machine's memory
}

// Forward passes the connections to a TCP listener of the host on to a port of
// 127.0.0.1 inside. A connection is closed while nobody listens there. Run closes the
// listener.
type Forward struct {
	Listener net.Listener
	Port     int
}

// Secret is a read-only file in memory. It never reaches a disk or the Changes.
type Secret struct {
	Target string
	Data   []byte
	Mode   uint32 // 0400 if 0
	// UID and GID are the owner's; they count with SubIDs only.
	UID, GID int
}

// Limits bound a step.
type Limits struct {
	Processes int   // processes and threads; 0 means 4096
	FileBytes int64 // of one file; 0 means no limit
}

const defaultProcesses = 4096

// unchanged is an id of an Owner.
const unchanged = -1

const (
	// grace is what a command has between SIGTERM and SIGKILL.
	grace = 5 * time.Second
	// maxResolvConf bounds what is read of the host's resolv.conf.
	maxResolvConf = 64 << 10
	// maxMessage bounds one line from process 1.
	maxMessage = 1 << 20
	// maxMessages bounds how many lines are taken from it.
	maxMessages = 10_000
)
