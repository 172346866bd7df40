package registry

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// MovedError is a push that failed when some of its names had been moved.
type MovedError struct {
	Err   error
	Names int // of the push
	// Moved are the names that stand for the image now.
	Moved []string
	// Unknown is a name that may have moved: the registry got the request, and its
	// answer never came. "" is none.
	Unknown string
}

func (e *MovedError) Error() string {
	var says []string
	if len(e.Moved) > 0 {
		says = append(says, fmt.Sprintf("%d of %d names were moved before: %s",
			len(e.Moved), e.Names, strings.Join(e.Moved, ", ")))
	}
	if e.Unknown != "" {
		says = append(says, "whether "+e.Unknown+" was moved is not known")
	}
	return fmt.Sprintf("%v (%s)", e.Err, strings.Join(says, "; "))
}

// Unwrap returns Err.
func (e *MovedError) Unwrap() error { return e.Err }

// Published lists the names that were moved, or may have been.
func (e *MovedError) Published() []string {
	if e.Unknown == "" {
		return e.Moved
	}
	return append(e.Moved[:len(e.Moved):len(e.Moved)], e.Unknown)
}

// tag moves the names, in order.
func (t *Target) tag(ctx context.Context, what Manifest, root manifest) ([]Pushed, error) {
	var pushed []Pushed
	failed := &MovedError{Names: len(t.refs)}
	for _, ref := range t.refs {
		r := t.repo(ref.Context())
		p := Pushed{Ref: ref.Context().Digest(root.digest.String())}
		if tag, ok := ref.(name.Tag); ok {
			p.Tag = tag.TagStr()
		}
		var err error
		if p.Existing, err = t.named(ctx, r, ref, root.digest); err == nil && !p.Existing {
			if err = t.move(ctx, r, ref, what, root); err != nil {
				failed.ask(ctx, r, ref, root.digest, err)
			} else {
				failed.Moved = append(failed.Moved, nameText(ref))
			}
		}
		if err != nil {
			if failed.Err = err; len(failed.Published()) == 0 {
				return pushed, err
			}
			return pushed, failed
		}
		t.c.cache.putTag(ref.Name(), root.digest)
		pushed = append(pushed, p)
	}
	return pushed, nil
}

// askFor bounds the question that is asked after a failure.
const askFor = 5 * time.Second

// ask finds out whether a name was moved although the request failed: if the answer
// did not come, be it for an interrupt or a gateway, the registry may have done it.
func (e *MovedError) ask(ctx context.Context, r *targetRepo, ref name.Reference,
	digest v1.Hash, failure error) {
	if status := statusOf(failure); status != 0 && status < http.StatusInternalServerError {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askFor)
	defer cancel()
	now, err := r.h.headManifest(ctx, r.place, ref.Identifier(), r.request(""))
	switch {
	case err != nil:
		e.Unknown = nameText(ref)
	case now == digest:
		e.Moved = append(e.Moved, nameText(ref))
	}
}

// named tells whether a name stands for the image. Only where the first name of
// the repository does is it likely that others do, and worth a question.
func (t *Target) named(ctx context.Context, r *targetRepo, ref name.Reference,
	digest v1.Hash) (bool, error) {
	s, err := r.look(ctx)
	if err != nil || s.digest != digest {
		return false, err
	}
	if ref == r.ids[0] {
		return true, nil
	}
	now, err := r.head(ctx, ref)
	return now == digest, err
}

func (t *Target) move(ctx context.Context, r *targetRepo, ref name.Reference, what Manifest,
	root manifest) error {
	err := r.putManifest(ctx, root, ref.Identifier())
	if !r.lacks(err) {
		return err
	}
	parts, err := collect(what, root)
	if err != nil {
		return err
	}
	if err := t.deliver(ctx, parts, []*targetRepo{r}); err != nil {
		return err
	}
	return r.putManifest(ctx, root, ref.Identifier())
}
