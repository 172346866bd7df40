package registrytest

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options says how a registry behaves. The zero value asks for no credentials
// and speaks plain http.
type Options struct {
	// TLS serves https with a certificate of an authority that no system trusts;
	// Registry.CAFile names it.
	TLS bool
	// User and Password are needed for every request, by Basic authentication
	// unless Token is set.
	User, Password string
	// Token wants bearer tokens, which its path /token gives to User, or to
	// anybody when User is "".
	Token bool
	// TokenUses, if not 0, is the number of requests after which a token has
	// expired; ExpiresIn is what the token's answer says, in seconds.
	TokenUses, ExpiresIn int
	// Public repositories can be pulled without credentials.
	Public []string
	// NoMount answers every mount with an upload session.
	NoMount bool
	// NoMonolithic refuses a PUT that has a body.
	NoMonolithic bool
	// NoRange ignores Range headers of reads.
	NoRange bool
	// MaxBody, if not 0, answers 413 to a longer body of a request.
	MaxBody int64
	// ChunkMin, if not 0, is announced as OCI-Chunk-Min-Length.
	ChunkMin int64
	// RedirectBlobs serves blobs from a second server on another port, which
	// refuses requests that carry credentials.
	RedirectBlobs bool
	// AbsoluteLocations makes upload locations absolute URLs.
	AbsoluteLocations bool
	// Latency is added to every request.
	Latency time.Duration
	// Faults go wrong, each as it says.
	Faults []Fault
}

// Request is one request that a registry has received.
type Request struct {
	Method string
	// Path is the path with the query, such as "/v2/a/blobs/uploads/?mount=…".
	Path string
	// Header is what the client sent.
	Header http.Header
}

// Registry is a running registry. Its methods may be called at any time.
type Registry struct {
	// Host is host and port, as in references.
	Host string
	// CAFile is the PEM file of the authority behind a TLS registry's certificate.
	CAFile string

	opts     Options
	server   *httptest.Server
	blobs    *httptest.Server // of RedirectBlobs
	store    *store
	auth     *authority
	closing  chan struct{}
	closeOne sync.Once

	mu       sync.Mutex
	requests []Request
	faults   []*fault
}

// New starts a registry that ends with the test.
func New(t testing.TB, o Options) *Registry {
	t.Helper()
	r := Start(o)
	t.Cleanup(r.Close)
	if o.TLS {
		r.CAFile = filepath.Join(t.TempDir(), "ca.pem")
		cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.server.Certificate().Raw})
		if err := os.WriteFile(r.CAFile, cert, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// Start starts a registry for a caller that has no testing.TB, such as a
// command of a test script. The caller closes it. It writes no CAFile.
func Start(o Options) *Registry {
	r := &Registry{opts: o, store: newStore(), closing: make(chan struct{})}
	for _, f := range o.Faults {
		r.faults = append(r.faults, newFault(f))
	}
	r.auth = &authority{opts: o, tokens: map[string]*token{}}
	r.server = httptest.NewUnstartedServer(r)
	if o.TLS {
		r.server.EnableHTTP2 = true
		r.server.StartTLS()
	} else {
		r.server.Start()
	}
	r.Host = strings.TrimPrefix(strings.TrimPrefix(r.server.URL, "https://"), "http://")
	if o.RedirectBlobs {
		r.blobs = httptest.NewServer(http.HandlerFunc(r.serveStorage))
	}
	return r
}

// Close ends the registry; what stalls is let go first. It may be called twice.
func (r *Registry) Close() {
	r.closeOne.Do(func() {
		close(r.closing)
		r.server.CloseClientConnections()
		r.server.Close()
		if r.blobs != nil {
			r.blobs.Close()
		}
	})
}

// Requests returns what has been asked since the last Reset, in order of
// arrival. Requests for tokens are among them.
func (r *Registry) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Request(nil), r.requests...)
}

// Reset forgets the requests so far.
func (r *Registry) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = nil
}

// Count is the number of requests since the last Reset whose method is method
// ("" is any) and whose path contains part.
func (r *Registry) Count(method, part string) int {
	n := 0
	for _, q := range r.Requests() {
		if (method == "" || q.Method == method) && strings.Contains(q.Path, part) {
			n++
		}
	}
	return n
}

// Fail adds a fault to a running registry.
func (r *Registry) Fail(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, newFault(f))
}

// ServeHTTP logs a request, lets a fault take it, asks for credentials, and
// answers it.
func (r *Registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	r.requests = append(r.requests, Request{q.Method, q.URL.RequestURI(), q.Header.Clone()})
	var hit *Fault
	for _, f := range r.faults {
		if f.takes(q) && hit == nil {
			hit = &f.Fault
		}
	}
	r.mu.Unlock()
	if r.opts.Latency > 0 {
		time.Sleep(r.opts.Latency)
	}
	if hit != nil {
		if done := r.fail(&w, q, hit); done {
			return
		}
	}
	if q.URL.Path == "/token" {
		r.auth.serveToken(w, q)
		return
	}
	if !r.auth.admit(w, q) {
		return
	}
	if max := r.opts.MaxBody; max > 0 && q.ContentLength > max {
		w.Header().Set("Connection", "close")
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = w.Write([]byte("<html><h1>413 Request Entity Too Large</h1></html>"))
		return
	}
	r.serveAPI(w, q)
}
