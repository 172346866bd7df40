package bed

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnpackedToolsWorkTogether uses the programs as on a machine where none is
// installed: a base goes to the registry, comes back and is unpacked by umoci.
func TestUnpackedToolsWorkTogether(t *testing.T) {
	b := open(t)
	tools := map[string]*Tool{}
	for _, name := range []string{"docker-registry", "nginx", "skopeo", "umoci"} {
		tool, err := b.unpackedTool(t.Context(), name)
		need(t, err)
		tools[name] = tool
	}
	r := startRegistry(t, b, tools["docker-registry"])
	dir, err := b.Nginx(t.Context())
	need(t, err)
	digest, err := b.Push(t.Context(), dir, r.Host()+"/nginx:stable")
	if err != nil {
		t.Fatal(err)
	}
	out := output(t, tools["skopeo"], "inspect", "--tls-verify=false", "--override-arch", "arm64",
		"docker://"+r.Host()+"/nginx@"+digest)
	var inspected struct{ Architecture string }
	if err := json.Unmarshal([]byte(out), &inspected); err != nil || inspected.Architecture != "arm64" {
		t.Errorf("skopeo says %s, %v", out, err)
	}
	work := t.TempDir()
	output(t, tools["skopeo"], "copy", "--src-tls-verify=false", "--override-arch", "amd64",
		"docker://"+r.Host()+"/nginx:stable", "oci:"+work+"/layout:web")
	output(t, tools["umoci"], "raw", "unpack", "--rootless", "--image", work+"/layout:web", work+"/root")
	ours := unpack(t, dir, "amd64")
	for _, name := range []string{"usr/sbin/nginx", "etc/passwd", "docker-entrypoint.sh"} {
		if read(t, ours, name) != read(t, work+"/root", name) {
			t.Errorf("umoci unpacks another %s", name)
		}
	}
	if out := output(t, tools["nginx"], "-V"); !strings.Contains(out, "http_gzip_static_module") {
		t.Errorf("nginx -V printed %s", out)
	}
}

func output(t *testing.T, tool *Tool, args ...string) string {
	t.Helper()
	out, err := tool.Command(t.Context(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", tool.name, args, err, out)
	}
	return string(out)
}

func startRegistry(t *testing.T, b *Bed, tool *Tool) *Registry {
	t.Helper()
	own, err := os.MkdirTemp(t.TempDir(), "registry-")
	if err != nil {
		t.Fatal(err)
	}
	r := &Registry{own: own}
	if err := r.start(t.Context(), tool, filepath.Join(own, "storage")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestRegistryIsGoneAfterStop(t *testing.T) {
	b := open(t)
	r, err := b.Registry(t.Context())
	need(t, err)
	url := "http://" + r.Host() + "/v2/"
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %s", resp.Status)
	}
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	// The access log has been read to its end by now.
	if n := r.Requests(); n != 1 {
		t.Errorf("%d requests counted", n)
	}
	if resp, err := http.Get(url); err == nil {
		resp.Body.Close()
		t.Error("it still answers")
	}
	if isDir(r.own) {
		t.Errorf("%s is left", r.own)
	}
}

func TestRegistryKeepsTheStorageOfItsCaller(t *testing.T) {
	b := open(t)
	dir, err := b.NginxUnprivileged(t.Context())
	need(t, err)
	storage := t.TempDir()
	for _, push := range []bool{true, false} {
		r, err := b.RegistryAt(t.Context(), storage)
		need(t, err)
		if push {
			if _, err := b.Push(t.Context(), dir, r.Host()+"/web:1"); err != nil {
				t.Error(err)
			}
		}
		resp, err := http.Get("http://" + r.Host() + "/v2/web/tags/list")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("push %t: status %s", push, resp.Status)
		}
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	}
}
