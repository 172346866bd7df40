package image

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Child is an image of an index, with the platform that the index lists it for.
type Child struct {
	Platform v1.Platform
	Image    v1.Image
}

// Index joins children, in their order. The media type is that of base; without
// a base it suits the children: a Docker list of Docker images, OCI otherwise.
// Children keep their own media types. Annotations are left out where
// HasAnnotations is false.
func Index(
	base v1.ImageIndex, children []Child, annotations map[string]string,
) (v1.ImageIndex, error) {
	if len(children) == 0 {
		return nil, errors.New("making an index: it would be empty")
	}
	idx := &index{children: map[v1.Hash]v1.Image{}}
	manifest := indexJSON{SchemaVersion: 2, MediaType: types.DockerManifestList}
	for _, c := range children {
		d, err := describe(c)
		if err != nil {
			return nil, err
		}
		if d.MediaType != types.DockerManifestSchema2 {
			manifest.MediaType = types.OCIImageIndex
		}
		manifest.Manifests = append(manifest.Manifests, d)
		idx.children[d.Digest] = c.Image
	}
	if base != nil {
		var err error
		if manifest.MediaType, err = base.MediaType(); err != nil {
			return nil, err
		}
		if !manifest.MediaType.IsIndex() {
			return nil, fmt.Errorf("making an index: the base's type is %q, no index",
				manifest.MediaType)
		}
	}
	if HasAnnotations(manifest.MediaType) {
		manifest.Annotations = annotations
	}
	var err error
	if idx.manifest, err = encode(manifest); err != nil {
		return nil, err
	}
	idx.mediaType, idx.digest = manifest.MediaType, digestOf(idx.manifest)
	return idx, nil
}

func describe(c Child) (d descriptorJSON, err error) {
	if d.MediaType, err = c.Image.MediaType(); err != nil {
		return d, err
	}
	if d.Digest, err = c.Image.Digest(); err != nil {
		return d, err
	}
	d.Platform = &c.Platform
	d.Size, err = c.Image.Size()
	return d, err
}

type indexJSON struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	Manifests     []descriptorJSON  `json:"manifests"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// index is a finished index; immutable.
type index struct {
	mediaType types.MediaType
	manifest  []byte
	digest    v1.Hash
	children  map[v1.Hash]v1.Image
}

var _ v1.ImageIndex = (*index)(nil)

func (x *index) MediaType() (types.MediaType, error) { return x.mediaType, nil }
func (x *index) Digest() (v1.Hash, error)            { return x.digest, nil }
func (x *index) Size() (int64, error)                { return int64(len(x.manifest)), nil }
func (x *index) RawManifest() ([]byte, error)        { return slices.Clone(x.manifest), nil }

func (x *index) IndexManifest() (*v1.IndexManifest, error) {
	return v1.ParseIndexManifest(bytes.NewReader(x.manifest))
}

func (x *index) Image(h v1.Hash) (v1.Image, error) {
	if img, ok := x.children[h]; ok {
		return img, nil
	}
	return nil, fmt.Errorf("finding image %s: the index has none of that digest", h)
}

// ImageIndex finds nothing: our indexes hold images only.
func (x *index) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	return nil, fmt.Errorf("finding index %s: the index holds images only", h)
}
