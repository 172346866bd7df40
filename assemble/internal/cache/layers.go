package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/decant-build/decant/assemble/internal/layer"
)

const recordName = "record"

// Layer returns what is remembered of the site that key names: the record of its
// last layer, and the file that holds the layer, "" when that is gone. The file
// stays until Close, or until this Cache keeps another layer for key.
//
// ok is false when nothing is remembered, or nothing that can be read.
func (c *Cache) Layer(key string) (rec *layer.Record, blobPath string, ok bool) {
	if !isKey(key) {
		return nil, "", false
	}
	dir := path.Join(layersDir, key)
	rec, err := c.readRecord(path.Join(dir, recordName))
	if err != nil {
		return nil, "", false
	}
	c.touch(path.Join(dir, recordName))
	if blob, err := c.useBlob(dir, layer.FromRecord(rec, "")); err == nil {
		blobPath = c.path(blob)
	}
	return rec, blobPath, true
}

func (c *Cache) readRecord(rel string) (*layer.Record, error) {
	// Opening a fifo would block, and only a damaged cache has one.
	info, err := c.root.Lstat(rel)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", c.path(rel))
	}
	f, err := c.root.Open(rel)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return layer.DecodeRecord(f)
}

// useBlob finds the file of l in dir and keeps it from being removed.
func (c *Cache) useBlob(dir string, l *layer.Layer) (string, error) {
	blob, err := blobName(dir, l)
	if err != nil {
		return "", err
	}
	want, err := l.Size()
	if err != nil {
		return "", err
	}
	held, err := c.lock(blob, shared, 0)
	if err != nil {
		return "", err
	}
	if info, err := held.file.Stat(); err != nil || info.Size() != want {
		held.release()
		return "", errors.Join(err, errGone)
	}
	c.use(dir, held)
	return blob, nil
}

func blobName(dir string, l *layer.Layer) (string, error) {
	digest, err := l.Digest()
	return path.Join(dir, digest.Hex), err
}

// touch marks an entry as used now. That it cannot be is no reason to fail.
func (c *Cache) touch(rel string) {
	now := time.Now()
	_ = c.root.Chtimes(rel, now, now)
}

// Keep remembers a layer, which must have been written to Temp or be the one
// that Layer gave, in place of what key named before. It moves the layer's file
// and tells the layer so. Layers that were not used for the longest time make
// room, at Close at the latest. After an error the layer is as good as before.
func (c *Cache) Keep(ctx context.Context, key string, l *layer.Layer, rec *layer.Record) error {
	if !isKey(key) {
		return fmt.Errorf("keeping a layer: malformed key %q", key)
	}
	if err := c.keep(ctx, path.Join(layersDir, key), l, rec); err != nil {
		return fmt.Errorf("keeping the layer in %s: %w", c.dir, err)
	}
	return nil
}

func (c *Cache) keep(ctx context.Context, dir string, l *layer.Layer, rec *layer.Record) error {
	blob, err := blobName(dir, l)
	if err != nil {
		return err
	}
	from, err := c.inside(l.Path())
	if err != nil {
		return err
	}
	record := path.Join(c.run.dir, path.Base(dir)+".record")
	if err := c.writeRecord(record, rec); err != nil {
		return errors.Join(err, c.root.RemoveAll(record))
	}
	defer c.root.RemoveAll(record)
	if from != blob {
		if err := c.sync(from); err != nil {
			return err
		}
	}
	release, err := c.change(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := c.makeDir(dir); err != nil {
		return err
	}
	if from != blob {
		if err := c.place(from, blob); err != nil {
			return err
		}
		l.Moved(c.path(blob))
	}
	// Still unnamed, the blob is used first: nobody may take it from the layer.
	if _, err := c.useBlob(dir, l); err != nil {
		return err
	}
	if err := c.place(record, path.Join(dir, recordName)); err != nil {
		return err
	}
	c.dropOthers(dir, path.Base(blob))
	size, err := l.Size()
	if err != nil || !c.layers.add(size) {
		return err
	}
	return c.makeRoom(ctx, &c.layers, c.layerEntries, dir)
}

// place renames a file to where it replaces whatever is there: a damaged cache
// mends itself.
func (c *Cache) place(from, to string) error {
	if info, err := c.root.Lstat(to); err == nil && info.IsDir() {
		if err := c.root.RemoveAll(to); err != nil {
			return err
		}
	}
	return c.root.Rename(from, to)
}

// inside is the path in the directory of an absolute one.
func (c *Cache) inside(name string) (string, error) {
	if name == "" {
		return "", layer.ErrNoBlob
	}
	rel, err := filepath.Rel(c.dir, name)
	if err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("the layer's file %s is not in the cache", name)
	}
	return filepath.ToSlash(rel), nil
}

func (c *Cache) writeRecord(rel string, rec *layer.Record) (err error) {
	f, err := c.root.OpenFile(rel, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := rec.Encode(f); err != nil {
		return err
	}
	return f.Sync()
}

// sync makes a finished file outlive a power cut, after which its name would
// otherwise promise what is not there.
func (c *Cache) sync(rel string) error {
	f, err := c.root.OpenFile(rel, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// dropOthers removes the blobs in dir that the record does not name and that
// nobody uses. One that stays is removed by the next who comes.
func (c *Cache) dropOthers(dir, blob string) {
	files, err := c.list(dir)
	if err != nil {
		return
	}
	for _, f := range files {
		if f.Name() != blob && f.Name() != recordName {
			_, _ = c.remove(path.Join(dir, f.Name()), path.Join(dir, f.Name()))
		}
	}
}
