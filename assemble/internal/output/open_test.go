package output

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func TestSplitPath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"a", "b:1", "c", "c:x"} {
		writeFile(t, filepath.Join(dir, name), nil)
	}
	digest := "sha256:" + strings.Repeat("0", 64)
	for _, test := range []struct{ text, path, want string }{
		{"a", "a", ""},
		{"a:1.4", "a", "1.4"},
		{"a:my-app:1.4", "a", "my-app:1.4"},
		{"a@" + digest, "a", digest},
		{"a:1@" + digest, "a", "1@" + digest},
		{"b:1", "b:1", ""},
		{"b:1:2", "b:1", "2"},
		{"c:x", "c:x", ""},
		{"c:x:y", "c:x", "y"},
		{"c:z", "c", "z"},
	} {
		path, want, err := splitPath(test.text)
		if err != nil || path != test.path || want.String() != test.want {
			t.Errorf("%s: path %q, selector %q, error %v", test.text, path, want, err)
		}
	}
	for _, missing := range []string{"d", "d:1", "d@" + digest, ":a"} {
		if _, _, err := splitPath(missing); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v", missing, err)
		}
	}
	if _, _, err := splitPath(""); err == nil {
		t.Error("an empty path was accepted")
	}
}

func TestOpenWithoutATagNeedsOneImage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	img := dockerImageOf(t, 1)
	write := func(m Manifest, names ...string) {
		t.Helper()
		if err := putLayout(t.Context(), dir, names, m, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	write(img, "a:1", "a:2")
	if s := mustOpen(t, "oci:"+dir); s.Digest != mustDigest(t, img) {
		t.Errorf("two tags of one image: got %s", s.Digest)
	}
	write(dockerImageOf(t, 1), "a:3")
	_, err := Open(t.Context(), "oci:"+dir, "")
	var several *SelectError
	if !errors.As(err, &several) || several.Hint() != "it has 1, 2, 3" {
		t.Errorf("two images: got %v", err)
	}
	if _, err := Open(t.Context(), "oci:"+dir+":4", ""); !errors.As(err, &several) || several.Name != "4" {
		t.Errorf("unknown tag: got %v", err)
	}
	if s := mustOpen(t, "oci:"+dir+"@"+mustDigest(t, img).String()); s.Digest != mustDigest(t, img) {
		t.Errorf("by digest: got %s", s.Digest)
	}
}

func TestOpenFindsAChildByItsDigest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.tar")
	idx := indexOf(t, "amd64", "arm64")
	if err := putOCIArchive(t.Context(), path, nil, idx, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	manifest, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	want := manifest.Manifests[1].Digest
	s := mustOpen(t, "oci-archive:"+path+"@"+want.String())
	if s.Image == nil || s.Digest != want || mustDigest(t, s.Image) != want {
		t.Errorf("got %+v", s)
	}
}

// TestOpenTakesAnIndexOfPlatforms reads a layout whose index.json is the image's
// own index, as crane and others write it.
func TestOpenTakesAnIndexOfPlatforms(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	idx := indexOf(t, "amd64", "arm64")
	if err := putLayout(t.Context(), dir, nil, idx, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	raw, err := idx.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, indexFileName), raw)
	s := mustOpen(t, "oci:"+dir)
	if s.Index == nil || s.Digest != mustDigest(t, idx) {
		t.Fatalf("got %+v", s)
	}
	if err := validate.Index(s.Index); err != nil {
		t.Error(err)
	}
}

