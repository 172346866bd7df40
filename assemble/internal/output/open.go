package output

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Source is an image on this machine. Its blobs are read, and verified, as they
// are asked for. Safe for concurrent use until Close.
type Source struct {
	Index  v1.ImageIndex // nil for a single image
	Image  v1.Image      // nil for an index
	Digest v1.Hash       // of the index or image
	Name   string        // a name it has in the source; may be ""

	closers []func() error
}

// Close releases the files. It may be called again.
func (s *Source) Close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// Open opens "oci:DIR[:TAG|@DIGEST]", "oci-archive:FILE[:TAG|@DIGEST]" or
// "docker-archive:FILE[:TAG|@ID]"; see the package documentation. A compressed archive
// is unpacked into temp; "" is os.TempDir. The caller closes the Source.
func Open(ctx context.Context, ref string, temp string) (*Source, error) {
	kind, rest, _ := strings.Cut(ref, ":")
	switch kind {
	case "oci", "oci-archive", "docker-archive":
	default:
		return nil, &FormatError{Path: ref, What: fmt.Sprintf("%q is no kind of source", kind),
			Fix: "write oci:DIR, oci-archive:FILE or docker-archive:FILE"}
	}
	path, want, err := splitPath(rest)
	if err != nil {
		return nil, err
	}
	if kind == "oci" {
		return openLayout(path, want)
	}
	s := &Source{}
	if err := s.openFile(ctx, kind, path, want, temp); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// openFile opens an archive. After an error the caller closes s all the same.
func (s *Source) openFile(
	ctx context.Context, kind, path string, want selector, temp string,
) error {
	f, err := s.openArchive(ctx, path, temp)
	if err != nil {
		return err
	}
	entries, err := indexTar(f, path)
	if err != nil {
		return err
	}
	if kind == "docker-archive" {
		return s.openDocker(ctx, entries, want)
	}
	return s.openOCI(entries, want)
}

// selector says which image of several is meant.
type selector struct {
	name   string
	digest v1.Hash
}

func (w selector) String() string {
	switch {
	case w.digest.Hex == "":
		return w.name
	case w.name == "":
		return w.digest.String()
	}
	return w.name + "@" + w.digest.String()
}

// splitPath cuts PATH[:TAG|@DIGEST]: the path is the whole text, or else the
// longest text before a colon, that names something existing.
func splitPath(text string) (path string, want selector, err error) {
	if text == "" {
		return "", want, &FormatError{Path: `""`, What: "the path is empty"}
	}
	if exists(text) {
		return text, want, nil
	}
	whole := text
	if i := strings.LastIndexByte(text, '@'); i > 0 {
		if h, err := v1.NewHash(text[i+1:]); err == nil {
			want.digest, text = h, text[:i]
		}
	}
	if want.digest.Hex != "" && exists(text) {
		return text, want, nil
	}
	for i := len(text) - 1; i > 0; i-- {
		if text[i] == ':' && exists(text[:i]) {
			want.name = text[i+1:]
			return text[:i], want, nil
		}
	}
	return "", want, missingSource(whole)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// openArchive opens the file at path, or an unpacked copy of it.
func (s *Source) openArchive(ctx context.Context, path, temp string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &FormatError{Path: path, What: "it is no regular file", Fix: "a directory is oci:DIR"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, f.Close)
	r, err := decompress(bufio.NewReader(f))
	if err != nil {
		return nil, &FormatError{Path: path, What: err.Error()}
	}
	if r == nil {
		_, err := f.Seek(0, io.SeekStart)
		return f, err
	}
	defer r.Close()
	return s.unpack(ctx, r, path, temp)
}

// maxUnpacked bounds a compressed archive: a few kilobytes can unpack to fill
// any disk.
const maxUnpacked = 64 << 30

// unpack writes what r gives to a temporary file, which Close removes.
func (s *Source) unpack(ctx context.Context, r io.Reader, path, temp string) (*os.File, error) {
	spool, err := os.CreateTemp(temp, "decant-archive-*")
	if err != nil {
		return nil, spaceError(temp, err)
	}
	s.closers = append(s.closers, func() error {
		return errors.Join(spool.Close(), os.Remove(spool.Name()))
	})
	n, err := io.Copy(spool, io.LimitReader(&cancellable{ctx, r}, maxUnpacked+1))
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, spaceError(spool.Name(), fmt.Errorf("unpacking %s: %w", path, err))
	case n > maxUnpacked:
		return nil, &FormatError{Path: path,
			What: fmt.Sprintf("it unpacks to more than %d bytes", int64(maxUnpacked))}
	}
	_, err = spool.Seek(0, io.SeekStart)
	return spool, err
}

// cancellable ends a copy with its context. It lives as long as one call.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// decompress returns a reader of what r holds if it is compressed, or nil.
func decompress(r *bufio.Reader) (io.ReadCloser, error) {
	magic, _ := r.Peek(4) // a shorter file is no compressed one
	switch compressionOf(magic) {
	case gzipped:
		return gzip.NewReader(r)
	case zstandard:
		d, err := newZstdReader(r)
		if err != nil {
			return nil, err
		}
		return d, nil
	}
	return nil, nil
}

// newZstdReader bounds the memory that a frame may ask for, and starts no
// goroutines that an unclosed reader would leave behind.
func newZstdReader(r io.Reader) (io.ReadCloser, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

type compression int

const (
	plain compression = iota
	gzipped
	zstandard
)

// compressionOf tells by the first bytes.
func compressionOf(magic []byte) compression {
	switch {
	case strings.HasPrefix(string(magic), "\x1f\x8b"):
		return gzipped
	case strings.HasPrefix(string(magic), "\x28\xb5\x2f\xfd"):
		return zstandard
	}
	return plain
}
