package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The files of a layout, and the annotations that name its entries.
// https://github.com/opencontainers/image-spec/blob/main/image-layout.md
const (
	layoutFile    = "oci-layout"
	indexFileName = "index.json"
	blobsDir      = "blobs"

	tagAnnotation  = "org.opencontainers.image.ref.name"
	nameAnnotation = "io.containerd.image.name" // read by docker load
)

// layoutVersion is what a layout's oci-layout file says.
const layoutVersion = `{"imageLayoutVersion":"1.0.0"}`

// Bounds of documents that are read.
const (
	maxIndexFile = 4 << 20
	maxManifest  = 4 << 20
	maxConfig    = 8 << 20
	maxEntries   = 10_000
)

// indexFile is an index.json. What this package has no name for is kept.
type indexFile struct {
	fields  map[string]json.RawMessage
	entries []indexEntry
}

type indexEntry struct {
	v1.Descriptor
	raw json.RawMessage
}

// tag is the name of an entry within its layout.
func (e indexEntry) tag() string { return e.Annotations[tagAnnotation] }

// newIndexFile is the index.json of a new layout.
func newIndexFile() *indexFile {
	return &indexFile{fields: map[string]json.RawMessage{
		"schemaVersion": json.RawMessage(`2`),
		"mediaType":     json.RawMessage(`"` + types.OCIImageIndex + `"`),
	}}
}

func parseIndexFile(path string, raw []byte) (*indexFile, error) {
	bad := func(err error) error {
		return &FormatError{Path: path, What: fmt.Sprintf("parsing %s: %v", indexFileName, err)}
	}
	x := &indexFile{}
	if err := json.Unmarshal(raw, &x.fields); err != nil {
		return nil, bad(err)
	}
	if x.fields == nil {
		return nil, bad(errors.New("it is null"))
	}
	var list []json.RawMessage
	if m, ok := x.fields["manifests"]; ok {
		if err := json.Unmarshal(m, &list); err != nil {
			return nil, bad(err)
		}
	}
	if len(list) > maxEntries {
		return nil, bad(fmt.Errorf("it has %d entries, more than %d", len(list), maxEntries))
	}
	for _, raw := range list {
		e := indexEntry{raw: raw}
		if err := json.Unmarshal(raw, &e.Descriptor); err != nil {
			return nil, bad(err)
		}
		if e.Digest.Hex == "" {
			return nil, bad(errors.New("an entry has no digest"))
		}
		x.entries = append(x.entries, e)
	}
	return x, nil
}

// readIndexFile reads the index.json at path; a missing one is new.
func readIndexFile(path string) (*indexFile, error) {
	raw, err := readSmallFile(path, maxIndexFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return newIndexFile(), nil
	case err != nil:
		return nil, err
	}
	return parseIndexFile(path, raw)
}

// readSmallFile reads a regular file of at most limit bytes.
func readSmallFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &FormatError{Path: path, What: "it is no regular file"}
	case info.Size() > limit:
		return nil, &FormatError{Path: path,
			What: fmt.Sprintf("it has %d bytes, more than %d", info.Size(), limit)}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, limit)
}

// add gives root the tags of names, taking them from other entries. Without
// names it is added once, without a tag.
func (x *indexFile) add(root v1.Descriptor, names []entryName) error {
	x.entries = slices.DeleteFunc(x.entries, func(e indexEntry) bool {
		if len(names) == 0 {
			return e.tag() == "" && e.Digest == root.Digest
		}
		return slices.ContainsFunc(names, func(n entryName) bool { return n.tag == e.tag() })
	})
	if len(names) == 0 {
		return x.append(root, nil)
	}
	for _, n := range names {
		err := x.append(root, map[string]string{tagAnnotation: n.tag, nameAnnotation: n.full})
		if err != nil {
			return err
		}
	}
	return nil
}

// entryName is how an entry of index.json is named.
type entryName struct{ tag, full string }

func (x *indexFile) append(root v1.Descriptor, annotations map[string]string) error {
	raw, err := encode(struct {
		MediaType   types.MediaType   `json:"mediaType"`
		Digest      v1.Hash           `json:"digest"`
		Size        int64             `json:"size"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}{root.MediaType, root.Digest, root.Size, annotations})
	if err != nil {
		return err
	}
	root.Annotations = annotations
	x.entries = append(x.entries, indexEntry{Descriptor: root, raw: raw})
	return nil
}

// bytes is the file's content.
func (x *indexFile) bytes() ([]byte, error) {
	list := []json.RawMessage{}
	for _, e := range x.entries {
		list = append(list, e.raw)
	}
	var err error
	if x.fields["manifests"], err = encode(list); err != nil {
		return nil, err
	}
	return encode(x.fields)
}

// encode is json.Marshal without the escapes meant for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
