package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func fullOptions(t testing.TB, layer types.MediaType) Options {
	user := "101:101"
	return Options{
		Layers:  []v1.Layer{newLayer(t, 2, layer)},
		History: []v1.History{{CreatedBy: "COPY . usr/share/nginx/html # decant", Comment: "a && b"}},
		Created: created,
		Env:     []string{"B=3", "NEW=x=y", "A="},
		Labels:  map[string]string{"org.example": "<1>", "maintainer": "me"},
		Ports:   []string{"8080", "53/udp", "80"},
		User:    &user,
		Annotations: map[string]string{
			"org.opencontainers.image.base.name": "docker.io/library/nginx:stable-alpine",
		},
	}
}

func TestAppendToDockerKeepsWhatItDoesNotKnow(t *testing.T) {
	base := dockerBase(t)
	img := mustAppend(t, base, fullOptions(t, types.DockerLayer))
	golden(t, "docker-manifest.json", mustRaw(t, img.RawManifest))
	golden(t, "docker-config.json", mustRaw(t, img.RawConfigFile))
}

func TestAppendToScratch(t *testing.T) {
	base := Scratch(v1.Platform{OS: "linux", Architecture: "arm", Variant: "v7"})
	img := mustAppend(t, base, fullOptions(t, types.OCILayer))
	golden(t, "scratch-manifest.json", mustRaw(t, img.RawManifest))
	golden(t, "scratch-config.json", mustRaw(t, img.RawConfigFile))
}

func TestAppendReturnsBaseLayersUnwrapped(t *testing.T) {
	base := dockerBase(t)
	img := mustAppend(t, base, fullOptions(t, types.DockerLayer))
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, _ := base.layers[0].Digest()
	diffID, _ := base.layers[0].DiffID()
	byDigest, err := img.LayerByDigest(digest)
	if err != nil {
		t.Fatal(err)
	}
	byDiffID, err := img.LayerByDiffID(diffID)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []v1.Layer{layers[0], byDigest, byDiffID} {
		if l != base.layers[0] {
			t.Errorf("got %#v, want the base's own layer", l)
		}
	}
}

func TestAppendIsReproducible(t *testing.T) {
	local := time.FixedZone("", 3600)
	o := fullOptions(t, types.DockerLayer)
	first := mustAppend(t, dockerBase(t), o)
	o.Created = o.Created.In(local)
	for range 5 {
		again := mustAppend(t, dockerBase(t), o)
		if a, b := mustRaw(t, first.RawManifest), mustRaw(t, again.RawManifest); !bytes.Equal(a, b) {
			t.Fatalf("got %s, then %s", a, b)
		}
	}
}

func TestAppendLeavesItsBaseAlone(t *testing.T) {
	base := mustAppend(t, Scratch(v1.Platform{OS: "linux", Architecture: "amd64"}), Options{
		Layers: []v1.Layer{newLayer(t, 1, types.OCILayer)},
	})
	before := mustRaw(t, base.RawManifest)
	a := mustAppend(t, base, Options{Layers: []v1.Layer{newLayer(t, 2, types.OCILayer)}})
	b := mustAppend(t, base, Options{Layers: []v1.Layer{newLayer(t, 3, types.OCILayer)}})
	if string(before) != string(mustRaw(t, base.RawManifest)) {
		t.Error("the base changed")
	}
	if string(mustRaw(t, a.RawConfigFile)) == string(mustRaw(t, b.RawConfigFile)) {
		t.Error("two images on one base share their diffIDs")
	}
}

