package assemble

import (
	"context"
	"fmt"
	"maps"
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
			CreatedBy: "COPY . " + b.WebRoot + " # decant",
			Comment:   "one reproducible layer",
		}},
		Created: b.Created, Env: b.Env, Labels: b.Labels, Ports: b.Ports, User: user,
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

// publish writes the image to every output. The registries come last, as their
// tags are what others see.
func (b *build) publish(ctx context.Context, f finished) ([]string, error) {
	digest, err := f.manifest.Digest()
	if err != nil {
		return nil, err
	}
	var files []string
	for _, out := range b.Outputs {
		refs, err := writeOutput(ctx, out, f.manifest, digest)
		if err != nil {
			return nil, err
		}
		files = append(files, refs...)
	}
	if b.Push == nil {
		return files, nil
	}
	refs, err := b.Push.Push(ctx, f.manifest)
	return append(refs, files...), err
}

func writeOutput(ctx context.Context, out Output, m Manifest, digest v1.Hash) ([]string, error) {
	var err error
	switch out.Kind {
	case Layout:
		err = output.Layout(ctx, out.Path, out.Names, m, output.WriteOptions{})
	case OCIArchive:
		err = output.OCIArchive(ctx, out.Path, out.Names, m, output.WriteOptions{})
	case DockerArchive:
		err = output.DockerArchive(ctx, out.Path, out.Names, m, output.WriteOptions{})
	case Store:
		return writeStore(ctx, out, m, digest)
	default:
		err = fmt.Errorf("unknown output %q", out.Kind)
	}
	if err != nil {
		return nil, fmt.Errorf("writing %s:%s: %w", out.Kind, out.Path, err)
	}
	return []string{fmt.Sprintf("%s:%s@%s", out.Kind, out.Path, digest)}, nil
}

// writeStore returns one reference for each name without its tag.
func writeStore(ctx context.Context, out Output, m Manifest, digest v1.Hash) ([]string, error) {
	store, err := output.OpenStore(out.Path)
	if err != nil {
		return nil, err
	}
	if err := store.Put(ctx, out.Names, m); err != nil {
		return nil, fmt.Errorf("storing %s: %w", strings.Join(out.Names, ", "), err)
	}
	var refs []string
	seen := map[string]bool{}
	for _, name := range out.Names {
		ref := withoutTag(name) + "@" + digest.String()
		if !seen[ref] {
			seen[ref] = true
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

// withoutTag cuts the tag off a name; a port is no tag.
func withoutTag(name string) string {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i]
	}
	return name
}
