package bed

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// refName is the annotation that names an image in a layout.
const refName = "org.opencontainers.image.ref.name"

// A recipeLayer is a layer of a base as a file, and how the history explains it.
type recipeLayer struct{ file, createdBy string }

// newImage stacks layers under a configuration.
func newImage(arch string, layers []recipeLayer, config v1.Config) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	created := v1.Time{Time: epoch}
	for _, l := range layers {
		layer, err := tarball.LayerFromFile(l.file, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return nil, fmt.Errorf("reading layer %s: %w", l.file, err)
		}
		img, err = mutate.Append(img, mutate.Addendum{Layer: layer, MediaType: types.OCILayer,
			History: v1.History{Created: created, CreatedBy: l.createdBy}})
		if err != nil {
			return nil, fmt.Errorf("adding layer %s: %w", l.file, err)
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS, file.Created, file.Config = arch, "linux", created, config
	if arch == "arm64" {
		file.Variant = "v8" // as Docker Hub's images have it
	}
	file.History = append(file.History, v1.History{Created: created, EmptyLayer: true,
		CreatedBy: fmt.Sprintf("CMD %q", config.Cmd)})
	return mutate.ConfigFile(img, file)
}

// writeLayout writes images as an OCI layout whose only entry is their index,
// under a name.
func writeLayout(ctx context.Context, dir, name string, images []v1.Image) error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, img := range images {
		if err := ctx.Err(); err != nil {
			return err
		}
		file, err := img.ConfigFile()
		if err != nil {
			return err
		}
		platform := &v1.Platform{OS: file.OS, Architecture: file.Architecture, Variant: file.Variant}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img,
			Descriptor: v1.Descriptor{Platform: platform}})
	}
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("writing the layout %s: %w", name, err)
	}
	named := layout.WithAnnotations(map[string]string{refName: name})
	if err := l.AppendIndex(index, named); err != nil {
		return fmt.Errorf("writing the layout %s: %w", name, err)
	}
	return nil
}

// readLayout returns the index that writeLayout wrote, or the first that another
// writer did.
func readLayout(dir string) (v1.ImageIndex, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the layout %s: %w", dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("reading the layout %s: %w", dir, err)
	}
	for _, d := range manifest.Manifests {
		if d.MediaType.IsIndex() {
			return index.ImageIndex(d.Digest)
		}
	}
	return index, nil
}

// platformImage picks the image for linux and an architecture.
func platformImage(index v1.ImageIndex, arch string) (v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range manifest.Manifests {
		if !d.MediaType.IsImage() {
			continue
		}
		img, err := index.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		file, err := img.ConfigFile()
		if err != nil {
			return nil, fmt.Errorf("reading the configuration of %s: %w", d.Digest, err)
		}
		if file.OS == "linux" && file.Architecture == arch {
			return img, nil
		}
	}
	return nil, fmt.Errorf("finding an image for linux/%s: there is none", arch)
}
