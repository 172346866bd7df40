package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Pulled is what a reference stands for: an index or an image.
type Pulled struct {
	// Name is the reference as it was given, with the host and tag it implies.
	Name name.Reference
	// Digest and MediaType are the manifest's.
	Digest    v1.Hash
	MediaType types.MediaType
	// Index is nil if the reference is an image; Image is nil if it is an index.
	Index v1.ImageIndex
	Image v1.Image
}

// Pull resolves a tag or digest to an index or an image. It fetches the manifest,
// unless CacheDir has it; the manifests of an index's images, and configs, are
// fetched when they are asked for, and layers when they are read.
//
// What Pull returns keeps ctx for that, as the interfaces of go-containerregistry
// have none. The layers of its images are *Layer. They can be pushed by any
// Target, of this Client or another.
func (c *Client) Pull(ctx context.Context, ref string) (*Pulled, error) {
	r, err := parseRef(ref)
	if err != nil {
		return nil, err
	}
	want := v1.Hash{}
	if d, ok := r.(name.Digest); ok {
		if want, err = v1.NewHash(d.DigestStr()); err != nil || want.Algorithm != "sha256" {
			return nil, &RefError{Ref: ref, Err: errors.New("only sha256 digests are supported"),
				fix: "write NAME@sha256:DIGEST"}
		}
	}
	s := c.sources(placeOf(r.Context()))
	d, err := c.resolve(ctx, r, want, s)
	if err != nil {
		return nil, err
	}
	p := &Pulled{Name: r, Digest: d.digest, MediaType: d.mediaType}
	o := origin{c: c, ctx: ctx, from: s, ref: nameText(r)}
	if d.mediaType.IsIndex() {
		p.Index, err = newIndex(o, d)
	} else {
		p.Image, err = newImage(o, d)
	}
	if err != nil {
		return nil, fmt.Errorf("pulling %s: %w", nameText(r), err)
	}
	return p, nil
}

// sources are the places that may have what a repository has: its mirrors, then
// itself.
func (c *Client) sources(p place) []place {
	var s []place
	for _, m := range c.mirrors[p.host] {
		s = append(s, place{host: m.host, repo: strings.TrimPrefix(m.repo+"/"+p.repo, "/")})
	}
	return append(s, p)
}

// resolve finds the manifest of a reference with the fewest requests: none for a
// digest in the cache, a HEAD for a tag whose last manifest is there.
func (c *Client) resolve(ctx context.Context, r name.Reference, want v1.Hash,
	s []place) (document, error) {
	cached := want
	if want == (v1.Hash{}) {
		cached, _ = c.cache.tag(r.Name())
	}
	d, ok := c.cachedManifest(cached)
	if ok && (want != v1.Hash{} || c.opts.Offline) {
		return d, nil
	}
	if c.opts.Offline {
		return document{}, &OfflineError{Ref: nameText(r)}
	}
	found, err := c.tryEach(ctx, s, nameText(r), func(p place, q request) (document, error) {
		if ok {
			q.scopes = []string{p.pullScope()}
			now, err := c.host(p.host).headManifest(ctx, p, r.Identifier(), q)
			if err != nil {
				return document{}, err
			}
			if now == d.digest {
				return d, nil
			}
			if fresh, known := c.cachedManifest(now); known {
				return fresh, nil
			}
		}
		return c.host(p.host).getManifest(ctx, p, r.Identifier(), want, q)
	})
	if err != nil {
		return document{}, err
	}
	c.cache.put(found.digest, found.raw)
	if want == (v1.Hash{}) {
		c.cache.putTag(r.Name(), found.digest)
	}
	return found, nil
}

// tryEach asks the sources in order until one answers well. A mirror that fails,
// however it fails, must not keep the registry itself from being asked.
func (c *Client) tryEach(ctx context.Context, s []place, ref string,
	ask func(place, request) (document, error)) (document, error) {
	for i, p := range s {
		r := request{op: "pulling", ref: ref}
		last := i == len(s)-1
		if !last {
			r.attempts = c.timing.mirror
		}
		d, err := ask(p, r)
		switch {
		case err == nil && !last:
			c.logf("%s: from mirror %s", ref, p)
			return d, nil
		case err == nil || last || ctx.Err() != nil:
			return d, err
		}
		c.logf("mirror %s: %v", p, err)
	}
	return document{}, errors.New("no source") // not reached: the registry itself is always one
}

// cachedManifest returns a manifest by digest. Its media type is in it, or
// follows from its shape: only OCI leaves it out.
func (c *Client) cachedManifest(digest v1.Hash) (document, bool) {
	if digest == (v1.Hash{}) {
		return document{}, false
	}
	raw, ok := c.cache.get(digest, maxManifest)
	if !ok {
		return document{}, false
	}
	kind, err := manifestType(raw, "")
	return document{raw, digest, kind}, err == nil
}

// fetchManifest returns a manifest by digest, from the cache if it has it.
func (c *Client) fetchManifest(ctx context.Context, s []place, digest v1.Hash,
	ref string) (document, error) {
	if d, ok := c.cachedManifest(digest); ok {
		return d, nil
	}
	if c.opts.Offline {
		return document{}, &OfflineError{Ref: ref}
	}
	d, err := c.tryEach(ctx, s, ref, func(p place, r request) (document, error) {
		return c.host(p.host).getManifest(ctx, p, digest.String(), digest, r)
	})
	if err == nil {
		c.cache.put(digest, d.raw)
	}
	return d, err
}
