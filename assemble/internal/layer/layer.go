package layer

import (
	"errors"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Layer is a finished layer. It implements v1.Layer: digests and sizes are known
// and no accessor computes anything. Safe for concurrent use.
type Layer struct {
	compression    Compression
	digest, diffID v1.Hash
	size, rawSize  int64
	stats          Stats

	mu    sync.Mutex
	path  string
	owned bool // the file at path is ours to remove
}

// Stats says what a build did.
type Stats struct {
	Files            int   // in the layer
	ReadBytes        int64 // of content, read from files
	ReusedChunks     int   // copied from the blob of an earlier build
	CompressedChunks int
	RawBytes         int64 // of the tar
	CompressedBytes  int64
}

var _ v1.Layer = (*Layer)(nil)

// Digest returns the digest of the compressed layer.
func (l *Layer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID returns the digest of the tar.
func (l *Layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// Size returns the number of compressed bytes.
func (l *Layer) Size() (int64, error) { return l.size, nil }

// UncompressedSize returns the number of bytes of the tar. The partial package of
// go-containerregistry finds it, and then need not decompress to count.
func (l *Layer) UncompressedSize() (int64, error) { return l.rawSize, nil }

// MediaType returns the OCI media type; see As for Docker's.
func (l *Layer) MediaType() (types.MediaType, error) { return l.compression.mediaType(), nil }

// Compressed returns a new reader of the compressed layer. It verifies what it
// reads: instead of a wrong last byte it returns a DamagedError. It returns
// ErrNoBlob when there is no file.
func (l *Layer) Compressed() (io.ReadCloser, error) {
	path := l.Path()
	if path == "" {
		return nil, fmt.Errorf("reading layer %s: %w", l.digest, ErrNoBlob)
	}
	return openVerified(path, l.digest, l.size)
}

// Uncompressed returns a new reader of the tar; it fails as Compressed does.
func (l *Layer) Uncompressed() (io.ReadCloser, error) {
	blob, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	tar, err := newDecoder(l.compression, blob)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("decompressing layer %s: %w", l.digest, err),
			blob.Close())
	}
	return &unpacked{ReadCloser: tar, blob: blob}, nil
}

// unpacked closes the decompressor and what it reads from.
type unpacked struct {
	io.ReadCloser
	blob io.Closer
}

func (u *unpacked) Close() error { return errors.Join(u.ReadCloser.Close(), u.blob.Close()) }

// As returns the same layer under another media type, which must name the same
// compression: Docker's for an image on a Docker base.
func (l *Layer) As(mediaType types.MediaType) v1.Layer {
	return &renamed{Layer: l, mediaType: mediaType}
}

type renamed struct {
	*Layer
	mediaType types.MediaType
}

func (r *renamed) MediaType() (types.MediaType, error) { return r.mediaType, nil }

// Path returns the file that holds the compressed layer; "" when there is none.
// Build does not sync it.
func (l *Layer) Path() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.path
}

// Moved tells the layer that its owner moved the file to path. It is then no
// longer removed by Close.
func (l *Layer) Moved(path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.path, l.owned = path, false
}

// Stats returns what the build did. It is zero but for the sizes in a layer from
// a Record.
func (l *Layer) Stats() Stats { return l.stats }

// Close removes the file, unless it was moved or is that of an earlier build.
// After it Compressed returns ErrNoBlob. It may be called again.
func (l *Layer) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	path := l.path
	if !l.owned {
		return nil
	}
	l.path, l.owned = "", false
	if err := removeFile(path); err != nil {
		return fmt.Errorf("removing the layer's spool: %w", err)
	}
	return nil
}
