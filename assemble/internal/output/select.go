package output

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// openLayout opens the layout at dir. Nothing is held open.
func openLayout(dir string, want selector) (*Source, error) {
	version, err := readSmallFile(filepath.Join(dir, layoutFile), 4<<10)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !isLayoutVersion(version) {
		return nil, &FormatError{Path: dir, What: "it is no OCI layout",
			Fix: "an archive is oci-archive:FILE or docker-archive:FILE"}
	}
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, indexFileName)
	raw, err := readSmallFile(path, maxIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &FormatError{Path: dir, What: "it has no " + indexFileName, Err: err}
	}
	if err != nil {
		return nil, err
	}
	s := &Source{}
	if err := s.choose(dirBlobs(dir), dir, raw, want); err != nil {
		return nil, err
	}
	return s, nil
}

// openOCI opens the layout in an archive.
func (s *Source) openOCI(x *tarIndex, want selector) error {
	version, err := x.document(layoutFile, 4<<10)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !isLayoutVersion(version) {
		return &FormatError{Path: x.path, What: ociArchive.missing(),
			Fix: "what docker save wrote is docker-archive:FILE"}
	}
	if err != nil {
		return err
	}
	raw, err := x.document(indexFileName, maxIndexFile)
	if err != nil {
		return err
	}
	return s.choose(tarBlobs{x}, x.path, raw, want)
}

// choose picks the wanted entry of an index.json.
func (s *Source) choose(store blobStore, path string, raw []byte, want selector) error {
	index, err := parseIndexFile(path, raw)
	if err != nil {
		return err
	}
	if want == (selector{}) && isImageIndex(index.entries) {
		s.Digest = digestOf(raw)
		idx, err := newStoredIndex(store, v1.Descriptor{
			MediaType: types.OCIImageIndex, Digest: s.Digest, Size: int64(len(raw)),
		}, raw, 0)
		if err == nil {
			s.Index = idx
		}
		return err
	}
	e, err := pick(index.entries, path, want)
	if err != nil && want.digest.Hex != "" && want.name == "" {
		return s.chooseChild(store, index.entries, want.digest, err)
	}
	if err != nil {
		return err
	}
	if s.Name = e.Annotations[nameAnnotation]; s.Name == "" {
		s.Name = e.tag()
	}
	return s.load(store, e.Descriptor)
}

// isImageIndex says whether an index.json is itself the index of one image, as
// some tools write it: platforms, and no names.
func isImageIndex(entries []indexEntry) bool {
	return len(entries) > 1 && !slices.ContainsFunc(entries, func(e indexEntry) bool {
		return e.Platform == nil || e.tag() != "" || e.Annotations[nameAnnotation] != ""
	})
}

// pick finds the one entry that is meant.
func pick(entries []indexEntry, path string, want selector) (indexEntry, error) {
	var found []indexEntry
	missing := &SelectError{Path: path, Name: want.String()}
	for _, e := range entries {
		missing.Have = append(missing.Have, e.text())
		if want.matches(e) {
			found = append(found, e)
		}
	}
	missing.Have = slices.Compact(missing.Have)
	if len(found) == 0 {
		return indexEntry{}, missing
	}
	for _, e := range found[1:] {
		if e.Digest != found[0].Digest {
			return indexEntry{}, missing
		}
	}
	return found[0], nil
}

// matches compares the tag, or the full name that a docker client knows.
func (w selector) matches(e indexEntry) bool {
	if w.digest.Hex != "" && w.digest != e.Digest {
		return false
	}
	if w.name == "" {
		return true
	}
	full := e.Annotations[nameAnnotation]
	return w.name == e.tag() || full != "" && full == fullName(w.name)
}

// fullName is how docker knows a name; "" for what is none.
func fullName(text string) string {
	n, err := parseName(text)
	if err != nil {
		return ""
	}
	return n.full
}

// text names an entry to a person.
func (e indexEntry) text() string {
	if tag := e.tag(); tag != "" {
		return tag
	}
	return e.Digest.String()
}

// chooseChild looks for a digest in the indexes that a layout holds.
func (s *Source) chooseChild(
	store blobStore, entries []indexEntry, digest v1.Hash, notFound error,
) error {
	for _, e := range entries {
		if !e.MediaType.IsIndex() {
			continue
		}
		idx, err := loadIndex(store, e.Descriptor, 0)
		if err != nil {
			return err
		}
		for _, d := range idx.manifest.Manifests {
			if d.Digest == digest {
				return s.load(store, d)
			}
		}
	}
	return notFound
}

// load reads the index or image that d describes.
func (s *Source) load(store blobStore, d v1.Descriptor) error {
	s.Digest = d.Digest
	switch {
	case d.MediaType.IsIndex():
		idx, err := loadIndex(store, d, 0)
		if err == nil {
			s.Index = idx
		}
		return err
	case d.MediaType.IsImage():
		img, err := loadImage(store, d)
		if err == nil {
			s.Image = img
		}
		return err
	}
	return &FormatError{Path: store.String(),
		What: fmt.Sprintf("%s is of type %q, which is no image", d.Digest, d.MediaType)}
}

// blobStore holds blobs. What it gives is not verified.
type blobStore interface {
	fmt.Stringer
	// open returns a blob and its size.
	open(d v1.Hash) (io.ReadCloser, int64, error)
}

// dirBlobs are the blobs of the layout at a directory.
type dirBlobs string

func (d dirBlobs) String() string { return string(d) }

func (d dirBlobs) open(h v1.Hash) (io.ReadCloser, int64, error) {
	path := filepath.Join(string(d), filepath.FromSlash(blobPath(h)))
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, &CorruptError{h, "it is no regular file"}
	}
	f, err := os.Open(path)
	return f, info.Size(), err
}

// tarBlobs are the blobs of the layout in an archive.
type tarBlobs struct{ *tarIndex }

func (t tarBlobs) String() string { return t.path }

func (t tarBlobs) open(h v1.Hash) (io.ReadCloser, int64, error) {
	s, err := t.section(blobPath(h))
	if err != nil {
		return nil, 0, err
	}
	return io.NopCloser(s), s.Size(), nil
}
