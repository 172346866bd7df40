package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// origin is where something pulled comes from. It carries the context of Pull,
// which the interfaces of go-containerregistry leave no other way to pass.
type origin struct {
	c    *Client
	ctx  context.Context
	from []place
	ref  string // for errors
}

// index implements v1.ImageIndex over a registry.
type index struct {
	origin
	document
	manifest v1.IndexManifest
}

var _ v1.ImageIndex = (*index)(nil)

func newIndex(o origin, d document) (*index, error) {
	m, err := v1.ParseIndexManifest(bytes.NewReader(d.raw))
	if err != nil {
		return nil, errors.New("the index is malformed")
	}
	return &index{origin: o, document: d, manifest: *m}, nil
}

func (i *index) MediaType() (types.MediaType, error)         { return i.mediaType, nil }
func (i *index) Digest() (v1.Hash, error)                    { return i.digest, nil }
func (i *index) Size() (int64, error)                        { return int64(len(i.raw)), nil }
func (i *index) IndexManifest() (*v1.IndexManifest, error)   { return i.manifest.DeepCopy(), nil }
func (i *index) RawManifest() ([]byte, error)                { return i.raw, nil }
func (i *index) Image(digest v1.Hash) (v1.Image, error)      { return i.child(digest) }
func (i *index) ImageIndex(d v1.Hash) (v1.ImageIndex, error) { return i.childIndex(d) }
func (i *index) ArtifactType() (string, error)               { return "", nil }

func (i *index) fetch(digest v1.Hash) (document, origin, error) {
	o := i.origin
	for _, d := range i.manifest.Manifests {
		if d.Digest != digest {
			continue
		}
		if d.Platform != nil {
			o.ref = i.ref + " (" + d.Platform.String() + ")"
		}
		doc, err := o.c.fetchManifest(o.ctx, o.from, digest, o.ref)
		if err == nil && d.MediaType != "" && d.MediaType != doc.mediaType {
			err = fmt.Errorf("pulling %s: the index says %s, the manifest %s",
				o.ref, d.MediaType, doc.mediaType)
		}
		return doc, o, err
	}
	return document{}, o, fmt.Errorf("pulling %s: it has no image %s", i.ref, digest)
}

func (i *index) child(digest v1.Hash) (v1.Image, error) {
	d, o, err := i.fetch(digest)
	if err != nil {
		return nil, err
	}
	if !d.mediaType.IsImage() {
		return nil, fmt.Errorf("pulling %s: %s is no image but an index", o.ref, digest)
	}
	return newImage(o, d)
}

func (i *index) childIndex(digest v1.Hash) (v1.ImageIndex, error) {
	d, o, err := i.fetch(digest)
	if err != nil {
		return nil, err
	}
	if !d.mediaType.IsIndex() {
		return nil, fmt.Errorf("pulling %s: %s is no index but an image", o.ref, digest)
	}
	return newIndex(o, d)
}

// image implements v1.Image over a registry. Its manifest is here; its config is
// fetched when somebody asks.
type image struct {
	origin
	document
	manifest v1.Manifest

	mu     sync.Mutex
	config []byte
	parsed *v1.ConfigFile
}

var _ v1.Image = (*image)(nil)

func newImage(o origin, d document) (*image, error) {
	m, err := v1.ParseManifest(bytes.NewReader(d.raw))
	if err != nil {
		return nil, fmt.Errorf("pulling %s: the manifest is malformed", o.ref)
	}
	if m.Config.Size < 0 || m.Config.Size > maxConfig {
		return nil, fmt.Errorf("pulling %s: its config is %d bytes long, more than the %d allowed",
			o.ref, m.Config.Size, maxConfig)
	}
	for _, l := range append(m.Layers, m.Config) {
		if l.Size < 0 || l.Digest.Algorithm != "sha256" {
			return nil, fmt.Errorf("pulling %s: it has a part of size %d and digest %q",
				o.ref, l.Size, clip(l.Digest.String()))
		}
	}
	return &image{origin: o, document: d, manifest: *m}, nil
}

func (i *image) MediaType() (types.MediaType, error) { return i.mediaType, nil }
func (i *image) Digest() (v1.Hash, error)            { return i.digest, nil }
func (i *image) Size() (int64, error)                { return int64(len(i.raw)), nil }
func (i *image) Manifest() (*v1.Manifest, error)     { return i.manifest.DeepCopy(), nil }
func (i *image) RawManifest() ([]byte, error)        { return i.raw, nil }
func (i *image) ConfigName() (v1.Hash, error)        { return i.manifest.Config.Digest, nil }
func (i *image) ArtifactType() (string, error)       { return i.manifest.ArtifactType, nil }

// RawConfigFile implements v1.Image.
func (i *image) RawConfigFile() ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.rawConfig()
}

// ConfigFile implements v1.Image.
func (i *image) ConfigFile() (*v1.ConfigFile, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	c, err := i.parsedConfig()
	if err != nil {
		return nil, err
	}
	return c.DeepCopy(), nil
}

func (i *image) rawConfig() ([]byte, error) {
	if i.config != nil {
		return i.config, nil
	}
	data, err := i.c.smallBlob(i.origin, i.manifest.Config)
	if err != nil {
		return nil, err
	}
	i.config = data
	return data, nil
}

func (i *image) parsedConfig() (*v1.ConfigFile, error) {
	if i.parsed != nil {
		return i.parsed, nil
	}
	raw, err := i.rawConfig()
	if err != nil {
		return nil, err
	}
	var c v1.ConfigFile
	if json.Unmarshal(raw, &c) != nil {
		return nil, fmt.Errorf("pulling %s: its config is malformed", i.ref)
	}
	i.parsed = &c
	return &c, nil
}

// diffID returns the diffID of the n-th layer.
func (i *image) diffID(n int) (v1.Hash, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	c, err := i.parsedConfig()
	if err != nil {
		return v1.Hash{}, err
	}
	if len(c.RootFS.DiffIDs) != len(i.manifest.Layers) {
		return v1.Hash{}, fmt.Errorf("pulling %s: it has %d layers, but its config says %d",
			i.ref, len(i.manifest.Layers), len(c.RootFS.DiffIDs))
	}
	return c.RootFS.DiffIDs[n], nil
}

// Layers implements v1.Image. All of them are *Layer.
func (i *image) Layers() ([]v1.Layer, error) {
	var layers []v1.Layer
	for n := range i.manifest.Layers {
		layers = append(layers, i.layer(n))
	}
	return layers, nil
}

func (i *image) layer(n int) *Layer {
	return &Layer{
		origin: i.origin, desc: i.manifest.Layers[n],
		diffID: func() (v1.Hash, error) { return i.diffID(n) },
	}
}

// LayerByDigest implements v1.Image; the config counts as a layer there.
func (i *image) LayerByDigest(digest v1.Hash) (v1.Layer, error) {
	if digest == i.manifest.Config.Digest {
		return partial.ConfigLayer(i)
	}
	for n, d := range i.manifest.Layers {
		if d.Digest == digest {
			return i.layer(n), nil
		}
	}
	return nil, fmt.Errorf("pulling %s: it has no layer %s", i.ref, digest)
}

// LayerByDiffID implements v1.Image.
func (i *image) LayerByDiffID(diffID v1.Hash) (v1.Layer, error) {
	for n := range i.manifest.Layers {
		id, err := i.diffID(n)
		if err != nil {
			return nil, err
		}
		if id == diffID {
			return i.layer(n), nil
		}
	}
	return nil, fmt.Errorf("pulling %s: it has no layer with the diffID %s", i.ref, diffID)
}
