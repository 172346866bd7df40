package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// cache keeps small documents by digest, and the digest that a tag had last. It
// is shared by processes and may be deleted at any time, so that a file is
// written beside its place and renamed, and what is read is verified.
type cache struct {
	dir string // "" keeps nothing
}

// get returns a document of at most limit bytes, or false.
func (c cache) get(digest v1.Hash, limit int64) ([]byte, bool) {
	if c.dir == "" || digest.Algorithm != "sha256" {
		return nil, false
	}
	f, err := os.Open(c.blobPath(digest))
	if err != nil {
		return nil, false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil || int64(len(data)) > limit || verify(data, digest) != nil {
		return nil, false
	}
	return data, true
}

// put keeps a document. That it cannot costs time only, so it is not an error.
func (c cache) put(digest v1.Hash, data []byte) {
	if c.dir == "" || digest.Algorithm != "sha256" {
		return
	}
	if old, ok := c.get(digest, int64(len(data))); ok && bytes.Equal(old, data) {
		return
	}
	_ = replaceFile(c.blobPath(digest), data)
}

func (c cache) blobPath(digest v1.Hash) string {
	return filepath.Join(c.dir, "manifests", digest.Algorithm+"-"+digest.Hex)
}

// tagRecord remembers a tag. The name is kept to tell a person what the file is.
type tagRecord struct {
	Ref    string  `json:"ref"`
	Digest v1.Hash `json:"digest"`
}

// tag returns the digest that a reference had when it was last seen.
func (c cache) tag(ref string) (v1.Hash, bool) {
	if c.dir == "" {
		return v1.Hash{}, false
	}
	data, err := readAuthFile(c.tagPath(ref))
	if err != nil {
		return v1.Hash{}, false
	}
	var r tagRecord
	if json.Unmarshal(data, &r) != nil || r.Ref != ref {
		return v1.Hash{}, false
	}
	return r.Digest, r.Digest.Algorithm == "sha256"
}

func (c cache) putTag(ref string, digest v1.Hash) {
	if old, ok := c.tag(ref); c.dir == "" || ok && old == digest {
		return
	}
	data, err := json.Marshal(tagRecord{ref, digest})
	if err == nil {
		_ = replaceFile(c.tagPath(ref), data)
	}
}

func (c cache) tagPath(ref string) string {
	name, _, _ := v1.SHA256(bytes.NewReader([]byte(ref))) // a bytes.Reader does not fail
	return filepath.Join(c.dir, "manifests", "tag-"+name.Hex)
}

// replaceFile writes a file beside its place and renames it.
func replaceFile(path string, data []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// verify compares a document with its digest.
func verify(data []byte, digest v1.Hash) error {
	got, _, err := v1.SHA256(bytes.NewReader(data))
	if err != nil {
		return err
	}
	if got != digest {
		return &DigestError{Want: digest, Got: got}
	}
	return nil
}

// DigestError reports content that is not what its digest promises: it was
// damaged on the way, or somebody tampers with it.
type DigestError struct {
	Want, Got v1.Hash
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("the content has the digest %s instead of %s", e.Got, e.Want)
}

// Hint says what may be the cause.
func (e *DigestError) Hint() string {
	return "the registry, or a proxy before it, delivers something else than was stored; do not use it"
}

// slot waits for one of the client's transfers to end if too many are under way.
func (c *Client) slot(ctx context.Context) (release func(), err error) {
	select {
	case c.slots <- struct{}{}:
		return func() { <-c.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
