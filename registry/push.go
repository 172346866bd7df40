package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// Push gives an image or index the names of the target. It sends what the
// registries lack: first all blobs to all repositories, then the manifests of an
// index's images, and when all of that has arrived everywhere, the tags, one
// request each. A name that stands for the image already costs one question.
//
// It returns one entry for each name, in their order. After an error these are the
// names that stand for the image, and if some were moved, it is a *MovedError.
func (t *Target) Push(ctx context.Context, what Manifest) ([]Pushed, error) {
	if t.c.opts.Offline {
		return nil, &OfflineError{Ref: "a push: " + nameText(t.refs[0])}
	}
	root, err := describe(what)
	if err != nil {
		return nil, fmt.Errorf("pushing %s: %w", nameText(t.refs[0]), err)
	}
	for _, r := range t.refs {
		if d, ok := r.(name.Digest); ok && d.DigestStr() != root.digest.String() {
			return nil, fmt.Errorf("pushing %s: the image has the digest %s", nameText(r), root.digest)
		}
	}
	stale, err := t.stale(ctx, root.digest)
	if err != nil {
		return nil, err
	}
	if len(stale) > 0 {
		parts, err := collect(what, root)
		if err != nil {
			return nil, fmt.Errorf("pushing %s: %w", nameText(t.refs[0]), err)
		}
		if err := t.deliver(ctx, parts, stale); err != nil {
			return nil, err
		}
		defer t.remember(parts)
	}
	for _, r := range t.repos {
		r.closeSpare(ctx)
	}
	return t.tag(ctx, what, root)
}

// stale returns the repositories whose first name is not the image yet.
func (t *Target) stale(ctx context.Context, digest v1.Hash) ([]*targetRepo, error) {
	has := make([]bool, len(t.repos))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(t.c.opts.Jobs)
	for i, r := range t.repos {
		g.Go(func() error {
			s, err := r.lookWithin(ctx, freshFor)
			has[i] = err == nil && s.digest == digest
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var stale []*targetRepo
	for i, r := range t.repos {
		if !has[i] {
			stale = append(stale, r)
		}
	}
	return stale, nil
}

// deliver brings everything but the tags into repositories.
func (t *Target) deliver(ctx context.Context, parts *parts, repos []*targetRepo) error {
	if err := t.sendAll(ctx, parts.blobs, repos); err != nil {
		return err
	}
	for _, level := range parts.levels() {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(t.c.opts.Jobs)
		for _, r := range repos {
			for _, m := range level {
				g.Go(func() error { return r.putChild(ctx, m, parts) })
			}
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

func (r *targetRepo) putChild(ctx context.Context, m manifest, parts *parts) error {
	s, err := r.look(ctx)
	if err != nil {
		return err
	}
	if s.manifests[m.digest] && !r.hasForgotten() {
		return nil
	}
	return r.once(ctx, m.digest, func() error {
		err := r.putManifest(ctx, m, m.digest.String())
		if !r.lacks(err) {
			return err
		}
		if err := r.t.sendAll(ctx, parts.blobs, []*targetRepo{r}); err != nil {
			return err
		}
		return r.putManifest(ctx, m, m.digest.String())
	})
}

// lacks tells whether the registry refused a manifest because parts of it are
// missing, although a manifest that it has names them. What was believed is then
// forgotten, once.
func (r *targetRepo) lacks(err error) bool {
	var e *Error
	if !errors.As(err, &e) || r.hasForgotten() ||
		!e.has("MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN") {
		return false
	}
	r.t.c.logf("%v; sending what is missing", err)
	r.forget()
	return true
}

func (r *targetRepo) putManifest(ctx context.Context, m manifest, id string) error {
	q := r.request("")
	q.method, q.url = http.MethodPut, r.url("manifests", id)
	q.header = http.Header{"Content-Type": {string(m.mediaType)}}
	q.size = int64(len(m.raw))
	q.body = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.raw)), nil }
	q.ok = []int{http.StatusCreated, http.StatusOK, http.StatusAccepted}
	resp, err := r.h.do(ctx, &q)
	if err != nil {
		return err
	}
	defer discard(resp)
	got, err := v1.NewHash(resp.Header.Get("Docker-Content-Digest"))
	if err == nil && got.Algorithm == m.digest.Algorithm && got != m.digest {
		e := r.h.newError(&q)
		e.Err = &DigestError{Want: m.digest, Got: got}
		return e
	}
	return nil
}

// remember keeps what was pushed: the next push knows from it what the repository
// has.
func (t *Target) remember(p *parts) {
	for _, m := range p.manifests {
		t.c.cache.put(m.digest, m.raw)
	}
	for digest, raw := range p.configs {
		t.c.cache.put(digest, raw)
	}
}

// manifest is one to push, with its depth below the root.
type manifest struct {
	digest    v1.Hash
	mediaType types.MediaType
	raw       []byte
	depth     int
}

func describe(what Manifest) (manifest, error) {
	var m manifest
	var err error
	if m.digest, err = what.Digest(); err != nil {
		return m, err
	}
	if m.mediaType, err = what.MediaType(); err != nil {
		return m, err
	}
	m.raw, err = what.RawManifest()
	return m, err
}

// parts is all that an image or index consists of.
type parts struct {
	manifests []manifest // the root first
	blobs     []blob
	configs   map[v1.Hash][]byte
}

// maxDepth is how deep indexes may be nested.
const maxDepth = 3

func collect(what Manifest, root manifest) (*parts, error) {
	p := &parts{configs: map[v1.Hash][]byte{}}
	return p, p.add(what, root)
}

func (p *parts) add(what Manifest, m manifest) error {
	p.manifests = append(p.manifests, m)
	switch w := what.(type) {
	case v1.ImageIndex:
		return p.addIndex(w, m.depth)
	case v1.Image:
		return p.addImage(w)
	}
	return fmt.Errorf("%s is neither an image nor an index", m.digest)
}

func (p *parts) addIndex(index v1.ImageIndex, depth int) error {
	if depth >= maxDepth {
		return errors.New("the index is nested too deep")
	}
	list, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range list.Manifests {
		if slices.ContainsFunc(p.manifests, func(m manifest) bool { return m.digest == d.Digest }) {
			continue
		}
		var child Manifest
		if d.MediaType.IsIndex() {
			child, err = index.ImageIndex(d.Digest)
		} else {
			child, err = index.Image(d.Digest)
		}
		if err != nil {
			return err
		}
		m, err := describe(child)
		if err != nil {
			return err
		}
		m.depth = depth + 1
		if err := p.add(child, m); err != nil {
			return err
		}
	}
	return nil
}

func (p *parts) addImage(image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		if foreign(l) {
			continue
		}
		b, err := layerBlob(l)
		if err != nil {
			return err
		}
		p.blobs = append(p.blobs, b)
	}
	digest, err := image.ConfigName()
	if err != nil {
		return err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	p.configs[digest] = config
	p.blobs = append(p.blobs, blob{digest: digest, size: int64(len(config)),
		open: func(_ context.Context, off int64) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(config[off:])), nil
		}})
	return nil
}

// levels are the manifests below the root, those that others name first.
func (p *parts) levels() [][]manifest {
	var levels [][]manifest
	for depth := maxDepth; depth > 0; depth-- {
		var level []manifest
		for _, m := range p.manifests {
			if m.depth == depth {
				level = append(level, m)
			}
		}
		if level != nil {
			levels = append(levels, level)
		}
	}
	return levels
}
