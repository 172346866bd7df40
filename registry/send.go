package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// Which requests a blob needs. In order, the first that holds:
//
//	the tag's last manifest names it, or it is from this repository  none
//	another repository of the registry has it                       POST (mount)
//	it is small, or the tag's last manifest is known and lacks it   POST, PUT
//	otherwise                                                       HEAD, [POST, PUT]
//
// A registry that refuses a mount has opened an upload session instead, which is
// used. A large blob is asked for in any case: one question is cheap against it.
const (
	smallBlob = 64 << 10
	largeBlob = 64 << 20
)

// blob is something to upload.
type blob struct {
	digest v1.Hash
	size   int64
	from   []place // the repositories that it was pulled from
	// open returns the bytes from off on; errors while reading are its own.
	open func(ctx context.Context, off int64) (io.ReadCloser, error)
}

func (b blob) op() Op {
	if b.from != nil {
		return OpCopy
	}
	return OpPush
}

// layerBlob makes a layer ready for upload.
func layerBlob(l v1.Layer) (blob, error) {
	digest, err := l.Digest()
	if err != nil {
		return blob{}, err
	}
	size, err := l.Size()
	if err != nil {
		return blob{}, err
	}
	b := blob{digest: digest, size: size}
	pulled, ok := l.(*Layer)
	if !ok {
		b.open = func(_ context.Context, off int64) (io.ReadCloser, error) {
			return openLocal(l, off)
		}
		return b, nil
	}
	b.from = pulled.from
	b.open = func(ctx context.Context, off int64) (io.ReadCloser, error) {
		if off > 0 {
			return pulled.c.openBlobAt(ctx, pulled.from, pulled.desc, pulled.ref, off)
		}
		r, err := pulled.c.openBlob(ctx, pulled.from, pulled.desc, pulled.ref)
		if r != nil {
			r.quiet = true
		}
		return r, err
	}
	return b, nil
}

// openLocal opens the end of a layer of this machine.
func openLocal(l v1.Layer, off int64) (io.ReadCloser, error) {
	rc, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	if seeker, ok := rc.(io.Seeker); ok && off > 0 {
		_, err = seeker.Seek(off, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, rc, off)
	}
	if err != nil {
		return nil, errors.Join(err, rc.Close())
	}
	return rc, nil
}

// Upload sends layers to every repository of the target, ahead of Push: the base's
// while the site's is being made. It is idempotent and may run beside itself and
// Stream. Foreign layers are left out.
func (t *Target) Upload(ctx context.Context, layers ...v1.Layer) error {
	var blobs []blob
	for _, l := range layers {
		if foreign(l) {
			continue
		}
		b, err := layerBlob(l)
		if err != nil {
			return fmt.Errorf("uploading a layer: %w", err)
		}
		blobs = append(blobs, b)
	}
	return t.sendAll(ctx, blobs, t.repos)
}

// sendAll sends blobs, each once, to repositories.
func (t *Target) sendAll(ctx context.Context, blobs []blob, repos []*targetRepo) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(t.c.opts.Jobs)
	seen := map[v1.Hash]bool{}
	for _, b := range blobs {
		if seen[b.digest] {
			continue
		}
		seen[b.digest] = true
		g.Go(func() error {
			for i, r := range repos {
				err := r.once(ctx, b.digest, func() error { return r.send(ctx, b, repos[:i]) })
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// send brings a blob into the repository. before are the repositories that have
// it by now.
func (r *targetRepo) send(ctx context.Context, b blob, before []*targetRepo) error {
	s, err := r.look(ctx)
	if err != nil {
		return err
	}
	trust := !r.hasForgotten()
	if trust && (s.blobs[b.digest] || slices.Contains(b.from, r.place)) {
		return r.skipped(b)
	}
	release, err := r.t.c.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	var open *session
	if from, ok := r.mountSource(b, before); ok {
		if open, err = r.mount(ctx, b, from); err != nil {
			return err
		}
		if open == nil {
			return nil
		}
	}
	if r.worthAsking(b, s, trust, open != nil) {
		there, err := r.headBlob(ctx, b)
		if err != nil {
			return err
		}
		if there {
			r.keepSpare(open)
			return r.skipped(b)
		}
	}
	u := upload{r: r, b: b, session: open}
	return u.run(ctx)
}

func (r *targetRepo) worthAsking(b blob, s *sight, trust, refused bool) bool {
	if !trust || b.size >= largeBlob {
		return true
	}
	return b.size > smallBlob && (refused || !s.complete)
}

func (r *targetRepo) skipped(b blob) error {
	r.t.count(func(s *Stats) { s.Skipped++ })
	r.t.c.report(Event{Digest: b.digest, Op: OpSkip, Done: b.size, Total: b.size})
	return nil
}

// mountSource finds another repository of this registry that has the blob.
func (r *targetRepo) mountSource(b blob, before []*targetRepo) (place, bool) {
	for _, p := range b.from {
		if p.host == r.host && p != r.place {
			return p, true
		}
	}
	for _, o := range before {
		if o.host == r.host {
			return o.place, true
		}
	}
	return place{}, false
}

// mount asks the registry to take a blob from another of its repositories. If it
// does not, the session that it opened instead is returned.
func (r *targetRepo) mount(ctx context.Context, b blob, from place) (*session, error) {
	q := r.request("layer " + b.digest.String())
	q.method = http.MethodPost
	q.url = r.url("blobs", "uploads/") + "?mount=" + url.QueryEscape(b.digest.String()) +
		"&from=" + url.QueryEscape(from.repo)
	q.scopes = append(q.scopes, from.pullScope())
	q.ok = []int{http.StatusCreated, http.StatusAccepted}
	resp, err := r.h.do(ctx, &q)
	switch status := statusOf(err); {
	case status >= 400 && status < 500 && status != http.StatusTooManyRequests:
		// Some registries refuse what they cannot mount. One session fewer, no more.
		r.t.c.logf("%v; sending it instead", err)
		return r.startSession(ctx)
	case err != nil:
		return nil, err
	}
	defer discard(resp)
	if resp.StatusCode == http.StatusAccepted {
		return sessionOf(resp)
	}
	r.t.count(func(s *Stats) { s.Mounted++ })
	r.t.c.report(Event{Digest: b.digest, Op: OpMount, Done: b.size, Total: b.size})
	return nil, nil
}

// headBlob asks whether the repository has a blob.
func (r *targetRepo) headBlob(ctx context.Context, b blob) (bool, error) {
	q := r.request("layer " + b.digest.String())
	q.method, q.url = http.MethodHead, r.url("blobs", b.digest.String())
	q.ok = []int{http.StatusOK, http.StatusNotFound}
	resp, err := r.h.do(ctx, &q)
	if statusOf(err) == http.StatusForbidden {
		return false, nil // one may be allowed to push and not to look
	}
	if err != nil {
		return false, err
	}
	defer discard(resp)
	// A blob of another size is one that a registry stored half: send it again.
	sized := resp.ContentLength < 0 || resp.ContentLength == b.size
	return resp.StatusCode == http.StatusOK && sized, nil
}
