package output

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Store keeps images under names on this machine. It is an OCI layout whose tags
// are whole names, "my-app:latest", so that other tools read it as
// oci:DIR:my-app:latest. Safe for concurrent use, also by several processes.
type Store struct{ dir string }

// OpenStore opens the store at dir, which may be missing: a Target makes it.
func OpenStore(dir string) (*Store, error) {
	if dir == "" {
		return nil, errors.New("opening the image store: its directory has no name")
	}
	if err := checkDir(dir); err != nil {
		return nil, fmt.Errorf("opening the image store: %w", err)
	}
	return &Store{dir: dir}, nil
}

// Get opens a stored image: NAME[:TAG], or NAME@DIGEST while a name has that
// digest. An unknown one is a SelectError. The caller closes the Source.
func (s *Store) Get(name string) (*Source, error) {
	var want selector
	repo, digest, ok := strings.Cut(name, "@")
	if ok {
		var err error
		if want.digest, err = v1.NewHash(digest); err != nil {
			return nil, fmt.Errorf("opening stored image %q: %w", name, err)
		}
	}
	parsed, err := parseName(repo)
	if err != nil {
		return nil, err
	}
	raw, err := readSmallFile(filepath.Join(s.dir, indexFileName), maxIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &SelectError{Path: "the store " + s.dir, Name: name}
	}
	if err != nil {
		return nil, err
	}
	index, err := parseIndexFile(s.dir, raw)
	if err != nil {
		return nil, err
	}
	want.name = parsed.text
	for _, e := range index.entries {
		if ok && repository(e.tag()) == repo && e.Digest == want.digest {
			want.name = e.tag()
		}
	}
	e, err := pick(index.entries, "the store "+s.dir, want)
	if err != nil {
		return nil, err
	}
	source := &Source{Name: e.tag()}
	if err := source.load(dirBlobs(s.dir), e.Descriptor); err != nil {
		return nil, err
	}
	return source, nil
}

// repository is a name without its tag; a port is no tag.
func repository(name string) string {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i]
	}
	return name
}
