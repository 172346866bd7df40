package image

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Options says what Append adds to the base. The zero value adds nothing.
type Options struct {
	// Layers are put on top of the base's, in order. Their media type must suit
	// the base's manifest.
	Layers []v1.Layer
	// History has one entry per layer of Layers, in order, and may have others
	// with EmptyLayer set. An entry without a time has Created.
	History []v1.History
	// Created is the time of the image; the zero value is the Unix epoch.
	Created time.Time
	// Env holds K=V; it replaces the base's value of K, and what is new comes last.
	Env []string
	// Labels are added to the base's, and replace those of the same name.
	Labels map[string]string
	// Ports are exposed in addition to the base's: "8080", "8080/tcp", "53/udp".
	Ports []string
	// User replaces the base's unless it is nil.
	User *string
	// Config sets members of the config's "config" object, ahead of the fields above:
	// null removes one.
	Config map[string]json.RawMessage
	// Author replaces the base's unless it is "".
	Author string
	// Annotations are all that the manifest has. They are left out where
	// HasAnnotations is false.
	Annotations map[string]string
}

// HasAnnotations says whether manifests and indexes of a media type have
// annotations: OCI's do, and Docker's do not.
func HasAnnotations(manifest types.MediaType) bool {
	return manifest == types.OCIManifestSchema1 || manifest == types.OCIImageIndex
}

// Append returns base with o added. The base is not changed, and its layers are
// not read. A layer that does not suit the base is a FamilyError, a base that
// cannot be built on a BaseError.
func Append(base v1.Image, o Options) (v1.Image, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	b, err := readBase(base)
	if err != nil {
		return nil, err
	}
	p := parts{
		mediaType: b.mediaType, configType: b.manifest.Config.MediaType,
		layers: b.layers, descriptors: b.descriptors, diffIDs: b.config.RootFS.DiffIDs,
	}
	if HasAnnotations(b.mediaType) {
		p.annotations = o.Annotations
	}
	for _, l := range o.Layers {
		if err := p.add(l); err != nil {
			return nil, err
		}
	}
	if p.config, err = editConfig(b, p.diffIDs, o); err != nil {
		return nil, fmt.Errorf("editing the image's config: %w", err)
	}
	return seal(p)
}

// check reports what is wrong with the options alone.
func (o Options) check() error {
	for _, kv := range o.Env {
		if k, _, ok := strings.Cut(kv, "="); !ok || k == "" || strings.ContainsRune(kv, 0) {
			return fmt.Errorf("setting environment %q: it is not of the form NAME=VALUE", kv)
		}
	}
	if _, ok := o.Labels[""]; ok {
		return fmt.Errorf("setting a label: its name is empty")
	}
	if _, ok := o.Annotations[""]; ok {
		return fmt.Errorf("setting an annotation: its name is empty")
	}
	n := 0
	for _, h := range o.History {
		if !h.EmptyLayer {
			n++
		}
	}
	if len(o.History) > 0 && n != len(o.Layers) {
		return fmt.Errorf("adding history: %d entries for %d layers", n, len(o.Layers))
	}
	return CheckPorts(o.Ports)
}

// add appends a layer with its descriptor.
func (p *parts) add(l v1.Layer) error {
	mediaType, err := l.MediaType()
	if err != nil {
		return err
	}
	if !suits(mediaType, p.mediaType) {
		return &FamilyError{Layer: mediaType, Manifest: p.mediaType}
	}
	d := descriptorJSON{MediaType: mediaType}
	if d.Digest, err = l.Digest(); err != nil {
		return err
	}
	if d.Size, err = l.Size(); err != nil {
		return err
	}
	diffID, err := l.DiffID()
	if err != nil {
		return err
	}
	raw, err := encode(d)
	if err != nil {
		return err
	}
	p.layers = append(p.layers, l)
	p.descriptors = append(p.descriptors, raw)
	p.diffIDs = append(p.diffIDs, diffID)
	return nil
}

