package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// renewAfter is how many bytes have to arrive for a broken download to be given
// all its attempts again.
const renewAfter = 1 << 20

// blobReader reads a blob and verifies digest and size. When the connection
// breaks it continues, by a range request or by skipping what has been read.
type blobReader struct {
	ctx  context.Context
	c    *Client
	from []place // tried in order; once bytes have come, only the first stays
	desc v1.Descriptor
	ref  string

	current holder
	off     int64
	sum     hash.Hash // nil when reading starts in the middle: nothing to compare then
	failed  int       // attempts in a row
	healthy int64     // off when failed was 0
	quiet   bool      // somebody else reports the transfer
	err     error
}

// openBlob opens a blob for reading. It sends the first request, so that a blob
// that is not there is an error here.
func (c *Client) openBlob(ctx context.Context, from []place, d v1.Descriptor,
	ref string) (*blobReader, error) {
	b := &blobReader{ctx: ctx, c: c, from: from, desc: d, ref: ref, sum: sha256.New()}
	return b, b.open()
}

// openBlobAt opens the end of a blob, unverified: the registry that it goes to
// compares the digest of the whole.
func (c *Client) openBlobAt(ctx context.Context, from []place, d v1.Descriptor, ref string,
	off int64) (*blobReader, error) {
	b := &blobReader{
		ctx: ctx, c: c, from: from, desc: d, ref: ref, off: off, healthy: off, quiet: true,
	}
	return b, b.open()
}

// Read implements io.Reader.
func (b *blobReader) Read(p []byte) (int, error) {
	for b.err == nil {
		body, closed := b.current.get()
		if closed {
			b.err = errClosed
			break
		}
		if body == nil {
			b.err = b.open()
			continue
		}
		n, err := body.Read(p)
		b.take(p[:n])
		switch {
		case b.off > b.desc.Size:
			b.err = b.fail(fmt.Errorf("the blob is longer than its %d bytes", b.desc.Size))
			return 0, b.err
		case b.off == b.desc.Size && n > 0:
			// The last bytes are held back unless the whole is right, so that a wrong
			// blob cannot look finished to whom it is sent on.
			if b.err = b.check(); b.err != nil {
				return 0, b.err
			}
			return n, nil
		case err == io.EOF && b.off == b.desc.Size:
			if b.err = b.check(); b.err == nil {
				b.err = io.EOF
			}
			return 0, b.err
		case err == io.EOF:
			err = &cutError{got: b.off, want: b.desc.Size}
		}
		if err != nil {
			b.err = b.broken(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, b.err
}

func (b *blobReader) take(p []byte) {
	b.off += int64(len(p))
	if b.sum != nil {
		b.sum.Write(p)
	}
	if len(p) > 0 && !b.quiet {
		b.c.report(Event{Digest: b.desc.Digest, Op: OpPull, Done: b.off, Total: b.desc.Size})
	}
}

// check compares the digest.
func (b *blobReader) check() error {
	if b.sum == nil {
		return nil
	}
	got := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(b.sum.Sum(nil))}
	if got != b.desc.Digest {
		return b.fail(&DigestError{Want: b.desc.Digest, Got: got})
	}
	return nil
}

// broken decides whether to go on after the connection broke; nil is yes.
func (b *blobReader) broken(err error) error {
	b.current.set(nil)
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	if _, closed := b.current.get(); closed {
		return errClosed
	}
	if b.off-b.healthy >= renewAfter {
		b.failed, b.healthy = 0, b.off
	}
	b.failed++
	if b.failed >= b.c.timing.attempts || !temporaryError(err, true) {
		return b.fail(err)
	}
	b.c.logf("%s at %s: %v; continuing at byte %d", b.desc.Digest, b.from[0], err, b.off)
	return sleep(b.ctx, b.c.timing.backoff(b.failed))
}

func (b *blobReader) fail(err error) error {
	return &Error{Op: b.op(), Ref: b.ref, Registry: b.from[0].host, Err: err}
}

func (b *blobReader) op() string { return "pulling " + b.desc.Digest.String() + " of" }

// open asks for the rest of the blob.
func (b *blobReader) open() error {
	var err error
	for len(b.from) > 0 {
		if err = b.openFrom(b.from[0]); err == nil || b.ctx.Err() != nil || len(b.from) == 1 {
			return err
		}
		b.c.logf("mirror %s: %v", b.from[0], err)
		b.from = b.from[1:]
	}
	return err
}

func (b *blobReader) openFrom(p place) error {
	r := &request{
		op: b.op(), ref: b.ref, method: http.MethodGet,
		url: p.url("blobs", b.desc.Digest.String()), repo: p.repo, scopes: []string{p.pullScope()},
		ok: []int{http.StatusOK, http.StatusPartialContent},
	}
	if len(b.from) > 1 {
		r.attempts = b.c.timing.mirror
	}
	if b.off > 0 {
		if b.off == b.desc.Size {
			b.current.set(http.NoBody)
			return nil
		}
		r.header = http.Header{"Range": {fmt.Sprintf("bytes=%d-", b.off)}}
	}
	resp, err := b.c.host(p.host).do(b.ctx, r)
	if err != nil {
		return err
	}
	b.current.set(resp.Body)
	if resp.StatusCode == http.StatusPartialContent {
		start, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
		if !ok || start != b.off || total >= 0 && total != b.desc.Size {
			discard(resp)
			b.current.set(nil)
			return b.fail(errors.New("the registry answers with another range than was asked for"))
		}
		return nil
	}
	if resp.ContentLength >= 0 && resp.ContentLength != b.desc.Size {
		discard(resp)
		b.current.set(nil)
		return b.fail(fmt.Errorf("the blob is %d bytes long instead of %d",
			resp.ContentLength, b.desc.Size))
	}
	// A server that ignores ranges starts anew. What has been read is skipped; the
	// digest at the end covers both halves.
	if _, err := io.CopyN(io.Discard, resp.Body, b.off); err != nil {
		return b.broken(err)
	}
	return nil
}

// Close implements io.Closer. It may be called while a Read waits, which then ends.
func (b *blobReader) Close() error { return b.current.close() }

var errClosed = errors.New("reading a blob that has been closed")

// holder has the body that a blobReader reads at present. Close comes from another
// goroutine than the rest.
type holder struct {
	mu     sync.Mutex
	body   io.ReadCloser // nil between two
	closed bool
}

func (c *holder) get() (body io.ReadCloser, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.body, c.closed
}

// set takes a body in place of the one before, which it closes. After close there is
// none to be had.
func (c *holder) set(body io.ReadCloser) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.body != nil {
		_ = c.body.Close()
	}
	if c.body = body; c.closed && body != nil {
		_ = body.Close()
	}
}

func (c *holder) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.body == nil {
		return nil
	}
	return c.body.Close()
}

// parseContentRange reads "bytes 5-9/10"; total is -1 if it is "*".
func parseContentRange(s string) (start, total int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	span, size, found := strings.Cut(s, "/")
	first, last, dash := strings.Cut(span, "-")
	start, err1 := strconv.ParseInt(first, 10, 64)
	end, err2 := strconv.ParseInt(last, 10, 64)
	if !ok || !found || !dash || err1 != nil || err2 != nil || start < 0 || end < start {
		return 0, 0, false
	}
	if size == "*" {
		return start, -1, true
	}
	total, err := strconv.ParseInt(size, 10, 64)
	if err != nil || total <= end {
		return 0, 0, false
	}
	return start, total, true
}
