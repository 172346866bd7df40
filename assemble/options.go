package assemble

import (
	"context"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/decant-build/decant/assemble/internal/output"
)

// Defaults of Options.
const (
	DefaultBase    = "docker.io/library/nginx:stable-alpine"
	DefaultWebRoot = "/usr/share/nginx/html"
)

// Options says what to build and where it goes. The zero value of every field
// but Pull is useful.
type Options struct {
	// Dir is the directory that holds the input; "" is ".".
	Dir string
	// Dist, if set, is a finished site: no detection, no build step. A relative
	// path starts at Dir.
	Dist string

	// Dockerfile is the file that says how to build, relative to the current directory
	// or else to Dir; "" is Dir's own Dockerfile, if it has one. DockerfileText, if not
	// nil, is its content.
	Dockerfile     string
	DockerfileText []byte
	// Target is the stage that becomes the image, by name or number; "" is the last.
	Target string
	// BuildArgs are values for the ARGs of a Dockerfile.
	BuildArgs map[string]string
	// SSH are the sockets of agents, by the id that RUN --mount=type=ssh names.
	SSH map[string]string
	// Jobs is how many RUNs may execute at the same time; 0 is one for each processor.
	Jobs int

	// Builder is the image with node that builds a project; "" is chosen from the
	// project's node version. InstallCommand and BuildCommand are for /bin/sh and,
	// as OutputDir, replace what detection found.
	Builder        string
	InstallCommand string
	BuildCommand   string
	OutputDir      string // relative to the package
	// BuildEnv are variables (K=V) and Secrets files that the build step sees, and
	// the image does not. Proxies are variables too, but of this machine.
	BuildEnv []string
	Proxies  []string
	Secrets  []Secret
	// CABundle is a file of certificates (PEM) that node trusts in the build step
	// besides its own; "" is none.
	CABundle  string
	Isolation Isolation
	// NoNetwork cuts the build command off the network. Installing has it.
	NoNetwork bool
	// Timeout ends the build's steps when they take longer in all; 0 is never.
	Timeout time.Duration

	// Base is the web server's image: a registry reference, "oci:DIR[:TAG]",
	// "oci-archive:FILE", "docker-archive:FILE" or "scratch"; "" is DefaultBase.
	Base string
	// WebRoot is the absolute directory of the image that receives the site;
	// "" is DefaultWebRoot.
	WebRoot string
	// Platforms is "all" or a list such as "linux/amd64,linux/arm64/v8"; "" takes
	// amd64 and arm64 as far as the base has them.
	Platforms string

	// Image configuration, added to what the base has.
	Labels      map[string]string
	Annotations map[string]string
	Env         []string // K=V
	Ports       []string // "8080", "8080/tcp"
	User        string   // "" keeps the base's

	// Serving is how the image's nginx serves a site.
	Serving Serving
	// Check is "warn", or "" (what must not be published is refused, what is likely a
	// mistake is told), "strict" (both are refused) or "off" (neither: only the names of
	// files are looked at).
	Check string

	// Created is the time of the image and of its history; the zero value is the
	// Unix epoch, so that equal inputs give equal images.
	Created time.Time
	// Compression is "gzip" or "zstd"; "" is gzip.
	Compression string
	// KeepExec lets a file's executable bit survive (0755 rather than 0644).
	KeepExec bool
	// AllowSecrets are globs of file names that are published although they look
	// like secrets.
	AllowSecrets []string

	// CacheDir holds what decant may reuse between runs; "" is no cache.
	CacheDir string
	// NoCache ignores what earlier runs left in CacheDir; it is still written.
	NoCache bool
	// TempDir is used where there is no cache; "" is os.TempDir.
	TempDir string

	// Pull resolves a base or builder in a registry. It may be called twice at once.
	Pull func(ctx context.Context, ref string) (*Base, error)
	// Push, if not nil, receives the image.
	Push Pusher
	// Outputs are further places the image is written to.
	Outputs []Output
	// Progress, if not nil, is told what happens.
	Progress Progress
}

// Secret is a file for the build step: /run/secrets/ID there, and in no layer,
// log or history.
type Secret struct {
	ID   string
	Data []byte
}

// Isolation says where a build step runs; see the sandbox's documentation for
// what each keeps away from it.
type Isolation string

// The isolations.
const (
	// IsolationAuto, or "", is a container of user namespaces; it is refused where
	// the system forbids that.
	IsolationAuto Isolation = "auto"
	// IsolationUserns is the same by name.
	IsolationUserns Isolation = "userns"
	// IsolationChroot is a bare chroot: no boundary, for a machine that is itself
	// thrown away.
	IsolationChroot Isolation = "chroot"
	// IsolationNone is this machine, with its node, in a copy of the project.
	IsolationNone Isolation = "none"
)

