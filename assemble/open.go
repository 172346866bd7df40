package assemble

import (
	"context"
	"fmt"

	"github.com/decant-build/decant/assemble/internal/output"
)

// OpenImage opens an image that is on this machine: "oci:DIR[:TAG|@DIGEST]",
// "oci-archive:FILE", "docker-archive:FILE", or a name in the store at storeDir.
// Blobs are read as they are asked for. The caller calls Close.
func OpenImage(ctx context.Context, source, storeDir string) (*Base, error) {
	var s *output.Source
	var err error
	if isFileBase(source) {
		s, err = output.Open(ctx, source, "")
	} else {
		var store *output.Store
		if store, err = output.OpenStore(storeDir); err == nil {
			s, err = store.Get(source)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", source, err)
	}
	return &Base{Digest: s.Digest, Index: s.Index, Image: s.Image, Close: s.Close}, nil
}
