package registry

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// Target is one push, to one or more names in one or more registries. What has
// been uploaded is remembered, so that Upload, Stream and Push do not repeat each
// other. Its methods may be called by several goroutines at once.
type Target struct {
	c     *Client
	refs  []name.Reference
	repos []*targetRepo

	mu    sync.Mutex
	stats Stats
}

// Stats counts what a Target did. One blob in two repositories counts twice.
type Stats struct {
	Uploaded int // blobs sent from here
	Copied   int // blobs sent from one registry to another
	Mounted  int // blobs that the registry took from another of its repositories
	Skipped  int // blobs that were there
	// BytesUp is what was sent, including what had to be sent again.
	BytesUp int64
	// Requests counts those of the whole Client, pulls and tokens included.
	Requests int
}

// Manifest is an image or an index: v1.Image and v1.ImageIndex have these.
type Manifest interface {
	Digest() (v1.Hash, error)
	Size() (int64, error)
	MediaType() (types.MediaType, error)
	RawManifest() ([]byte, error)
}

// Pushed is one name that an image has been given.
type Pushed struct {
	// Ref is the immutable reference.
	Ref name.Digest
	// Tag is the tag; "" if the name was a digest.
	Tag string
	// Existing tells that the name stood for this image already.
	Existing bool
}

// Target starts a push to refs: tags, or digests that are the image's. It
// contacts nothing. A malformed reference is a *RefError.
func (c *Client) Target(refs ...string) (*Target, error) {
	t := &Target{c: c}
	for _, ref := range refs {
		r, err := parseRef(ref)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(t.refs, func(o name.Reference) bool { return o.Name() == r.Name() }) {
			continue
		}
		t.refs = append(t.refs, r)
		repo := t.repo(r.Context())
		repo.ids = append(repo.ids, r)
	}
	if len(t.refs) == 0 {
		return nil, errors.New("pushing: no names given")
	}
	return t, nil
}

func (t *Target) repo(r name.Repository) *targetRepo {
	p := placeOf(r)
	for _, known := range t.repos {
		if known.place == p {
			return known
		}
	}
	repo := &targetRepo{
		t: t, place: p, h: t.c.host(p.host), lock: make(chan struct{}, 1),
		jobs: map[v1.Hash]*job{},
	}
	t.repos = append(t.repos, repo)
	return repo
}

// Stats returns what has been done so far.
func (t *Target) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Requests = int(t.c.requests.Load())
	return s
}

func (t *Target) count(f func(*Stats)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.stats)
}

// Check tells early whether a push would be allowed, for a build that takes long:
// it opens an upload session in every repository, which the first upload then uses.
// A push to an unchanged tag closes it again; so where nothing takes long, Push
// alone needs fewer requests.
func (t *Target) Check(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(t.c.opts.Jobs)
	for _, r := range t.repos {
		g.Go(func() error {
			if _, err := r.look(ctx); err != nil {
				return err
			}
			s, err := r.startSession(ctx)
			if err == nil {
				r.keepSpare(s)
			}
			return err
		})
	}
	return g.Wait()
}

// targetRepo is a repository that is pushed to.
type targetRepo struct {
	t *Target
	place
	h   *host
	ids []name.Reference

	// lock is held while the repository is looked at.
	lock chan struct{}
	seen *sight

	mu        sync.Mutex
	jobs      map[v1.Hash]*job
	spare     *session // opened by Check, not used yet
	forgotten bool     // what was believed to be there was not
}

// sight is what is known of a repository from the manifest of its first tag: the
// blobs that a manifest names are in its repository.
type sight struct {
	at        time.Time
	digest    v1.Hash // of the first name; zero if there is none
	blobs     map[v1.Hash]bool
	manifests map[v1.Hash]bool
	complete  bool // the manifest and all below it were in the cache
}

// freshFor is how long an answer about a tag counts as its present state.
const freshFor = 10 * time.Second

