package image

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func platform(s string) v1.Platform {
	s, version, _ := strings.Cut(s, ":")
	p := strings.Split(s+"//", "/")
	return v1.Platform{OS: p[0], Architecture: p[1], Variant: p[2], OSVersion: version}
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		have, want string
		i          int
	}{
		{"linux/amd64 linux/arm64", "linux/arm64", 1},
		{"linux/amd64 linux/arm64/v8", "linux/arm64", 1},
		{"linux/amd64 linux/arm64", "linux/arm64/v8", 1},
		{"linux/arm/v6 linux/arm/v7", "linux/arm", 1},
		{"linux/arm/v5 linux/arm/v6", "linux/arm/v7", 1},
		{"linux/arm/v7", "linux/arm/v6", -1},
		{"linux/arm/v7", "linux/arm64", -1},
		{"linux/386", "linux/amd64", -1},
		{"linux/amd64/v3 linux/amd64", "linux/amd64", 1},
		{"linux/amd64/v3", "linux/amd64", -1},
		{"linux/amd64 linux/amd64/v2", "linux/amd64/v3", 1},
		{"linux/amd64", "linux/amd64/v1", 0},
		{"windows/amd64:10.0.1 windows/amd64:10.0.2", "windows/amd64:10.0.2", 1},
		{"windows/amd64:10.0.1 windows/amd64:10.0.2", "windows/amd64", 0},
		{"windows/amd64:10.0.1", "linux/amd64", -1},
		{"linux/mips64le", "linux/mips64le", 0},
		{"linux/mips64le", "linux/mips64le/x", -1},
		{"", "linux/amd64", -1},
	} {
		var have []v1.Platform
		for _, s := range strings.Fields(test.have) {
			have = append(have, platform(s))
		}
		i, ok := Match(have, platform(test.want))
		if ok != (test.i >= 0) || ok && i != test.i {
			t.Errorf("Match(%s, %s) = %d, %v; want %d", test.have, test.want, i, ok, test.i)
		}
	}
}

func TestParsePlatforms(t *testing.T) {
	for _, test := range []struct {
		in   string
		all  bool
		want []v1.Platform
	}{
		{"", false, nil},
		{"all", true, nil},
		{"linux/amd64", false, []v1.Platform{platform("linux/amd64")}},
		{" linux/amd64 , Linux/ARM64/v8", false, []v1.Platform{platform("linux/amd64"), platform("linux/arm64/v8")}},
		{"linux/arm64,linux/arm64/v8,linux/aarch64", false, []v1.Platform{platform("linux/arm64")}},
		{"linux/x86_64,linux/armhf", false, []v1.Platform{platform("linux/amd64"), platform("linux/arm/v7")}},
	} {
		all, list, err := ParsePlatforms(test.in)
		if err != nil {
			t.Errorf("%q: %v", test.in, err)
		}
		if diff := cmp.Diff(test.want, list); diff != "" || all != test.all {
			t.Errorf("%q: all %v %s", test.in, all, diff)
		}
	}
	for _, bad := range []string{"linux", "amd64,linux/arm64", "linux/", "/amd64", "linux/amd64,",
		"linux/amd64/v1/x", "all,linux/amd64", "linux/am d64", "linux/amd64;rm", "*"} {
		_, _, err := ParsePlatforms(bad)
		var syntax *PlatformSyntaxError
		if !errors.As(err, &syntax) || syntax.Hint() == "" {
			t.Errorf("%q: got %v, want a PlatformSyntaxError", bad, err)
		}
	}
}

// fakeIndex lists descriptors, and holds images.
type fakeIndex struct {
	index
	media    types.MediaType
	manifest v1.IndexManifest
	images   map[v1.Hash]v1.Image
}

func (f *fakeIndex) MediaType() (types.MediaType, error)       { return f.media, nil }
func (f *fakeIndex) IndexManifest() (*v1.IndexManifest, error) { return &f.manifest, nil }
func (f *fakeIndex) Image(h v1.Hash) (img v1.Image, err error) {
	img, ok := f.images[h]
	if !ok {
		return nil, errors.New("no such image")
	}
	return img, nil
}

