// Package assemble pours a front-end into a web-server image.
//
// Build reads as the pipeline it is: find the input, open the base and scan the
// site side by side, write the site's layer (or find that it is unchanged), lay
// it on the base's image of every platform, and hand the result to the
// registries and files that were asked for.
//
// Where the input is a Dockerfile, its stages take the place of the site: see
// dockerfile.go, from where the two passes of such a build are reached.
//
//	input.go, findfile.go, project.go, settle.go    what is to be built
//	stage.go, stepkey.go, runstep.go, copystep.go   the steps of a Dockerfile
//	site.go, emit.go, publish.go                    layers, images, outputs
//	serve.go                                        running an image
//
// It promises that equal inputs give equal images, whatever the machine, the
// time or the place of the directory; that base layers are never read unless an
// output needs their bytes; and that after an error or a cancelled context no
// tag has moved, and no half-written file, directory or temporary file is left.
//
// It does not know registries: Options.Pull and Options.Push are the caller's.
// It does not print: Options.Progress is told what happens.
package assemble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/decant-build/decant/assemble/internal/cache"
	"github.com/decant-build/decant/assemble/internal/layer"
)

// Build makes the image that o describes and writes it to o's outputs. Errors
// that the caller fixes in o itself have a method Usage() bool that returns
// true; where there is a way out, an error has a method Hint() string.
func Build(ctx context.Context, o Options) (*Result, error) {
	b, err := newBuild(ctx, o)
	if err != nil {
		return nil, err
	}
	b.openCache()
	defer b.closeCache()
	defer b.end()
	if b.input.dockerfile != nil {
		return b.buildDockerfile(ctx)
	}
	// The base keeps this context for what it reads later; the first error ends it.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var base *Base
	var parts []part
	var tree layer.Tree
	var g errgroup.Group
	g.Go(func() (err error) {
		if base, parts, err = b.openParts(ctx); err != nil {
			cancel(err)
		}
		return err
	})
	defer b.removeWorkspace()
	g.Go(func() (err error) {
		if tree, err = b.makeSite(ctx); err != nil {
			cancel(err)
		}
		return err
	})
	err = g.Wait()
	if base != nil && base.Close != nil {
		defer base.Close()
	}
	if err != nil {
		return nil, firstCause(ctx, err)
	}
	result, err := b.pour(ctx, base, tree, parts)
	if isDamaged(err) && !b.NoCache {
		// What the cache kept is not the layer any more; the site still is there.
		b.Progress.Warn("the layer kept from an earlier build is damaged: it is made again")
		b.NoCache = true
		result, err = b.pour(ctx, base, tree, parts)
	}
	return result, err
}

// pour makes the layer and the image, and publishes it.
func (b *build) pour(ctx context.Context, base *Base, tree layer.Tree, parts []part) (*Result, error) {
	tree, err := b.serve(ctx, tree, parts)
	if err != nil {
		return nil, err
	}
	site, err := b.siteLayer(ctx, tree, parts)
	if err != nil {
		return nil, err
	}
	defer site.layer.Close()
	image, err := b.image(base, parts, site)
	if err != nil {
		return nil, err
	}
	refs, err := b.publish(ctx, image)
	if err != nil {
		return nil, err
	}
	return b.result(image, site, refs)
}

// isDamaged reports a remembered layer whose bytes are gone or wrong.
func isDamaged(err error) bool {
	var damaged *layer.DamagedError
	return errors.As(err, &damaged) || errors.Is(err, layer.ErrNoBlob)
}

// Plan returns what Build would do as a Dockerfile that docker build would turn
// into an image with the same content. It executes nothing.
func Plan(ctx context.Context, o Options) (string, error) {
	b, err := newBuild(ctx, o)
	if err != nil {
		return "", err
	}
	b.tellInput()
	if b.input.dockerfile != nil {
		return b.planDockerfile()
	}
	return b.plan().Dockerfile(), nil
}

// openParts opens the base and picks its platforms. The layers of a base go out
// at once where the site takes a build, as there is time then.
func (b *build) openParts(ctx context.Context) (*Base, []part, error) {
	base, err := b.openBase(ctx)
	if err != nil {
		return nil, nil, err
	}
	parts, err := b.choosePlatforms(base)
	if err == nil && b.input.project != nil && b.Push != nil {
		err = b.sendBase(ctx, parts)
	}
	return base, parts, err
}

// makeSite lists the finished site, which a project has to build first.
func (b *build) makeSite(ctx context.Context) (layer.Tree, error) {
	b.tellInput()
	if b.input.project != nil {
		if err := b.buildProject(ctx); err != nil {
			return layer.Tree{}, err
		}
	}
	return b.scan(ctx)
}

// firstCause prefers the error that cancelled the rest to the cancellation
// that the rest reports.
func firstCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

// build is one run of Build: the options with their defaults, checked.
type build struct {
	Options
	input     input
	cache     *cache.Cache // nil without a cache
	platforms platformList
	layerForm layer.Compression
	webRoot   string // relative and clean, as names in a tar
	siteRoot  string // where the site is in the image: the web root, or below it
	listen    int    // where the image's nginx does, if decant configures it; 0 before
	ends      []func() error
	workspace string // of a project's build step; "" before it is made
}

func newBuild(ctx context.Context, o Options) (*build, error) {
	b := &build{Options: o}
	if b.Dir == "" {
		b.Dir = "."
	}
	if b.Base == "" {
		b.Base = DefaultBase
	}
	if b.WebRoot == "" {
		b.WebRoot = DefaultWebRoot
	}
	if b.Progress == nil {
		b.Progress = silent{}
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	var err error
	if b.input, err = b.findInput(ctx); err != nil {
		return nil, err
	}
	return b, b.checkPlaces()
}

// atEnd has f called when the build is over, after what was asked for later. It is
// not for several goroutines at once.
func (b *build) atEnd(f func() error) { b.ends = append(b.ends, f) }

func (b *build) end() {
	for _, f := range slices.Backward(b.ends) {
		if err := f(); err != nil {
			b.Progress.Warn("cleaning up: " + err.Error())
		}
	}
}

// silent is the Progress of a caller that wants none.
type silent struct{}

func (silent) Fact(string, string)          {}
func (silent) Warn(string)                  {}
func (silent) Layer(int, int, int64, int64) {}
func (silent) Step(string, string) (io.Writer, func(error)) {
	return io.Discard, func(error) {}
}

// result gathers what Build returns.
func (b *build) result(m finished, site *siteLayer, refs []string) (*Result, error) {
	r := &Result{References: refs, Images: m.images, Layer: site.info}
	var err error
	if r.Digest, err = m.manifest.Digest(); err != nil {
		return nil, err
	}
	if r.Size, err = m.manifest.Size(); err != nil {
		return nil, err
	}
	r.MediaType, err = m.manifest.MediaType()
	return r, err
}

// finished is the image as it is published.
type finished struct {
	manifest Manifest
	images   []PlatformImage
}

// platformText writes a platform as users do.
func platformText(p v1.Platform) string {
	return strings.TrimSuffix(fmt.Sprintf("%s/%s/%s", p.OS, p.Architecture, p.Variant), "/")
}
