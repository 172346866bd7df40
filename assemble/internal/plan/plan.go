package plan

// Plan is a build: the stages in the order in which they can be carried out.
// The last one is the image, the others only feed Copy steps.
type Plan struct {
	Stages []Stage
}

// BuildPlatform is the Platform of a stage that runs on the machine that
// builds, whatever the image is for.
const BuildPlatform = "$BUILDPLATFORM"

// Stage starts from a base and changes it step by step.
type Stage struct {
	Name     string // "" for a stage that no Copy names
	Base     string // an image reference
	Platform string // "" is the image's own; or BuildPlatform, or linux/arm64
	Why      string // what the base was chosen from; "" if it needs no word
	Steps    []Step
}

// Step is one of Copy, Run, Env, Label, Workdir, Expose, User, Cmd and
// Entrypoint, by value. Each has a Why for the reader, which changes nothing.
type Step interface {
	print(*printer)
}

// Copy puts files of the build's context, or of an earlier stage, into the
// image.
type Copy struct {
	Why string
	// From names a stage; "" is the context.
	From string
	// Sources are patterns as in a Dockerfile: Literal makes one of a plain name.
	Sources []string
	// Dest is a plain path. It ends in a slash where it is a directory.
	Dest  string
	Chown string // "" is 0:0
	Chmod string // "" keeps the modes; octal or symbolic
}

// Run executes a command in the stage.
type Run struct {
	Why string
	// Shell is a command line for /bin/sh; Args is used instead if it is not empty.
	Shell string
	Args  []string
	// Mounts are what the command sees beyond the stage's own files.
	Mounts []Mount
	// Network is "" (the build's own), "none" or "host".
	Network string
}

// MountType is what a Mount shows.
type MountType string

// The types of Mount.
const (
	MountCache  MountType = "cache"  // a directory that may survive the build
	MountSecret MountType = "secret" // a file that is in no layer
)

// Mount is a directory or file that exists only while a Run lasts.
type Mount struct {
	Type   MountType
	ID     string
	Target string
}

// Env sets a variable of the image and of the stage's later steps.
type Env struct {
	Why         string
	Name, Value string
}

// Label sets a label of the image.
type Label struct {
	Why        string
	Key, Value string
}

// Workdir sets the directory of later steps and of the container; it is made if
// it does not exist.
type Workdir struct {
	Why string
	Dir string
}

// Expose notes a port, as "8080" or "8080/udp".
type Expose struct {
	Why  string
	Port string
}

// User sets the user of later steps and of the container.
type User struct {
	Why  string
	Name string
}

// Cmd sets the container's command, or its entrypoint's arguments.
type Cmd struct {
	Why  string
	Args []string
}

// Entrypoint sets what the container executes.
type Entrypoint struct {
	Why  string
	Args []string
}
