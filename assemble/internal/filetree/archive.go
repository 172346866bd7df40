package filetree

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// ArchiveHead is how many of a file's first bytes IsArchive needs: bzip2 gives
// nothing before its first block of 900 kB is whole.
const ArchiveHead = 1 << 20

const (
	maxRatio    = 250     // of an archive to its compressed bytes
	ratioFrom   = 1 << 30 // bytes of an archive from which on that counts
	maxZstdSize = 128 << 20
)

// IsArchive finds out whether ADD unpacks a file that begins with head, which is
// all of it if that is shorter than ArchiveHead. As in BuildKit that is decided by
// content: a tar, perhaps compressed. A file of xz is taken for one, so that
// ReadArchive refuses it by name.
func IsArchive(head []byte) bool {
	r, err := decompress(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		var format *ArchiveError
		return errors.As(err, &format)
	}
	defer r.Close()
	_, err = tar.NewReader(r).Next()
	return err == nil || errors.Is(err, tar.ErrInsecurePath)
}

// ReadArchive reads the tar that ADD unpacks: plain, or compressed with gzip,
// bzip2 or zstd. Contents are written into dir, which is absolute and new for
// each call. Entries are in the order of the tar, cleaned as in a chroot;
// directories that it does not name are not listed; its root is ".".
//
// The archive is not trusted. An error is a *LimitError, a *FormatError, an
// *ArchiveError, or what the reader returned. After one some files may be left.
func ReadArchive(ctx context.Context, r io.Reader, dir string) ([]layer.Entry, error) {
	entries, err := readArchive(ctx, r, dir)
	if err != nil {
		return nil, fmt.Errorf("reading an archive: %w", err)
	}
	return entries, nil
}

func readArchive(ctx context.Context, r io.Reader, dir string) ([]layer.Entry, error) {
	packed := &counter{r: r}
	plain, err := decompress(bufio.NewReaderSize(packed, 1<<16))
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	x := extractor{dir: dir}
	var entries []layer.Entry
	err = readTar(ctx, &ratioReader{r: plain, packed: packed},
		func(h *tar.Header, body io.Reader) error {
			e, err := archiveEntry(h)
			if err != nil {
				return err
			}
			if e.Size > 0 {
				e.Base = dir
				if e.Source, err = x.spool(body); err != nil {
					return err
				}
			}
			entries = append(entries, e)
			return nil
		})
	return entries, err
}

func archiveEntry(h *tar.Header) (layer.Entry, error) {
	e, err := tarEntry(h)
	if err != nil {
		return e, err
	}
	for part := range elements(e.Name) {
		if strings.HasPrefix(part, whiteout) {
			return e, &FormatError{h.Name, "a name with .wh. in front deletes files of an image"}
		}
	}
	if e.Name == "" {
		if e.Kind != layer.Dir {
			return e, &FormatError{h.Name, "the root of an archive is a directory"}
		}
		e.Name = rootName
	}
	return e, nil
}

// decompress looks at the first bytes. What no format claims is plain.
func decompress(r *bufio.Reader) (io.ReadCloser, error) {
	head, err := r.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	is := func(magic string) bool { return strings.HasPrefix(string(head), magic) }
	switch {
	case is("\x1f\x8b\x08"):
		return gzip.NewReader(r)
	case is("BZh"):
		return io.NopCloser(bzip2.NewReader(r)), nil
	case is("\x28\xb5\x2f\xfd"),
		len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxWindow(maxZstdSize), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case is("\xfd7zXZ\x00"):
		return nil, &ArchiveError{"xz"}
	}
	return io.NopCloser(r), nil
}

// A counter counts what is read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// A ratioReader stops an archive that is too large for its compressed bytes.
type ratioReader struct {
	r      io.Reader
	packed *counter
	n      int64
}

func (r *ratioReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if r.n += int64(n); r.n > ratioFrom && r.n/maxRatio > r.packed.n {
		return 0, &LimitError{"times the size of the compressed archive", maxRatio}
	}
	return n, err
}
