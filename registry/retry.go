package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// timing holds the patience of a client; tests shorten it.
type timing struct {
	attempts int           // of one request, or of one blob without progress
	pause    time.Duration // before the second attempt; doubled for each after it
	maxPause time.Duration // the longest Retry-After that is waited for
	stall    time.Duration // without a byte moving
	mirror   int           // attempts at a mirror: the next one is better than waiting
}

func defaultTiming() timing {
	return timing{
		attempts: 5, pause: time.Second, maxPause: time.Minute, stall: time.Minute, mirror: 2,
	}
}

// answerTime is how long a registry may take to answer after a body: it hashes
// it and may copy it to an object store first.
func (t timing) answerTime(size int64) time.Duration {
	const slowest = 5 << 20 // bytes a second
	return t.stall + time.Duration(max(size, 0)/slowest)*time.Second
}

// backoff is the pause before attempt n+1, with jitter so that many runners do
// not come back at once.
func (t timing) backoff(n int) time.Duration {
	d := t.pause << min(n-1, 6)
	return d*3/4 + time.Duration(rand.Int64N(int64(d)/2+1))
}

// pauseFor returns how long to wait after attempt n. It is false if waiting is
// pointless, because the registry asks for more patience than there is.
func (t timing) pauseFor(n int, asked time.Duration) (time.Duration, bool) {
	if asked > t.maxPause {
		return 0, false
	}
	return max(t.backoff(n), asked), true
}

// sleep waits unless ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// temporaryStatus tells whether the same request may do better in a moment.
func temporaryStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusInsufficientStorage:
		return false
	}
	return status >= 500
}

// temporaryError tells whether a connection failed in a way that a new one may
// not. connected says that the host has answered before: then it may be refusing
// connections only while it restarts.
func temporaryError(err error, connected bool) bool {
	var dns *net.DNSError
	var cut *cutError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.As(err, &cut):
		return true
	case errors.Is(err, errStalled), errors.Is(err, syscall.ECONNREFUSED):
		return connected
	case errors.As(err, &dns):
		return connected && dns.IsTemporary
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.ETIMEDOUT):
		return true
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return connected
	}
	// The standard library does not export the errors of its HTTP/2 client.
	text := err.Error()
	for _, part := range []string{
		"stream error:", "GOAWAY", "connection error:", "http2: client connection",
		"server closed idle connection", "transport connection broken", "forcibly closed",
	} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// cutError reports a body that ended before its length.
type cutError struct {
	got, want int64
}

func (e *cutError) Error() string {
	return fmt.Sprintf("the body ends after %d of %d bytes", e.got, e.want)
}

// retryAfter reads a Retry-After header: seconds or a date. Without one it is 0.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
