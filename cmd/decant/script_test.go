package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/decant-build/decant/registry/registrytest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"decant": main})
}

var update = flag.Bool("update", false, "rewrite golden output in testdata/script")

// TestScript runs testdata/script/<command>_<case>.txtar through the real main.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, ".cache"))
			env.Setenv("DOCKER_CONFIG", filepath.Join(env.WorkDir, ".docker"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"memregistry": memregistry,
			"base":        writeBase,
			"image":       checkImage,
			"layerfiles":  layerFiles,
			"requests":    countRequests,
		},
	})
}

// registries finds a script's registry by its host again.
var registries = map[string]*registrytest.Registry{}

// memregistry VAR starts an in-process registry and puts its host:port in VAR.
func memregistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: memregistry VAR")
	}
	ts.Fatalf("not wired")
}

// requests HOST PATTERN N compares the number of requests since the last call.
func countRequests(ts *testscript.TestScript, neg bool, args []string) {
	ts.Fatalf("not wired")
}

// base REF|oci:DIR [oci|docker] [PLATFORM...] makes a small base: an index for
// several platforms, an image for one.
func writeBase(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: base REF|oci:DIR [docker] [PLATFORM...]")
	}
	dst, platforms := args[0], args[1:]
	docker := len(platforms) > 0 && platforms[0] == "docker"
	if docker {
		platforms = platforms[1:]
	}
	if len(platforms) == 0 {
		platforms = []string{"linux/amd64", "linux/arm64"}
	}
	var index v1.ImageIndex = empty.Index
	if docker {
		index = mutate.IndexMediaType(index, types.DockerManifestList)
	}
	var only v1.Image
	for _, p := range platforms {
		platform, err := v1.ParsePlatform(p)
		ts.Check(err)
		only = baseImage(ts, *platform, docker)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: only, Descriptor: v1.Descriptor{Platform: platform},
		})
	}
	if dir, ok := strings.CutPrefix(dst, "oci:"); ok {
		_, err := layout.Write(ts.MkAbs(dir), index)
		ts.Check(err)
		return
	}
	ref, err := name.ParseReference(dst)
	ts.Check(err)
	if len(platforms) == 1 {
		ts.Check(remote.Write(ref, only))
		return
	}
	ts.Check(remote.WriteIndex(ref, index))
}

// baseImage is shaped like an nginx image, with one layer of a few bytes.
func baseImage(ts *testscript.TestScript, p v1.Platform, docker bool) v1.Image {
	img, mt := mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCILayer
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	if docker {
		img, mt = empty.Image, types.DockerLayer
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	text := "nginx for " + p.String()
	ts.Check(tw.WriteHeader(&tar.Header{Name: "usr/sbin/nginx", Mode: 0o755, Size: int64(len(text))}))
	_, err := io.WriteString(tw, text)
	ts.Check(err)
	ts.Check(tw.Close())
	img, err = mutate.AppendLayers(img, static.NewLayer(b.Bytes(), types.OCIUncompressedLayer))
	ts.Check(err)
	_ = mt
	config, err := img.ConfigFile()
	ts.Check(err)
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.Config.Cmd = []string{"nginx", "-g", "daemon off;"}
	config.Config.Env = []string{"PATH=/usr/sbin:/usr/bin"}
	config.Config.ExposedPorts = map[string]struct{}{"80/tcp": {}}
	img, err = mutate.ConfigFile(img, config)
	ts.Check(err)
	return img
}

// image REF prints what a registry has under REF and validates every blob.
func checkImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: image REF")
	}
	ref, err := name.ParseReference(args[0])
	ts.Check(err)
	desc, err := remote.Get(ref)
	ts.Check(err)
	if desc.MediaType.IsIndex() {
		index, err := desc.ImageIndex()
		ts.Check(err)
		ts.Check(validate.Index(index))
	} else {
		img, err := desc.Image()
		ts.Check(err)
		ts.Check(validate.Image(img))
	}
	fmt.Fprintf(ts.Stdout(), "%s\n%s\n", desc.MediaType, desc.Manifest)
}

// layerfiles REF prints the entries of the last layer of REF's first image.
func layerFiles(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: layerfiles REF")
	}
	ref, err := name.ParseReference(args[0])
	ts.Check(err)
	img, err := remote.Image(ref)
	ts.Check(err)
	layers, err := img.Layers()
	ts.Check(err)
	r, err := layers[len(layers)-1].Uncompressed()
	ts.Check(err)
	defer r.Close()
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return
		}
		ts.Check(err)
		fmt.Fprintf(ts.Stdout(), "%s %04o %d:%d %s\n", h.Name, h.Mode, h.Uid, h.Gid, h.Linkname)
	}
}

var _ = os.Stdout
