package output

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// storedLayer is a layer in a layout or archive.
type storedLayer struct {
	desc   v1.Descriptor
	diffID v1.Hash
	open   func() (io.ReadCloser, error) // verified
}

var _ v1.Layer = (*storedLayer)(nil)

func (l *storedLayer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l *storedLayer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *storedLayer) Size() (int64, error)                { return l.desc.Size, nil }
func (l *storedLayer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }

// Descriptor keeps annotations and urls; go-containerregistry looks for it.
func (l *storedLayer) Descriptor() (*v1.Descriptor, error) { return l.desc.DeepCopy(), nil }

// Compressed returns the layer's bytes, verified.
func (l *storedLayer) Compressed() (io.ReadCloser, error) {
	rc, err := l.open()
	if err != nil {
		return nil, fmt.Errorf("opening layer %s: %w", l.desc.Digest, err)
	}
	return rc, nil
}

// Uncompressed returns the layer's tar, verified against its diffID.
func (l *storedLayer) Uncompressed() (io.ReadCloser, error) {
	blob, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewReader(blob)
	tar, err := decompress(buffered)
	if err != nil {
		err = fmt.Errorf("decompressing layer %s: %w", l.desc.Digest, err)
		return nil, errors.Join(err, blob.Close())
	}
	if tar == nil {
		tar = io.NopCloser(buffered)
	}
	v, err := newVerifier(tar, l.diffID, -1)
	if err != nil {
		return nil, errors.Join(err, tar.Close(), blob.Close())
	}
	return &uncompressed{v, tar, blob}, nil
}

// uncompressed closes the decompressor and what it reads from.
type uncompressed struct {
	io.Reader
	tar, blob io.Closer
}

func (u *uncompressed) Close() error { return errors.Join(u.tar.Close(), u.blob.Close()) }
