package registrytest

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

// store is what a registry keeps.
type store struct {
	mu      sync.Mutex
	repos   map[string]*repo
	uploads map[string]*upload
}

type repo struct {
	blobs     map[string][]byte
	manifests map[string]manifest
	tags      map[string]string
}

type manifest struct {
	mediaType string
	raw       []byte
}

// upload is a session; mu is held while a body arrives.
type upload struct {
	mu   sync.Mutex
	repo string
	data []byte
}

func newStore() *store {
	return &store{repos: map[string]*repo{}, uploads: map[string]*upload{}}
}

// repo returns a repository, which the first use makes. The caller holds mu.
func (s *store) repo(name string) *repo {
	if s.repos[name] == nil {
		s.repos[name] = &repo{
			blobs: map[string][]byte{}, manifests: map[string]manifest{}, tags: map[string]string{},
		}
	}
	return s.repos[name]
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// PutBlob stores a blob behind the protocol's back and returns its digest.
func (r *Registry) PutBlob(repository string, data []byte) string {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	digest := digestOf(data)
	r.store.repo(repository).blobs[digest] = data
	return digest
}

// PutManifest stores a manifest unseen, under its digest and the tag unless
// that is "". It returns the digest.
func (r *Registry) PutManifest(repository, tag, mediaType string, raw []byte) string {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	digest := digestOf(raw)
	repo := r.store.repo(repository)
	repo.manifests[digest] = manifest{mediaType, raw}
	if tag != "" {
		repo.tags[tag] = digest
	}
	return digest
}

// Tag returns the digest that a tag points to, "" if there is none.
func (r *Registry) Tag(repository, tag string) string {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	return r.store.repo(repository).tags[tag]
}

// HasBlob tells whether a repository has a blob.
func (r *Registry) HasBlob(repository, digest string) bool {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	_, ok := r.store.repo(repository).blobs[digest]
	return ok
}

// DropBlob removes a blob from a repository although manifests may need it.
func (r *Registry) DropBlob(repository, digest string) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	delete(r.store.repo(repository).blobs, digest)
}
