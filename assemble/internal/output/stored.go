package output

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func digestOf(raw []byte) v1.Hash {
	sum := sha256.Sum256(raw)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// readBlob reads and verifies a document.
func readBlob(store blobStore, d v1.Descriptor, limit int64) ([]byte, error) {
	if d.Size < 0 {
		return nil, &FormatError{Path: store.String(),
			What: fmt.Sprintf("%s has a negative size, %d", d.Digest, d.Size)}
	}
	if d.Size > limit {
		return nil, &FormatError{Path: store.String(),
			What: fmt.Sprintf("%s has %d bytes, more than %d", d.Digest, d.Size, limit)}
	}
	rc, err := openBlob(store, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return readBounded(rc, limit)
}

// openBlob opens a blob for a reader that must not be given anything else.
func openBlob(store blobStore, d v1.Descriptor) (io.ReadCloser, error) {
	rc, size, err := store.open(d.Digest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &FormatError{Path: store.String(), What: fmt.Sprintf("blob %s is missing", d.Digest), Err: err}
	}
	if err != nil {
		return nil, err
	}
	if size != d.Size {
		rc.Close()
		return nil, &CorruptError{d.Digest, fmt.Sprintf("it has %d bytes, not %d", size, d.Size)}
	}
	v, err := newVerifier(rc, d.Digest, d.Size)
	if err != nil {
		rc.Close()
		return nil, err
	}
	return &readCloser{v, rc}, nil
}

// readCloser reads from one and closes the other.
type readCloser struct {
	io.Reader
	io.Closer
}

// storedIndex is an index in a layout. Its children are read when asked for.
type storedIndex struct {
	store    blobStore
	desc     v1.Descriptor
	raw      []byte
	manifest *v1.IndexManifest
	depth    int
}

var _ v1.ImageIndex = (*storedIndex)(nil)

func loadIndex(store blobStore, d v1.Descriptor, depth int) (*storedIndex, error) {
	if depth >= maxDepth {
		return nil, &FormatError{Path: store.String(),
			What: fmt.Sprintf("indexes are nested more than %d deep", maxDepth)}
	}
	raw, err := readBlob(store, d, maxManifest)
	if err != nil {
		return nil, err
	}
	return newStoredIndex(store, d, raw, depth)
}

func newStoredIndex(store blobStore, d v1.Descriptor, raw []byte, depth int) (*storedIndex, error) {
	x := &storedIndex{store: store, desc: d, raw: raw, manifest: &v1.IndexManifest{}, depth: depth}
	if err := json.Unmarshal(raw, x.manifest); err != nil {
		return nil, &FormatError{Path: store.String(),
			What: fmt.Sprintf("parsing index %s: %v", d.Digest, err)}
	}
	if len(x.manifest.Manifests) > maxEntries {
		return nil, &FormatError{Path: store.String(),
			What: fmt.Sprintf("index %s has more than %d entries", d.Digest, maxEntries)}
	}
	return x, checkType(store, d, x.manifest.MediaType)
}

// checkType reports a document that calls itself something else than its
// descriptor does: two readers could take it for two things.
func checkType(store blobStore, d v1.Descriptor, inside types.MediaType) error {
	if inside != "" && inside != d.MediaType {
		return &FormatError{Path: store.String(),
			What: fmt.Sprintf("%s is said to be of type %q and says %q", d.Digest, d.MediaType, inside)}
	}
	return nil
}

func (x *storedIndex) MediaType() (types.MediaType, error) { return x.desc.MediaType, nil }
func (x *storedIndex) Digest() (v1.Hash, error)            { return x.desc.Digest, nil }
func (x *storedIndex) Size() (int64, error)                { return x.desc.Size, nil }
func (x *storedIndex) RawManifest() ([]byte, error)        { return slices.Clone(x.raw), nil }

func (x *storedIndex) IndexManifest() (*v1.IndexManifest, error) {
	return x.manifest.DeepCopy(), nil
}

func (x *storedIndex) Image(h v1.Hash) (v1.Image, error) {
	d, err := x.child(h)
	if err != nil {
		return nil, err
	}
	if !d.MediaType.IsImage() {
		return nil, fmt.Errorf("finding image %s: it is of type %q", h, d.MediaType)
	}
	return loadImage(x.store, d)
}

func (x *storedIndex) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	d, err := x.child(h)
	if err != nil {
		return nil, err
	}
	if !d.MediaType.IsIndex() {
		return nil, fmt.Errorf("finding index %s: it is of type %q", h, d.MediaType)
	}
	return loadIndex(x.store, d, x.depth+1)
}

func (x *storedIndex) child(h v1.Hash) (v1.Descriptor, error) {
	for _, d := range x.manifest.Manifests {
		if d.Digest == h {
			return d, nil
		}
	}
	return v1.Descriptor{}, fmt.Errorf("finding %s: the index has none of that digest", h)
}

// storedImage is an image in a layout or archive. Its documents are in memory.
type storedImage struct {
	desc        v1.Descriptor
	raw, config []byte
	manifest    *v1.Manifest
	layers      []v1.Layer
	diffIDs     []v1.Hash
}

var _ v1.Image = (*storedImage)(nil)

func loadImage(store blobStore, d v1.Descriptor) (*storedImage, error) {
	raw, err := readBlob(store, d, maxManifest)
	if err != nil {
		return nil, err
	}
	i := &storedImage{desc: d, raw: raw, manifest: &v1.Manifest{}}
	if err := json.Unmarshal(raw, i.manifest); err != nil {
		return nil, &FormatError{Path: store.String(),
			What: fmt.Sprintf("parsing manifest %s: %v", d.Digest, err)}
	}
	if err := checkType(store, d, i.manifest.MediaType); err != nil {
		return nil, err
	}
	if i.config, err = readBlob(store, i.manifest.Config, maxConfig); err != nil {
		return nil, err
	}
	if err := i.readDiffIDs(store); err != nil {
		return nil, err
	}
	for n, l := range i.manifest.Layers {
		i.layers = append(i.layers, &storedLayer{
			desc: l, diffID: i.diffIDs[n],
			open: func() (io.ReadCloser, error) { return openBlob(store, l) },
		})
	}
	return i, nil
}

// readDiffIDs pairs the layers with the config's diffIDs. What an artifact calls
// layers are files; they are their own diffIDs.
func (i *storedImage) readDiffIDs(store blobStore) error {
	if !i.manifest.Config.MediaType.IsConfig() {
		for _, l := range i.manifest.Layers {
			i.diffIDs = append(i.diffIDs, l.Digest)
		}
		return nil
	}
	var config v1.ConfigFile
	if err := json.Unmarshal(i.config, &config); err != nil {
		return &FormatError{Path: store.String(),
			What: fmt.Sprintf("parsing config %s: %v", i.manifest.Config.Digest, err)}
	}
	i.diffIDs = config.RootFS.DiffIDs
	if len(i.diffIDs) != len(i.manifest.Layers) {
		return &FormatError{Path: store.String(), What: fmt.Sprintf(
			"%s has %d layers in its manifest and %d in its config",
			i.desc.Digest, len(i.manifest.Layers), len(i.diffIDs))}
	}
	return nil
}

func (i *storedImage) Layers() ([]v1.Layer, error)         { return slices.Clone(i.layers), nil }
func (i *storedImage) MediaType() (types.MediaType, error) { return i.desc.MediaType, nil }
func (i *storedImage) Size() (int64, error)                { return int64(len(i.raw)), nil }
func (i *storedImage) ConfigName() (v1.Hash, error)        { return i.manifest.Config.Digest, nil }
func (i *storedImage) RawConfigFile() ([]byte, error)      { return slices.Clone(i.config), nil }
func (i *storedImage) Digest() (v1.Hash, error)            { return i.desc.Digest, nil }
func (i *storedImage) Manifest() (*v1.Manifest, error)     { return i.manifest.DeepCopy(), nil }
func (i *storedImage) RawManifest() ([]byte, error)        { return slices.Clone(i.raw), nil }

func (i *storedImage) ConfigFile() (*v1.ConfigFile, error) {
	return v1.ParseConfigFile(bytes.NewReader(i.config))
}

// LayerByDigest also finds the config, as go-containerregistry's own images do.
func (i *storedImage) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	for n, l := range i.manifest.Layers {
		if l.Digest == h {
			return i.layers[n], nil
		}
	}
	if h == i.manifest.Config.Digest {
		return partial.ConfigLayer(i)
	}
	return nil, fmt.Errorf("finding layer %s: the image has none of that digest", h)
}

func (i *storedImage) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	if n := slices.Index(i.diffIDs, h); n >= 0 {
		return i.layers[n], nil
	}
	return nil, fmt.Errorf("finding layer %s: the image has none of that diffID", h)
}
