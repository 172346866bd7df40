package assemble

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/decant-build/decant/assemble/internal/cache"
	"github.com/decant-build/decant/assemble/internal/filetree"
	"github.com/decant-build/decant/assemble/internal/layer"
	"github.com/decant-build/decant/assemble/internal/rootfs"
)

// imageFiles is what is known of the files of an image: at first nothing, then
// their tree, or their directories too. Safe for concurrent use.
type imageFiles struct {
	base *stageBase

	mu   sync.Mutex
	tree *filetree.Tree // nil before
	root *rootfs.Rootfs // nil before
}

// noOrigin is the origin of files that are not in the blob of a layer; those of an
// image are numbered from 0.
const noOrigin = 1 << 20

// filesOf are those of an image, whichever stage asks.
func (x *executor) filesOf(base *stageBase) *imageFiles {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := x.imageFiles[base.id]
	if f == nil {
		f = &imageFiles{base: base}
		x.imageFiles[base.id] = f
	}
	return f
}

// unpack makes the directories of an image for a RUN.
func (x *executor) unpack(ctx context.Context, f *imageFiles) (*rootfs.Rootfs, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.root != nil {
		return f.root, nil
	}
	store, err := x.store()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	root, err := store.Unpack(ctx, f.base.image, rootfs.Options{})
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", f.base.ref, err)
	}
	x.atEnd(root.Close)
	if root.Stats.Unpacked > 0 {
		x.Progress.Fact("unpacked", fmt.Sprintf("%s, %d layers in %.1f s", f.base.ref, root.Stats.Unpacked, time.Since(start).Seconds()))
	}
	f.root = root
	return root, nil
}

// treeOf is the tree of an image: of its directories where something runs on them,
// and otherwise of an index of its layers, which unpacks nothing.
func (x *executor) treeOf(ctx context.Context, f *imageFiles, unpacked bool) (*filetree.Tree, error) {
	var list func(i int) ([]layer.Entry, error)
	var n int
	if unpacked {
		root, err := x.unpack(ctx, f)
		if err != nil {
			return nil, err
		}
		list, n = root.Entries, len(root.Layers)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tree != nil {
		return f.tree, nil
	}
	if !unpacked {
		indexes, err := x.indexes(ctx, f.base)
		if err != nil {
			return nil, err
		}
		list, n = func(i int) ([]layer.Entry, error) { return indexes[i], nil }, len(indexes)
	}
	tree := filetree.New()
	for i := range n {
		entries, err := list(i)
		if err == nil {
			err = tree.Apply(entries, i)
		}
		if err != nil {
			return nil, fmt.Errorf("reading layer %d of %s: %w", i+1, f.base.ref, err)
		}
	}
	f.tree = tree
	return tree, nil
}

// indexes lists what the layers of an image hold.
func (x *executor) indexes(ctx context.Context, base *stageBase) ([][]layer.Entry, error) {
	layers, err := base.tars()
	if err != nil {
		return nil, err
	}
	indexes := make([][]layer.Entry, len(layers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, l := range layers {
		g.Go(func() (err error) {
			if indexes[i], err = x.index(ctx, l); err != nil {
				err = fmt.Errorf("listing layer %d of %s: %w", i+1, base.ref, err)
			}
			return err
		})
	}
	return indexes, g.Wait()
}

// layerTar is a layer of an image, and the digest that its tar is to have. An image's
// configuration names it, by which steps are known: it is never taken on trust.
type layerTar struct {
	v1.Layer
	diffID v1.Hash
}

func (b *stageBase) tars() ([]layerTar, error) {
	layers, err := b.image.Layers()
	if err != nil {
		return nil, err
	}
	config, err := b.image.ConfigFile()
	if err != nil {
		return nil, err
	}
	if len(config.RootFS.DiffIDs) != len(layers) {
		return nil, fmt.Errorf("%s: %d layers in its manifest and %d in its configuration", b.ref, len(layers), len(config.RootFS.DiffIDs))
	}
	var tars []layerTar
	for i, l := range layers {
		tars = append(tars, layerTar{l, config.RootFS.DiffIDs[i]})
	}
	return tars, nil
}

// read passes the tar to use, which reads it to its end, and compares the digest.
func (l layerTar) read(use func(io.Reader) error) error {
	r, err := l.Uncompressed()
	if err != nil {
		return err
	}
	sum := sha256.New()
	if err := errors.Join(use(io.TeeReader(r, sum)), r.Close()); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != l.diffID.Hex {
		return &rootfs.DigestError{What: "diffID", Want: l.diffID.String(), Got: "sha256:" + got}
	}
	return nil
}

// index lists what a layer holds. Its blob is read once; afterwards the cache knows, by
// the digests of the blob and of the tar in it.
func (x *executor) index(ctx context.Context, l layerTar) ([]layer.Entry, error) {
	digest, err := l.Digest()
	if err != nil {
		return nil, err
	}
	key := cache.Key("index/2", digest.String(), l.diffID.String())
	if x.cache != nil {
		if kept, ok := x.cache.Index(key); ok {
			if entries, err := filetree.DecodeIndex(bytes.NewReader(kept)); err == nil {
				return entries, nil
			}
		}
	}
	var entries []layer.Entry
	err = l.read(func(r io.Reader) (err error) {
		entries, err = filetree.ReadIndex(ctx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	var encoded bytes.Buffer
	if x.cache != nil && filetree.EncodeIndex(&encoded, entries) == nil {
		if err := x.cache.KeepIndex(key, encoded.Bytes()); err != nil {
			x.tell("a base's index is not kept for the next build: " + err.Error())
		}
	}
	return entries, nil
}

// fetch reads files out of the blobs of an image that is not unpacked, and tells
// the entries where they are.
func (x *executor) fetch(ctx context.Context, base *stageBase, entries []layer.Entry) error {
	missing := filetree.Missing(entries)
	if len(missing) == 0 {
		return nil
	}
	layers, err := base.tars()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for origin, names := range missing {
		g.Go(func() error {
			dir, files, err := x.extract(ctx, layers[origin], names)
			if err != nil {
				return fmt.Errorf("reading layer %d of %s: %w", origin+1, base.ref, err)
			}
			mu.Lock()
			defer mu.Unlock()
			filetree.Fill(entries, origin, dir, files)
			return nil
		})
	}
	return g.Wait()
}

func (x *executor) extract(ctx context.Context, l layerTar, names []string) (dir string, files map[string]string, err error) {
	if dir, err = os.MkdirTemp(x.dir, "files-"); err != nil {
		return "", nil, err
	}
	err = l.read(func(r io.Reader) (err error) {
		files, err = filetree.Extract(ctx, r, names, dir)
		return err
	})
	return dir, files, err
}
