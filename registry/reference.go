package registry

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// RefError reports a reference that is malformed. It is the user's to fix:
// nothing has been contacted.
type RefError struct {
	Ref string
	Err error
	fix string
}

func (e *RefError) Error() string {
	return fmt.Sprintf("malformed reference %q: %v", e.Ref, e.Err)
}

// Unwrap returns the parser's error.
func (e *RefError) Unwrap() error { return e.Err }

// Hint says how to write it.
func (e *RefError) Hint() string { return e.fix }

// Usage tells that the error is in what the user wrote.
func (e *RefError) Usage() bool { return true }

// parseRef parses a tag or digest as docker does: a name without a host is
// Docker Hub's, and without a tag it is "latest".
func parseRef(ref string) (name.Reference, error) {
	const form = "write HOST/REPOSITORY:TAG, as registry.example.com/shop/web:1.4"
	if ref == "" || len(ref) > 4096 {
		return nil, &RefError{Ref: clip(ref), Err: fmt.Errorf("%d bytes long", len(ref)), fix: form}
	}
	// docker takes "repo:tag@digest" as the digest; so does the parser, but it
	// must not hide a malformed tag.
	r, err := name.ParseReference(ref)
	if err != nil {
		fix := form
		if path, _, _ := strings.Cut(ref, "@"); strings.Contains(ref, "://") {
			fix = "leave the " + ref[:strings.Index(ref, "://")+3] + " out"
		} else if path != strings.ToLower(path) {
			fix = "repository names are lower case: " + strings.ToLower(path)
		}
		return nil, &RefError{Ref: ref, Err: plainParseError(err), fix: fix}
	}
	return r, nil
}

// plainParseError drops what the parser's message repeats.
func plainParseError(err error) error {
	text := err.Error()
	if i := strings.Index(text, ": "); i > 0 && strings.HasPrefix(text, "could not parse reference") {
		text = text[i+2:]
	}
	return fmt.Errorf("%s", text)
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// place is a repository on a host.
type place struct {
	host, repo string
}

func placeOf(r name.Repository) place {
	return place{host: r.RegistryStr(), repo: r.RepositoryStr()}
}

// parsePlace parses the prefix that a mirror has: a host, and a path or none.
func parsePlace(prefix string) (place, error) {
	hostPart, path, _ := strings.Cut(strings.TrimSuffix(prefix, "/"), "/")
	probe := hostPart + "/" + strings.TrimPrefix(path+"/x", "/")
	r, err := name.NewRepository(probe)
	if err != nil {
		return place{}, &RefError{Ref: prefix, Err: plainParseError(err),
			fix: "write HOST or HOST/PATH, as mirror.corp:5000/hub"}
	}
	if r.RegistryStr() != hostPart || strings.Contains(prefix, "://") {
		return place{}, &RefError{Ref: prefix, Err: fmt.Errorf("no host"),
			fix: "start with the mirror's host, as mirror.corp:5000/hub"}
	}
	return place{host: hostName(hostPart), repo: path}, nil
}

func (p place) String() string { return p.host + "/" + p.repo }

func (p place) url(kind, id string) string {
	return "/v2/" + p.repo + "/" + kind + "/" + id
}

func (p place) pullScope() string { return "repository:" + p.repo + ":pull" }
func (p place) pushScope() string { return "repository:" + p.repo + ":pull,push" }
