package assemble

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/decant-build/decant/assemble/internal/image"
)

// platformList is what Options.Platforms says.
type platformList struct {
	all  bool
	list []v1.Platform // empty: the default
}

// defaultPlatforms are made when nothing is asked for, as far as the base has
// them: a site runs on any platform, and these two are where containers run.
var defaultPlatforms = []v1.Platform{
	{OS: "linux", Architecture: "amd64"},
	{OS: "linux", Architecture: "arm64"},
}

// part is one platform of the image to be.
type part struct {
	platform v1.Platform
	base     v1.Image
	digest   v1.Hash // of base; zero for scratch
}

// openBase resolves the base. Only manifests and configs are read.
func (b *build) openBase(ctx context.Context) (*Base, error) {
	if b.Base == scratchBase {
		return &Base{}, nil
	}
	base, err := b.openImage(ctx, b.Base)
	if err != nil && isFileBase(b.Base) {
		err = fmt.Errorf("reading base %s: %w", b.Base, err)
	}
	if err != nil {
		return nil, err
	}
	b.Progress.Fact("base", b.Base+"@"+base.Digest.String())
	return base, nil
}

// choosePlatforms picks the base's images that the result is made of.
func (b *build) choosePlatforms(base *Base) ([]part, error) {
	switch {
	case base.Index != nil:
		return b.choose(base)
	case base.Image != nil:
		return b.single(base)
	}
	wanted := b.platforms.list
	if len(wanted) == 0 {
		wanted = defaultPlatforms
	}
	var parts []part
	for _, p := range wanted {
		parts = append(parts, part{platform: p, base: image.Scratch(p)})
	}
	return parts, nil
}

// choose picks from an index, in the index's order.
func (b *build) choose(base *Base) ([]part, error) {
	have, err := image.Platforms(base.Index)
	if err != nil {
		return nil, fmt.Errorf("base %s: %w", b.Base, err)
	}
	picked, err := b.pick(have)
	if err != nil {
		return nil, err
	}
	var parts []part
	for i, d := range have {
		if !picked[i] {
			continue
		}
		img, err := base.Index.Image(d.Digest)
		if err != nil {
			return nil, fmt.Errorf("base %s, %s: %w", b.Base, platformText(*d.Platform), err)
		}
		if err := b.checkConfig(img, *d.Platform); err != nil {
			return nil, err
		}
		parts = append(parts, part{platform: *d.Platform, base: img, digest: d.Digest})
	}
	return parts, nil
}

// pick returns the positions of the wanted platforms in have.
func (b *build) pick(have []v1.Descriptor) (map[int]bool, error) {
	platforms, names := platformsOf(have)
	picked := map[int]bool{}
	wanted := b.platforms.list
	if len(wanted) == 0 {
		wanted = defaultPlatforms
	}
	if b.platforms.all {
		wanted = platforms
	}
	for _, p := range wanted {
		i, ok := image.Match(platforms, p)
		switch {
		case ok:
			picked[i] = true
		case len(b.platforms.list) > 0:
			return nil, &PlatformError{Base: b.Base, Platform: platformText(p), Have: names}
		}
	}
	if len(picked) == 0 {
		return nil, &PlatformError{Base: b.Base, Platform: "linux/amd64 or linux/arm64", Have: names}
	}
	return picked, nil
}

// single takes a base that is one image, and says when more was asked for.
func (b *build) single(base *Base) ([]part, error) {
	config, err := base.Image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("base %s: %w", b.Base, err)
	}
	platform := v1.Platform{
		OS: config.OS, Architecture: config.Architecture, Variant: config.Variant,
		OSVersion: config.OSVersion, OSFeatures: config.OSFeatures,
	}
	for _, p := range b.platforms.list {
		if _, ok := image.Match([]v1.Platform{platform}, p); !ok {
			return nil, &PlatformError{Base: b.Base, Platform: platformText(p), Have: []string{platformText(platform)}}
		}
	}
	if err := b.checkConfig(base.Image, platform); err != nil {
		return nil, err
	}
	return []part{{platform: platform, base: base.Image, digest: base.Digest}}, nil
}

// checkConfig refuses an image that cannot be built on. One whose config names
// another platform than its index runs all the same, so that is a warning.
func (b *build) checkConfig(img v1.Image, want v1.Platform) error {
	err := image.CheckConfig(img, want)
	var other *image.PlatformError
	if errors.As(err, &other) {
		b.Progress.Warn(fmt.Sprintf("base %s: %v", b.Base, other))
		return nil
	}
	if err != nil {
		return fmt.Errorf("base %s, %s: %w", b.Base, platformText(want), err)
	}
	return nil
}
