package plan

// Exec is one instruction of a stage, expanded for one platform: a RunExec,
// CopyExec, WorkdirExec or MetaExec, by value. What it holds is complete: two
// that are equal but for their Origin do the same to the same files.
type Exec interface {
	// Where says which line of which file the instruction is.
	Where() Origin
}

// Origin is where an instruction comes from.
type Origin struct {
	File string
	Line int
	// Text is the instruction as it is written, on one line, for messages.
	Text string
	// CreatedBy is what BuildKit writes into the image's history; "" if that has no
	// entry for the instruction, as for ONBUILD.
	CreatedBy string
	// OnBuild is set for a trigger of the base image. Line is then that of FROM.
	OnBuild bool
}

// Where returns o.
func (o Origin) Where() Origin { return o }

var (
	_ Exec = RunExec{}
	_ Exec = CopyExec{}
	_ Exec = WorkdirExec{}
	_ Exec = MetaExec{}
)

// RunExec executes a command in the stage.
type RunExec struct {
	Origin
	// Argv is final: a shell form has its shell in front.
	Argv []string
	// Files exist while the command runs, executable, read-only and root's. Their
	// names are absolute and below /dev/pipes.
	Files []InlineFile
	// Env is all that the command sees of ENV and ARG, as K=V, in the order in which
	// it was set last; it always has a PATH. It is shared and not to be changed.
	Env []string
	// ProxyEnv are proxies given as build arguments that no ARG declares. The
	// command sees them, but they belong in no key and no history.
	ProxyEnv []string
	// Dir is clean and absolute. It exists, for WORKDIR makes it, unless the base
	// image names one that it does not have.
	Dir     string
	User    string // as in USER; "" is root
	Mounts  []RunMount
	Network string // "" is the build's own; "none", "host"
}

// InlineFile is a here-document.
type InlineFile struct {
	Name string
	Data []byte
}

// The types of a RunMount.
const (
	RunMountBind   = "bind"
	RunMountCache  = "cache"
	RunMountTmpfs  = "tmpfs"
	RunMountSecret = "secret"
	RunMountSSH    = "ssh"
)

// RunMount is a --mount of RUN, with the defaults of its type filled in.
type RunMount struct {
	Type string
	// From and Source say what a bind mount shows, and a cache begins with.
	// Source is absolute in From; "/" is all of it.
	From   CopySource
	Source string
	// Target is absolute and never "/". It is "" for a secret that is only a variable.
	Target string
	// ReadOnly is never set for a tmpfs. Without it a bind mount takes writes and
	// forgets them.
	ReadOnly bool
	// ID names a secret, a cache or an agent. It is any text, not a file name.
	ID      string
	Sharing string // of a cache: "shared", "private" or "locked"
	// Required makes a secret or agent that is not given an error.
	Required bool
	// Env is the variable that has a secret's content, or an agent's Target.
	Env string
	// Mode, UID and GID are nil for the default: 0400 for a secret, 0600 for an
	// agent, 0755 for a cache, and root's.
	Mode, UID, GID *uint32
	SizeLimit      int64 // of a tmpfs, in bytes; 0 is no limit
}

// SourceKind is where files are copied or mounted from.
type SourceKind int

// The kinds of a CopySource.
const (
	SourceContext SourceKind = iota // the user's directory
	SourceStage                     // the result of an earlier stage
	SourceImage                     // an image
	SourceScratch                   // nothing: no files at all
)

// CopySource is where files are copied or mounted from.
type CopySource struct {
	Kind  SourceKind
	Stage int    // of SourceStage
	Image string // of SourceImage, as it is written
}

// CopyExec writes files into the stage: first Sources, then URLs, then Inline.
// At least one of these is not empty.
type CopyExec struct {
	Origin
	Add  bool // ADD: archives of the context are unpacked, unless Unpack says otherwise
	From CopySource
	// Sources are patterns in From. They are absolute and clean, below the root of
	// From; with Parents they are as written, for "/./" has a meaning there.
	Sources []string
	URLs    []string // http or https, of ADD
	Inline  []InlineFile
	// Dest is absolute and clean. With a slash at its end it is a directory.
	Dest    string
	Chown   string // "" is the default; names or numbers, USER[:GROUP]
	Chmod   string // "" is the default; valid, octal or symbolic
	Link    bool
	Parents bool
	Exclude []string
	// Checksum is "" or sha256:HEX, of the only URL.
	Checksum string
	// Unpack is nil if the instruction does not say.
	Unpack *bool
}

// WorkdirExec makes the directory, if it is not there, with the mode 0755. It and
// the parents that are made belong to User.
type WorkdirExec struct {
	Origin
	Dir  string // clean and absolute; "/" makes nothing, and is no layer
	User string // as in USER; "" is root
}

// MetaExec changes the configuration, as Evaluated.Final has it, and no file.
type MetaExec struct {
	Origin
}