// request starts a request to the repository. Its scope is to push even for
// reads, so that one token does for all.
func (r *targetRepo) request(what string) request {
	if what != "" {
		what = " " + what
	}
	return request{
		op: "pushing" + what + " to", ref: r.display(),
		repo: r.place.repo, scopes: []string{r.pushScope()},
	}
}

func (r *targetRepo) display() string { return nameText(r.ids[0]) }

// look asks what the first tag stands for, once.
func (r *targetRepo) look(ctx context.Context) (*sight, error) {
	return r.lookWithin(ctx, 0)
}

// lookWithin is look, and asks once more if the answer is older than age, unless
// that is 0: a build may have taken minutes since.
func (r *targetRepo) lookWithin(ctx context.Context, age time.Duration) (*sight, error) {
	select {
	case r.lock <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-r.lock }()
	if r.seen != nil && (age == 0 || time.Since(r.seen.at) < age) {
		return r.seen, nil
	}
	digest, err := r.head(ctx, r.ids[0])
	if err != nil {
		return nil, err
	}
	s := &sight{
		at: time.Now(), digest: digest, blobs: map[v1.Hash]bool{}, manifests: map[v1.Hash]bool{},
	}
	s.complete = s.learn(r.t.c, digest, 0)
	r.seen = s
	return s, nil
}

// head returns the digest of a tag; the zero Hash if there is none, or if one may
// push but not look.
func (r *targetRepo) head(ctx context.Context, ref name.Reference) (v1.Hash, error) {
	digest, err := r.h.headManifest(ctx, r.place, ref.Identifier(), r.request(""))
	if statusOf(err) == http.StatusForbidden {
		return v1.Hash{}, nil
	}
	return digest, err
}

// learn adds what a manifest names. It reports whether all of it was in the cache.
func (s *sight) learn(c *Client, digest v1.Hash, depth int) bool {
	d, ok := c.cachedManifest(digest)
	if !ok || depth > 2 {
		return false
	}
	s.manifests[digest] = true
	if d.mediaType.IsIndex() {
		m, err := newIndex(origin{}, d)
		if err != nil {
			return false
		}
		whole := true
		for _, child := range m.manifest.Manifests {
			s.manifests[child.Digest] = true
			whole = s.learn(c, child.Digest, depth+1) && whole
		}
		return whole
	}
	m, err := newImage(origin{}, d)
	if err != nil {
		return false
	}
	s.blobs[m.manifest.Config.Digest] = true
	for _, l := range m.manifest.Layers {
		if l.MediaType.IsDistributable() {
			s.blobs[l.Digest] = true
		}
	}
	return true
}

// forget gives up what was believed, after the registry said that something is
// missing.
func (r *targetRepo) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgotten = true
	clear(r.jobs)
}

func (r *targetRepo) hasForgotten() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.forgotten
}

// job is a blob on its way, or arrived.
type job struct {
	done chan struct{}
	err  error
}

// once runs send for a digest unless it has been done. Callers at the same time
// wait for the one that runs. A failure is not remembered.
func (r *targetRepo) once(ctx context.Context, digest v1.Hash, send func() error) error {
	for {
		r.mu.Lock()
		j := r.jobs[digest]
		if j == nil {
			j = &job{done: make(chan struct{})}
			r.jobs[digest] = j
			r.mu.Unlock()
			j.err = send()
			if j.err != nil {
				r.drop(digest, j)
			}
			close(j.done)
			return j.err
		}
		r.mu.Unlock()
		select {
		case <-j.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if j.err == nil || !errors.Is(j.err, context.Canceled) || ctx.Err() != nil {
			return j.err
		}
		// The other was cancelled; this one was not.
	}
}

func (r *targetRepo) drop(digest v1.Hash, j *job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.jobs[digest] == j {
		delete(r.jobs, digest)
	}
}

// arrived notes that a blob is there.
func (r *targetRepo) arrived(digest v1.Hash) {
	j := &job{done: make(chan struct{})}
	close(j.done)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs[digest] = j
}
