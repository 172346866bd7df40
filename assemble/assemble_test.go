package assemble

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// testBase is an index of random images for platforms.
func testBase(t *testing.T, platforms ...string) v1.ImageIndex {
	t.Helper()
	index := v1.ImageIndex(empty.Index)
	for _, p := range platforms {
		platform, err := v1.ParsePlatform(p)
		if err != nil {
			t.Fatal(err)
		}
		img, err := random.Image(100, 2)
		if err != nil {
			t.Fatal(err)
		}
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		config = config.DeepCopy()
		config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
		if img, err = mutate.ConfigFile(img, config); err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: img, Descriptor: v1.Descriptor{Platform: platform},
		})
	}
	return index
}

// puller pretends to be a registry that has index only.
func puller(t *testing.T, index v1.ImageIndex) func(context.Context, string) (*Base, error) {
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return func(_ context.Context, ref string) (*Base, error) {
		return &Base{Name: ref, Digest: digest, Index: index}, nil
	}
}

// recorder is a Pusher that keeps what it is given.
type recorder struct {
	uploaded int
	pushed   Manifest
	err      error
}

func (r *recorder) Upload(_ context.Context, layers ...v1.Layer) error {
	r.uploaded += len(layers)
	return nil
}

func (r *recorder) Stream(_ context.Context, rd io.Reader, wait func() (v1.Hash, int64, error)) error {
	n, err := io.Copy(io.Discard, rd)
	if err != nil {
		return err
	}
	if _, size, err := wait(); err != nil || size != n {
		return errors.New("the stream is not the layer")
	}
	return nil
}

func (r *recorder) Push(_ context.Context, m Manifest) ([]string, error) {
	if r.err != nil {
		return nil, r.err
	}
	r.pushed = m
	digest, err := m.Digest()
	return []string{"registry.test/web@" + digest.String()}, err
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// options are a build of a small site that works.
func options(t *testing.T, push *recorder) Options {
	t.Helper()
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"index.html": "<p>one</p>", "assets/a.js": "1"})
	return Options{
		Dir: dir, Base: "registry.test/nginx:1", CacheDir: filepath.Join(t.TempDir(), "cache"),
		Pull: puller(t, testBase(t, "linux/386", "linux/amd64", "linux/arm64")), Push: push,
	}
}

func TestBuildPushesAnIndexWithOneSharedLayer(t *testing.T) {
	push := &recorder{}
	o := options(t, push)
	result, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Images) != 2 || result.Images[0].Platform != "linux/amd64" || result.Images[1].Platform != "linux/arm64" {
		t.Errorf("images %v, want amd64 and arm64", result.Images)
	}
	index, ok := push.pushed.(v1.ImageIndex)
	if !ok {
		t.Fatalf("pushed a %T", push.pushed)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range manifest.Manifests {
		img, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		if digest, _ := layers[len(layers)-1].Digest(); len(layers) != 3 || digest != result.Layer.Digest {
			t.Errorf("%s: %d layers, the last %s, want %s", d.Digest, len(layers), digest, result.Layer.Digest)
		}
	}
	if push.uploaded != 4 {
		t.Errorf("%d base layers were sent ahead, want 4", push.uploaded)
	}
}

func TestBuildAgainReadsNothingAndGivesTheSame(t *testing.T) {
	push := &recorder{}
	o := options(t, push)
	first, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	settle()
	if _, err := Build(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	push.uploaded = 0
	again, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if again.Digest != first.Digest {
		t.Errorf("digest %s, was %s", again.Digest, first.Digest)
	}
	if !again.Layer.Unchanged || push.uploaded != 0 {
		t.Errorf("unchanged %v, %d layers sent ahead", again.Layer.Unchanged, push.uploaded)
	}

	o.NoCache = true
	fresh, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if fresh.Digest != first.Digest || fresh.Layer.Unchanged {
		t.Errorf("without the cache: %s, unchanged %v", fresh.Digest, fresh.Layer.Unchanged)
	}
}

func TestBuildNoticesAChangeOfEqualLength(t *testing.T) {
	o := options(t, &recorder{})
	first, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, o.Dir, map[string]string{"index.html": "<p>two</p>"})
	second, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if second.Layer.Digest == first.Layer.Digest {
		t.Error("the layer did not change")
	}
}

