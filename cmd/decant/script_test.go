package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/decant-build/decant/assemble"
	"github.com/decant-build/decant/registry/registrytest"
)

func TestMain(m *testing.M) {
	assemble.MaybeInit()
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

// registryOf finds a script's registry by its host again. Scripts run side by
// side, so it is a sync.Map.
var registryOf sync.Map

// memregistry VAR [private] starts an in-process registry and puts its host:port
// in VAR; a private one wants a login.
func memregistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 || len(args) == 2 && args[1] != "private" {
		ts.Fatalf("usage: memregistry VAR [private]")
	}
	var o registrytest.Options
	if len(args) == 2 {
		o.User, o.Password = "u", "p"
	}
	r := registrytest.Start(o)
	ts.Defer(r.Close)
	registryOf.Store(r.Host, r)
	ts.Setenv(args[0], r.Host)
}

// requests HOST METHODS N compares the number of requests with one of the
// methods, as "POST|PUT", since the last call; requests HOST forgets them.
func countRequests(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 && len(args) != 3 {
		ts.Fatalf("usage: requests HOST [METHODS N]")
	}
	found, ok := registryOf.Load(args[0])
	if !ok {
		ts.Fatalf("no registry at %s", args[0])
	}
	r := found.(*registrytest.Registry)
	defer r.Reset()
	if len(args) == 1 {
		return
	}
	n := 0
	for _, method := range strings.Split(args[1], "|") {
		n += r.Count(method, "")
	}
	if want, err := strconv.Atoi(args[2]); err != nil || n != want {
		ts.Fatalf("%d requests of %s, want %s: %v", n, args[1], args[2], r.Requests())
	}
}

// base REF|oci:DIR [docker] [PLATFORM...] makes a small base: an index for
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
	index, only, err := baseIndex(docker, platforms...)
	ts.Check(err)
	if dir, ok := strings.CutPrefix(dst, "oci:"); ok {
		_, err := layout.Write(ts.MkAbs(dir), index)
		ts.Check(err)
		return
	}
	ts.Check(writeRemote(dst, index, only))
}

// pushBase pushes a small base for amd64 and arm64.
func pushBase(t *testing.T, ref string) {
	t.Helper()
	index, _, err := baseIndex(false)
	if err == nil {
		err = writeRemote(ref, index, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// writeRemote pushes the image, or the index if there is no single image.
func writeRemote(ref string, index v1.ImageIndex, only v1.Image) error {
	r, err := name.ParseReference(ref)
	if err != nil {
		return err
	}
	if only != nil {
		return remote.Write(r, only)
	}
	return remote.WriteIndex(r, index)
}

// baseIndex makes an index for platforms, amd64 and arm64 if there are none,
// and also returns its image if it has one only.
func baseIndex(docker bool, platforms ...string) (index v1.ImageIndex, only v1.Image, err error) {
	if len(platforms) == 0 {
		platforms = []string{"linux/amd64", "linux/arm64"}
	}
	index = empty.Index
	if docker {
		index = mutate.IndexMediaType(index, types.DockerManifestList)
	}
	for _, p := range platforms {
		platform, err := v1.ParsePlatform(p)
		if err != nil {
			return nil, nil, err
		}
		img, err := baseImage(*platform, docker)
		if err != nil {
			return nil, nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: img, Descriptor: v1.Descriptor{Platform: platform},
		})
		if len(platforms) == 1 {
			only = img
		}
	}
	return index, only, nil
}

// baseImage is shaped like an nginx image, with one layer of a few bytes.
func baseImage(p v1.Platform, docker bool) (v1.Image, error) {
	img := v1.Image(empty.Image)
	mediaType := types.DockerLayer
	if !docker {
		img = mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
		mediaType = types.OCILayer
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	text := "nginx for " + p.String()
	err := errors.Join(
		tw.WriteHeader(&tar.Header{Name: "usr/sbin/nginx", Mode: 0o755, Size: int64(len(text))}),
		second(io.WriteString(tw, text)),
		tw.Close(),
	)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b.Bytes())), nil
	}, tarball.WithMediaType(mediaType))
	if err != nil {
		return nil, err
	}
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.Config.Cmd = []string{"nginx", "-g", "daemon off;"}
	config.Config.Env = []string{"PATH=/usr/sbin:/usr/bin"}
	config.Config.ExposedPorts = map[string]struct{}{"80/tcp": {}}
	return mutate.ConfigFile(img, config)
}

func second(_ int, err error) error { return err }

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