// Base is an image to build on: an index of images, or a single one.
type Base struct {
	// Name is the full reference for the annotation
	// org.opencontainers.image.base.name; "" for a base that no registry has.
	Name   string
	Digest v1.Hash
	Index  v1.ImageIndex // nil for a single image
	Image  v1.Image      // nil for an index
	// Close releases the files that an archive or layout holds open; may be nil.
	Close func() error
}

// Manifest is the index, or else the image.
func (b *Base) Manifest() Manifest {
	if b.Index != nil {
		return b.Index
	}
	return b.Image
}

// Manifest is what v1.Image and v1.ImageIndex have in common: a document that
// an output can name.
type Manifest interface {
	Digest() (v1.Hash, error)
	Size() (int64, error)
	MediaType() (types.MediaType, error)
	RawManifest() ([]byte, error)
}

// Pusher is one push, to one or more names in registries.
type Pusher interface {
	// Upload sends layers ahead of the image. It is idempotent, and may run
	// beside Stream.
	Upload(ctx context.Context, layers ...v1.Layer) error
	// Stream sends a layer while it is being written: r gives its bytes, and
	// wait, once r has ended, its digest and size. After an error the layer is
	// simply not there, and Push sends it.
	Stream(ctx context.Context, r io.Reader, wait func() (v1.Hash, int64, error)) error
	// Push sends what is still missing, then moves the tags. It returns the
	// immutable references, one a repository. Where it fails between two tags, its
	// error has a method Published() []string with what was moved.
	Push(ctx context.Context, m Manifest) ([]string, error)
}

// OutputKind names a form in which an image is written to disk.
type OutputKind string

// The kinds of Output.
const (
	Layout        OutputKind = "oci"            // a directory
	OCIArchive    OutputKind = "oci-archive"    // a tar of such a directory
	DockerArchive OutputKind = "docker-archive" // what docker save writes
	Store         OutputKind = "store"          // decant's own images
	Files         OutputKind = "dir"            // the files of a Dockerfile's target, and no image
)

// Output is a place on disk. It is outside the site, and outside other outputs. What
// is there may be an image of the same kind: a layout or store is added to, an archive
// replaced.
type Output struct {
	Kind OutputKind
	// Path is the directory or file; for Store the store's directory.
	Path string
	// Names are the tags or references that the image gets there.
	Names []string
}

// String is "KIND:PATH".
func (o Output) String() string { return string(o.Kind) + ":" + o.Path }

func (o Output) target() output.Target {
	return output.Target{Kind: output.Kind(o.Kind), Path: o.Path, Names: o.Names}
}

// Progress receives what a build does. Methods are called from several
// goroutines at once and must not block.
type Progress interface {
	// Fact reports something settled: topic is one word such as "base".
	Fact(topic, text string)
	// Warn reports something the user should know that is no error.
	Warn(text string)
	// Step reports that a command begins: name is one word such as "install". What
	// it prints goes to output, and done is called once when it has ended.
	Step(name, command string) (output io.Writer, done func(err error))
	// Layer reports the site's layer in the making: what was read of what there is.
	Layer(files, totalFiles int, bytes, totalBytes int64)
}

// Result is a finished build.
type Result struct {
	// References are immutable, one for each place the image went to, those in
	// registries first: "host/repo@sha256:…", "oci:DIR@sha256:…", "name@sha256:…".
	// As a docker archive has no manifest, "docker-archive:FILE@sha256:…" has the
	// image ID, which is the digest of the config.
	References []string
	Digest     v1.Hash
	MediaType  types.MediaType
	Size       int64 // of the manifest or index itself
	Images     []PlatformImage
	Layer      LayerInfo
}

// PlatformImage is one image of a Result.
type PlatformImage struct {
	Platform string
	Digest   v1.Hash
}

// LayerInfo describes the site's layer, or of a Dockerfile's image the layers that
// follow those of its base: then DiffID and Digest are the last one's, and the rest is
// the sum.
type LayerInfo struct {
	Layers         int // of a Dockerfile's image; 0 for a site
	Digest, DiffID v1.Hash
	Files          int
	SiteBytes      int64 // sum of the files
	TarBytes       int64 // uncompressed layer
	Bytes          int64 // compressed layer
	// Unchanged is set when an earlier build's layer was used as it was, without
	// reading a file. Otherwise ReusedChunks of the layer's Chunks were taken from
	// it, compressed as they were.
	Unchanged            bool
	ReusedChunks, Chunks int
}
