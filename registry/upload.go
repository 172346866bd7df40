package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Chunks are a fallback for proxies that limit the size of a request. Many
// registries do not support them, or want them to be large.
const (
	firstChunk = 50 << 20
	leastChunk = 5 << 20
)

// session is an upload that a registry has opened.
type session struct {
	location string
	off      int64 // what has arrived
	minChunk int64
}

func sessionOf(resp *http.Response) (*session, error) {
	s := &session{location: resp.Header.Get("Location")}
	if s.location == "" {
		return nil, errors.New("opening an upload: the registry gives no location")
	}
	n, err := strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64)
	if err == nil && n > 0 {
		s.minChunk = n
	}
	return s, nil
}

// startSession opens an upload, or takes the one that Check has opened.
func (r *targetRepo) startSession(ctx context.Context) (*session, error) {
	r.mu.Lock()
	spare := r.spare
	r.spare = nil
	r.mu.Unlock()
	if spare != nil {
		return spare, nil
	}
	q := r.request("")
	q.method, q.url = http.MethodPost, r.url("blobs", "uploads/")
	q.ok = []int{http.StatusAccepted}
	resp, err := r.h.do(ctx, &q)
	if err != nil {
		return nil, err
	}
	defer discard(resp)
	return sessionOf(resp)
}

// keepSpare keeps a session that was not needed for the next upload.
func (r *targetRepo) keepSpare(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s != nil {
		r.spare = s
	}
}

// closeSpare cancels a session that nobody used. It is only a courtesy.
func (r *targetRepo) closeSpare(ctx context.Context) {
	r.mu.Lock()
	spare := r.spare
	r.spare = nil
	r.mu.Unlock()
	if spare == nil {
		return
	}
	q := r.request("")
	q.method, q.url, q.once = http.MethodDelete, spare.location, true
	q.ok = []int{http.StatusNoContent, http.StatusAccepted, http.StatusOK, http.StatusNotFound}
	if resp, err := r.h.do(ctx, &q); err == nil {
		discard(resp)
	}
}

// upload sends one blob, whole and in one request if that works.
type upload struct {
	r       *targetRepo
	b       blob
	session *session
	chunk   int64 // 0 sends whole
	careful bool  // a body has been lost before: ask before sending the next
	failed  int
	best    int64 // the farthest that failed has been reset for
	// broken is an error of the blob's source, which ends the upload.
	broken atomic.Pointer[sourceError]
}