// suits says whether a layer belongs to the family of the manifest.
func suits(layer, manifest types.MediaType) bool {
	switch layer {
	case types.DockerLayer, types.DockerUncompressedLayer:
		return manifest == types.DockerManifestSchema2
	case types.OCILayer, types.OCILayerZStd, types.OCIUncompressedLayer:
		return manifest == types.OCIManifestSchema1
	}
	return false
}

// base is what is known of an image before it is built on. Its slices have no
// spare capacity: appending to them does not reach the image they came from.
type base struct {
	mediaType   types.MediaType
	manifest    *v1.Manifest
	rawConfig   []byte
	config      *v1.ConfigFile
	layers      []v1.Layer
	descriptors []json.RawMessage
}

// readBase reads and checks the base's documents.
func readBase(img v1.Image) (*base, error) {
	var b base
	var err error
	if b.mediaType, err = img.MediaType(); err != nil {
		return nil, err
	}
	if b.mediaType != types.OCIManifestSchema1 && b.mediaType != types.DockerManifestSchema2 {
		return nil, &BaseError{
			What: fmt.Sprintf("the manifest is of type %q, which is no image", b.mediaType),
			Fix:  "use an image with an OCI or a Docker (schema 2) manifest",
		}
	}
	if err = b.readManifest(img); err != nil {
		return nil, err
	}
	if err = b.readConfig(img); err != nil {
		return nil, err
	}
	if b.layers, err = img.Layers(); err != nil {
		return nil, err
	}
	n := len(b.layers)
	if n != len(b.descriptors) || n != len(b.config.RootFS.DiffIDs) {
		return nil, badBase("the manifest has %d layers, the config %d",
			len(b.descriptors), len(b.config.RootFS.DiffIDs))
	}
	for i, l := range b.layers {
		digest, err := l.Digest()
		if err != nil {
			return nil, err
		}
		if digest != b.manifest.Layers[i].Digest {
			return nil, badBase("layer %d is %s, the manifest says %s",
				i, digest, b.manifest.Layers[i].Digest)
		}
	}
	b.layers = b.layers[:n:n]
	b.config.RootFS.DiffIDs = b.config.RootFS.DiffIDs[:n:n]
	return &b, nil
}

func (b *base) readManifest(img v1.Image) error {
	raw, err := img.RawManifest()
	if err != nil {
		return err
	}
	if len(raw) > maxManifest {
		return badBase("the manifest has %d bytes, more than %d", len(raw), maxManifest)
	}
	var manifest struct {
		v1.Manifest
		Layers []json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return badBase("parsing the manifest: %v", err)
	}
	b.manifest = &manifest.Manifest
	b.descriptors = manifest.Layers
	for _, d := range manifest.Layers {
		var parsed v1.Descriptor
		if err := json.Unmarshal(d, &parsed); err != nil {
			return badBase("parsing the manifest's layers: %v", err)
		}
		b.manifest.Layers = append(b.manifest.Layers, parsed)
	}
	n := len(b.descriptors)
	b.descriptors = b.descriptors[:n:n]
	if !b.manifest.Config.MediaType.IsConfig() {
		return &BaseError{
			What: fmt.Sprintf("its config is of type %q: it is an artifact, no image",
				b.manifest.Config.MediaType),
			Fix: "use a container image",
		}
	}
	return nil
}

func (b *base) readConfig(img v1.Image) error {
	var err error
	if b.rawConfig, err = img.RawConfigFile(); err != nil {
		return err
	}
	if len(b.rawConfig) > maxConfig {
		return badBase("the config has %d bytes, more than %d", len(b.rawConfig), maxConfig)
	}
	want := b.manifest.Config
	if want.Digest.Algorithm == "sha256" && digestOf(b.rawConfig) != want.Digest {
		return badBase("the config does not match its digest %s", want.Digest)
	}
	b.config = &v1.ConfigFile{}
	if err := json.Unmarshal(b.rawConfig, b.config); err != nil {
		return badBase("parsing the config: %v", err)
	}
	return nil
}
