package registry

import (
	"context"
	"errors"
	"io"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Stream uploads a layer while it is being made, to the target's first repository:
// r gives its bytes, and wait, which is called when r has ended, its digest and
// size. Push mounts or sends it to the others.
//
// It tries once, as the bytes do not come again. After an error the layer is not
// there, and Upload or Push sends it. The caller closes r, after Stream has
// returned or to make it return.
func (t *Target) Stream(ctx context.Context, r io.Reader,
	wait func() (v1.Hash, int64, error)) error {
	repo := t.repos[0]
	if _, err := repo.look(ctx); err != nil {
		return err
	}
	release, err := t.c.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	s, err := repo.startSession(ctx)
	if err != nil {
		return err
	}
	sent := &streamed{Reader: r, t: t}
	if err := repo.patchStream(ctx, s, sent); err != nil {
		return err
	}
	digest, size, err := wait()
	if err != nil {
		return err
	}
	if sent.n != size {
		return &cutError{got: sent.n, want: size}
	}
	u := &upload{r: repo, b: blob{digest: digest, size: size}, session: s}
	if err := u.put(ctx, 0); err != nil {
		return err
	}
	repo.arrived(digest)
	u.arrived()
	return nil
}

// errSpent tells that a stream cannot be sent a second time.
var errSpent = errors.New("the stream has been sent already")

func (r *targetRepo) patchStream(ctx context.Context, s *session, body *streamed) error {
	q := r.request("a layer")
	q.method, q.url, q.once, q.size = http.MethodPatch, s.location, true, -1
	q.header = http.Header{"Content-Type": {"application/octet-stream"}}
	q.ok = []int{http.StatusAccepted, http.StatusNoContent}
	opened := false
	q.body = func() (io.ReadCloser, error) {
		if opened {
			return nil, &sourceError{errSpent}
		}
		opened = true
		return io.NopCloser(body), nil
	}
	resp, err := r.h.do(ctx, &q)
	if err != nil {
		return err
	}
	defer discard(resp)
	if next := resp.Header.Get("Location"); next != "" {
		s.location = next
	}
	return nil
}

// streamed counts what is sent of a stream.
type streamed struct {
	io.Reader
	t *Target
	n int64
}

func (s *streamed) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.n += int64(n)
	s.t.count(func(s *Stats) { s.BytesUp += int64(n) })
	return n, err
}
