package assemble_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/decant-build/decant/testdata/bed"
)

// A buildah is Debian's buildah with images of its own.
type buildah struct {
	tool *bed.Tool
	dir  string
}

// newBuildah gives buildah the bases under the names that Dockerfiles use.
func newBuildah(t *testing.T, b *bed.Bed, bases map[string]v1.Image) *buildah {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "buildah runs as root here")
	}
	w := &buildah{tool: needed[*bed.Tool](t)(b.Tool(t.Context(), "buildah")), dir: t.TempDir()}
	t.Cleanup(func() {
		// Its storage is a mount, and so are the containers of builds that failed.
		_ = exec.Command("umount", "--recursive", filepath.Join(w.dir, "root", "overlay")).Run()
	})
	for base, img := range bases {
		file := filepath.Join(w.dir, base+".tar")
		tag, err := name.NewTag("localhost/" + base + ":latest")
		if err != nil {
			t.Fatal(err)
		}
		if err := tarball.WriteToFile(file, tag, img); err != nil {
			t.Fatal(err)
		}
		if out, err := w.run(t.Context(), w.dir, "pull", "docker-archive:"+file); err != nil {
			t.Fatalf("buildah pull: %v\n%s", err, out)
		}
	}
	return w
}

func (w *buildah) run(ctx context.Context, dir string, args ...string) (string, error) {
	global := []string{"--root", filepath.Join(w.dir, "root"),
		"--runroot", filepath.Join(w.dir, "runroot"), "--storage-driver", "overlay"}
	cmd := w.tool.Command(ctx, append(global, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+w.dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// build builds a case's context. The Docker format is the one in which buildah
// keeps every field of the configuration.
func (w *buildah) build(ctx context.Context, c *dockerfileCase, dir string) (*builtImage, error) {
	tag := "localhost/case-" + c.name
	args := append([]string{"build", "--isolation", "chroot", "--format", "docker",
		"--identity-label=false", "--pull=false", "--no-cache", "--timestamp", "0", "-q",
		"-t", tag}, c.args...)
	out, err := w.run(ctx, dir, append(args, ".")...)
	if err != nil {
		return nil, buildError{fmt.Errorf("buildah build: %w\n%s", err, out)}
	}
	to := filepath.Join(filepath.Dir(dir), "buildah")
	if out, err := w.run(ctx, dir, "push", "-q", "--disable-compression", tag, "dir:"+to); err != nil {
		return nil, fmt.Errorf("buildah push: %w\n%s", err, out)
	}
	return readImageDir(to)
}

// A buildError is a builder's refusal, rather than something wrong with the test.
type buildError struct{ error }

func (e buildError) Unwrap() error { return e.error }

func isBuildError(err error) bool {
	var e buildError
	return errors.As(err, &e)
}
