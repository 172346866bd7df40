package assemble

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/decant-build/decant/assemble/internal/rootfs"
)

// A base whose configuration names another layer's tar would have its files kept under
// that one's key, for builds that never asked for them.
func TestATarThatItsConfigurationDoesNotNameIsRefused(t *testing.T) {
	l, err := random.Layer(1<<10, types.OCILayer)
	if err != nil {
		t.Fatal(err)
	}
	diffID, err := l.DiffID()
	if err != nil {
		t.Fatal(err)
	}
	readAll := func(r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	if err := (layerTar{l, diffID}).read(readAll); err != nil {
		t.Errorf("the tar that is named: %v", err)
	}
	other := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	var wrong *rootfs.DigestError
	if err := (layerTar{l, other}).read(readAll); !errors.As(err, &wrong) {
		t.Errorf("another tar: %v", err)
	}
}

// Many servers do not say when a file was last modified.
func TestAddOfAURLNeedsNoTime(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/old" {
			w.Header().Set("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT")
		}
		_, _ = io.WriteString(w, "content")
	}))
	defer server.Close()
	for _, name := range []string{"new", "old"} {
		dir := t.TempDir()
		result, err := Build(t.Context(), Options{
			Dir: dir, DockerfileText: []byte("FROM scratch\nADD " + server.URL + "/" + name + " /\n"),
			CacheDir: filepath.Join(dir, "cache"), Outputs: []Output{{Kind: Files, Path: filepath.Join(dir, "out")}},
		})
		if err != nil || result == nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, "out", name))
		if err != nil || string(content) != "content" {
			t.Errorf("%s: %q, %v", name, content, err)
		}
		layout := Output{Kind: Layout, Path: filepath.Join(dir, "layout"), Names: []string{"x:1"}}
		_, err = Build(t.Context(), Options{
			Dir: dir, DockerfileText: []byte("FROM scratch\nADD " + server.URL + "/" + name + " /\n"),
			CacheDir: filepath.Join(dir, "cache"), Outputs: []Output{layout},
		})
		if err != nil {
			t.Errorf("%s, as an image: %v", name, err)
		}
	}
}
