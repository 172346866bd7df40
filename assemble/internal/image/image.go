package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// image is a finished image: bytes, and the layers they speak of. It is
// immutable, and safe for concurrent use as far as its layers are.
type image struct {
	mediaType  types.MediaType
	manifest   []byte
	config     []byte
	digest     v1.Hash
	configName v1.Hash
	layers     []v1.Layer
	byDigest   map[v1.Hash]v1.Layer
	byDiffID   map[v1.Hash]v1.Layer
}

var _ v1.Image = (*image)(nil)

func (i *image) Layers() ([]v1.Layer, error)         { return slices.Clone(i.layers), nil }
func (i *image) MediaType() (types.MediaType, error) { return i.mediaType, nil }
func (i *image) Size() (int64, error)                { return int64(len(i.manifest)), nil }
func (i *image) ConfigName() (v1.Hash, error)        { return i.configName, nil }
func (i *image) RawConfigFile() ([]byte, error)      { return slices.Clone(i.config), nil }
func (i *image) Digest() (v1.Hash, error)            { return i.digest, nil }
func (i *image) RawManifest() ([]byte, error)        { return slices.Clone(i.manifest), nil }

func (i *image) ConfigFile() (*v1.ConfigFile, error) {
	return v1.ParseConfigFile(bytes.NewReader(i.config))
}

func (i *image) Manifest() (*v1.Manifest, error) {
	return v1.ParseManifest(bytes.NewReader(i.manifest))
}

// LayerByDigest also finds the config, as go-containerregistry's own images do.
func (i *image) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	if l, ok := i.byDigest[h]; ok {
		return l, nil
	}
	if h == i.configName {
		return partial.ConfigLayer(i)
	}
	return nil, fmt.Errorf("finding layer %s: the image has none of that digest", h)
}

func (i *image) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	if l, ok := i.byDiffID[h]; ok {
		return l, nil
	}
	return nil, fmt.Errorf("finding layer %s: the image has none of that diffID", h)
}

// manifestJSON is a manifest in the order of keys that docker and buildx write.
// Layers are raw: what the base says of them is kept.
type manifestJSON struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	Config        descriptorJSON    `json:"config"`
	Layers        []json.RawMessage `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// descriptorJSON is v1.Descriptor without what we never write, and with a
// plain key order.
type descriptorJSON struct {
	MediaType types.MediaType `json:"mediaType"`
	Digest    v1.Hash         `json:"digest"`
	Size      int64           `json:"size"`
	Platform  *v1.Platform    `json:"platform,omitempty"`
}

// parts are what an image is sealed from.
type parts struct {
	mediaType, configType types.MediaType
	config                []byte
	layers                []v1.Layer
	descriptors           []json.RawMessage // one per layer
	diffIDs               []v1.Hash         // one per layer
	annotations           map[string]string
}

// seal computes the manifest and the digests.
func seal(p parts) (*image, error) {
	i := &image{
		mediaType: p.mediaType, config: p.config, configName: digestOf(p.config),
		layers: p.layers, byDigest: map[v1.Hash]v1.Layer{}, byDiffID: map[v1.Hash]v1.Layer{},
	}
	manifest := manifestJSON{
		SchemaVersion: 2,
		MediaType:     p.mediaType,
		Config: descriptorJSON{
			MediaType: p.configType, Digest: i.configName, Size: int64(len(p.config)),
		},
		Layers:      p.descriptors,
		Annotations: p.annotations,
	}
	if manifest.Layers == nil {
		manifest.Layers = []json.RawMessage{}
	}
	for n, l := range p.layers {
		digest, err := l.Digest()
		if err != nil {
			return nil, err
		}
		i.byDigest[digest] = l
		i.byDiffID[p.diffIDs[n]] = l
	}
	var err error
	if i.manifest, err = encode(manifest); err != nil {
		return nil, err
	}
	i.digest = digestOf(i.manifest)
	return i, nil
}

// encode is json.Marshal without the escapes meant for HTML, which would change
// the bytes of what is only passed on.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func digestOf(b []byte) v1.Hash {
	sum := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}
