package image

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxPlatforms bounds the entries of an index; real ones have a few dozen.
const maxPlatforms = 1000

// PlatformSyntaxError is a list of platforms that does not parse.
type PlatformSyntaxError struct {
	Text, What string
}

func (e *PlatformSyntaxError) Error() string {
	return fmt.Sprintf("platform %q: %s", e.Text, e.What)
}

// Hint shows the form.
func (e *PlatformSyntaxError) Hint() string {
	return "write OS/ARCH or OS/ARCH/VARIANT, as linux/amd64,linux/arm/v7, or all"
}

var platformPart = regexp.MustCompile(`^[a-z0-9_.-]+$`)

// ParsePlatforms reads "all", or a list as "linux/amd64,linux/arm64/v8". Names
// that uname gives (x86_64, aarch64) are understood, and duplicates are dropped.
// An empty list is neither. Errors are of type *PlatformSyntaxError.
func ParsePlatforms(s string) (all bool, list []v1.Platform, err error) {
	switch strings.TrimSpace(s) {
	case "":
		return false, nil, nil
	case "all":
		return true, nil, nil
	}
	for _, text := range strings.Split(s, ",") {
		text = strings.ToLower(strings.TrimSpace(text))
		p, err := parsePlatform(text)
		if err != nil {
			return false, nil, err
		}
		same := func(have v1.Platform) bool { return equal(normalize(have), normalize(p)) }
		if !slices.ContainsFunc(list, same) {
			list = append(list, p)
		}
	}
	if len(list) > maxPlatforms {
		return false, nil, &PlatformSyntaxError{s, "the list is too long"}
	}
	return false, list, nil
}

func parsePlatform(text string) (v1.Platform, error) {
	parts := strings.Split(text, "/")
	switch {
	case text == "":
		return v1.Platform{}, &PlatformSyntaxError{text, "an entry is empty"}
	case text == "all":
		return v1.Platform{}, &PlatformSyntaxError{text, "it stands alone, not in a list"}
	case len(parts) < 2:
		return v1.Platform{}, &PlatformSyntaxError{text, "it has no architecture"}
	case len(parts) > 3:
		return v1.Platform{}, &PlatformSyntaxError{text, "it has more than three parts"}
	}
	for _, part := range parts {
		if !platformPart.MatchString(part) {
			return v1.Platform{}, &PlatformSyntaxError{text, fmt.Sprintf("%q is no name", part)}
		}
	}
	p := v1.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return plainNames(p), nil
}

// plainNames replaces what uname and Debian call an architecture by its name in
// images.
func plainNames(p v1.Platform) v1.Platform {
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "i386", "i686":
		p.Architecture = "386"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	if p.OS == "macos" {
		p.OS = "darwin"
	}
	return p
}

// normalize makes equal what is the same: linux/arm64 is linux/arm64/v8, linux/arm
// is linux/arm/v7, and linux/amd64 is linux/amd64/v1, as in docker and containerd.
func normalize(p v1.Platform) v1.Platform {
	p = plainNames(p)
	switch p.Architecture {
	case "arm64":
		if p.Variant == "8" || p.Variant == "v8" {
			p.Variant = ""
		}
	case "amd64":
		if p.Variant == "v1" {
			p.Variant = ""
		}
	case "arm":
		switch p.Variant {
		case "", "7":
			p.Variant = "v7"
		case "5", "6", "8":
			p.Variant = "v" + p.Variant
		}
	}
	return p
}

// equal compares platforms that are normalized; os.version counts where both
// name it.
func equal(a, b v1.Platform) bool {
	return a.OS == b.OS && a.Architecture == b.Architecture && a.Variant == b.Variant &&
		(a.OSVersion == "" || b.OSVersion == "" || a.OSVersion == b.OSVersion)
}

// Match finds the platform of have that serves want best: the very same; one
// that means the same; or the highest older variant of the architecture, which
// newer processors run (arm/v6 for arm/v7, amd64 for amd64/v3). Another
// architecture never serves.
func Match(have []v1.Platform, want v1.Platform) (i int, ok bool) {
	for i := range have {
		if reflect.DeepEqual(have[i], want) {
			return i, true
		}
	}
	best, bestLevel := -1, -1
	w := normalize(want)
	for i := range have {
		h := normalize(have[i])
		if equal(h, w) {
			return i, true
		}
		level := variantLevel(h)
		h.Variant = w.Variant
		if equal(h, w) && level > bestLevel && level < variantLevel(w) {
			best, bestLevel = i, level
		}
	}
	return best, best >= 0
}

// variantLevel orders the variants of an architecture; -1 is one without order.
func variantLevel(p v1.Platform) int {
	if p.Variant == "" {
		switch p.Architecture {
		case "amd64":
			return 1
		case "arm64":
			return 8
		}
		return -1
	}
	n, err := strconv.Atoi(strings.TrimPrefix(p.Variant, "v"))
	if err != nil {
		return -1
	}
	return n
}

// Platforms lists the images of an index, in order, each with its platform: that
// of its descriptor, or else that of its config. Attestations and artifacts are
// left out. An index inside the index is an error.
func Platforms(idx v1.ImageIndex) ([]v1.Descriptor, error) {
	manifest, err := idx.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) > maxPlatforms {
		return nil, badBase("the index has %d entries, more than %d",
			len(manifest.Manifests), maxPlatforms)
	}
	var list []v1.Descriptor
	for _, d := range manifest.Manifests {
		switch {
		case d.MediaType.IsIndex():
			return nil, &BaseError{
				What: fmt.Sprintf("the index holds another index, %s", d.Digest),
				Fix:  "name that index by its digest",
			}
		case !d.MediaType.IsImage() || isAttestation(d) || isArtifact(d):
			continue
		}
		if d.Platform == nil || d.Platform.OS == "" || d.Platform.Architecture == "" {
			p, ok, err := configPlatform(idx, d.Digest)
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
			d.Platform = p
		}
		list = append(list, d)
	}
	return list, nil
}

// isAttestation knows the entries that BuildKit adds to describe others.
// https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md
func isAttestation(d v1.Descriptor) bool {
	if _, ok := d.Annotations["vnd.docker.reference.type"]; ok {
		return true
	}
	return d.Platform != nil && d.Platform.OS == "unknown" && d.Platform.Architecture == "unknown"
}

// isArtifact knows an artifact by its type; go-containerregistry and others fill
// the field with the config's type for images.
func isArtifact(d v1.Descriptor) bool {
	return d.ArtifactType != "" && d.ArtifactType != "application/vnd.oci.image.config.v1+json" &&
		d.ArtifactType != "application/vnd.docker.container.image.v1+json"
}

// configPlatform reads the platform of an image whose descriptor names none; ok
// is false for an artifact.
func configPlatform(idx v1.ImageIndex, digest v1.Hash) (p *v1.Platform, ok bool, err error) {
	img, err := idx.Image(digest)
	if err != nil {
		return nil, false, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, false, err
	}
	if !manifest.Config.MediaType.IsConfig() {
		return nil, false, nil
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, false, err
	}
	platform := platformOf(config)
	return &platform, true, nil
}
