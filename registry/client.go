package registry

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// defaultJobs is how many blobs move at once. Small blobs cost round trips, not
// bandwidth, so this is more than a link needs to be full.
const defaultJobs = 8

// Options says how a Client works. The zero value is useful.
type Options struct {
	// Keychain finds credentials. If nil, they come from DOCKER_AUTH_CONFIG, the
	// docker config with its credential helpers, REGISTRY_AUTH_FILE, and podman's
	// auth.json, whichever has the registry first.
	Keychain authn.Keychain
	// Insecure are hosts, with their port if they have one, that may speak http or
	// show a certificate that cannot be verified.
	Insecure []string
	// CAFile names certificates (PEM) that are trusted besides the system's.
	CAFile string
	// Mirrors gives, for a host, prefixes of references such as
	// "mirror.corp:5000/hub". Pulls try them in order, then the host itself.
	Mirrors map[string][]string
	// CacheDir keeps manifests and configs by digest, and which digest a tag had;
	// "" keeps none. Several processes may share it, and all of it may be deleted
	// at any time.
	CacheDir string
	// Jobs is how many blobs are transferred at once; 0 is 8.
	Jobs int
	// UserAgent is what requests say; "" is "decant".
	UserAgent string
	// Offline contacts no registry. Pull answers from CacheDir, or says what is
	// missing there; a push is an error.
	Offline bool
	// Transport carries the requests. If nil, it is one that takes proxies from the
	// environment and trusts CAFile; one that is given decides about both itself.
	Transport http.RoundTripper
	// Progress, if not nil, is told of transfers, by several goroutines at once.
	Progress func(Event)
	// Log, if not nil, is told of decisions worth a line: the credential taken, the
	// mirror used, what is tried again. Several goroutines call it at once.
	Log func(format string, args ...any)
}

// Op is what a transfer does with a blob.
type Op string

// The kinds of transfer.
const (
	OpPull  Op = "pull"  // from a registry to the reader
	OpPush  Op = "push"  // from here to a registry
	OpCopy  Op = "copy"  // from one registry to another
	OpMount Op = "mount" // within a registry; no bytes move
	OpSkip  Op = "skip"  // the registry has it; no bytes move
)

// Event tells how far the transfer of one blob is. Done falls back when a part
// has to be sent again; Done equals Total when the blob has arrived.
type Event struct {
	Digest      v1.Hash
	Op          Op
	Done, Total int64
}

// Client talks to registries. Its methods may be called by several goroutines
// at once.
type Client struct {
	opts     Options
	insecure map[string]bool
	mirrors  map[string][]place
	keys     keychain
	cache    cache
	timing   timing
	strict   http.RoundTripper
	lax      http.RoundTripper // does not verify certificates; nil if there is none
	slots    chan struct{}     // one for each transfer under way
	requests atomic.Int64

	mu    sync.Mutex
	hosts map[string]*host
}

// New returns a Client. It reads Options.CAFile and contacts nothing.
func New(o Options) (*Client, error) {
	if o.Jobs <= 0 {
		o.Jobs = defaultJobs
	}
	if o.UserAgent == "" {
		o.UserAgent = "decant"
	}
	c := &Client{
		opts: o, insecure: map[string]bool{}, mirrors: map[string][]place{},
		cache: cache{dir: o.CacheDir}, timing: defaultTiming(),
		slots: make(chan struct{}, o.Jobs), hosts: map[string]*host{},
	}
	for _, h := range o.Insecure {
		c.insecure[hostName(h)] = true
	}
	for h, prefixes := range o.Mirrors {
		for _, prefix := range prefixes {
			m, err := parsePlace(prefix)
			if err != nil {
				return nil, fmt.Errorf("using mirror %q of %s: %w", prefix, h, err)
			}
			c.mirrors[hostName(h)] = append(c.mirrors[hostName(h)], m)
		}
	}
	c.keys = newKeychain(o.Keychain, c.logf)
	return c, c.openTransports()
}

// host returns the state of a registry.
func (c *Client) host(name string) *host {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[name]
	if h == nil {
		h = &host{c: c, name: name, lock: make(chan struct{}, 1)}
		c.hosts[name] = h
	}
	return h
}

func (c *Client) logf(format string, args ...any) {
	if c.opts.Log != nil {
		c.opts.Log(format, args...)
	}
}

func (c *Client) report(e Event) {
	if c.opts.Progress != nil {
		c.opts.Progress(e)
	}
}

// hostName writes a host as references have it after parsing.
func hostName(h string) string {
	h = strings.ToLower(h)
	if h == "docker.io" || h == "registry-1.docker.io" {
		return "index.docker.io"
	}
	return h
}
