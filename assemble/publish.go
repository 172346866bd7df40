package assemble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/decant-build/decant/assemble/internal/image"
	"github.com/decant-build/decant/assemble/internal/layer"
	"github.com/decant-build/decant/assemble/internal/output"
)

// Annotations that say what an image was built on.
// https://github.com/opencontainers/image-spec/blob/main/annotations.md
const (
	baseNameAnnotation   = "org.opencontainers.image.base.name"
	baseDigestAnnotation = "org.opencontainers.image.base.digest"
)

// image lays the site on every part. One part is an image, more are an index.
func (b *build) image(base *Base, parts []part, site *siteLayer) (finished, error) {
	var f finished
	var children []image.Child
	for _, p := range parts {
		img, err := b.partImage(base, p, site)
		if err != nil {
			return f, fmt.Errorf("image for %s: %w", platformText(p.platform), err)
		}
		digest, err := img.Digest()
		if err != nil {
			return f, err
		}
		children = append(children, image.Child{Platform: p.platform, Image: img})
		f.images = append(f.images, PlatformImage{Platform: platformText(p.platform), Digest: digest})
		f.manifest = img
	}
	if len(children) > 1 {
		index, err := image.Index(base.Index, children, b.annotations(base.Name, base.Digest))
		if err != nil {
			return f, err
		}
		f.manifest = index
	}
	mediaType, err := f.manifest.MediaType()
	if err == nil && len(b.Annotations) > 0 && !image.HasAnnotations(mediaType) {
		b.Progress.Warn("the base is a Docker image, which has no annotations: they are left out; use --label")
	}
	return f, err
}

func (b *build) partImage(base *Base, p part, site *siteLayer) (v1.Image, error) {
	mediaType, err := b.layerMediaType(p.base)
	if err != nil {
		return nil, err
	}
	var user *string
	if b.User != "" {
		user = &b.User
	}
	return image.Append(p.base, image.Options{
		Layers: []v1.Layer{site.layer.As(mediaType)},
		History: []v1.History{{
			Created:   v1.Time{Time: b.Created},
			CreatedBy: "COPY . /" + b.webRoot + " # decant",
			Comment:   "one reproducible layer",
		}},
		Created: b.Created, Env: b.Env, Labels: b.Labels, Ports: b.Ports, User: user, Config: b.exposedPorts(),
		Annotations: b.annotations(base.Name, p.digest),
	})
}

// layerMediaType follows the base: some registries refuse a mixture.
func (b *build) layerMediaType(base v1.Image) (types.MediaType, error) {
	manifest, err := base.MediaType()
	if err != nil {
		return "", err
	}
	docker := manifest == types.DockerManifestSchema2
	switch {
	case docker && b.layerForm == layer.Zstd:
		return "", &InputError{Dir: b.Base, What: "a Docker image cannot have zstd layers",
			Fix: "leave --compression out, or choose a base with an OCI manifest"}
	case docker:
		return types.DockerLayer, nil
	case b.layerForm == layer.Zstd:
		return types.OCILayerZStd, nil
	}
	return types.OCILayer, nil
}

// annotations are the user's, and what the image was built on if a registry
// has that.
func (b *build) annotations(baseName string, baseDigest v1.Hash) map[string]string {
	all := map[string]string{}
	if baseName != "" {
		all[baseNameAnnotation] = baseName
		all[baseDigestAnnotation] = baseDigest.String()
	}
	maps.Copy(all, b.Annotations)
	return all
}

// publish makes every file ready, pushes, and then gives the files their names: if
// one output fails, no other is there either. It returns the references, those in
// registries first, each once.
func (b *build) publish(ctx context.Context, f finished) (refs []string, err error) {
	staged, err := b.stage(ctx, f.manifest)
	defer func() { err = errors.Join(err, abort(staged)) }()
	if err != nil {
		return nil, err
	}
	if b.Push != nil {
		if refs, err = b.Push.Push(ctx, f.manifest); err != nil {
			return nil, err
		}
	} else if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for _, s := range staged {
		if err := s.Commit(); err != nil {
			return nil, partlyPublished(refs, fmt.Errorf("writing %s: %w", s.output, err))
		}
		for _, ref := range s.references() {
			if !slices.Contains(refs, ref) {
				refs = append(refs, ref)
			}
		}
	}
	return refs, nil
}

// stagedOutput is an output that is ready, and has no name yet.
type stagedOutput struct {
	output Output
	*output.Staged
}

// stage writes every output beside its place. After an error the caller aborts what
// it returns.
func (b *build) stage(ctx context.Context, m Manifest) ([]stagedOutput, error) {
	var all []stagedOutput
	for _, out := range b.imageOutputs() {
		s, err := out.target().Stage(ctx, m, output.WriteOptions{})
		if err != nil {
			return all, fmt.Errorf("writing %s: %w", out, err)
		}
		all = append(all, stagedOutput{out, s})
	}
	return all, nil
}

// abort removes what is not committed.
func abort(staged []stagedOutput) error {
	var errs []error
	for _, s := range staged {
		errs = append(errs, s.Abort())
	}
	return errors.Join(errs...)
}

// references are the immutable names of a committed output: in a store one for each
// name without its tag.
func (s stagedOutput) references() []string {
	if s.output.Kind != Store {
		return []string{s.output.String() + "@" + s.Digest().String()}
	}
	var refs []string
	for _, name := range s.output.Names {
		refs = append(refs, withoutTag(name)+"@"+s.Digest().String())
	}
	return refs
}

// PartialError is an output that failed when the image was in other places already.
type PartialError struct {
	References []string // where the image is
	Err        error
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("%v (already published: %s)", e.Err, strings.Join(e.References, ", "))
}

// Unwrap returns Err.
func (e *PartialError) Unwrap() error { return e.Err }

// Published lists what was published all the same. An error of Options.Push may have
// such a method too: Build passes it on.
func (e *PartialError) Published() []string { return e.References }

func partlyPublished(refs []string, err error) error {
	if len(refs) == 0 {
		return err
	}
	return &PartialError{References: refs, Err: err}
}

// withoutTag cuts the tag off a name; a port is no tag.
func withoutTag(name string) string {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i]
	}
	return name
}
