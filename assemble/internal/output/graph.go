package output

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Bounds of an image's graph.
const (
	maxBlobs = 50_000
	maxDepth = 4 // an index of indexes of images is 3
)

// Manifest is an image to write: a v1.Image or a v1.ImageIndex.
type Manifest interface {
	Digest() (v1.Hash, error)
	Size() (int64, error)
	MediaType() (types.MediaType, error)
	RawManifest() ([]byte, error)
}

// blob is one file of a layout.
type blob struct {
	digest v1.Hash
	size   int64
	open   func() (io.ReadCloser, error)
}

// graph is an image taken apart.
type graph struct {
	root  v1.Descriptor // of the manifest or index itself
	blobs []blob        // each once, sorted by digest
}

// collect lists the blobs of m. Layers are not opened.
func collect(m Manifest) (*graph, error) {
	c := collector{blobs: map[v1.Hash]blob{}}
	root, err := c.manifest(m, 0)
	if err != nil {
		return nil, err
	}
	g := &graph{root: root}
	for _, b := range c.blobs {
		g.blobs = append(g.blobs, b)
	}
	slices.SortFunc(g.blobs, func(a, b blob) int {
		return cmp.Compare(a.digest.String(), b.digest.String())
	})
	return g, nil
}

type collector struct {
	blobs map[v1.Hash]blob
}

func (c *collector) add(b blob) error {
	if have, ok := c.blobs[b.digest]; ok && have.size != b.size {
		return &CorruptError{b.digest, fmt.Sprintf("its size is %d in one place and %d in another",
			have.size, b.size)}
	}
	c.blobs[b.digest] = b
	if len(c.blobs) > maxBlobs {
		return fmt.Errorf("listing the image's blobs: there are more than %d", maxBlobs)
	}
	return nil
}

// document adds bytes that are at hand.
func (c *collector) document(digest v1.Hash, raw []byte) error {
	return c.add(blob{digest: digest, size: int64(len(raw)), open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(raw)), nil
	}})
}

func (c *collector) manifest(m Manifest, depth int) (d v1.Descriptor, err error) {
	if depth >= maxDepth {
		return d, fmt.Errorf("listing the image's blobs: indexes are nested more than %d deep", maxDepth)
	}
	switch m := m.(type) {
	case v1.ImageIndex:
		err = c.index(m, depth)
	case v1.Image:
		err = c.image(m)
	default:
		err = fmt.Errorf("listing the image's blobs: %T is neither an image nor an index", m)
	}
	if err != nil {
		return d, err
	}
	if d.Digest, err = m.Digest(); err != nil {
		return d, err
	}
	if d.MediaType, err = m.MediaType(); err != nil {
		return d, err
	}
	raw, err := m.RawManifest()
	if err != nil {
		return d, err
	}
	d.Size = int64(len(raw))
	return d, c.document(d.Digest, raw)
}

func (c *collector) index(idx v1.ImageIndex, depth int) error {
	manifest, err := idx.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range manifest.Manifests {
		var child Manifest
		switch {
		case d.MediaType.IsImage():
			child, err = idx.Image(d.Digest)
		case d.MediaType.IsIndex():
			child, err = idx.ImageIndex(d.Digest)
		default:
			err = &UnsupportedError{What: fmt.Sprintf("the index holds %s of type %q, which is no image",
				d.Digest, d.MediaType), Fix: "choose a platform's image by its digest"}
		}
		if err != nil {
			return err
		}
		got, err := c.manifest(child, depth+1)
		if err != nil {
			return err
		}
		if got.Digest != d.Digest || got.Size != d.Size {
			return &CorruptError{d.Digest, fmt.Sprintf("the index says %d bytes, it is %s of %d bytes",
				d.Size, got.Digest, got.Size)}
		}
	}
	return nil
}

func (c *collector) image(img v1.Image) error {
	manifest, err := img.Manifest()
	if err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	if err := c.document(manifest.Config.Digest, config); err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	if len(layers) != len(manifest.Layers) {
		return fmt.Errorf("listing the image's blobs: %d layers where the manifest has %d",
			len(layers), len(manifest.Layers))
	}
	for i, d := range manifest.Layers {
		if !d.MediaType.IsDistributable() {
			continue
		}
		if err := c.add(blob{digest: d.Digest, size: d.Size, open: layers[i].Compressed}); err != nil {
			return err
		}
	}
	return nil
}
