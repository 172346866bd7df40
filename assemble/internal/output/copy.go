package output

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// WriteOptions tune a write; the zero value is useful.
type WriteOptions struct {
	// Progress is told how much of a blob is written. It is called from several
	// goroutines at once and must not block.
	Progress func(digest v1.Hash, done, total int64)
}

// copyBlob writes b to w. It fails unless the bytes are those of b's digest.
func copyBlob(ctx context.Context, w io.Writer, b blob, o WriteOptions) (err error) {
	rc, err := b.open()
	if err != nil {
		return fmt.Errorf("opening blob %s: %w", b.digest, err)
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	r, err := newVerifier(rc, b.digest, b.size)
	if err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for done := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			done += int64(n)
			if o.Progress != nil {
				o.Progress(b.digest, done, b.size)
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("reading blob %s: %w", b.digest, err)
		}
	}
}

// verifier passes on exactly the bytes that a digest and a size promise: instead
// of the end of other content it returns a CorruptError.
type verifier struct {
	r      io.Reader
	sum    hash.Hash
	digest v1.Hash
	size   int64 // -1 when it is not known
	done   int64
}

func newVerifier(r io.Reader, digest v1.Hash, size int64) (*verifier, error) {
	sum, err := v1.Hasher(digest.Algorithm)
	if err != nil {
		return nil, &CorruptError{digest, err.Error()}
	}
	return &verifier{r: r, sum: sum, digest: digest, size: size}, nil
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.done += int64(n)
	v.sum.Write(p[:n])
	if v.size >= 0 && v.done > v.size {
		return 0, &CorruptError{v.digest, fmt.Sprintf("it has more than its %d bytes", v.size)}
	}
	if err != io.EOF {
		return n, err
	}
	if v.size >= 0 && v.done != v.size {
		return n, &CorruptError{v.digest, fmt.Sprintf("it has %d of its %d bytes", v.done, v.size)}
	}
	if hex.EncodeToString(v.sum.Sum(nil)) != v.digest.Hex {
		return n, &CorruptError{v.digest, "its content does not match the digest"}
	}
	return n, io.EOF
}
