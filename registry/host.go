package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// host is what is known of one registry: how to reach it, what it wants to see,
// and the tokens it gave.
type host struct {
	c    *Client
	name string
	// lock, a channel so that waiting ends with a context, is held while the host
	// is pinged or gives a token: everybody else needs the result anyway.
	lock chan struct{}
	conn *connection

	tokens   []grant
	pulled   []string        // scopes of pulls so far
	refused  map[string]bool // repositories whose stored credential is of no use for pulls
	explicit *credential     // of a login; nil asks the keychain
}

// connection is the outcome of a ping.
type connection struct {
	scheme    string
	rt        http.RoundTripper
	challenge challenge
}

func (h *host) acquire(ctx context.Context) error {
	select {
	case h.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (h *host) release() { <-h.lock }

// connect pings the registry unless that is done.
func (h *host) connect(ctx context.Context) (*connection, error) {
	if err := h.acquire(ctx); err != nil {
		return nil, err
	}
	defer h.release()
	if h.conn != nil {
		return h.conn, nil
	}
	var first error
	ways := h.ways()
	for i, way := range ways {
		if way.scheme == "http" && badCertificate(first) {
			break // it speaks https
		}
		conn, err := h.ping(ctx, way, i+1 < len(ways))
		if err == nil {
			h.conn = conn
			return conn, nil
		}
		// The first way's error is the one to show, unless it only says that another
		// way is the right one.
		if first == nil || speaksPlain(first) {
			first = err
		}
		if ctx.Err() != nil || statusOf(err) != 0 || errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
	}
	return nil, first
}

type way struct {
	scheme string
	rt     http.RoundTripper
}

// ways are the ways to reach a host, safest first. Plain http comes last, and
// only for loopback or a host that the user named.
func (h *host) ways() []way {
	ways := []way{{"https", h.c.strict}}
	if h.c.insecure[h.name] && h.c.lax != nil {
		ways = append(ways, way{"https", h.c.lax})
	}
	if h.c.mayBePlain(h.name) {
		ways = append(ways, way{"http", h.c.strict})
	}
	return ways
}

// ping asks for the registry's API. If there are other ways, one that ends in its
// TLS handshake is not tried again: a server of plain http may hang up then.
func (h *host) ping(ctx context.Context, w way, others bool) (*connection, error) {
	conn := &connection{scheme: w.scheme, rt: w.rt}
	r := &request{
		op: "connecting to", method: http.MethodGet, url: w.scheme + "://" + h.name + "/v2/",
		ok: []int{http.StatusOK, http.StatusUnauthorized},
	}
	if others {
		r.hopeless = &atomic.Bool{}
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
				r.hopeless.Store(err != nil)
			},
		})
	}
	resp, err := h.retrying(ctx, r, func(ctx context.Context) (*http.Response, error) {
		return h.attempt(ctx, conn, r, "")
	})
	if err != nil {
		return nil, h.noRegistry(err)
	}
	defer discard(resp)
	// Whoever answers a ping with a page for people is no registry.
	if resp.StatusCode == http.StatusOK && isWebPage(resp.Header) {
		e := h.newError(r)
		e.Status, e.html = resp.StatusCode, true
		e.Err = errors.New("the answer is a web page")
		return nil, e
	}
	if resp.StatusCode == http.StatusUnauthorized {
		conn.challenge = pickChallenge(resp.Header)
	}
	return conn, nil
}

// noRegistry explains a host that has no such API: 404 is about /v2/ then, not
// about a name in it.
func (h *host) noRegistry(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound {
		e.fix = h.name + " answers, but not as a registry: check the host"
	}
	return err
}

func isWebPage(h http.Header) bool {
	return strings.HasPrefix(h.Get("Content-Type"), "text/html")
}

// request is one request of the protocol.
type request struct {
	op     string // a gerund, for errors
	ref    string // what it is about, for errors
	method string
	// url is a path of the registry, or an absolute URL that it gave.
	url    string
	repo   string // whose credential counts
	scopes []string
	header http.Header
	body   func() (io.ReadCloser, error) // nil if there is none
	size   int64                         // of the body, -1 if unknown
	ok     []int                         // statuses that are no errors
	// once leaves it to the caller to try again; a 401 is still met with a new token
	// as long as body can be opened again.
	once     bool
	attempts int  // instead of the client's; 0 is the client's
	cautious bool // ask before sending the body
	// hopeless, if not nil, is set while an attempt failed in a way that the next
	// one would.
	hopeless *atomic.Bool

	credential string // where the credential came from, once it has been sent
}

