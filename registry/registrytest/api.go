package registrytest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// route splits "/v2/<repository>/<kind>/<rest>".
var route = regexp.MustCompile(`^/v2/(.+)/(blobs/uploads|blobs|manifests|tags)/(.*)$`)

func splitPath(path string) (repo, kind, rest string) {
	m := route.FindStringSubmatch(path)
	if m == nil {
		return "", "", ""
	}
	return m[1], m[2], m[3]
}

func (r *Registry) serveAPI(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	repo, kind, rest := splitPath(q.URL.Path)
	switch {
	case q.URL.Path == "/v2/" || q.URL.Path == "/v2":
		w.WriteHeader(http.StatusOK)
	case kind == "manifests":
		r.serveManifest(w, q, repo, rest)
	case kind == "blobs":
		r.serveBlob(w, q, repo, rest)
	case kind == "blobs/uploads" && rest == "" && q.Method == http.MethodPost:
		r.startUpload(w, q, repo)
	case kind == "blobs/uploads":
		r.serveUpload(w, q, repo, rest)
	case kind == "tags" && rest == "list":
		r.store.mu.Lock()
		tags := slices.Sorted(maps.Keys(r.store.repo(repo).tags))
		r.store.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{"name": repo, "tags": tags})
	default:
		deny(w, http.StatusNotFound, "UNSUPPORTED", "no such path")
	}
}

