package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// maxCAFile bounds Options.CAFile.
const maxCAFile = 4 << 20

// openTransports makes the two ways to carry requests: one that verifies
// certificates, and one for hosts in Options.Insecure.
func (c *Client) openTransports() error {
	if rt := c.opts.Transport; rt != nil {
		c.strict = rt
		if t, ok := rt.(*http.Transport); ok && len(c.insecure) > 0 {
			c.lax = unverified(t)
		}
		return nil
	}
	pool, err := certPool(c.opts.CAFile)
	if err != nil {
		return err
	}
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          100,
		MaxIdleConnsPerHost:   2 * c.opts.Jobs,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		// Layers are compressed already, and a transparent gzip would hide cut bodies.
		DisableCompression: true,
		TLSClientConfig:    &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		// The transport's own error has the words of the status and nothing else.
		OnProxyConnectResponse: func(_ context.Context, proxy *url.URL, req *http.Request,
			resp *http.Response) error {
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			return &proxyError{proxy: proxy.Host, target: req.Host, status: resp.Status}
		},
	}
	c.strict = t
	if len(c.insecure) > 0 {
		c.lax = unverified(t)
	}
	return nil
}

func unverified(t *http.Transport) *http.Transport {
	lax := t.Clone()
	if lax.TLSClientConfig == nil {
		lax.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	lax.TLSClientConfig.InsecureSkipVerify = true
	return lax
}

// certPool returns the system's authorities and those in file; nil, which means
// the system's, without a file.
func certPool(file string) (_ *x509.CertPool, err error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, &CAFileError{File: file, Err: bare(err)}
	}
	defer f.Close()
	pem, err := io.ReadAll(io.LimitReader(f, maxCAFile+1))
	if err != nil {
		return nil, &CAFileError{File: file, Err: bare(err)}
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if len(pem) > maxCAFile || !pool.AppendCertsFromPEM(pem) {
		return nil, &CAFileError{File: file, Err: errors.New("no PEM certificates")}
	}
	return pool, nil
}

// mayBePlain tells whether a host may be talked to by http: loopback, or one
// that the user named.
func (c *Client) mayBePlain(host string) bool {
	return c.insecure[host] || isLoopback(host)
}

func isLoopback(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

// transportFor returns what carries requests to a host that is not a registry
// which was pinged: a token server, or storage that a registry points to.
func (c *Client) transportFor(host string) http.RoundTripper {
	if c.insecure[host] && c.lax != nil {
		return c.lax
	}
	return c.strict
}

// errStalled is the cause when no byte has moved for too long.
var errStalled = errors.New("the connection is silent")

// watchdog ends an attempt in which nothing happens.
type watchdog struct {
	timer *time.Timer
	after time.Duration
}

func newWatchdog(after time.Duration, bark func()) *watchdog {
	return &watchdog{timer: time.AfterFunc(after, bark), after: after}
}

// expect starts waiting for the next sign of life; rest stops waiting, while it is
// this side's turn.
func (w *watchdog) expect(d time.Duration) { w.timer.Reset(d) }
func (w *watchdog) rest()                  { w.timer.Stop() }

// sentBody is a request's body under a watchdog: the time between two reads is
// the time that the registry takes.
type sentBody struct {
	io.ReadCloser
	dog    *watchdog
	answer time.Duration // allowed between the last byte and the answer
}

func (b *sentBody) Read(p []byte) (int, error) {
	b.dog.rest()
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.dog.expect(b.answer)
	} else {
		b.dog.expect(b.dog.after)
	}
	return n, err
}

// receivedBody is a response's body under a watchdog.
type receivedBody struct {
	io.ReadCloser
	dog    *watchdog
	cause  func(error) error
	finish func()
}

func (b *receivedBody) Read(p []byte) (int, error) {
	b.dog.expect(b.dog.after)
	n, err := b.ReadCloser.Read(p)
	b.dog.rest()
	if err != nil && err != io.EOF {
		err = b.cause(err)
	}
	return n, err
}

func (b *receivedBody) Close() error {
	b.dog.rest()
	err := b.ReadCloser.Close()
	b.finish()
	return err
}

// discard ends a response whose body is of no interest; a short one is read to
// its end, so that the connection can be used again.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}
