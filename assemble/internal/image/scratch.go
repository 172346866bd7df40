package image

import (
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Scratch is the base that has nothing: an OCI image for platform, without
// layers. As any base it is meant for Append, which dates it.
func Scratch(platform v1.Platform) v1.Image {
	type rootfs struct {
		Type    string    `json:"type"`
		DiffIDs []v1.Hash `json:"diff_ids"`
	}
	config, err := encode(struct {
		Architecture string   `json:"architecture"`
		Config       struct{} `json:"config"`
		OS           string   `json:"os"`
		OSVersion    string   `json:"os.version,omitempty"`
		OSFeatures   []string `json:"os.features,omitempty"`
		RootFS       rootfs   `json:"rootfs"`
		Variant      string   `json:"variant,omitempty"`
	}{
		Architecture: platform.Architecture,
		OS:           platform.OS,
		OSVersion:    platform.OSVersion,
		OSFeatures:   platform.OSFeatures,
		RootFS:       rootfs{Type: "layers", DiffIDs: []v1.Hash{}},
		Variant:      platform.Variant,
	})
	if err != nil {
		panic(err) // strings and lists of strings always encode
	}
	img, err := seal(parts{
		mediaType: types.OCIManifestSchema1, configType: types.OCIConfigJSON, config: config,
	})
	if err != nil {
		panic(err) // there is no layer whose accessors could fail
	}
	return img
}
