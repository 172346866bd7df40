package assemble

import (
	"context"
	"errors"
	"fmt"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/decant-build/decant/assemble/internal/image"
	"github.com/decant-build/decant/assemble/internal/plan"
)

// imageSet opens every image once, whoever names it. Safe for concurrent use.
type imageSet struct {
	open func(ctx context.Context, ref string) (*Base, error)

	mu    sync.Mutex
	bases map[string]*openedBase
}

// openedBase is an image that is being opened, or is open once done is closed.
type openedBase struct {
	done chan struct{}
	base *Base
	err  error
}

// get opens ref, or waits for whoever does.
func (s *imageSet) get(ctx context.Context, ref string) (*Base, error) {
	s.mu.Lock()
	o := s.bases[ref]
	first := o == nil
	if first {
		if s.bases == nil {
			s.bases = map[string]*openedBase{}
		}
		o = &openedBase{done: make(chan struct{})}
		s.bases[ref] = o
	}
	s.mu.Unlock()
	if first {
		o.base, o.err = s.open(ctx, ref)
		close(o.done)
		return o.base, o.err
	}
	select {
	case <-o.done:
		return o.base, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// close closes what was opened. Nobody may be opening meanwhile.
func (s *imageSet) close() error {
	var errs []error
	for _, o := range s.bases {
		if o.base != nil && o.base.Close != nil {
			errs = append(errs, o.base.Close())
		}
	}
	return errors.Join(errs...)
}

// stageBase is the image for one platform that a stage starts from, or that a COPY
// reads.
type stageBase struct {
	ref      string
	base     *Base
	image    v1.Image
	digest   v1.Hash // of image; zero for scratch
	platform v1.Platform
	id       v1.Hash // of the image's config
	state    plan.State
}

// baseFor picks the image of ref for a platform.
func (v *variant) baseFor(ctx context.Context, ref string, platform v1.Platform) (*stageBase, error) {
	base, err := v.images.get(ctx, ref)
	if err != nil {
		return nil, err
	}
	s := &stageBase{ref: ref, base: base, digest: base.Digest, platform: platform}
	if base.Index != nil {
		if s.digest, err = matchImage(base, ref, platform); err != nil {
			return nil, err
		}
		if s.image, err = base.Index.Image(s.digest); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", ref, platformText(platform), err)
		}
	} else {
		s.image = base.Image
	}
	return s, v.readBase(s, v.strict)
}

// matchImage finds the digest of an index's image for a platform.
func matchImage(base *Base, ref string, platform v1.Platform) (v1.Hash, error) {
	have, err := image.Platforms(base.Index)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("%s: %w", ref, err)
	}
	platforms, names := platformsOf(have)
	i, ok := image.Match(platforms, platform)
	if !ok {
		return v1.Hash{}, &PlatformError{Base: ref, Platform: platformText(platform), Have: names}
	}
	return have[i].Digest, nil
}

// readBase checks the image's config and reads it. An image that is for another
// platform than was asked for is built on all the same if it is the only one, as
// docker does, with a warning, unless strict is set.
func (x *executor) readBase(s *stageBase, strict bool) error {
	err := image.CheckConfig(s.image, s.platform)
	var other *image.PlatformError
	switch {
	case errors.As(err, &other) && strict:
		return &PlatformError{Base: s.ref, Platform: platformText(s.platform), Have: []string{platformText(other.Config)}}
	case errors.As(err, &other):
		x.tell(fmt.Sprintf("%s: %v", s.ref, other))
		s.platform = other.Config
	case err != nil:
		return fmt.Errorf("%s, %s: %w", s.ref, platformText(s.platform), err)
	}
	if s.id, err = s.image.ConfigName(); err != nil {
		return err
	}
	raw, err := s.image.RawConfigFile()
	if err != nil {
		return err
	}
	if s.state, err = plan.ReadConfig(raw); err != nil {
		return fmt.Errorf("%s: %w", s.ref, err)
	}
	return nil
}