func TestPlatformsSkipsWhatIsNoImage(t *testing.T) {
	arm := Scratch(platform("linux/arm64"))
	armDigest, _ := arm.Digest()
	artifact := withManifest(t, types.OCIManifestSchema1, "application/vnd.example+json", "{}", nil, "")
	artifactDigest, _ := artifact.Digest()
	amd, unknown := platform("linux/amd64"), platform("unknown/unknown")
	idx := &fakeIndex{
		images: map[v1.Hash]v1.Image{armDigest: arm, artifactDigest: artifact},
		manifest: v1.IndexManifest{Manifests: []v1.Descriptor{
			{MediaType: types.OCIManifestSchema1, Platform: &amd},
			{MediaType: types.OCIManifestSchema1, Platform: &unknown},
			{MediaType: types.OCIManifestSchema1, Platform: &amd,
				Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"}},
			{MediaType: types.OCIManifestSchema1, Platform: &amd, ArtifactType: "application/spdx+json"},
			{MediaType: types.OCILayer},
			{MediaType: types.OCIManifestSchema1, Digest: armDigest},
			{MediaType: types.OCIManifestSchema1, Digest: artifactDigest},
		}},
	}
	list, err := Platforms(idx)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range list {
		got = append(got, d.Platform.String())
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestPlatformsRefusesNestedAndHugeIndexes(t *testing.T) {
	for name, list := range map[string][]v1.Descriptor{
		"nested": {{MediaType: types.OCIImageIndex}},
		"huge":   make([]v1.Descriptor, maxPlatforms+1),
	} {
		_, err := Platforms(&fakeIndex{manifest: v1.IndexManifest{Manifests: list}})
		var bad *BaseError
		if !errors.As(err, &bad) {
			t.Errorf("%s: got %v, want a BaseError", name, err)
		}
	}
}

func TestIndexFollowsItsBase(t *testing.T) {
	windows := v1.Platform{OS: "windows", Architecture: "amd64", OSVersion: "10.0.1", OSFeatures: []string{"win32k"}}
	children := []Child{
		{platform("linux/amd64"), Scratch(platform("linux/amd64"))},
		{windows, Scratch(windows)},
	}
	annotations := map[string]string{"k": "v"}
	for _, test := range []struct {
		base v1.ImageIndex
		want types.MediaType
	}{
		{nil, types.OCIImageIndex},
		{&fakeIndex{media: types.OCIImageIndex}, types.OCIImageIndex},
		{&fakeIndex{media: types.DockerManifestList}, types.DockerManifestList},
	} {
		idx, err := Index(test.base, children, annotations)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(idx); err != nil {
			t.Error(err)
		}
		if got, _ := idx.MediaType(); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
		manifest, err := idx.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		if got := len(manifest.Annotations) > 0; got != HasAnnotations(test.want) {
			t.Errorf("%s: annotations written: %v", test.want, got)
		}
		if test.want == types.OCIImageIndex {
			golden(t, "index.json", mustRaw(t, idx.RawManifest))
		}
	}
}

func TestIndexOfDockerImagesIsADockerList(t *testing.T) {
	idx, err := Index(nil, []Child{{platform("linux/arm64/v8"), mustAppend(t, dockerBase(t), Options{})}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx); err != nil {
		t.Error(err)
	}
	if got, _ := idx.MediaType(); got != types.DockerManifestList {
		t.Errorf("got %s", got)
	}
	if _, err := Index(nil, nil, nil); err == nil {
		t.Error("an index of nothing was made")
	}
}

func TestCheckConfigComparesPlatforms(t *testing.T) {
	for _, test := range []struct {
		config, descriptor string
		ok                 bool
	}{
		{"linux/amd64", "linux/amd64", true},
		{"linux/arm64", "linux/arm64/v8", true},
		{"linux/arm64/v8", "linux/arm64", true},
		{"linux/arm", "linux/arm/v6", true},
		{"linux/arm/v7", "linux/arm/v6", false},
		{"linux/amd64", "linux/arm64", false},
		{"windows/amd64", "linux/amd64", false},
		{"windows/amd64:1", "windows/amd64:2", false},
	} {
		err := CheckConfig(Scratch(platform(test.config)), platform(test.descriptor))
		var mismatch *PlatformError
		if test.ok != (err == nil) || !test.ok && !errors.As(err, &mismatch) {
			t.Errorf("config %s, descriptor %s: %v", test.config, test.descriptor, err)
		}
	}
	var bad *BaseError
	if err := CheckConfig(Scratch(v1.Platform{}), platform("linux/amd64")); !errors.As(err, &bad) {
		t.Errorf("config without a platform: %v", err)
	}
}
