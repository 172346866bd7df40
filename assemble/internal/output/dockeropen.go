package output

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// openDocker opens an image that docker save wrote.
func (s *Source) openDocker(ctx context.Context, x *tarIndex, want selector) error {
	raw, err := x.document(dockerManifest, maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return &FormatError{Path: x.path, What: dockerArchive.missing(),
			Fix: "an archive of an OCI layout is oci-archive:FILE"}
	}
	if err != nil {
		return err
	}
	var entries []dockerEntry
	if err := json.Unmarshal(raw, &entries); err != nil {
		return x.bad(fmt.Sprintf("parsing %s: %v", dockerManifest, err))
	}
	e, err := pickDocker(entries, x.path, want)
	if err != nil {
		return err
	}
	if len(e.RepoTags) > 0 {
		s.Name = e.RepoTags[0]
	}
	img, err := loadDocker(ctx, x, e)
	if err != nil {
		return err
	}
	s.Image, s.Digest = img, img.desc.Digest
	return nil
}

// pickDocker finds the one image that is meant. The digest is an image's ID, by
// which docker save names the config; loadDocker verifies that.
func pickDocker(entries []dockerEntry, path string, want selector) (dockerEntry, error) {
	var found []dockerEntry
	missing := &SelectError{Path: path, Name: want.String()}
	for _, e := range entries {
		missing.Have = append(missing.Have, e.text())
		same := func(tag string) bool { return sameName(tag, want.name) }
		named := want.name == "" || slices.ContainsFunc(e.RepoTags, same)
		if named && (want.digest.Hex == "" || want.digest.Hex == configHex(e.Config)) {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		return dockerEntry{}, missing
	}
	return found[0], nil
}

// sameName compares a tag of an archive with a full name or a bare tag.
func sameName(have, want string) bool {
	n, err := parseName(have)
	if err != nil {
		return have == want
	}
	return n.tag == want || n.full == fullName(want)
}

// text names an image to a person.
func (e dockerEntry) text() string {
	if len(e.RepoTags) > 0 {
		return e.RepoTags[0]
	}
	return e.Config
}

// maxLayers bounds the layers of an image; docker itself stops at 127.
const maxLayers = 1000

// loadDocker makes the manifest that the archive lacks.
func loadDocker(ctx context.Context, x *tarIndex, e dockerEntry) (*storedImage, error) {
	config, err := x.document(e.Config, maxConfig)
	if err != nil {
		return nil, err
	}
	var file v1.ConfigFile
	if err := json.Unmarshal(config, &file); err != nil {
		return nil, x.bad(fmt.Sprintf("parsing config %q: %v", e.Config, err))
	}
	// Of what docker save writes the name is the digest.
	if h, err := v1.NewHash("sha256:" + configHex(e.Config)); err == nil && h != digestOf(config) {
		return nil, &CorruptError{h, "the config's content does not match its name"}
	}
	n := len(e.Layers)
	if n != len(file.RootFS.DiffIDs) || n > maxLayers {
		return nil, x.bad(fmt.Sprintf("%q has %d layers, its config has %d",
			e.text(), n, len(file.RootFS.DiffIDs)))
	}
	var layers []*storedLayer
	for i, name := range e.Layers {
		l, err := dockerLayer(ctx, x, name, file.RootFS.DiffIDs[i])
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	return newDockerStored(config, file.RootFS.DiffIDs, layers)
}

// configHex is the name of a config without what goes around a digest.
func configHex(name string) string {
	base := path.Base(name)
	return base[:len(base)-len(path.Ext(base))]
}

// dockerLayer describes a layer's file. A compressed one is read to learn its
// digest; that of any other is the diffID, which is verified when it is read.
func dockerLayer(
	ctx context.Context, x *tarIndex, name string, diffID v1.Hash,
) (*storedLayer, error) {
	file, err := x.section(name)
	if err != nil {
		return nil, err
	}
	var magic [4]byte
	n, err := file.ReadAt(magic[:], 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	d := v1.Descriptor{Size: file.Size()}
	switch compressionOf(magic[:n]) {
	case gzipped:
		d.MediaType = types.DockerLayer
	case zstandard:
		d.MediaType = types.OCILayerZStd
	default:
		d.MediaType, d.Digest = types.DockerUncompressedLayer, diffID
	}
	if d.Digest.Hex == "" {
		if d.Digest, err = sumOf(ctx, file); err != nil {
			return nil, err
		}
	}
	return &storedLayer{desc: d, diffID: diffID, open: func() (io.ReadCloser, error) {
		section := io.NewSectionReader(file, 0, file.Size())
		v, err := newVerifier(section, d.Digest, d.Size)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(v), nil
	}}, nil
}

func sumOf(ctx context.Context, file *io.SectionReader) (v1.Hash, error) {
	sum, err := v1.Hasher("sha256")
	if err != nil {
		return v1.Hash{}, err
	}
	_, err = io.Copy(sum, &cancellable{ctx, io.NewSectionReader(file, 0, file.Size())})
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}, err
}

// newDockerStored makes a Docker manifest for layers, or an OCI one if a layer
// needs it: there is no zstd in Docker manifests.
func newDockerStored(
	config []byte, diffIDs []v1.Hash, layers []*storedLayer,
) (*storedImage, error) {
	manifest := &v1.Manifest{
		SchemaVersion: 2, MediaType: types.DockerManifestSchema2, Layers: []v1.Descriptor{},
		Config: v1.Descriptor{
			MediaType: types.DockerConfigJSON, Digest: digestOf(config), Size: int64(len(config)),
		},
	}
	isZstd := func(l *storedLayer) bool { return l.desc.MediaType == types.OCILayerZStd }
	if slices.ContainsFunc(layers, isZstd) {
		manifest.MediaType, manifest.Config.MediaType = types.OCIManifestSchema1, types.OCIConfigJSON
		for _, l := range layers {
			l.desc.MediaType = ociType(l.desc.MediaType)
		}
	}
	i := &storedImage{config: config, diffIDs: diffIDs, manifest: manifest}
	for _, l := range layers {
		manifest.Layers = append(manifest.Layers, l.desc)
		i.layers = append(i.layers, l)
	}
	var err error
	if i.raw, err = encode(manifest); err != nil {
		return nil, err
	}
	i.desc = v1.Descriptor{
		MediaType: manifest.MediaType, Digest: digestOf(i.raw), Size: int64(len(i.raw)),
	}
	return i, nil
}

// ociType is what OCI calls a Docker layer.
func ociType(layer types.MediaType) types.MediaType {
	switch layer {
	case types.DockerLayer:
		return types.OCILayer
	case types.DockerUncompressedLayer:
		return types.OCIUncompressedLayer
	}
	return layer
}