func TestBuildWritesOutputsAndTheBaseAnnotations(t *testing.T) {
	o := options(t, nil)
	o.Push = nil
	out := filepath.Join(t.TempDir(), "out")
	o.Outputs = []Output{{Kind: Layout, Path: out, Names: []string{"web:1"}}}
	o.Platforms = "linux/386"
	result, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := "oci:" + out + "@" + result.Digest.String(); len(result.References) != 1 || result.References[0] != want {
		t.Errorf("references %q, want %q", result.References, want)
	}
	index, err := layout.ImageIndexFromPath(out)
	if err != nil {
		t.Fatal(err)
	}
	img, err := index.Image(result.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
}

func TestBuildFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, o *Options)
		want   string
		usage  bool
	}{
		{"no directory", func(_ *testing.T, o *Options) { o.Dir = "no/such" }, "no such directory", false},
		{"no index.html", func(t *testing.T, o *Options) { o.Dir = t.TempDir() }, "no index.html", false},
		{"empty dist", func(t *testing.T, o *Options) { o.Dist = t.TempDir() }, "no file", false},
		{"platform", func(_ *testing.T, o *Options) { o.Platforms = "linux/s390x" }, "no image for linux/s390x", false},
		{"platform syntax", func(_ *testing.T, o *Options) { o.Platforms = "amd64," }, "", true},
		{"compression", func(_ *testing.T, o *Options) { o.Compression = "xz" }, "unknown compression", true},
		{"web root", func(_ *testing.T, o *Options) { o.WebRoot = "html" }, "malformed web root", true},
		{"base", func(_ *testing.T, o *Options) { o.Base = "Not A Ref" }, "malformed reference", true},
		{"port", func(_ *testing.T, o *Options) { o.Ports = []string{"http"} }, "http", true},
		{"glob", func(_ *testing.T, o *Options) { o.AllowSecrets = []string{"["} }, "[", true},
		{"secret", func(t *testing.T, o *Options) { writeFiles(t, o.Dir, map[string]string{".env": "A=1"}) }, ".env", false},
		{"base's error", func(_ *testing.T, o *Options) {
			o.Pull = func(context.Context, string) (*Base, error) { return nil, errors.New("the registry is gone") }
		}, "the registry is gone", false},
		{"push's error", func(_ *testing.T, o *Options) { o.Push = &recorder{err: errors.New("denied")} }, "denied", false},
		{"output that exists", func(t *testing.T, o *Options) {
			dir := t.TempDir()
			writeFiles(t, dir, map[string]string{"precious": "x"})
			o.Outputs = []Output{{Kind: OCIArchive, Path: filepath.Join(dir, "precious")}}
		}, "precious exists, and is no OCI archive", false},
		{"output whose directory is missing", func(t *testing.T, o *Options) {
			o.Outputs = []Output{{Kind: DockerArchive, Path: filepath.Join(t.TempDir(), "no", "x.tar")}}
		}, "it does not exist", false},
		{"output in the site", func(_ *testing.T, o *Options) {
			o.Outputs = []Output{{Kind: OCIArchive, Path: filepath.Join(o.Dir, "assets", "..", "x.tar")}}
		}, "inside the site", true},
		{"output that is the site", func(_ *testing.T, o *Options) {
			o.Outputs = []Output{{Kind: Layout, Path: o.Dir + "/"}}
		}, "inside the site", true},
		{"output in the site by a link", func(t *testing.T, o *Options) {
			link := filepath.Join(t.TempDir(), "link")
			symlink(t, filepath.Join(o.Dir, "assets"), link)
			o.Outputs = []Output{{Kind: Store, Path: filepath.Join(link, "new", "store"), Names: []string{"a"}}}
		}, "inside the site", true},
		{"output in the site that --dist names", func(_ *testing.T, o *Options) {
			o.Dist, o.Outputs = "assets", []Output{{Kind: Layout, Path: filepath.Join(o.Dir, "assets", "x")}}
		}, "inside the site", true},
		{"cache in the site", func(_ *testing.T, o *Options) {
			o.CacheDir = filepath.Join(o.Dir, ".cache")
		}, "cache", true},
		{"the same output twice", func(t *testing.T, o *Options) {
			dir := t.TempDir()
			o.Outputs = []Output{{Kind: Layout, Path: dir}, {Kind: Layout, Path: dir + "/x/.."}}
		}, "in the same place", true},
		{"output in an output", func(t *testing.T, o *Options) {
			dir := t.TempDir()
			o.Outputs = []Output{{Kind: OCIArchive, Path: filepath.Join(dir, "x.tar")}, {Kind: Layout, Path: dir}}
		}, "in the same place", true},
		{"unknown output", func(t *testing.T, o *Options) {
			o.Outputs = []Output{{Kind: "floppy", Path: filepath.Join(t.TempDir(), "x")}}
		}, "unknown kind", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(t, &recorder{})
			c.change(t, &o)
			_, err := Build(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q in it", err, c.want)
			}
			var u interface{ Usage() bool }
			if got := errors.As(err, &u); got != c.usage {
				t.Errorf("usage error: %v, want %v (%v)", got, c.usage, err)
			}
			if spools, _ := filepath.Glob(filepath.Join(o.CacheDir, "temp", "*")); len(spools) > 0 {
				t.Errorf("left behind: %v", spools)
			}
		})
	}
}

