package output

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// dockerManifest lists the images of a docker archive.
const dockerManifest = "manifest.json"

// dockerEntry is an image of a docker archive.
// https://github.com/moby/docker-image-spec/blob/main/v1.2.md
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// stageDockerArchive writes m in the format of docker save, which docker and podman
// load. Compressed layers stay compressed. The format holds one platform and no
// zstd: anything else is an UnsupportedError.
func stageDockerArchive(
	ctx context.Context, file string, names []imageName, m Manifest, o WriteOptions,
) (*Staged, error) {
	img, err := onlyImage(m)
	if err != nil {
		return nil, err
	}
	d, err := newDockerImage(img)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		d.entry.RepoTags = append(d.entry.RepoTags, n.text)
	}
	raw, err := encode([]dockerEntry{d.entry})
	if err != nil {
		return nil, err
	}
	f, err := stageFile(file, dockerArchive, func(w io.Writer) error {
		a := archive{tar.NewWriter(w)}
		if err := a.document(dockerManifest, raw); err != nil {
			return err
		}
		if err := a.document(d.entry.Config, d.config); err != nil {
			return err
		}
		for _, l := range d.files {
			if err := a.blob(ctx, l.name, l.blob, o); err != nil {
				return err
			}
		}
		return a.Close()
	})
	if err != nil {
		return nil, err
	}
	return &Staged{d.id, f}, nil
}

// onlyImage is the image itself, or that of an index of one platform.
func onlyImage(m Manifest) (v1.Image, error) {
	idx, ok := m.(v1.ImageIndex)
	if !ok {
		img, ok := m.(v1.Image)
		if !ok {
			return nil, fmt.Errorf("writing a docker archive: %T is no image", m)
		}
		return img, nil
	}
	manifest, err := idx.IndexManifest()
	if err != nil {
		return nil, err
	}
	var images []v1.Descriptor
	var platforms []string
	for _, d := range manifest.Manifests {
		if d.MediaType.IsImage() && !isAttestation(d) {
			images = append(images, d)
			platforms = append(platforms, platformName(d))
		}
	}
	if len(images) == 1 {
		return idx.Image(images[0].Digest)
	}
	return nil, &UnsupportedError{
		What: fmt.Sprintf("a docker archive holds one platform, and the image has %d (%s)",
			len(images), strings.Join(platforms, ", ")),
		Fix: "choose one with --platform, or use oci-archive:FILE, which holds them all",
	}
}

// isAttestation knows the entries that BuildKit adds to describe others.
func isAttestation(d v1.Descriptor) bool {
	if _, ok := d.Annotations["vnd.docker.reference.type"]; ok {
		return true
	}
	return d.Platform != nil && d.Platform.OS == "unknown" && d.Platform.Architecture == "unknown"
}

func platformName(d v1.Descriptor) string {
	if d.Platform == nil {
		return "unknown"
	}
	return strings.TrimSuffix(
		d.Platform.OS+"/"+d.Platform.Architecture+"/"+d.Platform.Variant, "/")
}

// dockerImage is an image as a docker archive has it.
type dockerImage struct {
	entry  dockerEntry
	id     v1.Hash // the config's digest
	config []byte
	files  []dockerFile // each once
}

type dockerFile struct {
	name string
	blob
}

func newDockerImage(img v1.Image) (*dockerImage, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) != len(manifest.Layers) {
		return nil, fmt.Errorf("listing the image's layers: there are %d, the manifest has %d",
			len(layers), len(manifest.Layers))
	}
	d := &dockerImage{}
	if d.config, err = img.RawConfigFile(); err != nil {
		return nil, err
	}
	d.id = manifest.Config.Digest
	d.entry.Config = d.id.Hex + ".json"
	seen := map[string]bool{}
	for i, l := range manifest.Layers {
		suffix, err := dockerSuffix(l.MediaType)
		if err != nil {
			return nil, err
		}
		name := l.Digest.Hex + suffix
		d.entry.Layers = append(d.entry.Layers, name)
		if !seen[name] {
			seen[name] = true
			d.files = append(d.files, dockerFile{name, blob{l.Digest, l.Size, layers[i].Compressed}})
		}
	}
	return d, nil
}

// dockerSuffix is how the file of a layer ends.
func dockerSuffix(layer types.MediaType) (string, error) {
	switch layer {
	case types.DockerLayer, types.OCILayer, types.DockerForeignLayer, types.OCIRestrictedLayer:
		return ".tar.gz", nil
	case types.DockerUncompressedLayer, types.OCIUncompressedLayer,
		types.OCIUncompressedRestrictedLayer:
		return ".tar", nil
	case types.OCILayerZStd:
		return "", &UnsupportedError{
			What: "a docker archive has no zstd layers: many versions of docker load do not read them",
			Fix:  "use oci-archive:FILE, or a base and --compression with gzip",
		}
	}
	return "", &UnsupportedError{
		What: fmt.Sprintf("a docker archive has no layers of type %q", layer),
		Fix:  "use oci-archive:FILE",
	}
}
