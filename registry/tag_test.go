package registry

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/decant-build/decant/registry/registrytest"
)

// interrupter cancels at the PUT of a tag: before it is sent, or after the registry
// has answered.
type interrupter struct {
	http.RoundTripper
	tag    string
	after  bool
	cancel context.CancelFunc
}

func (i interrupter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/manifests/"+i.tag) {
		return i.RoundTripper.RoundTrip(r)
	}
	if i.after {
		resp, err := i.RoundTripper.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		discard(resp)
	}
	i.cancel()
	return nil, r.Context().Err()
}

func TestFailedPushSaysWhichNamesWereMoved(t *testing.T) {
	denied := registrytest.Fault{Method: "PUT", Path: "/manifests/", Times: -1, Status: 403}
	for _, tt := range []struct {
		name    string
		at      string // the tag that fails
		fault   registrytest.Fault
		stop    bool // interrupted, not refused
		after   bool // when the registry had done it
		moved   string
		unknown string
	}{
		{name: "the first is refused", at: "1", fault: denied},
		{name: "the second is refused", at: "2", fault: denied, moved: "1"},
		{name: "interrupted before the first", at: "1", stop: true},
		{name: "interrupted in the first", at: "1", stop: true, after: true, moved: "1"},
		{name: "interrupted before the third", at: "3", stop: true, moved: "1 2"},
		{name: "interrupted in the third", at: "3", stop: true, after: true, moved: "1 2 3"},
		{name: "no answer to the question", at: "2", stop: true, after: true, moved: "1", unknown: "2",
			fault: registrytest.Fault{Method: "HEAD", Path: "/manifests/", Times: -1, Status: 403}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := registrytest.New(t, registrytest.Options{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o := Options{}
			if tt.stop {
				o.Transport = interrupter{&http.Transport{}, tt.at, tt.after, cancel}
			}
			c, _ := newClient(t, o)
			if tt.fault.Path != "" {
				tt.fault.Path += tt.at + "$"
				r.Fail(tt.fault)
			}
			web := func(tag string) string { return r.Host + "/web:" + tag }
			target, err := c.Target(web("1"), web("2"), web("3"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = target.Push(ctx, ociImage(t, 100, 1))
			if err == nil || tt.stop && !errors.Is(err, context.Canceled) {
				t.Fatalf("error %v", err)
			}
			var want []string
			for _, tag := range strings.Fields(tt.moved) {
				want = append(want, web(tag))
			}
			var moved MovedError
			if e := (*MovedError)(nil); errors.As(err, &e) {
				moved = *e
			}
			if !slices.Equal(moved.Moved, want) || (moved.Unknown != "") != (tt.unknown != "") {
				t.Errorf("error %v; moved %q, unknown %q; want %q", err, moved.Moved, moved.Unknown, want)
			}
			if tt.unknown != "" {
				want = append(want, web(tt.unknown))
			}
			if !slices.Equal(moved.Published(), want) {
				t.Errorf("published %q, want %q", moved.Published(), want)
			}
			for _, name := range want {
				if !strings.Contains(err.Error(), name) {
					t.Errorf("%q does not name %s", err, name)
				}
			}
			for _, tag := range []string{"1", "2", "3"} {
				is := r.Tag("web", tag) != ""
				if is != slices.Contains(want, web(tag)) {
					t.Errorf("tag %s is there: %v; the error is %q", tag, is, err)
				}
			}
		})
	}
}
