package assemble

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/decant-build/decant/assemble/internal/cache"
	sitecontext "github.com/decant-build/decant/assemble/internal/context"
	"github.com/decant-build/decant/assemble/internal/filetree"
	"github.com/decant-build/decant/assemble/internal/plan"
	"github.com/decant-build/decant/assemble/internal/rootfs"
	"github.com/decant-build/decant/assemble/internal/sandbox"
)

// A Dockerfile is built in two passes. The first, settle, opens the bases and
// expands all instructions, and so knows what decides the result of every step; it
// executes nothing. The second, emit, asks for the layers of the target, and what no
// earlier build has kept is made: that executes the steps it needs, and no others.

// executor carries a Dockerfile out.
type executor struct {
	*build
	file    *plan.Dockerfile
	context *sitecontext.BuildContext
	sums    *sitecontext.Sums
	images  imageSet
	store   func() (*rootfs.Store, error)
	dir     string // temporary
	nonce   string // of this build
	// leaked is set when a secret's value is in what a RUN wrote: nothing made from then
	// on is for later builds, which would not know what to look for.
	leaked atomic.Bool
	// turns bounds the RUNs that execute at the same time.
	turns chan struct{}

	// files is what the Dockerfile copies out of the context, listed from the time
	// scanned on.
	files   *filetree.Tree
	scanned int64

	downloads sync.Mutex
	fetched   map[string]download // by URL

	mu         sync.Mutex
	imageFiles map[v1.Hash]*imageFiles // by image ID
	runs       map[string]*keptRun     // by key
	ends       []func() error
	told       map[string]bool // warnings, each once for all platforms
}

// buildDockerfile builds what the Dockerfile says for every platform.
func (b *build) buildDockerfile(ctx context.Context) (_ *Result, err error) {
	b.tellInput()
	if b.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, b.Timeout, &sandbox.TimeoutError{After: b.Timeout})
		defer cancel()
	}
	x, err := b.openExecutor()
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := x.close(); closeErr != nil {
			b.Progress.Warn("cleaning up: " + closeErr.Error())
		}
	}()
	variants, err := x.settle(ctx)
	if err != nil {
		return nil, firstCause(ctx, err)
	}
	return x.emit(ctx, variants)
}

// openExecutor opens the context and what every stage needs. The caller closes the
// executor.
func (b *build) openExecutor() (_ *executor, err error) {
	jobs := b.Jobs
	if jobs == 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	x := &executor{
		build: b, file: b.input.dockerfile, images: imageSet{open: b.openImage}, turns: make(chan struct{}, jobs),
		imageFiles: map[v1.Hash]*imageFiles{}, runs: map[string]*keptRun{}, told: map[string]bool{},
		fetched: map[string]download{},
	}
	x.nonce = rand.Text()
	x.atEnd(x.images.close)
	if x.dir, err = os.MkdirTemp(b.temp(), "dockerfile-"); err != nil {
		return nil, fmt.Errorf("making a temporary directory: %w", err)
	}
	x.atEnd(func() error { return cache.RemoveTree(x.dir) })
	x.store = sync.OnceValues(x.openStore)
	x.context, err = sitecontext.OpenBuildContext(b.Dir, b.input.dockerfilePath, sitecontext.BuildContextOptions{})
	if err != nil {
		return nil, errors.Join(err, x.close())
	}
	x.atEnd(x.context.Close)
	x.openSums()
	return x, nil
}

// openSums opens what is remembered of the context's files.
func (x *executor) openSums() {
	file := ""
	if x.cache != nil {
		var err error
		if file, err = x.cache.IndexFile(cache.Key("sums/1", x.input.identity)); err != nil {
			file = "" // they are computed anew
		}
	}
	x.sums = sitecontext.OpenSums(file)
	x.atEnd(x.sums.Save)
}

// openStore opens the store of unpacked images and of what RUNs wrote.
func (x *executor) openStore() (*rootfs.Store, error) {
	dir := filepath.Join(x.dir, "rootfs")
	if x.cache != nil {
		dir = rootfsDir(x.CacheDir)
	}
	store, err := rootfs.OpenStore(dir)
	if err != nil {
		return nil, err
	}
	return store, sandbox.Sweep(store.Temp()) // of builds that were killed
}

// atEnd has f called when the build is over, after what was asked for later.
func (x *executor) atEnd(f func() error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ends = append(x.ends, f)
}

func (x *executor) close() error {
	var errs []error
	for _, f := range slices.Backward(x.ends) {
		errs = append(errs, f())
	}
	x.ends = nil
	return errors.Join(errs...)
}

// tell warns once.
func (x *executor) tell(text string) {
	x.mu.Lock()
	first := !x.told[text]
	x.told[text] = true
	x.mu.Unlock()
	if first {
		x.Progress.Warn(text)
	}
}

// hostPlatform is this machine's, on which RUNs execute.
func hostPlatform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }
