package assemble

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
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
	if b.Builder == scratchBase {
		return usagef("name an image with node", "builder scratch: it has nothing to build with")
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
	if b.Isolation == IsolationNone && (b.NoNetwork || len(b.Secrets) > 0) {
		return usagef("leave --isolation out, or --network and --secret",
			"without isolation there are no secrets, and the network cannot be kept away")
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
	b.siteRoot = site.Place(b.webRoot, b.Serving.BasePath)
	if err := b.checkServing(); err != nil {
		return err
	}
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

// checkPlaces reports outputs that would destroy one another, what would be written
// into the site and so be published, and targets that are not ours.
func (b *build) checkPlaces() error {
	places := make([]string, len(b.Outputs))
	for i, out := range b.Outputs {
		var err error
		if places[i], err = out.place(); err != nil {
			return err
		}
		for j, other := range b.Outputs[:i] {
			if isInside(places[i], places[j]) || isInside(places[j], places[i]) {
				return usagef("give each output a path of its own",
					"outputs %s and %s are in the same place", other, out)
			}
		}
	}
	if err := b.checkOutsideSite(places); err != nil {
		return err
	}
	for _, out := range b.filesOutputs() {
		if info, err := os.Stat(out.Path); err == nil && !info.IsDir() {
			return usagef("name a directory", "output %s: it is there, and no directory", out)
		}
		if info, err := os.Stat(filepath.Dir(out.Path)); err != nil || !info.IsDir() {
			return usagef("create it first", "output %s: %s is no directory", out, filepath.Dir(out.Path))
		}
	}
	for _, out := range b.imageOutputs() {
		if err := out.target().Check(); err != nil {
			return fmt.Errorf("writing %s: %w", out, err)
		}
	}
	return nil
}

// checkOutsideSite takes the places of b.Outputs. A project, and what a Dockerfile
// says, leave their files elsewhere.
func (b *build) checkOutsideSite(places []string) error {
	if b.input.dist == "" {
		return nil
	}
	site, err := realPath(b.input.dist)
	if err != nil {
		return err
	}
	for i, out := range b.Outputs {
		if isInside(site, places[i]) {
			return usagef("write it elsewhere, or give the site a directory of its own",
				"output %s is inside the site, and would be published", out)
		}
	}
	if b.CacheDir == "" {
		return nil
	}
	cacheDir, err := realPath(b.CacheDir)
	if err == nil && isInside(site, cacheDir) {
		err = usagef("set DECANT_CACHE_DIR to another place, or give the site a directory of its own",
			"the cache %s is inside the site, and would be published", b.CacheDir)
	}
	return err
}

// place is where the output really is. An archive replaces a link of its name, a
// layout follows it.
func (o Output) place() (string, error) {
	switch o.Kind {
	case Layout, Store, Files:
		return realPath(o.Path)
	}
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return "", err
	}
	dir, err := realPath(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}

// realPath is path, absolute, and without links as far as it exists.
func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	missing := ""
	for dir := abs; ; dir = filepath.Dir(dir) {
		if found, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(found, missing), nil
		}
		if dir == filepath.Dir(dir) {
			return abs, nil
		}
		missing = filepath.Join(filepath.Base(dir), missing)
	}
}

// isInside tells whether path is dir or below it; both are real.
func isInside(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
