package assemble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// streamRecorder also counts the layers that are sent as they grow.
type streamRecorder struct {
	recorder
	streamed atomic.Int64
}

func (r *streamRecorder) Stream(ctx context.Context, rd io.Reader, wait func() (v1.Hash, int64, error)) error {
	r.streamed.Add(1)
	return r.recorder.Stream(ctx, rd, wait)
}

// largeSite writes a site that is large enough to be sent as it is read.
func largeSite(t *testing.T, dir string) {
	t.Helper()
	files := map[string]string{"index.html": "<p>one</p>"}
	for i := range 9 {
		files[fmt.Sprintf("assets/%d.js", i)] = strings.Repeat(fmt.Sprintf("file %d;", i), 2<<20/7)
	}
	writeFiles(t, dir, files)
}

// builtLargeSite has been built once; its files have been written anew since then.
func builtLargeSite(t *testing.T) (Options, *streamRecorder, *Result) {
	t.Helper()
	push := &streamRecorder{}
	o := options(t, nil)
	o.Push = push
	largeSite(t, o.Dir)
	first, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if push.streamed.Load() != 1 {
		t.Fatalf("the first build sent %d layers as they grew: the site is too small", push.streamed.Load())
	}
	if err := os.RemoveAll(o.Dir); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, o.Dir, map[string]string{"assets/a.js": "1"})
	largeSite(t, o.Dir)
	push.streamed.Store(0)
	push.uploaded = 0
	return o, push, first
}

func TestAFreshCopyOfTheSiteIsNotSentAgain(t *testing.T) {
	o, push, first := builtLargeSite(t)
	result, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if result.Digest != first.Digest {
		t.Errorf("digest %s, was %s", result.Digest, first.Digest)
	}
	if n := push.streamed.Load(); n != 0 || push.uploaded != 0 {
		t.Errorf("%d layers sent as they grew, %d ahead", n, push.uploaded)
	}
	if l := result.Layer; l.Unchanged || l.Chunks == 0 || l.ReusedChunks != l.Chunks {
		t.Errorf("%+v", l)
	}
	settle()
	for _, want := range []bool{false, true} { // the stats are trusted from then on
		if result, err = Build(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if result.Layer.Unchanged != want || push.streamed.Load() != 0 {
			t.Errorf("unchanged %v, want %v", result.Layer.Unchanged, want)
		}
	}
}

func TestOneByteOfAFreshCopyIsNoticed(t *testing.T) {
	o, push, first := builtLargeSite(t)
	writeFiles(t, o.Dir, map[string]string{"index.html": "<p>two</p>"})
	result, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if result.Digest == first.Digest || push.streamed.Load() != 1 {
		t.Errorf("digest %s, was %s; %d layers sent", result.Digest, first.Digest, push.streamed.Load())
	}
	if l := result.Layer; l.ReusedChunks == 0 || l.ReusedChunks == l.Chunks {
		t.Errorf("%+v", l)
	}
}

func TestAFileThatVanishesFromAFreshCopyIsAnError(t *testing.T) {
	o, push, _ := builtLargeSite(t)
	o.Serving.Conf, o.Check = "off", CheckOff // which read files too
	b, err := newBuild(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	b.openCache()
	defer b.closeCache()
	base, err := o.Pull(t.Context(), o.Base)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := b.choosePlatforms(base)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := b.scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(o.Dir, "assets", "5.js")); err != nil {
		t.Fatal(err)
	}
	_, err = b.pour(t.Context(), base, tree, parts)
	var changed *layer.ChangedError
	if !errors.As(err, &changed) || changed.What != "vanished" || push.streamed.Load() != 0 {
		t.Errorf("%v; %d layers sent", err, push.streamed.Load())
	}
}
