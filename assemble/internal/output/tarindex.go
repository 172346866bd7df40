package output

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// Bounds of an archive that is read.
const (
	maxTarEntries = 200_000
	maxTarLinks   = 16 // in a row
)

// tarIndex knows where an archive has its files, so that they are read in place.
type tarIndex struct {
	path    string
	file    *os.File
	entries map[string]tarEntry
}

type tarEntry struct {
	offset, size int64
	link         string // of a link: the name it stands for
}

// indexTar reads the headers of the archive f. Names are only ever looked up, in
// their clean form; of two entries with one name the last counts, as it would
// were the archive extracted. The caller keeps f open while the index is used.
func indexTar(f *os.File, name string) (*tarIndex, error) {
	x := &tarIndex{path: name, file: f, entries: map[string]tarEntry{}}
	r := tar.NewReader(f)
	for n := 0; ; n++ {
		h, err := r.Next()
		switch {
		case err == io.EOF && n == 0:
			return nil, x.bad("it is no tar archive")
		case err == io.EOF:
			return x, nil
		case err != nil && n == 0:
			return nil, x.bad("it is no tar archive")
		case err != nil:
			return nil, x.bad(fmt.Sprintf("after %d files: %v", n, err))
		case n >= maxTarEntries:
			return nil, x.bad(fmt.Sprintf("it has more than %d entries", maxTarEntries))
		}
		if e, ok, err := entryOf(f, h); err != nil {
			return nil, err
		} else if ok {
			x.entries[path.Clean(h.Name)] = e
		}
	}
}

// entryOf is where the file of a header is; ok is false for what is none. The
// tar reader has read just the header, and skips content by seeking, so f stands
// where the content begins. That does not hold for sparse files.
func entryOf(f *os.File, h *tar.Header) (e tarEntry, ok bool, err error) {
	switch h.Typeflag {
	case tar.TypeReg:
		for key := range h.PAXRecords {
			if strings.HasPrefix(key, "GNU.sparse.") {
				return e, false, nil
			}
		}
		e.offset, err = f.Seek(0, io.SeekCurrent)
		e.size = h.Size
		return e, true, err
	case tar.TypeSymlink:
		return tarEntry{link: path.Join(path.Dir(h.Name), h.Linkname)}, true, nil
	case tar.TypeLink:
		return tarEntry{link: path.Clean(h.Linkname)}, true, nil
	}
	return e, false, nil
}

func (x *tarIndex) bad(what string) error { return &FormatError{Path: x.path, What: what} }

func (x *tarIndex) has(kind archiveKind) bool {
	_, ok := x.entries[kind.mark()]
	return ok
}

// section is the content of a file; links are followed inside the archive. The
// error of a missing file is os.ErrNotExist.
func (x *tarIndex) section(name string) (*io.SectionReader, error) {
	clean := path.Clean(name)
	for range maxTarLinks {
		e, ok := x.entries[clean]
		switch {
		case !ok:
			return nil, &FormatError{Path: x.path, What: fmt.Sprintf("it has no file %q", name),
				Err: os.ErrNotExist}
		case e.link == "":
			return io.NewSectionReader(x.file, e.offset, e.size), nil
		}
		clean = e.link
	}
	return nil, x.bad(fmt.Sprintf("the links of %q do not end", name))
}

// document reads a small file.
func (x *tarIndex) document(name string, limit int64) ([]byte, error) {
	s, err := x.section(name)
	if err != nil {
		return nil, err
	}
	if s.Size() > limit {
		return nil, x.bad(fmt.Sprintf("%q has %d bytes, more than %d", name, s.Size(), limit))
	}
	return readBounded(s, limit)
}

// readBounded reads all of r, which has at most limit bytes.
func readBounded(r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = errors.New("it is longer than it was")
	}
	return raw, err
}
