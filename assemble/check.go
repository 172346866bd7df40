package assemble

import (
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/decant-build/decant/assemble/internal/image"
	"github.com/decant-build/decant/assemble/internal/layer"
	"github.com/decant-build/decant/assemble/internal/site"
)

// scratchBase is the name of the base that has nothing.
const scratchBase = "scratch"

// filePrefixes mark bases and sources that are files rather than references.
var filePrefixes = []string{
	string(Layout) + ":", string(OCIArchive) + ":", string(DockerArchive) + ":",
}

func isFileBase(ref string) bool {
	for _, prefix := range filePrefixes {
		if strings.HasPrefix(ref, prefix) {
			return true
		}
	}
	return false
}

// check reports malformed options; it touches nothing.
func (b *build) check() error {
	if err := checkReference("base", b.Base); err != nil {
		return err
	}
	if b.Builder != "" {
		if err := checkReference("builder", b.Builder); err != nil {
			return err
		}
	}
	switch b.Isolation {
	case "", IsolationAuto, IsolationUserns, IsolationChroot, IsolationNone:
	default:
		return usagef("one of auto, userns, chroot, none", "unknown isolation %q", b.Isolation)
	}
	switch b.Compression {
	case "", string(layer.Gzip):
		b.layerForm = layer.Gzip
	case string(layer.Zstd):
		b.layerForm = layer.Zstd
	default:
		return usagef("one of gzip, zstd", "unknown compression %q", b.Compression)
	}
	if !path.IsAbs(b.WebRoot) || strings.ContainsAny(b.WebRoot, "\x00\n\\") {
		return usagef("it is an absolute path in the image, as "+DefaultWebRoot,
			"malformed web root %q", b.WebRoot)
	}
	b.webRoot = strings.TrimPrefix(path.Clean(b.WebRoot), "/")
	var err error
	if b.platforms.all, b.platforms.list, err = image.ParsePlatforms(b.Platforms); err != nil {
		return &UsageError{Err: err}
	}
	if err := image.CheckPorts(b.Ports); err != nil {
		return &UsageError{Err: err, Fix: "write a port as 8080, 8080/tcp or 53/udp"}
	}
	if err := site.ValidateGlobs(b.AllowSecrets); err != nil {
		return &UsageError{Err: err, Fix: "a pattern is a name with * and ?, as *.pem"}
	}
	return nil
}

func checkReference(role, ref string) error {
	if ref == scratchBase && role == "base" || isFileBase(ref) {
		return nil
	}
	if _, err := name.ParseReference(ref); err != nil {
		return usagef("write HOST/REPOSITORY:TAG, oci:DIR, oci-archive:FILE, docker-archive:FILE or scratch",
			"%s %q: malformed reference", role, ref)
	}
	return nil
}