func TestOpenSaysWhatASourceIsNot(t *testing.T) {
	dir := t.TempDir()
	for _, w := range writers {
		if err := w.write(t.Context(), filepath.Join(dir, w.path), nil, dockerImageOf(t, 1), WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(dir, "text"), []byte("no archive"))
	writeFile(t, filepath.Join(dir, "void"), nil)
	for ref, hint := range map[string]string{
		"oci:" + dir:                         "oci-archive",
		"oci-archive:" + dir + "/docker.tar": "docker-archive",
		"docker-archive:" + dir + "/oci.tar": "oci-archive",
		"oci-archive:" + dir + "/layout":     "oci:DIR",
		"oci-archive:" + dir + "/text":       "",
		"docker-archive:" + dir + "/void":    "",
		"docker:" + dir:                      "oci:DIR",
	} {
		_, err := Open(t.Context(), ref, "")
		var format *FormatError
		if !errors.As(err, &format) || !strings.Contains(format.Hint(), hint) {
			t.Errorf("%s: got %v, want a FormatError with hint %q", ref, err, hint)
		}
	}
}

func TestOpenUnpacksCompressedArchives(t *testing.T) {
	dir, temp := t.TempDir(), t.TempDir()
	img := dockerImageOf(t, 2)
	plainPath := filepath.Join(dir, "x.tar")
	if err := putDockerArchive(t.Context(), plainPath, []string{"a"}, img, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	if _, err := w.Write(readFile(t, plainPath)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{
		"x.tar.gz":  gz.Bytes(),
		"x.tar.zst": enc.EncodeAll(readFile(t, plainPath), nil),
	} {
		path := filepath.Join(dir, name)
		writeFile(t, path, raw)
		s, err := Open(t.Context(), "docker-archive:"+path, temp)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(s.Image); err != nil {
			t.Error(err)
		}
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
		writeFile(t, path, raw[:len(raw)/2])
		if _, err := Open(t.Context(), "docker-archive:"+path, temp); err == nil {
			t.Errorf("%s: half an archive was accepted", name)
		}
		cancelled, cancel := context.WithCancelCause(t.Context())
		cancel(errInjected)
		writeFile(t, path, raw)
		if _, err := Open(cancelled, "docker-archive:"+path, temp); !errors.Is(err, errInjected) {
			t.Errorf("%s: got %v, want the cause of the cancellation", name, err)
		}
	}
	if left := tree(t, temp); len(left) != 1 {
		t.Errorf("temporary files were left: %v", left)
	}
}

// checkLayers reads every layer: readers verify. The library's own validation
// does not know uncompressed layers.
func checkLayers(t *testing.T, img v1.Image) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		for _, open := range []func() (io.ReadCloser, error){l.Compressed, l.Uncompressed} {
			rc, err := open()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, rc); err != nil {
				t.Error(err)
			}
			if err := rc.Close(); err != nil {
				t.Error(err)
			}
		}
		if got, err := img.LayerByDigest(mustDigest(t, l)); err != nil || mustDigest(t, got) != mustDigest(t, l) {
			t.Errorf("by digest: %v, %v", got, err)
		}
	}
}