func (r *request) writes() bool {
	return r.method != http.MethodGet && r.method != http.MethodHead
}

func (h *host) newError(r *request) *Error {
	return &Error{Op: r.op, Registry: h.name, Ref: r.ref, push: r.writes()}
}

// do sends a request, with credentials, and again if that may help. It returns
// a response whose status is in r.ok, and whose body the caller closes; or an
// *Error. Network errors are wrapped in an *Error too.
func (h *host) do(ctx context.Context, r *request) (*http.Response, error) {
	if h.c.opts.Offline {
		return nil, &OfflineError{Ref: r.ref}
	}
	conn, err := h.connect(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, h.rename(err, r)
	}
	return h.retrying(ctx, r, func(ctx context.Context) (*http.Response, error) {
		return h.authorized(ctx, conn, r)
	})
}

// rename says what the ping was for.
func (h *host) rename(err error, r *request) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	named := *e
	named.Op, named.Ref = r.op, r.ref
	return &named
}

// retrying makes attempts until one succeeds, or none is likely to.
func (h *host) retrying(ctx context.Context, r *request,
	attempt func(context.Context) (*http.Response, error)) (*http.Response, error) {
	attempts := h.c.timing.attempts
	if r.attempts > 0 {
		attempts = r.attempts
	}
	if r.once {
		attempts = 1
	}
	for n := 1; ; n++ {
		resp, err := attempt(ctx)
		if err == nil && slices.Contains(r.ok, resp.StatusCode) {
			return resp, nil
		}
		failed := h.failure(r, resp, err)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if n >= attempts || !h.temporary(failed) || r.hopeless != nil && r.hopeless.Load() {
			return nil, failed
		}
		pause, patient := h.c.timing.pauseFor(n, waitOf(failed))
		if !patient {
			return nil, failed
		}
		h.c.logf("%v; trying again in %s", failed, pause.Round(time.Millisecond))
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// failure turns a response that is not wanted, or an error, into an error. It
// closes the response.
func (h *host) failure(r *request, resp *http.Response, err error) error {
	var already *Error
	if errors.As(err, &already) {
		return err
	}
	e := h.newError(r)
	if err == nil {
		e.credential = r.credential
		e.read(resp)
		discard(resp)
		return e
	}
	e.Err = err
	return e
}

func (h *host) temporary(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	if e.Status != 0 {
		return temporaryStatus(e.Status)
	}
	return temporaryError(e.Err, h.conn != nil)
}

func waitOf(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.wait
	}
	return 0
}

// authorized sends a request with the best credential, and with a new one if the
// registry refuses that: a token may expire at any time.
func (h *host) authorized(ctx context.Context, conn *connection,
	r *request) (*http.Response, error) {
	first := r
	auth, err := h.authorization(ctx, r, "")
	if err != nil {
		return nil, err
	}
	for tries := 0; ; tries++ {
		resp, err := h.attempt(ctx, conn, r, auth)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || tries == 2 ||
			slices.Contains(r.ok, http.StatusUnauthorized) {
			return resp, err
		}
		again := *r
		asked := h.rechallenged(ctx, resp.Header)
		if asked != "" && !slices.Contains(r.scopes, asked) {
			again.scopes = append(slices.Clone(r.scopes), asked)
		}
		next, err := h.authorization(ctx, &again, auth)
		if err != nil {
			discard(resp)
			return nil, err
		}
		if next == auth {
			return resp, nil
		}
		discard(resp)
		auth, r, first.credential = next, &again, again.credential
	}
}

// rechallenged takes over the challenge of a 401 that came after the ping: some
// registries answer a ping without asking for anything. It returns the scope.
func (h *host) rechallenged(ctx context.Context, header http.Header) string {
	ch := pickChallenge(header)
	if ch.scheme == "" || h.acquire(ctx) != nil {
		return ""
	}
	defer h.release()
	if h.conn.challenge.scheme == "" {
		h.conn.challenge = ch
	}
	return ch.params["scope"]
}

// sameHost tells whether a URL's host is this registry.
func (h *host) sameHost(other string) bool {
	return strings.EqualFold(other, h.name)
}

var errRedirects = fmt.Errorf("more than %d redirects", maxRedirects)
