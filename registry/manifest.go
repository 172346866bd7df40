package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Bounds on what a registry, or whoever pushed to it, can make the client hold.
const (
	maxManifest = 4 << 20 // what distribution accepts
	maxConfig   = 8 << 20
	maxChildren = 1000
	maxLayers   = 500
)

// manifestTypes are what the client understands, and schema 1 so that a registry
// answers with it rather than converts or hides it.
var manifestTypes = strings.Join([]string{
	string(types.OCIImageIndex), string(types.DockerManifestList),
	string(types.OCIManifestSchema1), string(types.DockerManifestSchema2),
	string(types.DockerManifestSchema1Signed),
}, ", ")

// document is a manifest that has been verified against its digest.
type document struct {
	raw       []byte
	digest    v1.Hash
	mediaType types.MediaType
}

// headManifest asks for the digest of a tag; the zero Hash and no error if there
// is no such tag.
func (h *host) headManifest(ctx context.Context, p place, id string, r request) (v1.Hash, error) {
	r.method, r.url, r.repo = http.MethodHead, p.url("manifests", id), p.repo
	r.header = http.Header{"Accept": {manifestTypes}}
	r.ok = []int{http.StatusOK, http.StatusNotFound}
	resp, err := h.do(ctx, &r)
	if err != nil {
		return v1.Hash{}, err
	}
	defer discard(resp)
	digest, err := v1.NewHash(resp.Header.Get("Docker-Content-Digest"))
	if resp.StatusCode == http.StatusNotFound || err != nil || digest.Algorithm != "sha256" {
		// Without the header it is the same as an unknown tag: it has to be fetched.
		return v1.Hash{}, nil
	}
	return digest, nil
}

// getManifest fetches a manifest by tag or digest. want is its digest; the zero
// Hash if only the registry knows.
func (h *host) getManifest(ctx context.Context, p place, id string, want v1.Hash,
	r request) (document, error) {
	r.method, r.url, r.repo = http.MethodGet, p.url("manifests", id), p.repo
	r.scopes = []string{p.pullScope()}
	r.header = http.Header{"Accept": {manifestTypes}}
	r.ok = []int{http.StatusOK}
	for n := 1; ; n++ {
		d, broken, err := h.readManifest(ctx, &r, want)
		if !broken || n >= h.c.timing.attempts {
			return d, err
		}
		if err := sleep(ctx, h.c.timing.backoff(n)); err != nil {
			return document{}, err
		}
	}
}

// readManifest makes one attempt. broken tells that the connection ended in the
// middle of the body, so that another one may do better.
func (h *host) readManifest(ctx context.Context, r *request,
	want v1.Hash) (d document, broken bool, err error) {
	resp, err := h.do(ctx, r)
	if err != nil {
		return document{}, false, err
	}
	defer discard(resp)
	failed := h.newError(r)
	if isWebPage(resp.Header) {
		failed.html, failed.Err = true, errors.New("the answer is a web page")
		return document{}, false, failed
	}
	raw, err := readBody(resp, maxManifest)
	if err != nil {
		failed.Err = err
		return document{}, temporaryError(err, true), failed
	}
	d, failed.Err = checkManifest(raw, resp.Header, want)
	if failed.Err != nil {
		return document{}, false, failed
	}
	return d, false, nil
}

// checkManifest compares a manifest with the digest that was asked for, and with
// the one that the registry gives.
func checkManifest(raw []byte, header http.Header, want v1.Hash) (document, error) {
	got, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return document{}, err
	}
	if want != (v1.Hash{}) && want != got {
		return document{}, &DigestError{Want: want, Got: got}
	}
	said, err := v1.NewHash(header.Get("Docker-Content-Digest"))
	if err == nil && said.Algorithm == "sha256" && said != got {
		return document{}, &DigestError{Want: said, Got: got}
	}
	kind, err := manifestType(raw, header.Get("Content-Type"))
	return document{raw, got, kind}, err
}

