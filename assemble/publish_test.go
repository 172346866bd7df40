package assemble

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// outputsIn is one output of each kind below dir, for one platform.
func outputsIn(dir string) []Output {
	names := []string{"web:1", "web:2"}
	return []Output{
		{Kind: OCIArchive, Path: filepath.Join(dir, "oci.tar"), Names: names},
		{Kind: DockerArchive, Path: filepath.Join(dir, "docker.tar"), Names: names},
		{Kind: Layout, Path: filepath.Join(dir, "layout"), Names: names},
		{Kind: Store, Path: filepath.Join(dir, "data", "store"), Names: names},
	}
}

// partlyMoved is the error of a Pusher that moved a tag.
type partlyMoved struct{ error }

func (partlyMoved) Published() []string { return []string{"registry.test/web:1"} }

func TestFailedPushLeavesNoOutput(t *testing.T) {
	dir := t.TempDir()
	o := options(t, &recorder{err: partlyMoved{errors.New("denied")}})
	o.Platforms, o.Outputs = "linux/amd64", outputsIn(dir)
	_, err := Build(t.Context(), o)
	var p interface{ Published() []string }
	if !errors.As(err, &p) || len(p.Published()) != 1 {
		t.Errorf("got %v, want the error of the push", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFailedOutputLeavesNoOtherAndPushesNothing(t *testing.T) {
	dir := t.TempDir()
	push := &recorder{}
	o := options(t, push)
	o.Outputs = outputsIn(dir) // a docker archive holds one platform, not two
	if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "docker.tar: a docker archive holds one") {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 || push.pushed != nil {
		t.Errorf("left behind: %v; pushed: %v", left, push.pushed)
	}
}

// blocker is a Pusher that puts a directory where an output belongs.
type blocker struct {
	*recorder
	path string
}

func (b blocker) Push(ctx context.Context, m Manifest) ([]string, error) {
	if err := os.Mkdir(b.path, 0o755); err != nil {
		return nil, err
	}
	return b.recorder.Push(ctx, m)
}

func TestFailingRenameSaysWhatIsPublished(t *testing.T) {
	dir := t.TempDir()
	o := options(t, nil)
	o.Platforms, o.Outputs = "linux/amd64", outputsIn(dir)
	o.Push = blocker{&recorder{}, o.Outputs[1].Path}
	_, err := Build(t.Context(), o)
	var partial *PartialError
	if !errors.As(err, &partial) || len(partial.Published()) != 2 ||
		!strings.HasPrefix(partial.References[0], "registry.test/web@sha256:") ||
		!strings.HasPrefix(partial.References[1], "oci-archive:"+o.Outputs[0].Path+"@sha256:") {
		t.Fatalf("got %v, want a PartialError with the registry and the first archive", err)
	}
	for _, ref := range partial.References {
		if !strings.Contains(err.Error(), ref) {
			t.Errorf("%q does not have %s", err, ref)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != "docker.tar" || left[1].Name() != "oci.tar" {
		t.Errorf("there are %v, %v", left, err)
	}
}

func TestCancelledBuildCommitsNothing(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	o := options(t, nil)
	o.Push, o.Platforms, o.Outputs = nil, "linux/amd64", outputsIn(dir)
	o.Progress = layerWatcher{func() { cancel(stop) }}
	if _, err := Build(ctx, o); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// layerWatcher calls seen when the site's layer is reported.
type layerWatcher struct{ seen func() }

func (layerWatcher) Warn(string)                    {}
func (w layerWatcher) Layer(int, int, int64, int64) { w.seen() }
func (layerWatcher) Fact(string, string)            {}
func (layerWatcher) Step(string, string) (io.Writer, func(error)) {
	return io.Discard, func(error) {}
}

// Each reference that is printed opens what it names, on this machine.
func TestReferencesOpenTheImage(t *testing.T) {
	o := options(t, &recorder{})
	o.Platforms, o.Outputs = "linux/amd64", outputsIn(t.TempDir())
	result, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.References) != 5 || !strings.HasPrefix(result.References[0], "registry.test/web@") {
		t.Fatalf("references %q, want the registry's first, and the store's once", result.References)
	}
	for _, ref := range result.References[1:] {
		base, err := OpenImage(t.Context(), ref, o.Outputs[3].Path)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if !strings.HasPrefix(ref, "docker-archive:") && base.Digest != result.Digest {
			t.Errorf("%s has the digest %s, not %s", ref, base.Digest, result.Digest)
		}
		layers, err := base.Image.Layers()
		if err != nil || len(layers) != 3 {
			t.Errorf("%s: layers %v, %v", ref, layers, err)
		}
		if id, err := base.Image.ConfigName(); strings.HasPrefix(ref, "docker-archive:") && !strings.HasSuffix(ref, "@"+id.String()) {
			t.Errorf("%s has the image ID %s, %v", ref, id, err)
		}
		if err := base.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestHistoryHasTheCleanWebRoot(t *testing.T) {
	digests := map[v1.Hash]bool{}
	o := options(t, &recorder{})
	for _, root := range []string{"/srv/www", "/srv/www/", "/srv/./www//"} {
		o.WebRoot = root
		result, err := Build(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		digests[result.Digest] = true
	}
	if len(digests) != 1 {
		t.Errorf("%d digests", len(digests))
	}
}
