package rootfs

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	readSize = 256 << 10
	// aheadBlocks is how many blocks the decompression may be ahead of the disk.
	aheadBlocks = 4
	// zstdWindow is what "zstd --long" needs; ordinary layers need 8 MiB.
	zstdWindow = 128 << 20
)

// A source is a layer as the image describes it.
type source struct {
	layer  v1.Layer
	digest v1.Hash
	diffID v1.Hash
	size   int64
}

// read passes the tar of a layer to use, and verifies size, digest and diffID in
// the same pass. A reading error that use meets is reported as what it comes from:
// a blob that was damaged is that, and not a bad tar.
func (s source) read(
	ctx context.Context, l Limits, note func(int), use func(io.Reader) error,
) error {
	rc, err := s.layer.Compressed()
	if err != nil {
		return fmt.Errorf("opening its blob: %w", err)
	}
	// A read that waits for the network ends when its source is closed.
	stop := context.AfterFunc(ctx, func() { rc.Close() })
	defer func() {
		if stop() {
			rc.Close()
		}
	}()
	blob := &blobReader{r: rc, live: ctx.Err, hash: sha256.New(), size: s.size, note: note}
	diffID, err := readTar(blob, l, use)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && !isDamage(err):
		return err
	case blob.err != nil && blob.err != io.EOF:
		return blob.err
	}
	if derr := blob.verify(s.digest); derr != nil {
		return derr
	}
	if err == nil && diffID != s.diffID.Hex {
		err = &DigestError{"diffID", s.diffID.String(), "sha256:" + diffID}
	}
	return err
}

// isDamage is false for errors that have nothing to do with what was read.
func isDamage(err error) bool {
	var errno unix.Errno
	var limit *LimitError
	return !errors.As(err, &errno) && !errors.As(err, &limit)
}

// readTar decompresses in a goroutine of its own, ahead of the writing to disk.
func readTar(blob *blobReader, l Limits, use func(io.Reader) error) (diffID string, err error) {
	src := bufio.NewReaderSize(blob, readSize)
	plain, err := decompress(src)
	if err != nil {
		return "", fmt.Errorf("decompressing: %w", err)
	}
	defer plain.Close()
	a := newAhead()
	var g errgroup.Group
	g.Go(func() error {
		a.fill(plain)
		return nil
	})
	t := &tarReader{r: a, blob: blob, hash: sha256.New(), limits: l}
	err = use(t)
	if err == nil {
		// What follows the tar's end marker counts for the diffID.
		_, err = io.Copy(io.Discard, t)
	}
	if err != nil && !isDamage(err) {
		blob.r.Close() // or the goroutine would wait for the network
	}
	a.stop()
	if werr := g.Wait(); werr != nil {
		return "", werr
	}
	return hex.EncodeToString(t.hash.Sum(nil)), err
}

// decompress looks at the content, as media types lie.
func decompress(src *bufio.Reader) (io.ReadCloser, error) {
	magic, err := src.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(src)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(src,
			zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(src), nil
}

// A blobReader hashes and counts what is read of a blob, of which it gives no more
// than the image says there is. Its error stays.
type blobReader struct {
	r    io.ReadCloser
	live func() error
	hash hash.Hash
	size int64
	read atomic.Int64
	err  error
	note func(int)
}

func (b *blobReader) Read(p []byte) (int, error) {
	if b.err == nil {
		b.err = b.live()
	}
	if b.err != nil {
		return 0, b.err
	}
	left := b.size - b.read.Load()
	n, err := b.r.Read(p[:min(int64(len(p)), left+1)])
	b.hash.Write(p[:n])
	b.read.Add(int64(n))
	b.note(n)
	switch {
	case int64(n) > left:
		b.err = &DigestError{"size", bytesOf(b.size), "more"}
	case err == io.EOF && int64(n) < left:
		b.err = &DigestError{"size", bytesOf(b.size), bytesOf(b.read.Load())}
	default:
		b.err = err
	}
	return n, b.err
}

func bytesOf(n int64) string { return strconv.FormatInt(n, 10) + " bytes" }

// verify reads the rest of the blob.
func (b *blobReader) verify(digest v1.Hash) error {
	if _, err := io.Copy(io.Discard, b); err != nil {
		return err
	}
	if got := hex.EncodeToString(b.hash.Sum(nil)); got != digest.Hex {
		return &DigestError{"digest", digest.String(), "sha256:" + got}
	}
	return nil
}

// A tarReader hashes what is read of a tar and keeps its limits.
type tarReader struct {
	r      io.Reader
	blob   *blobReader
	hash   hash.Hash
	limits Limits
	read   int64
}

func (t *tarReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.hash.Write(p[:n])
	t.read += int64(n)
	switch {
	case t.read > t.limits.Bytes:
		return n, &LimitError{"bytes", t.limits.Bytes}
	case t.read > t.limits.RatioFrom && t.read/t.limits.Ratio > t.blob.read.Load():
		return n, &LimitError{"bytes for each compressed one", t.limits.Ratio}
	}
	return n, err
}