// readBody reads a body of at most limit bytes, and tells a cut one from a
// whole one.
func readBody(resp *http.Response, limit int64) ([]byte, error) {
	if resp.ContentLength > limit {
		return nil, fmt.Errorf("it is %d bytes long, more than the %d that are allowed",
			resp.ContentLength, limit)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil && errors.Is(err, io.ErrUnexpectedEOF):
		return nil, &cutError{got: int64(len(data)), want: resp.ContentLength}
	case err != nil:
		return nil, err
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("it is longer than the %d bytes that are allowed", limit)
	}
	return data, nil
}

// shape is what a manifest says about its kind.
type shape struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     types.MediaType `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        *struct {
		MediaType types.MediaType `json:"mediaType"`
	} `json:"config"`
	Layers    []json.RawMessage `json:"layers"`
	Manifests []json.RawMessage `json:"manifests"`
	FSLayers  []json.RawMessage `json:"fsLayers"`
}

// manifestType determines what a manifest is, from its own words and from the
// header, which must not contradict each other: a document that is an image to one
// reader and an index to another is an attack (CVE-2021-41190). header is "" for
// one from the cache.
func manifestType(raw []byte, header string) (types.MediaType, error) {
	var s shape
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", errors.New("the manifest is not JSON")
	}
	media, _, _ := mime.ParseMediaType(header)
	said := types.MediaType(media)
	known := said.IsImage() || said.IsIndex()
	if said.IsSchema1() || s.SchemaVersion == 1 || s.FSLayers != nil {
		return "", &KindError{
			What: "it has the format schema 1, which was given up in 2017 and cannot be verified",
			fix:  "push it again with a current docker or skopeo",
		}
	}
	if !known && s.MediaType == "" && !vague(media) {
		return "", notImage(media)
	}
	kind := s.MediaType
	switch {
	case kind != "":
	case known:
		kind = said
	case s.Manifests != nil:
		kind = types.OCIImageIndex
	case s.Config != nil:
		kind = types.OCIManifestSchema1
	}
	if known && said != kind {
		return "", fmt.Errorf("the manifest calls itself %q, but the registry %q",
			clip(string(kind)), said)
	}
	if err := s.check(kind); err != nil {
		return "", err
	}
	return kind, nil
}

// vague tells whether a Content-Type says nothing about a manifest.
func vague(media string) bool {
	switch media {
	case "", "application/json", "text/plain", "application/octet-stream":
		return true
	}
	return false
}

// check compares a manifest's shape with what it is called, and its bounds.
func (s *shape) check(kind types.MediaType) error {
	switch {
	case !kind.IsImage() && !kind.IsIndex():
		return notImage(string(kind))
	case s.Manifests != nil && (s.Config != nil || s.Layers != nil),
		kind.IsIndex() && s.Manifests == nil, kind.IsImage() && s.Config == nil:
		return fmt.Errorf("the manifest is not the %s that it claims to be", kind)
	case kind.IsImage() && !s.Config.MediaType.IsConfig() && s.ArtifactType != "":
		return notImage(s.ArtifactType)
	case kind.IsImage() && !s.Config.MediaType.IsConfig():
		return notImage(string(s.Config.MediaType))
	case len(s.Manifests) > maxChildren:
		return fmt.Errorf("the index has %d entries, more than %d", len(s.Manifests), maxChildren)
	case len(s.Layers) > maxLayers:
		return fmt.Errorf("the image has %d layers, more than %d", len(s.Layers), maxLayers)
	}
	return nil
}

// KindError reports something in a registry that is no image, or none that can be
// used.
type KindError struct {
	// What is a clause about it, such as "its type is …".
	What string
	fix  string
}

func notImage(kind string) *KindError {
	return &KindError{What: fmt.Sprintf("its type is %q", clip(kind))}
}

func (e *KindError) Error() string { return "this is no image that can be used: " + e.What }

// Hint says what to do.
func (e *KindError) Hint() string {
	if e.fix != "" {
		return e.fix
	}
	return "registries keep other things than images, such as charts and signatures: check the name"
}

// nameText writes a reference as people do, with Docker Hub's common name.
func nameText(r name.Reference) string {
	return strings.TrimPrefix(strings.Replace(r.Name(), "index.docker.io/", "docker.io/", 1), "//")
}