func symlink(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func TestPlanExecutesNothing(t *testing.T) {
	o := options(t, nil)
	o.Pull = func(context.Context, string) (*Base, error) {
		t.Error("plan pulled the base")
		return nil, errors.New("no")
	}
	text, err := Plan(t.Context(), o)
	if err != nil || !strings.Contains(text, "\nFROM registry.test/nginx:1\n") {
		t.Errorf("plan %q, %v", text, err)
	}
}

func TestCheckName(t *testing.T) {
	for ref, hint := range map[string]string{
		"registry.test/Web":     "registry.test/web",
		"registry.test/web:a:b": "HOST/REPOSITORY:TAG",
		"":                      "HOST/REPOSITORY:TAG",
		"registry.test/web@sha256:" + strings.Repeat("0", 64): "a tag",
	} {
		err := CheckName(ref)
		var u *UsageError
		if !errors.As(err, &u) || !strings.Contains(u.Hint(), hint) {
			t.Errorf("CheckName(%q) = %v, want a hint with %q", ref, err, hint)
		}
	}
	for _, ref := range []string{"web", "me/web:1", "localhost:5000/a/b:c", "registry.test/web"} {
		if err := CheckName(ref); err != nil {
			t.Errorf("CheckName(%q) = %v", ref, err)
		}
	}
}

// settle waits until the change times of the files just written are old enough
// to be trusted; no program can set them.
func settle() { time.Sleep(150 * time.Millisecond) }

func TestBuildMakesADamagedLayerAgain(t *testing.T) {
	o := options(t, nil)
	o.Push = nil
	o.Outputs = []Output{{Kind: OCIArchive, Path: filepath.Join(t.TempDir(), "one.tar")}}
	settle()
	first, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := filepath.Glob(filepath.Join(o.CacheDir, "layers", "*", "*"+first.Layer.Digest.Hex))
	if err != nil || len(blobs) != 1 {
		t.Fatalf("blobs %v, %v", blobs, err)
	}
	data, err := os.ReadFile(blobs[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(blobs[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	o.Outputs[0].Path = filepath.Join(t.TempDir(), "two.tar")
	again, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if again.Digest != first.Digest || again.Layer.Unchanged {
		t.Errorf("digest %s, was %s; unchanged %v", again.Digest, first.Digest, again.Layer.Unchanged)
	}
}