// TestOpenLegacyDockerArchive reads what docker before 25 saved: plain layers in
// directories, one of them a link to another's.
func TestOpenLegacyDockerArchive(t *testing.T) {
	layer := string(tarOf(t, tar.Header{Name: "etc/motd", Linkname: "hello"}))
	diffID := digestOf([]byte(layer)).String()
	config := `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["` +
		diffID + `","` + diffID + `"]}}`
	configName := digestOf([]byte(config)).Hex + ".json"
	manifest, err := json.Marshal([]dockerEntry{
		{Config: configName, RepoTags: []string{"shop/web:1.4"}, Layers: []string{"aa/layer.tar", "bb/layer.tar"}},
		{Config: configName, RepoTags: []string{"localhost:5000/x:2"}, Layers: []string{"aa/layer.tar", "cc/layer.tar"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.tar")
	writeFile(t, path, tarOf(t,
		tar.Header{Name: "./aa/", Typeflag: tar.TypeDir},
		tar.Header{Name: "./aa/layer.tar", Linkname: layer},
		tar.Header{Name: "./bb/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../aa/layer.tar"},
		tar.Header{Name: "cc/layer.tar", Typeflag: tar.TypeLink, Linkname: "bb/layer.tar"},
		tar.Header{Name: configName, Linkname: config},
		tar.Header{Name: "manifest.json", Linkname: string(manifest)},
	))
	for _, tag := range []string{"shop/web:1.4", "1.4", "docker.io/shop/web:1.4", "localhost:5000/x:2"} {
		s := mustOpen(t, "docker-archive:"+path+":"+tag)
		checkLayers(t, s.Image)
		layers, err := s.Image.Layers()
		if err != nil || len(layers) != 2 || mustDigest(t, layers[1]).String() != diffID {
			t.Errorf("%s: layers %v, %v", tag, layers, err)
		}
		if m, _ := layers[0].MediaType(); m != types.DockerUncompressedLayer {
			t.Errorf("%s: media type %s", tag, m)
		}
	}
	for _, tag := range []string{"", ":2.0", ":web"} {
		var several *SelectError
		_, err := Open(t.Context(), "docker-archive:"+path+tag, "")
		if !errors.As(err, &several) || !strings.Contains(several.Hint(), "shop/web:1.4, localhost") {
			t.Errorf("%q: got %v", tag, err)
		}
	}
}

func TestDockerArchiveWithZstdBecomesOCI(t *testing.T) {
	raw := tarOf(t, tar.Header{Name: "a", Linkname: "hello"})
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	diffID := digestOf(raw).String()
	config := `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["` +
		diffID + `","` + diffID + `"]}}`
	path := filepath.Join(t.TempDir(), "x.tar")
	writeFile(t, path, tarOf(t,
		tar.Header{Name: "manifest.json", Linkname: `[{"Config":"c","Layers":["z","p"]}]`},
		tar.Header{Name: "c", Linkname: config},
		tar.Header{Name: "z", Linkname: string(enc.EncodeAll(raw, nil))},
		tar.Header{Name: "p", Linkname: string(raw)},
	))
	s := mustOpen(t, "docker-archive:"+path)
	checkLayers(t, s.Image)
	manifest, err := s.Image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	got := []types.MediaType{manifest.MediaType, manifest.Config.MediaType}
	for _, l := range manifest.Layers {
		got = append(got, l.MediaType)
	}
	want := []types.MediaType{types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayerZStd, types.OCIUncompressedLayer}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestReadersVerify changes each blob of a layout in turn: whoever reads it must
// see an error.
func TestReadersVerify(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	if err := putLayout(t.Context(), dir, nil, ociImageOf(t, "amd64"), WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	readAll := func() error {
		s, err := Open(t.Context(), "oci:"+dir, "")
		if err != nil {
			return err
		}
		layers, err := s.Image.Layers()
		if err != nil {
			return err
		}
		for _, open := range []func() (io.ReadCloser, error){layers[0].Compressed, layers[0].Uncompressed} {
			rc, err := open()
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, rc); err != nil {
				return err
			}
		}
		return nil
	}
	if err := readAll(); err != nil {
		t.Fatal(err)
	}
	blobs, err := filepath.Glob(filepath.Join(dir, blobsDir, "sha256", "*"))
	if err != nil || len(blobs) != 3 {
		t.Fatal(blobs, err)
	}
	for _, path := range blobs {
		good := readFile(t, path)
		flipped := slices.Clone(good)
		flipped[len(flipped)-1] ^= 1
		for name, bad := range map[string][]byte{
			"flipped": flipped, "short": good[1:], "long": append(slices.Clone(good), 0), "empty": nil,
		} {
			writeFile(t, path, bad)
			var corrupt *CorruptError
			if err := readAll(); !errors.As(err, &corrupt) {
				t.Errorf("%s %s: got %v, want a CorruptError", filepath.Base(path)[:8], name, err)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := readAll(); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("missing blob: got %v", err)
		}
		writeFile(t, path, good)
	}
}

func TestUncompressedVerifiesTheDiffID(t *testing.T) {
	raw := tarOf(t, tar.Header{Name: "a", Linkname: "hello"})
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(raw)
	w.Close()
	config := `{"rootfs":{"type":"layers","diff_ids":["` + digestOf(nil).String() + `"]}}`
	path := filepath.Join(t.TempDir(), "x.tar")
	writeFile(t, path, tarOf(t,
		tar.Header{Name: "manifest.json", Linkname: `[{"Config":"c","Layers":["l"]}]`},
		tar.Header{Name: "c", Linkname: config}, tar.Header{Name: "l", Linkname: gz.String()},
	))
	layers, err := mustOpen(t, "docker-archive:"+path).Image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	rc, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var corrupt *CorruptError
	if _, err := io.Copy(io.Discard, rc); !errors.As(err, &corrupt) {
		t.Errorf("got %v, want a CorruptError", err)
	}
	if err := rc.Close(); err != nil {
		t.Error(err)
	}
}

// TestOpenRefusesHostileSources has one source per trick.
func TestOpenRefusesHostileSources(t *testing.T) {
	dir := t.TempDir()
	zero := `"sha256:` + strings.Repeat("0", 64) + `"`
	layout := func(index string, blobs ...string) string {
		path := filepath.Join(t.TempDir(), "x")
		writeFile(t, filepath.Join(path, layoutFile), []byte(layoutVersion))
		writeFile(t, filepath.Join(path, indexFileName), []byte(index))
		for _, b := range blobs {
			writeFile(t, filepath.Join(path, filepath.FromSlash(blobPath(digestOf([]byte(b))))), []byte(b))
		}
		return "oci:" + path
	}
	entry := func(mediaType types.MediaType, content string, size int) string {
		raw, err := json.Marshal(v1.Descriptor{MediaType: mediaType, Digest: digestOf([]byte(content)), Size: int64(size)})
		if err != nil {
			t.Fatal(err)
		}
		return `{"manifests":[` + string(raw) + `]}`
	}
	archive := func(headers ...tar.Header) string {
		path := filepath.Join(t.TempDir(), "x.tar")
		writeFile(t, path, tarOf(t, headers...))
		return "docker-archive:" + path
	}
	const oci = types.OCIManifestSchema1
	for name, ref := range map[string]string{
		"index is no JSON":         layout(`<html>`),
		"index is null":            layout(`null`),
		"index is huge":            layout(strings.Repeat(" ", maxIndexFile+1)),
		"index has many entries":   layout(`{"manifests":[` + strings.Repeat(`{"digest":`+zero+`},`, maxEntries) + `{"digest":` + zero + `}]}`),
		"entry without a digest":   layout(`{"manifests":[{}]}`),
		"entry with a bad digest":  layout(`{"manifests":[{"digest":"sha256:../../etc"}]}`),
		"no entry":                 layout(`{"manifests":[]}`),
		"negative size":            layout(entry(oci, "{}", -1), "{}"),
		"manifest too large":       layout(entry(oci, "{}", maxManifest+1), "{}"),
		"manifest of another size": layout(entry(oci, "{}", 3), "{}"),
		"manifest is no JSON":      layout(entry(oci, "<>", 2), "<>"),
		"manifest without config":  layout(entry(oci, "{}", 2), "{}"),
		"manifest is an index": layout(entry(oci, `{"mediaType":"application/vnd.oci.image.index.v1+json"}`, 55),
			`{"mediaType":"application/vnd.oci.image.index.v1+json"}`),
		"entry is a layer":           layout(entry(types.OCILayer, "{}", 2), "{}"),
		"version of a future":        strings.TrimSuffix(layout(`{}`), "x"),
		"docker manifest is no JSON": archive(tar.Header{Name: "manifest.json", Linkname: "x"}),
		"docker manifest is empty":   archive(tar.Header{Name: "manifest.json", Linkname: "[]"}),
		"docker config missing":      archive(tar.Header{Name: "manifest.json", Linkname: `[{"Config":"../../etc/passwd"}]`}),
		"docker config is no JSON":   archive(tar.Header{Name: "manifest.json", Linkname: `[{"Config":"c"}]`}, tar.Header{Name: "c", Linkname: "x"}),
		"docker config does not match its name": archive(
			tar.Header{Name: "manifest.json", Linkname: `[{"Config":"` + strings.Repeat("0", 64) + `.json"}]`},
			tar.Header{Name: strings.Repeat("0", 64) + ".json", Linkname: "{}"}),
		"docker layer without diffID": archive(tar.Header{Name: "manifest.json", Linkname: `[{"Config":"c","Layers":["l"]}]`},
			tar.Header{Name: "c", Linkname: "{}"}, tar.Header{Name: "l"}),
		"links in a circle": archive(tar.Header{Name: "manifest.json", Typeflag: tar.TypeSymlink, Linkname: "b"},
			tar.Header{Name: "b", Typeflag: tar.TypeSymlink, Linkname: "manifest.json"}),
		"link to the host": archive(tar.Header{Name: "manifest.json", Typeflag: tar.TypeSymlink, Linkname: "/etc/hostname"}),
		"device":           archive(tar.Header{Name: "manifest.json", Typeflag: tar.TypeChar}),
	} {
		if s, err := Open(t.Context(), ref, dir); err == nil {
			t.Errorf("%s: no error", name)
			s.Close()
		}
	}
}

func FuzzOpenLayout(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "x")
	if err := putLayout(f.Context(), dir, []string{"a"}, indexOf(f, "amd64"), WriteOptions{}); err != nil {
		f.Fatal(err)
	}
	f.Add(readFile(f, filepath.Join(dir, indexFileName)))
	f.Add([]byte(`{"manifests":[{"digest":"sha256:` + strings.Repeat("0", 64) + `","platform":{}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := &Source{}
		if s.choose(dirBlobs(dir), dir, raw, selector{}) == nil {
			_, _ = s.manifest().RawManifest()
		}
		if x, err := parseIndexFile(dir, raw); err == nil {
			again, err := x.bytes()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parseIndexFile(dir, again); err != nil {
				t.Errorf("what was read is not read back: %v", err)
			}
		}
	})
}

func FuzzOpenArchive(f *testing.F) {
	for _, w := range writers[1:] {
		path := filepath.Join(f.TempDir(), "x")
		if err := w.write(f.Context(), path, []string{"a"}, dockerImageOf(f, 1), WriteOptions{}); err != nil {
			f.Fatal(err)
		}
		f.Add(readFile(f, path))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := filepath.Join(t.TempDir(), "x")
		writeFile(t, path, raw)
		for _, kind := range []string{"oci-archive:", "docker-archive:"} {
			s, err := Open(t.Context(), kind+path, t.TempDir())
			if err != nil {
				continue
			}
			if s.Image != nil {
				layers, _ := s.Image.Layers()
				for _, l := range layers {
					if rc, err := l.Uncompressed(); err == nil {
						_, _ = io.Copy(io.Discard, io.LimitReader(rc, 1<<20))
						rc.Close()
					}
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
