package image

import (
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Bounds of what is accepted as a base. Real manifests have some kilobytes; a
// registry refuses larger ones than these.
const (
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
)

// CheckConfig reports an image that cannot be built on: documents that do not
// parse, are too large, contradict one another or their digests (a BaseError),
// or that are made for another platform than want (a PlatformError). A variant
// or os.version that only one side names is no contradiction.
func CheckConfig(img v1.Image, want v1.Platform) error {
	b, err := readBase(img)
	if err != nil {
		return err
	}
	have := platformOf(b.config)
	if have.OS == "" || have.Architecture == "" {
		return badBase("the config names no platform")
	}
	h, w := normalize(have), normalize(want)
	sameVariant := have.Variant == "" || want.Variant == "" || h.Variant == w.Variant
	sameVersion := have.OSVersion == "" || want.OSVersion == "" || have.OSVersion == want.OSVersion
	if h.OS != w.OS || h.Architecture != w.Architecture || !sameVariant || !sameVersion {
		return &PlatformError{Config: have, Descriptor: want}
	}
	return nil
}

func platformOf(config *v1.ConfigFile) v1.Platform {
	return v1.Platform{
		OS: config.OS, Architecture: config.Architecture, Variant: config.Variant,
		OSVersion: config.OSVersion, OSFeatures: config.OSFeatures,
	}
}