func TestAppendDoesNotInventHistory(t *testing.T) {
	l := newLayer(t, 1, types.OCILayer)
	diffID, _ := l.DiffID()
	const head = `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["`
	for _, test := range []struct {
		name, history string
		want          int
	}{
		{"absent", ``, 0},
		{"too short", `,"history":[{"created_by":"CMD","empty_layer":true}]`, 1},
		{"too long", `,"history":[{"created_by":"a"},{"created_by":"b"}]`, 2},
		{"null", `,"history":null`, 0},
		{"fits", `,"history":[{"created_by":"a"}]`, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			base := withManifest(t, types.OCIManifestSchema1, types.OCIConfigJSON,
				head+diffID.String()+`"]}`+test.history+`}`, []v1.Layer{l}, "")
			img := mustAppend(t, base, Options{
				Layers:  []v1.Layer{newLayer(t, 2, types.OCILayer)},
				History: []v1.History{{CreatedBy: "COPY"}},
			})
			config, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if got := len(config.History); got != test.want {
				t.Errorf("got %d entries, want %d", got, test.want)
			}
			if !config.Created.Equal(time.Unix(0, 0)) {
				t.Errorf("created %v, want the epoch", config.Created)
			}
		})
	}
}

func TestAppendRefusesMixtures(t *testing.T) {
	docker := dockerBase(t)
	oci := Scratch(v1.Platform{OS: "linux", Architecture: "amd64"})
	for _, test := range []struct {
		name  string
		base  v1.Image
		layer types.MediaType
		ok    bool
		hint  string
	}{
		{"docker on docker", docker, types.DockerLayer, true, ""},
		{"oci on docker", docker, types.OCILayer, false, "mixed"},
		{"zstd on docker", docker, types.OCILayerZStd, false, "--compression gzip"},
		{"docker on oci", oci, types.DockerLayer, false, "mixed"},
		{"oci on oci", oci, types.OCILayer, true, ""},
		{"zstd on oci", oci, types.OCILayerZStd, true, ""},
		{"no layer type", oci, types.OCIConfigJSON, false, "mixed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Append(test.base, Options{Layers: []v1.Layer{newLayer(t, 2, test.layer)}})
			var family *FamilyError
			if test.ok != (err == nil) || !test.ok && !errors.As(err, &family) {
				t.Fatalf("got error %v", err)
			}
			if !test.ok && !strings.Contains(family.Hint(), test.hint) {
				t.Errorf("hint %q has no %q", family.Hint(), test.hint)
			}
		})
	}
}

func TestAppendRefusesBadOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"environment without =":   {Env: []string{"A"}},
		"environment, empty name": {Env: []string{"=A"}},
		"environment with NUL":    {Env: []string{"A=\x00"}},
		"label, empty name":       {Labels: map[string]string{"": "x"}},
		"annotation, empty name":  {Annotations: map[string]string{"": "x"}},
		"port":                    {Ports: []string{"http"}},
		"history without layer":   {History: []v1.History{{}}},
	} {
		if _, err := Append(Scratch(v1.Platform{OS: "linux", Architecture: "amd64"}), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAppendRefusesBadBases(t *testing.T) {
	config := func(s string) *fakeBase {
		return withManifest(t, types.OCIManifestSchema1, types.OCIConfigJSON, s, nil, "")
	}
	const empty = `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`
	artifact := withManifest(t, types.OCIManifestSchema1, "application/vnd.cncf.helm.config.v1+json", empty, nil, "")
	schema1 := config(empty)
	schema1.media = types.DockerManifestSchema1Signed
	swapped := config(empty)
	swapped.config = []byte(strings.Replace(empty, "amd64", "arm64", 1))
	large := config(empty)
	large.manifest = append(bytes.Repeat([]byte(" "), maxManifest), large.manifest...)
	wrongLayer := dockerBase(t)
	wrongLayer.layers = []v1.Layer{newLayer(t, 9, types.DockerLayer)}
	tooFew := dockerBase(t)
	tooFew.layers = nil
	for name, base := range map[string]*fakeBase{
		"artifact":               artifact,
		"schema 1":               schema1,
		"config of another":      swapped,
		"large manifest":         large,
		"large config":           config(empty + strings.Repeat(" ", maxConfig)),
		"config is no JSON":      config(`<html>`),
		"config is an array":     config(`[]`),
		"diffID without a layer": config(strings.Replace(empty, `[]`, `["`+digestOf(nil).String()+`"]`, 1)),
		"another layer":          wrongLayer,
		"layer missing":          tooFew,
		"keys by folding": config(`{"rootfs":{"type":"layers","diff_ids":[]},` +
			`"rootf\u017f":{"type":"layers","diff_ids":[]},"architecture":"amd64","os":"linux"}`),
	} {
		_, err := Append(base, Options{Layers: []v1.Layer{newLayer(t, 1, types.OCILayer)}})
		if name == "another layer" || name == "layer missing" {
			_, err = Append(base, Options{})
		}
		var bad *BaseError
		if !errors.As(err, &bad) {
			t.Errorf("%s: got %v, want a BaseError", name, err)
			continue
		}
		if bad.Hint() == "" {
			t.Errorf("%s: no hint", name)
		}
	}
}

func TestMergeEnv(t *testing.T) {
	for _, test := range []struct {
		env, added, want []string
	}{
		{nil, []string{"A=1"}, []string{"A=1"}},
		{[]string{"A=1", "AB=2"}, []string{"A=3"}, []string{"A=3", "AB=2"}},
		{[]string{"A=1", "B=2", "A=3", "C=4"}, []string{"A=5"}, []string{"A=5", "B=2", "C=4"}},
		{[]string{"A=1"}, []string{"B=1", "B=2"}, []string{"A=1", "B=2"}},
	} {
		if got := mergeEnv(slices.Clone(test.env), test.added); !slices.Equal(got, test.want) {
			t.Errorf("mergeEnv(%q, %q) = %q, want %q", test.env, test.added, got, test.want)
		}
	}
}

func TestCheckPorts(t *testing.T) {
	for _, good := range []string{"1", "80", "65535", "80/tcp", "53/udp", "9/sctp"} {
		if err := CheckPorts([]string{good}); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "0", "65536", "-1", "+80", "080", "80/", "80/TCP", "80/icmp", "8000-8010", "a", "80/tcp/x"} {
		if err := CheckPorts([]string{"80", bad}); err == nil {
			t.Errorf("port %q: no error", bad)
		}
	}
}

func TestAppendToRandomImage(t *testing.T) {
	base, err := random.Image(256, 3)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, base, Options{Layers: []v1.Layer{newLayer(t, 1, types.DockerLayer)}})
}

func FuzzAppendNeverPanics(f *testing.F) {
	b := dockerBase(f)
	f.Add(b.manifest, b.config)
	f.Add([]byte(`{"layers":null,"config":{}}`), []byte(`null`))
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		base := &fakeBase{media: types.DockerManifestSchema2, manifest: manifest, config: config, layers: b.layers}
		img, err := Append(base, Options{Env: []string{"A=1"}, Labels: map[string]string{"a": "b"}, Ports: []string{"80"}})
		if err != nil {
			return
		}
		if _, err := img.ConfigFile(); err != nil {
			t.Errorf("accepted a config that gives one that does not parse: %v", err)
		}
	})
}

func TestAppendSetsAndRemovesConfig(t *testing.T) {
	img := mustAppend(t, dockerBase(t), Options{
		Config: map[string]json.RawMessage{
			"Cmd": json.RawMessage(`["sh"]`), "Healthcheck": json.RawMessage(`null`), "Labels": json.RawMessage(`{"a":"1"}`),
		},
		Labels: map[string]string{"b": "2"}, Author: "me",
	})
	var got struct {
		Author string
		Config map[string]any
	}
	if err := json.Unmarshal(mustRaw(t, img.RawConfigFile), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"Cmd": []any{"sh"}, "Labels": map[string]any{"a": "1", "b": "2"}}
	for name, value := range want {
		if !reflect.DeepEqual(got.Config[name], value) {
			t.Errorf("%s is %v, not %v", name, got.Config[name], value)
		}
	}
	if _, there := got.Config["Healthcheck"]; there || got.Author != "me" {
		t.Errorf("Healthcheck there: %v, author %q", there, got.Author)
	}
}