// run tries until the blob has arrived, or nothing helps.
func (u *upload) run(ctx context.Context) error {
	for {
		err := u.try(ctx)
		if err == nil {
			u.arrived()
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		done, err := u.mend(ctx, err)
		if done {
			u.arrived()
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (u *upload) arrived() {
	u.r.t.count(func(s *Stats) {
		if u.b.op() == OpCopy {
			s.Copied++
		} else {
			s.Uploaded++
		}
	})
	u.report(u.b.size)
}

func (u *upload) report(done int64) {
	u.r.t.c.report(Event{Digest: u.b.digest, Op: u.b.op(), Done: done, Total: u.b.size})
}

func (u *upload) try(ctx context.Context) (err error) {
	if u.session == nil {
		if u.session, err = u.r.startSession(ctx); err != nil {
			return err
		}
	}
	if u.chunk == 0 && u.session.off == 0 {
		return u.put(ctx, u.b.size)
	}
	for u.session.off < u.b.size {
		if err := u.patch(ctx); err != nil {
			return err
		}
	}
	return u.put(ctx, 0)
}

// put ends the upload, with the whole blob as its body or with none.
func (u *upload) put(ctx context.Context, size int64) error {
	location, err := withDigest(u.session.location, u.b.digest.String())
	if err != nil {
		return err
	}
	q := u.request(ctx, http.MethodPut, location, 0, size)
	q.ok = []int{http.StatusCreated, http.StatusNoContent}
	resp, err := u.r.h.do(ctx, q)
	if err != nil {
		return err
	}
	discard(resp)
	return nil
}

// patch sends the next chunk, or all that is left.
func (u *upload) patch(ctx context.Context) error {
	s := u.session
	n := u.b.size - s.off
	if u.chunk > 0 {
		n = min(n, max(u.chunk, s.minChunk))
	}
	q := u.request(ctx, http.MethodPatch, s.location, s.off, n)
	q.header.Set("Content-Range", fmt.Sprintf("%d-%d", s.off, s.off+n-1))
	q.ok = []int{http.StatusAccepted, http.StatusNoContent}
	resp, err := u.r.h.do(ctx, q)
	if err != nil {
		return err
	}
	defer discard(resp)
	if next := resp.Header.Get("Location"); next != "" {
		s.location = next
	}
	s.off += n
	return nil
}

func (u *upload) request(ctx context.Context, method, location string, off, size int64) *request {
	q := u.r.request("layer " + u.b.digest.String())
	q.method, q.url, q.once, q.cautious = method, location, true, u.careful && size > 1<<20
	q.header = http.Header{"Content-Type": {"application/octet-stream"}}
	q.size = size
	q.body = func() (io.ReadCloser, error) {
		rc, err := u.b.open(ctx, off)
		if err != nil {
			return nil, &sourceError{err}
		}
		return &measured{ReadCloser: rc, left: size, u: u, off: off}, nil
	}
	return &q
}

// mend decides what to do about a failure, and waits if that is part of it: done
// means that the blob has arrived after all, an error that it is for good.
func (u *upload) mend(ctx context.Context, failure error) (done bool, err error) {
	if broken := u.broken.Load(); broken != nil {
		// The registry may have answered first, and can only say that it got too little.
		return false, broken
	}
	var source *sourceError
	var e *Error
	if errors.As(failure, &source) || !errors.As(failure, &e) {
		return false, failure
	}
	u.failed++
	if u.session != nil && u.session.off-u.best >= renewAfter {
		u.best, u.failed = u.session.off, 1
	}
	switch {
	case u.failed >= u.r.t.c.timing.attempts:
		return false, failure
	case e.Status == http.StatusRequestEntityTooLarge:
		return false, u.smaller(failure)
	case e.Status == http.StatusMethodNotAllowed && u.chunk == 0:
		// It takes a blob only by PATCH.
		u.chunk = u.b.size
		return u.locate(ctx)
	case e.Status == http.StatusNotFound && u.session != nil, e.has("BLOB_UPLOAD_UNKNOWN"),
		e.Status == http.StatusRequestedRangeNotSatisfiable,
		e.has("DIGEST_INVALID", "SIZE_INVALID", "BLOB_UPLOAD_INVALID") && u.failed == 1:
		// Parts of two attempts do not always fit together.
		u.session = nil
		return false, nil
	case !u.r.h.temporary(failure):
		return false, failure
	}
	pause, patient := u.r.t.c.timing.pauseFor(u.failed, e.wait)
	if !patient {
		return false, failure
	}
	u.r.t.c.logf("%v; trying again in %s", failure, pause.Round(time.Millisecond))
	if err := sleep(ctx, pause); err != nil {
		return false, err
	}
	u.careful = e.Status == 0
	return u.locate(ctx)
}

// smaller halves the chunks.
func (u *upload) smaller(failure error) error {
	next := min(firstChunk, u.b.size/2)
	if u.chunk > 0 {
		next = u.chunk / 2
	}
	next = max(next, leastChunk)
	if u.chunk > 0 && u.chunk <= next || next >= u.b.size {
		return failure
	}
	u.chunk, u.session = next, nil
	u.r.t.c.logf("%v; sending it in chunks of %d bytes", failure, next)
	return nil
}

// locate asks how much of the upload has arrived. If there is no such upload any
// more, it may be finished: the answer to the last request may have been lost.
func (u *upload) locate(ctx context.Context) (done bool, err error) {
	if u.session == nil {
		return false, nil
	}
	q := u.r.request("layer " + u.b.digest.String())
	q.method, q.url = http.MethodGet, u.session.location
	q.ok = []int{http.StatusNoContent, http.StatusOK, http.StatusAccepted}
	resp, err := u.r.h.do(ctx, &q)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err != nil {
		u.session = nil
		if statusOf(err) == http.StatusNotFound {
			return u.r.headBlob(ctx, u.b)
		}
		return false, nil
	}
	defer discard(resp)
	next := *u.session
	if l := resp.Header.Get("Location"); l != "" {
		next.location = l
	}
	off, ok := parseUploadRange(resp.Header.Get("Range"))
	if !ok || off > u.b.size {
		u.session = nil
		return false, nil
	}
	next.off = off
	u.session = &next
	return false, nil
}

// parseUploadRange reads the Range of an upload, "0-N" with N the last byte. An
// empty upload is "0-0" too; that a single byte has arrived cannot be told from it,
// and is treated as none.
func parseUploadRange(s string) (off int64, ok bool) {
	s = strings.TrimPrefix(s, "bytes=")
	if s == "" {
		return 0, true
	}
	first, last, _ := strings.Cut(s, "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if err != nil || first != "0" || n < 0 || n == 1<<63-1 {
		return 0, false
	}
	if n == 0 {
		return 0, true
	}
	return n + 1, true
}

// withDigest adds the digest to an upload's location, whose query it leaves as it
// is: it may be signed.
func withDigest(location, digest string) (string, error) {
	u, err := url.Parse(location)
	if err != nil {
		return "", errors.New("the registry gave a malformed location")
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += "digest=" + url.QueryEscape(digest)
	return u.String(), nil
}

// sourceError is an error of what is being uploaded, not of where it goes.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// measured is the part of a blob that is a request's body. It counts what is
// sent, and tells errors of the source from those of the connection.
type measured struct {
	io.ReadCloser
	left, off int64
	u         *upload
}

func (m *measured) Read(p []byte) (int, error) {
	if m.left == 0 {
		// The end of the blob has to be seen: it is where a digest is compared.
		return 0, m.end()
	}
	n, err := m.ReadCloser.Read(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	m.off += int64(n)
	if n > 0 {
		m.u.r.t.count(func(s *Stats) { s.BytesUp += int64(n) })
		m.u.report(m.off)
	}
	switch {
	case err == io.EOF && m.left > 0:
		cut := &cutError{got: m.off, want: m.off + m.left}
		return n, m.broken(fmt.Errorf("reading layer %s: %w", m.u.b.digest, cut))
	case err != nil && err != io.EOF:
		return n, m.broken(err)
	}
	return n, err
}

// broken notes an error of the source.
func (m *measured) broken(err error) error {
	e := &sourceError{err}
	m.u.broken.Store(e)
	return e
}

func (m *measured) end() error {
	if m.off < m.u.b.size {
		return io.EOF
	}
	n, err := m.ReadCloser.Read(make([]byte, 1))
	switch {
	case n > 0:
		return m.broken(fmt.Errorf("reading layer %s: it is longer than its %d bytes",
			m.u.b.digest, m.u.b.size))
	case err != nil && err != io.EOF:
		return m.broken(err)
	}
	return io.EOF
}
