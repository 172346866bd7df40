package assemble

import (
	"context"
	"errors"
	"os"
	"path"
	"slices"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/decant-build/decant/assemble/internal/cache"
	sitecontext "github.com/decant-build/decant/assemble/internal/context"
	"github.com/decant-build/decant/assemble/internal/layer"
	"github.com/decant-build/decant/assemble/internal/site"
)

// streamFrom is the size from which a layer is sent while it is being made. A
// smaller one is ready in a moment, and then one question to the registry can
// spare the upload.
const streamFrom = 16 << 20

// siteLayer is the site's layer and what is known of how it came to be.
type siteLayer struct {
	layer *layer.Layer
	info  LayerInfo
}

// scan lists what goes into the layer and refuses what must not be published.
func (b *build) scan(ctx context.Context) (layer.Tree, error) {
	tree, warnings, err := sitecontext.Scan(ctx, b.input.dist, sitecontext.ScanOptions{
		Prefix: b.siteRoot, Parents: b.Base == scratchBase, KeepExec: b.KeepExec,
	})
	var refused *sitecontext.ScanError
	if errors.As(err, &refused) && b.input.output != "" {
		refused.Dir = b.input.output + ", which the build wrote"
	}
	if err != nil {
		return tree, err
	}
	// What tells decant how to publish the site is no part of it.
	settings := path.Join(b.siteRoot, ".decant.yaml")
	tree.Entries = slices.DeleteFunc(tree.Entries, func(e layer.Entry) bool { return e.Name == settings })
	if b.Check == CheckOff { // otherwise names are judged with what is in the files
		if err := site.CheckNames(tree, b.siteRoot, b.AllowSecrets); err != nil {
			return tree, err
		}
	}
	for _, w := range warnings {
		b.Progress.Warn(w.String())
	}
	if site.MissingIndex(tree.Entries, b.siteRoot) {
		b.Progress.Warn("the site has no index.html: its root will answer 403 or 404")
	}
	return tree, nil
}

// siteLayer takes the layer of an earlier build if nothing changed, and writes
// it otherwise, while what is ready is on its way to the registries.
func (b *build) siteLayer(ctx context.Context, tree layer.Tree, parts []part) (*siteLayer, error) {
	key := b.layerKey()
	o := layer.Options{Compression: b.layerForm, Temp: b.temp(), Progress: b.layerProgress(tree)}
	if b.cache != nil && !b.NoCache {
		o.Reuse, o.ReuseBlob, _ = b.cache.Layer(key)
	}
	s := &siteLayer{}
	if o.ReuseBlob != "" && o.Reuse.Unchanged(tree, b.layerForm) {
		s.layer = layer.FromRecord(o.Reuse, o.ReuseBlob)
		s.info.Unchanged = true
		return s, s.describe(tree)
	}
	l, record, err := b.makeLayer(ctx, tree, parts, o)
	if err != nil {
		return nil, err
	}
	s.layer = l
	if err := s.describe(tree); err != nil {
		l.Close()
		return nil, err
	}
	if b.cache != nil {
		if err := b.cache.Keep(ctx, key, l, record); err != nil {
			b.Progress.Warn("the layer is not kept for the next build: " + err.Error())
		}
	}
	return s, nil
}

// makeLayer reads the files that are not known to be as they were. Where all
// turn out to be, as in a fresh copy of the site, the earlier build's layer is
// the one and nothing is sent: the registry is likely to have it.
func (b *build) makeLayer(ctx context.Context, tree layer.Tree, parts []part, o layer.Options) (*layer.Layer, *layer.Record, error) {
	if o.ReuseBlob != "" {
		confirmed, same, err := layer.Confirm(ctx, tree, o)
		if err != nil {
			return nil, nil, err
		}
		o.Reuse = confirmed
		if same {
			return layer.Build(ctx, tree, o)
		}
	}
	l, record, err := b.writeLayer(ctx, tree, parts, o)
	var changed *layer.ChangedError
	if errors.As(err, &changed) && o.Reuse != nil {
		// A file system that does not tell of every change makes the record wrong,
		// not the directory: once more, without it.
		o.Reuse, o.ReuseBlob = nil, ""
		return b.writeLayer(ctx, tree, parts, o)
	}
	return l, record, err
}