func (r *Registry) serveManifest(w http.ResponseWriter, q *http.Request, name, ref string) {
	if q.Method == http.MethodPut {
		r.putManifest(w, q, name, ref)
		return
	}
	r.store.mu.Lock()
	repo := r.store.repo(name)
	digest := ref
	if d, ok := repo.tags[ref]; ok {
		digest = d
	}
	m, ok := repo.manifests[digest]
	if ok && q.Method == http.MethodDelete {
		delete(repo.manifests, digest)
		maps.DeleteFunc(repo.tags, func(_, d string) bool { return d == digest })
	}
	r.store.mu.Unlock()
	switch {
	case !ok:
		deny(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
	case q.Method == http.MethodDelete:
		w.WriteHeader(http.StatusAccepted)
	default:
		w.Header().Set("Content-Type", m.mediaType)
		w.Header().Set("Docker-Content-Digest", digest)
		w.Header().Set("Content-Length", strconv.Itoa(len(m.raw)))
		w.WriteHeader(http.StatusOK)
		if q.Method == http.MethodGet {
			_, _ = w.Write(m.raw)
		}
	}
}

func (r *Registry) putManifest(w http.ResponseWriter, q *http.Request, name, ref string) {
	raw, err := io.ReadAll(q.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	digest := digestOf(raw)
	var parts struct {
		Config    *part
		Layers    []part
		Manifests []part
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		deny(w, http.StatusBadRequest, "MANIFEST_INVALID", "no JSON")
		return
	}
	if strings.HasPrefix(ref, "sha256:") && ref != digest {
		deny(w, http.StatusBadRequest, "DIGEST_INVALID", "not the manifest's digest")
		return
	}
	if parts.Config != nil {
		parts.Layers = append(parts.Layers, *parts.Config)
	}
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	repo := r.store.repo(name)
	for _, p := range parts.Layers {
		if _, ok := repo.blobs[p.Digest]; !ok && len(p.URLs) == 0 {
			deny(w, http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry: "+p.Digest)
			return
		}
	}
	for _, p := range parts.Manifests {
		if _, ok := repo.manifests[p.Digest]; !ok {
			deny(w, http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", "manifest unknown: "+p.Digest)
			return
		}
	}
	repo.manifests[digest] = manifest{q.Header.Get("Content-Type"), raw}
	if ref != digest {
		repo.tags[ref] = digest
	}
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

// part is a descriptor of a manifest.
type part struct {
	Digest string
	URLs   []string
}

func (r *Registry) serveBlob(w http.ResponseWriter, q *http.Request, name, digest string) {
	r.store.mu.Lock()
	data, ok := r.store.repo(name).blobs[digest]
	if ok && q.Method == http.MethodDelete {
		delete(r.store.repo(name).blobs, digest)
	}
	r.store.mu.Unlock()
	switch {
	case !ok:
		deny(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
	case q.Method == http.MethodDelete:
		w.WriteHeader(http.StatusAccepted)
	case r.blobs != nil && q.Method == http.MethodGet:
		w.Header().Set("Location", r.blobs.URL+q.URL.Path+"?signature=secret")
		w.WriteHeader(http.StatusTemporaryRedirect)
	default:
		r.writeBlob(w, q, digest, data)
	}
}

// serveStorage is the other host of RedirectBlobs: like an object store, it
// takes a signed URL and no second kind of authentication.
func (r *Registry) serveStorage(w http.ResponseWriter, q *http.Request) {
	if q.Header.Get("Authorization") != "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	name, _, digest := splitPath(q.URL.Path)
	r.store.mu.Lock()
	data := r.store.repo(name).blobs[digest]
	r.store.mu.Unlock()
	r.writeBlob(w, q, digest, data)
}

func (r *Registry) writeBlob(w http.ResponseWriter, q *http.Request, digest string, data []byte) {
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.opts.NoRange {
		q.Header.Del("Range")
	}
	http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(data))
}

func (r *Registry) startUpload(w http.ResponseWriter, q *http.Request, name string) {
	mount, from := q.URL.Query().Get("mount"), q.URL.Query().Get("from")
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if data, ok := r.store.repo(from).blobs[mount]; ok && from != "" && !r.opts.NoMount {
		r.store.repo(name).blobs[mount] = data
		w.Header().Set("Location", fmt.Sprintf("/v2/%s/blobs/%s", name, mount))
		w.Header().Set("Docker-Content-Digest", mount)
		w.WriteHeader(http.StatusCreated)
		return
	}
	id := rand.Text()
	r.store.uploads[id] = &upload{repo: name}
	if r.opts.ChunkMin > 0 {
		w.Header().Set("OCI-Chunk-Min-Length", strconv.FormatInt(r.opts.ChunkMin, 10))
	}
	r.sayUpload(w, q, name, id, 0, http.StatusAccepted)
}

// sayUpload answers with the state of a session.
func (r *Registry) sayUpload(w http.ResponseWriter, q *http.Request, name, id string,
	size, status int) {
	location := fmt.Sprintf("/v2/%s/blobs/uploads/%s?_state=%d", name, id, size)
	if r.opts.AbsoluteLocations {
		location = "http://" + q.Host + location // the wrong scheme, as behind a proxy that ends TLS
	}
	w.Header().Set("Location", location)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(size-1, 0)))
	w.WriteHeader(status)
}

func (r *Registry) serveUpload(w http.ResponseWriter, q *http.Request, name, id string) {
	r.store.mu.Lock()
	u := r.store.uploads[id]
	r.store.mu.Unlock()
	if u == nil || u.repo != name {
		deny(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch q.Method {
	case http.MethodGet:
		r.sayUpload(w, q, name, id, len(u.data), http.StatusNoContent)
	case http.MethodDelete:
		r.endUpload(id)
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPatch:
		if !r.receive(w, q, u) {
			return
		}
		r.sayUpload(w, q, name, id, len(u.data), http.StatusAccepted)
	case http.MethodPut:
		r.finishUpload(w, q, u, id)
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

// receive appends a body to a session and keeps what arrived of a cut one.
func (r *Registry) receive(w http.ResponseWriter, q *http.Request, u *upload) bool {
	if cr := q.Header.Get("Content-Range"); cr != "" {
		start, _, _ := strings.Cut(cr, "-")
		if n, err := strconv.Atoi(start); err != nil || n != len(u.data) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return false
		}
	}
	var buf bytes.Buffer
	_, err := io.Copy(&buf, q.Body)
	u.data = append(u.data, buf.Bytes()...)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return true
}

func (r *Registry) finishUpload(w http.ResponseWriter, q *http.Request, u *upload, id string) {
	if r.opts.NoMonolithic && q.ContentLength != 0 {
		deny(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "the operation is unsupported")
		return
	}
	if !r.receive(w, q, u) {
		return
	}
	digest := q.URL.Query().Get("digest")
	if digestOf(u.data) != digest {
		r.endUpload(id)
		deny(w, http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content")
		return
	}
	r.store.mu.Lock()
	r.store.repo(u.repo).blobs[digest] = u.data
	r.store.mu.Unlock()
	r.endUpload(id)
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Location", fmt.Sprintf("/v2/%s/blobs/%s", u.repo, digest))
	w.WriteHeader(http.StatusCreated)
}

func (r *Registry) endUpload(id string) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	delete(r.store.uploads, id)
}
