package registry

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/decant-build/decant/registry/registrytest"
)

// TestDebiansRegistry runs the whole way against the real program, and reads the
// result back with skopeo where that is installed.
func TestDebiansRegistry(t *testing.T) {
	for name, o := range map[string]registrytest.DebianOptions{
		"http": {}, "TLS": {TLS: true}, "htpasswd": {Login: true}, "TLS and htpasswd": {TLS: true, Login: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.Debian(t, o)
			c, _ := newClient(t, Options{CAFile: r.CAFile, CacheDir: t.TempDir()})
			ctx := context.Background()
			if o.Login {
				if err := c.Login(ctx, r.Host, registrytest.DebianUser, "wrong"); statusOf(err) != 401 {
					t.Errorf("a wrong password gives %v", err)
				}
				if err := c.Login(ctx, r.Host, registrytest.DebianUser, registrytest.DebianPassword); err != nil {
					t.Fatal(err)
				}
			}
			push(t, c, baseIndex(t, 2000, 2), r.Host+"/base:1")
			base := pull(t, c, r.Host+"/base:1")
			site := siteIndex(t, base.Index, layerOf(t, 9<<20))
			_, target := push(t, c, site, r.Host+"/shop/web:1", r.Host+"/other:1")
			if s := target.Stats(); s.Mounted != 4+4+3 {
				t.Errorf("stats %+v", s)
			}
			if err := validate.Index(pull(t, c, r.Host+"/other:1").Index, validate.Fast); err != nil {
				t.Error(err)
			}
			if got := skopeoDigest(t, r, o, "/shop/web:1"); got != "" && got != digestOf(t, site).String() {
				t.Errorf("skopeo reads %s", got)
			}
			if done, _ := push(t, c, site, r.Host+"/shop/web:1"); !done[0].Existing {
				t.Error("the second push did something")
			}
		})
	}
}

// skopeoDigest returns the digest that skopeo sees, "" without skopeo.
func skopeoDigest(t *testing.T, r *registrytest.DebianRegistry, o registrytest.DebianOptions, ref string) string {
	t.Helper()
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		if os.Getenv("DECANT_TEST_REQUIRE_ALL") == "1" {
			t.Fatal("skopeo is not installed")
		}
		return ""
	}
	args := []string{"inspect", "--raw"}
	if o.Login {
		args = append(args, "--creds", registrytest.DebianUser+":"+registrytest.DebianPassword)
	}
	if o.TLS {
		args = append(args, "--cert-dir", certDir(t, r.CAFile))
	} else {
		args = append(args, "--tls-verify=false")
	}
	out, err := exec.Command(skopeo, append(args, "docker://"+r.Host+ref)...).CombinedOutput()
	if err != nil || !json.Valid(out) {
		t.Fatalf("skopeo: %v: %s", err, out)
	}
	digest, _, err := v1.SHA256(strings.NewReader(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func certDir(t *testing.T, ca string) string {
	t.Helper()
	data, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// distribution 2 keeps the offset in the location that it signs, so that an upload
// which was cut in the middle of a request has to start anew.
func TestDebiansRegistrySurvivesACutUpload(t *testing.T) {
	r := registrytest.Debian(t, registrytest.DebianOptions{})
	c, _ := newClient(t, Options{Transport: newCutter(5 << 20)})
	top := layerOf(t, 8<<20)
	target, err := c.Target(r.Host + "/web:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Upload(context.Background(), top); err != nil {
		t.Fatal(err)
	}
	if s := target.Stats(); s.BytesUp > 14<<20 || s.Uploaded != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestDebiansRegistryTakesAStream(t *testing.T) {
	r := registrytest.Debian(t, registrytest.DebianOptions{})
	c, _ := newClient(t, Options{})
	top := layerOf(t, 3<<20)
	target, err := c.Target(r.Host + "/web:1")
	if err != nil {
		t.Fatal(err)
	}
	rc, err := top.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	err = target.Stream(context.Background(), rc, func() (v1.Hash, int64, error) {
		size, err := top.Size()
		return digestOf(t, top), size, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Upload(context.Background(), top); err != nil || target.Stats().Uploaded != 1 {
		t.Error(err, target.Stats())
	}
}