// describe fills in what Result says of the layer.
func (s *siteLayer) describe(tree layer.Tree) (err error) {
	s.info.Files, s.info.SiteBytes = measure(tree)
	if s.info.Digest, err = s.layer.Digest(); err != nil {
		return err
	}
	if s.info.DiffID, err = s.layer.DiffID(); err != nil {
		return err
	}
	if s.info.Bytes, err = s.layer.Size(); err != nil {
		return err
	}
	s.info.TarBytes, err = s.layer.UncompressedSize()
	stats := s.layer.Stats()
	s.info.ReusedChunks = stats.ReusedChunks
	s.info.Chunks = stats.ReusedChunks + stats.CompressedChunks
	return err
}

// writeLayer makes the layer. Meanwhile the base's layers are sent, and from a
// certain size the layer itself as it grows.
func (b *build) writeLayer(ctx context.Context, tree layer.Tree, parts []part, o layer.Options) (*layer.Layer, *layer.Record, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	job := layer.Start(ctx, tree, o)
	var g errgroup.Group
	if b.Push != nil {
		g.Go(func() error {
			err := b.sendBase(ctx, parts)
			if err != nil {
				cancel(err)
			}
			return err
		})
		if _, size := measure(tree); size >= streamFrom && !b.NoCache {
			g.Go(func() error {
				b.stream(ctx, job)
				return nil
			})
		}
	}
	l, record, err := job.Wait()
	if sendErr := g.Wait(); sendErr != nil && err == nil {
		l.Close()
		err = sendErr
	}
	if err != nil {
		return nil, nil, firstCause(ctx, err)
	}
	return l, record, nil
}

// sendBase sends the base's layers, as far as the registries lack them.
func (b *build) sendBase(ctx context.Context, parts []part) error {
	layers, err := baseLayers(parts)
	if err != nil {
		return err
	}
	return b.Push.Upload(ctx, layers...)
}

// stream sends the layer as it grows. Its failure is no error: Push sends what
// is not there.
func (b *build) stream(ctx context.Context, job *layer.Job) {
	r := job.Follow()
	defer r.Close()
	_ = b.Push.Stream(ctx, r, func() (v1.Hash, int64, error) {
		l, _, err := job.Wait()
		if err != nil {
			return v1.Hash{}, 0, err
		}
		digest, err := l.Digest()
		if err != nil {
			return v1.Hash{}, 0, err
		}
		size, err := l.Size()
		return digest, size, err
	})
}

// openCache opens the cache. One that cannot be used costs time only.
func (b *build) openCache() {
	if b.CacheDir == "" {
		return
	}
	c, err := cache.Open(b.CacheDir)
	if err != nil {
		b.Progress.Warn(err.Error())
		return
	}
	b.cache = c
}

func (b *build) closeCache() {
	if b.cache == nil {
		return
	}
	if err := b.cache.Close(); err != nil {
		b.Progress.Warn(err.Error())
	}
}

// temp is where layers are written: where the cache can take them by renaming.
func (b *build) temp() string {
	switch {
	case b.cache != nil:
		return b.cache.Temp()
	case b.TempDir != "":
		return b.TempDir
	}
	return os.TempDir()
}

// layerKey names the site among those that the cache remembers: its place and
// all that decides the layer's bytes but is not in the tree.
func (b *build) layerKey() string {
	return cache.Key("site", b.input.identity, b.siteRoot, string(b.layerForm),
		strconv.FormatBool(b.KeepExec), strconv.FormatBool(b.Base == scratchBase))
}

// layerProgress reports against the totals of tree.
func (b *build) layerProgress(tree layer.Tree) func(int, int64) {
	files, size := measure(tree)
	return func(doneFiles int, doneBytes int64) {
		b.Progress.Layer(doneFiles, files, doneBytes, size)
	}
}

// measure counts the files of tree and their bytes.
func measure(tree layer.Tree) (files int, size int64) {
	for _, e := range tree.Entries {
		if e.Kind == layer.File {
			files++
			size += e.Size
		}
	}
	return files, size
}

// baseLayers lists the layers of all parts, each once.
func baseLayers(parts []part) ([]v1.Layer, error) {
	var all []v1.Layer
	seen := map[v1.Hash]bool{}
	for _, p := range parts {
		layers, err := p.base.Layers()
		if err != nil {
			return nil, err
		}
		for _, l := range layers {
			digest, err := l.Digest()
			if err != nil {
				return nil, err
			}
			if !seen[digest] {
				seen[digest] = true
				all = append(all, l)
			}
		}
	}
	return all, nil
}
