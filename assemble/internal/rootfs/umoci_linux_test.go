package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// layoutOf writes an image as an OCI layout, under the name "image".
func layoutOf(t testing.TB, dir string, img v1.Image) layout.Path {
	t.Helper()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	name := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "image"})
	if err := p.AppendImage(img, name); err != nil {
		t.Fatal(err)
	}
	return p
}

// umoci unpacks the image of a layout into dir/rootfs.
func umoci(t testing.TB, layout, dir string) {
	t.Helper()
	if _, err := exec.LookPath("umoci"); err != nil {
		missing(t, "umoci is not installed")
	}
	cmd := exec.Command("umoci", "unpack", "--rootless", "--image", layout+":image", dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("umoci: %v\n%s", err, out)
	}
}

// goroot is a tree of real files that every machine has on which tests run.
func goroot(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("asking for GOROOT: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// treeOf makes a tar of a directory of the host, with its names below prefix.
func treeOf(t testing.TB, dir, prefix string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || !info.IsDir() && !info.Mode().IsRegular() {
			return err
		}
		h, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		h.Format = tar.FormatPAX
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		h.Name, h.Uid, h.Gid, h.Uname, h.Gname = filepath.Join(prefix, rel), 0, 0, "", ""
		h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
		if err := w.WriteHeader(h); err != nil || info.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestUnpackAgreesWithUmoci compares every name of an image that uses what images
// use: type, mode, time, size, content, link.
func TestUnpackAgreesWithUmoci(t *testing.T) {
	source := filepath.Join(goroot(t), "src", "encoding")
	img := imageOf(t,
		layerOf(t,
			dir("./", 0o755), dir("bin", 0o555), fileMode("bin/su", "x", 0o4755), dir("tmp", 0o1777),
			dir("etc", 0o755), fileMode("etc/shadow", "s", 0o640), symlink("lib", "usr/lib"),
			dir("usr", 0o755), dir("usr/lib", 0o755), file("usr/lib/a", "a"),
			hardlink("usr/lib/b", "usr/lib/a"),
			fileMode("usr/lib/exe", strings.Repeat("0123456789", 100_000), 0o755), dir("gone", 0o700),
			file("gone/x", "1"), dir("opaque", 0o2755), file("opaque/x", "1"), file("replaced", "1"),
		),
		blobOf(t, treeOf(t, source, "src"), "gzip"),
		layerOf(t,
			whiteout(".wh.gone"), dir("opaque", 0o711), whiteout("opaque/.wh..wh..opq"),
			file("opaque/y", "2"),
			whiteout("usr/lib/.wh.exe"), whiteout("src/json/.wh.encode.go"), dir("replaced", 0o750),
			file("replaced/x", "2"), symlink("src/hex", "json"), fileMode("tmp/new", "", 0o600),
			dir("src/json", 0o700),
		),
	)
	s := openStore(t)
	layoutDir := filepath.Join(filepath.Dir(s.dir), "layout")
	layoutOf(t, layoutDir, img)
	bundle := filepath.Join(filepath.Dir(s.dir), "bundle")
	umoci(t, layoutDir, bundle)
	want, err := list(filepath.Join(bundle, "rootfs"))
	if err != nil {
		t.Fatal(err)
	}
	delete(want, ".")
	r, err := s.Unpack(context.Background(), img, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if d := mounted(t, r).diff(want); d != "" {
		t.Errorf("decant (-) and umoci (+) differ:\n%s", d)
	}
	if d := flattened(t, s, r).diff(want); d != "" {
		t.Errorf("flattened (-) and umoci (+) differ:\n%s", d)
	}
	if len(want) < 50 {
		t.Errorf("compared %d names only", len(want))
	}
}

// BenchmarkUnpack unpacks 5 layers of the Go distribution, and prints how much
// longer umoci takes.
func BenchmarkUnpack(b *testing.B) {
	var layers []v1.Layer
	var size int64
	root := goroot(b)
	for _, sub := range []string{"src", "pkg", "bin", "test", "api"} {
		plain := treeOf(b, filepath.Join(root, sub), "usr/local/go/"+sub)
		size += int64(len(plain))
		layers = append(layers, blobOf(b, plain, "gzip"))
	}
	temp := os.TempDir()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		temp = "/dev/shm"
	}
	temp, err := os.MkdirTemp(temp, "rootfs")
	if err != nil {
		b.Fatal(err)
	}
	defer removeTree(temp)
	p := layoutOf(b, filepath.Join(temp, "layout"), imageOf(b, layers...))
	img := onlyImage(b, p)
	b.SetBytes(size)
	for b.Loop() {
		s, err := OpenStore(filepath.Join(temp, "store"))
		if err != nil {
			b.Fatal(err)
		}
		r, err := s.Unpack(context.Background(), img, Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		if err := removeTree(s.dir); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.StopTimer()
	start := time.Now()
	umoci(b, string(p), filepath.Join(temp, "bundle"))
	b.ReportMetric(time.Since(start).Seconds()/(b.Elapsed().Seconds()/float64(b.N)), "umoci/decant")
}

func onlyImage(t testing.TB, p layout.Path) v1.Image {
	t.Helper()
	index, err := p.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := p.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img
}
