package output

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Kind names a form in which an image is on disk.
type Kind string

// The kinds of Target.
const (
	Layout        Kind = "oci"            // the directory of an OCI layout
	OCIArchive    Kind = "oci-archive"    // a tar of such a directory, with all platforms
	DockerArchive Kind = "docker-archive" // as docker save writes it: one platform, no zstd
	InStore       Kind = "store"          // decant's own images
)

// Target is a place on disk that receives an image. See the package documentation
// for what may be there.
type Target struct {
	Kind Kind
	// Path is the directory or file; of InStore the store's directory.
	Path string
	// Names are the tags or references that the image gets there. A store needs one.
	Names []string
}

// Check reports what Stage would refuse whatever the image is. It changes nothing.
func (t Target) Check() error {
	if _, err := parseNames(t.Names); err != nil {
		return err
	}
	switch t.Kind {
	case Layout:
		if err := checkParent(filepath.Dir(filepath.Clean(t.Path))); err != nil {
			return err
		}
		return checkDir(t.Path)
	case OCIArchive:
		return checkFile(t.Path, ociArchive)
	case DockerArchive:
		return checkFile(t.Path, dockerArchive)
	case InStore:
		if len(t.Names) == 0 {
			return errors.New("storing the image: it has no name")
		}
		_, err := OpenStore(t.Path)
		return err
	}
	return fmt.Errorf("writing the image: unknown kind %q", t.Kind)
}

// Stage writes m beside its place, where nobody looks for it: all that takes long
// or may fail is done then. What the kind cannot hold is an UnsupportedError. After
// an error nothing is left.
func (t Target) Stage(ctx context.Context, m Manifest, o WriteOptions) (*Staged, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	names, err := parseNames(t.Names)
	if err != nil {
		return nil, err
	}
	switch t.Kind {
	case OCIArchive:
		return stageOCIArchive(ctx, t.Path, names, m, o)
	case DockerArchive:
		return stageDockerArchive(ctx, t.Path, names, m, o)
	}
	return stageLayout(ctx, t, names, m, o)
}

// Staged is an image that is written and has no name yet. One of Commit and Abort
// ends it. It is not for several goroutines at once.
type Staged struct {
	digest v1.Hash
	work   staging // nil once it has ended
}

// staging is what the kinds do differently.
type staging interface {
	// commit gives what is staged its place, and removes the rest.
	commit() error
	// discard removes what is staged; also after a commit that failed.
	discard() error
}

// Digest is what Open knows the image by after Commit, as in "oci:DIR@DIGEST". A
// docker archive has no manifest: there it is the image ID, the digest of the config.
func (s *Staged) Digest() v1.Hash { return s.digest }

// Commit puts the image in its place. It only renames, under the lock of a layout,
// so it takes no context and is quick. After an error there is the caller's Abort
// to call, and no second Commit.
func (s *Staged) Commit() error {
	if s.work == nil {
		return errors.New("naming the image: it has its name, or was given up")
	}
	if err := s.work.commit(); err != nil {
		return err
	}
	s.work = nil
	return nil
}

// Abort removes what is staged: the target is as it was. It is idempotent, and does
// nothing after Commit has succeeded.
func (s *Staged) Abort() error {
	if s.work == nil {
		return nil
	}
	work := s.work
	s.work = nil
	return work.discard()
}
