package output

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func diffIDs(t *testing.T, img v1.Image) []v1.Hash {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return config.RootFS.DiffIDs
}

// TestSkopeoReads has skopeo copy each format, which verifies every digest. Its
// library is also that of podman and buildah.
func TestSkopeoReads(t *testing.T) {
	tool(t, "skopeo")
	for _, w := range writers {
		t.Run(w.kind, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, w.path)
			img := ociImageOf(t, "amd64")
			if err := w.write(t.Context(), path, []string{"my-app:1.4"}, img, WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			ref, back := w.kind+":"+path+":1.4", "oci:"+filepath.Join(dir, "back")+":1.4"
			if w.kind == "docker-archive" {
				ref = w.kind + ":" + path + ":my-app:1.4"
			}
			run(t, "skopeo", "--insecure-policy", "copy", ref, back)
			var config struct{ Architecture string }
			if err := json.Unmarshal([]byte(run(t, "skopeo", "inspect", "--config", ref)), &config); err != nil {
				t.Fatal(err)
			}
			if config.Architecture != "amd64" {
				t.Errorf("config %+v", config)
			}
			if got, want := diffIDs(t, mustOpen(t, back).Image), diffIDs(t, img); !slices.Equal(got, want) {
				t.Errorf("diffIDs %s, want %s", got, want)
			}
		})
	}
}

func TestSkopeoReadsEveryPlatform(t *testing.T) {
	tool(t, "skopeo")
	dir := t.TempDir()
	path := filepath.Join(dir, "x.tar")
	idx := indexOf(t, "amd64", "arm64")
	if err := putOCIArchive(t.Context(), path, []string{"a:1"}, idx, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	back := "oci:" + filepath.Join(dir, "back") + ":1"
	run(t, "skopeo", "--insecure-policy", "copy", "--all", "oci-archive:"+path+":1", back)
	if err := validate.Index(mustOpen(t, back).Index); err != nil {
		t.Error(err)
	}
	raw := run(t, "skopeo", "inspect", "--raw", "oci-archive:"+path+":1")
	if got := digestOf([]byte(raw)); got != mustDigest(t, idx) {
		t.Errorf("skopeo sees %s, want %s", got, mustDigest(t, idx))
	}
}

func TestOpenReadsWhatSkopeoWrites(t *testing.T) {
	tool(t, "skopeo")
	dir := t.TempDir()
	img := ociImageOf(t, "amd64")
	layout := filepath.Join(dir, "x")
	if err := putLayout(t.Context(), layout, []string{"a:1"}, img, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, w := range writers {
		ref := w.kind + ":" + filepath.Join(dir, "by-skopeo-"+w.path) + ":a:1"
		run(t, "skopeo", "--insecure-policy", "copy", "oci:"+layout+":1", ref)
		if got, want := diffIDs(t, mustOpen(t, ref).Image), diffIDs(t, img); !slices.Equal(got, want) {
			t.Errorf("%s: diffIDs %s, want %s", w.kind, got, want)
		}
	}
}

func TestUmociReadsTheLayout(t *testing.T) {
	tool(t, "umoci")
	dir := filepath.Join(t.TempDir(), "x")
	if err := putLayout(t.Context(), dir, []string{"a:1", "a:2"}, ociImageOf(t, "amd64"), WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(run(t, "umoci", "ls", "--layout", dir)); len(got) != 2 {
		t.Errorf("umoci ls: %q", got)
	}
	bundle := filepath.Join(t.TempDir(), "bundle")
	args := []string{"unpack", "--image", dir + ":1", bundle}
	if os.Geteuid() != 0 {
		args = append(args, "--rootless")
	}
	run(t, "umoci", args...)
	// It removes what no entry needs: our blobs must all be needed.
	before := len(tree(t, dir))
	run(t, "umoci", "gc", "--layout", dir)
	if after := len(tree(t, dir)); after != before {
		t.Errorf("umoci gc removed %d files", before-after)
	}
}
