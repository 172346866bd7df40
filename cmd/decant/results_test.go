package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/decant-build/decant/assemble"
	"github.com/decant-build/decant/registry/registrytest"
)

func TestResultsNameWhatWasPushed(t *testing.T) {
	digest := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	child := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("1", 64)}
	at := func(place string) string { return place + "@" + digest.String() }
	of := func(place string) string { return place + "@" + child.String() }
	archive := assemble.Output{Kind: assemble.OCIArchive, Path: "w.tar", Names: []string{"r.test/web:1", "web"}}
	store := assemble.Output{Kind: assemble.Store, Path: "s", Names: []string{"r.test/web:1", "web"}}
	for _, tt := range []struct {
		name       string
		d          destinations
		references []string
		names      string
		refs       []string
	}{
		{
			"pushed and written",
			destinations{refs: []string{"r.test/web:1", "r.test/web:2", "r.test/web:1", "index.docker.io/me/web"},
				outputs: []assemble.Output{archive, store}},
			[]string{at("r.test/web"), at("docker.io/me/web"), at("oci-archive:w.tar"), at("web")},
			"r.test/web:1,r.test/web:2,index.docker.io/me/web",
			[]string{at("r.test/web"), of("r.test/web"), at("docker.io/me/web"), of("docker.io/me/web")},
		},
		{
			"only written",
			destinations{outputs: []assemble.Output{archive, store}},
			[]string{at("oci-archive:w.tar"), at("r.test/web"), at("web")},
			"r.test/web:1,web",
			[]string{at("oci-archive:w.tar"), of("oci-archive:w.tar"), at("r.test/web"), of("r.test/web"), at("web"), of("web")},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &assemble.Result{Digest: digest, References: tt.references,
				Images: []assemble.PlatformImage{{Platform: "linux/amd64", Digest: child}}}
			if got := metadataOf(r, tt.d).Name; got != tt.names {
				t.Errorf("image.name %q, want %q", got, tt.names)
			}
			if got, want := string(imageRefs(r, tt.d)), strings.Join(tt.refs, "\n")+"\n"; got != want {
				t.Errorf("--image-refs has\n%swant\n%s", got, want)
			}
		})
	}
}

// TestRefusedPushLeavesNoOutput: a build with several outputs is done with all of
// them or with none.
func TestRefusedPushLeavesNoOutput(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{Faults: []registrytest.Fault{
		{Method: "PUT", Path: "/web/manifests/1$", Times: -1, Status: 403},
	}})
	pushBase(t, reg.Host+"/nginx:stable")
	dir := t.TempDir()
	for name, text := range map[string]string{"dist/index.html": "x", "out/keep": ""} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "out")
	t.Setenv("DECANT_CACHE_DIR", filepath.Join(dir, "cache"))
	t.Setenv("DECANT_STORE_DIR", filepath.Join(out, "data", "store"))
	t.Setenv("DOCKER_CONFIG", filepath.Join(dir, "docker"))
	var stdout, stderr strings.Builder
	code := run(t.Context(), []string{"build", filepath.Join(dir, "dist"),
		"--base", reg.Host + "/nginx:stable", "-t", reg.Host + "/web:1",
		"-o", "oci-archive:" + filepath.Join(out, "w.tar"), "-o", "oci:" + filepath.Join(out, "w"),
		"-o", "store", "-o", "registry"}, stdio{out: &stdout, err: &stderr})
	if code != exitFailed || stdout.Len() > 0 || !strings.Contains(stderr.String(), "403 Forbidden") {
		t.Errorf("exit code %d, standard output %q\n%s", code, stdout.String(), stderr.String())
	}
	left, err := os.ReadDir(out)
	if err != nil || len(left) != 1 || left[0].Name() != "keep" {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if tag := reg.Tag("web", "1"); tag != "" {
		t.Errorf("the tag is %s", tag)
	}
}
