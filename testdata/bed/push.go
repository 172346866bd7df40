package bed

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Push pushes the index of a layout to a reference such as
// "127.0.0.1:5000/nginx:stable", over http and without credentials, and returns
// its digest. It uses go-containerregistry, so that tests of decant's client start
// from what another client pushed.
func (b *Bed) Push(ctx context.Context, layoutDir, reference string) (digest string, err error) {
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		return "", fmt.Errorf("pushing %s: %w", reference, err)
	}
	index, err := readLayout(layoutDir)
	if err != nil {
		return "", err
	}
	if err := remote.WriteIndex(ref, index, remote.WithContext(ctx)); err != nil {
		return "", fmt.Errorf("pushing %s: %w", reference, err)
	}
	hash, err := index.Digest()
	if err != nil {
		return "", fmt.Errorf("pushing %s: %w", reference, err)
	}
	return hash.String(), nil
}

// PushNginx makes the nginx base when needed and pushes it to a reference.
func (b *Bed) PushNginx(ctx context.Context, reference string) error {
	dir, err := b.Nginx(ctx)
	if err != nil {
		return err
	}
	_, err = b.Push(ctx, dir, reference)
	return err
}
