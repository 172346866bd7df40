package registry

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Layer is a layer of a pulled image. It stays in its registry until it is read,
// and knows where that is, so that a Target can mount or copy it.
//
// Its methods may be called by several goroutines at once.
type Layer struct {
	origin
	desc   v1.Descriptor
	diffID func() (v1.Hash, error)
}

var _ v1.Layer = (*Layer)(nil)

// Digest implements v1.Layer.
func (l *Layer) Digest() (v1.Hash, error) { return l.desc.Digest, nil }

// DiffID implements v1.Layer. It reads the image's config.
func (l *Layer) DiffID() (v1.Hash, error) { return l.diffID() }

// Size implements v1.Layer.
func (l *Layer) Size() (int64, error) { return l.desc.Size, nil }

// MediaType implements v1.Layer.
func (l *Layer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }

// Descriptor returns the layer's entry in its manifest, with what that says
// beyond the digest: annotations, and the URLs of a foreign layer.
func (l *Layer) Descriptor() (*v1.Descriptor, error) { return l.desc.DeepCopy(), nil }

// Compressed returns the layer's bytes from its registry. They are verified: if
// they are not what the digest promises, the last Read fails instead of returning
// io.EOF. A broken connection is continued where it broke. The caller closes it.
func (l *Layer) Compressed() (io.ReadCloser, error) {
	return l.c.openBlob(l.ctx, l.from, l.desc, l.ref)
}

// maxWindow bounds the memory that a zstd layer can ask for.
const maxWindow = 128 << 20

// Uncompressed is Compressed through the decompressor that the bytes need. It
// does not compare the result with the diffID. The caller closes it.
func (l *Layer) Uncompressed() (io.ReadCloser, error) {
	rc, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewReaderSize(rc, 64<<10)
	magic, err := buffered.Peek(4)
	if err != nil && err != io.EOF {
		return nil, errors.Join(err, rc.Close())
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, errors.Join(l.unpackError(err), rc.Close())
		}
		return &unpacked{z, func() error { return errors.Join(z.Close(), rc.Close()) }}, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, errors.Join(l.unpackError(err), rc.Close())
		}
		return &unpacked{z, func() error { z.Close(); return rc.Close() }}, nil
	}
	return &unpacked{buffered, rc.Close}, nil
}

func (l *Layer) unpackError(err error) error {
	return fmt.Errorf("unpacking layer %s of %s: %w", l.desc.Digest, l.ref, err)
}

type unpacked struct {
	io.Reader
	close func() error
}

func (u *unpacked) Close() error { return u.close() }

// foreign tells whether a layer is kept elsewhere, by decision of its owner: such
// a layer is not uploaded.
func foreign(l v1.Layer) bool {
	kind, err := l.MediaType()
	return err == nil && !kind.IsDistributable()
}

// smallBlob returns a config, from the cache if it has it.
func (c *Client) smallBlob(o origin, d v1.Descriptor) ([]byte, error) {
	if d.Data != nil && int64(len(d.Data)) == d.Size && verify(d.Data, d.Digest) == nil {
		return d.Data, nil
	}
	if data, ok := c.cache.get(d.Digest, maxConfig); ok {
		return data, nil
	}
	if c.opts.Offline {
		return nil, &OfflineError{Ref: "the config of " + o.ref}
	}
	data, err := c.readBlob(o.ctx, o.from, d, o.ref)
	if err != nil {
		return nil, err
	}
	c.cache.put(d.Digest, data)
	return data, nil
}

func (c *Client) readBlob(ctx context.Context, from []place, d v1.Descriptor,
	ref string) (_ []byte, err error) {
	rc, err := c.openBlob(ctx, from, d, ref)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	return io.ReadAll(rc) // the reader ends at d.Size, which the caller has checked
}
