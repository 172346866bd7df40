package image

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// FamilyError is a layer whose media type does not suit the manifest it is
// added to. Some registries and runtimes refuse such a mixture.
type FamilyError struct {
	Layer, Manifest types.MediaType
}

func (e *FamilyError) Error() string {
	return fmt.Sprintf("adding a layer of type %s to a manifest of type %s", e.Layer, e.Manifest)
}

// Hint says how to get an image that may hold the layer.
func (e *FamilyError) Hint() string {
	if e.Layer == types.OCILayerZStd {
		return "Docker manifests have no zstd layers: " +
			"use --compression gzip, or a base with an OCI manifest"
	}
	return "layers of Docker and of OCI media types cannot be mixed"
}

// BaseError is an image that cannot be built on.
type BaseError struct {
	What string
	Fix  string // may be empty
}

func (e *BaseError) Error() string { return e.What }

// Hint says what to use instead.
func (e *BaseError) Hint() string { return e.Fix }

// PlatformError is an image whose config names another platform than the index
// that lists it. Such images exist, and run; the caller may choose to warn.
type PlatformError struct {
	Config, Descriptor v1.Platform
}

func (e *PlatformError) Error() string {
	return fmt.Sprintf("the index lists the image for %s, its config says %s",
		e.Descriptor, e.Config)
}

// Hint says what the user can do about it.
func (e *PlatformError) Hint() string {
	return "the image was published wrongly: choose another tag or platform of it"
}

// badBase makes a BaseError for an image that is malformed.
func badBase(format string, args ...any) error {
	return &BaseError{
		What: fmt.Sprintf(format, args...),
		Fix:  "the image is damaged or malformed: pull it again, or choose another",
	}
}
