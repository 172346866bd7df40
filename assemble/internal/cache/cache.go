package cache

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Names in the directory.
const (
	indexDir     = "index"
	layersDir    = "layers"
	manifestsDir = "manifests"
	mountsDir    = "mounts"
	packagesDir  = "packages"
	tempDir      = "temp"
	lockName     = "lock"
	tagName      = "CACHEDIR.TAG"
)

// tag is what https://bford.info/cachedir/ asks for.
const tag = "Signature: 8a477f597d28d172789f06886806bc55\n" +
	"# This is a cache of decant. It may be deleted at any time.\n"

// Bounds on what stays when a Cache is closed. A number bounds how long it takes to
// look at everything: some 30 ms.
const (
	maxLayersBytes  = 10 << 30
	maxLayers       = 2000 // 20 for each of 100 Dockerfiles
	maxIndexesBytes = 2 << 30
	maxIndexes      = 10_000
)

// closeWait is how long Close waits to make room; the next one does if it cannot.
const closeWait = time.Second

// Cache is an open cache directory. It may be used by several goroutines, and
// the directory by several processes.
type Cache struct {
	dir     string // absolute
	root    *os.Root
	run     *run
	layers  bound
	indexes bound
	tryLock func(f *os.File, mode lockMode) (taken bool, err error)
	temps   atomic.Int64 // names that tempName gave

	mu     sync.Mutex
	uses   map[string]*lock // of what this Cache uses, by the path in the directory
	mounts map[*lock]bool   // of directories of MountDir
}

// Open opens the cache in dir, which it makes if it is missing. The caller
// closes it. An error is a *DirError where the directory is unfit.
func Open(dir string) (*Cache, error) { return open(dir, tryLock) }

func open(
	dir string, tryLock func(f *os.File, mode lockMode) (bool, error),
) (*Cache, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the cache %s: %w", dir, err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, unfit(abs, err)
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, unfit(abs, err)
	}
	if why := distrust(info); why != "" {
		return nil, &DirError{Dir: abs, What: why}
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, unfit(abs, err)
	}
	c := &Cache{dir: abs, root: root, tryLock: tryLock,
		uses: map[string]*lock{}, mounts: map[*lock]bool{}}
	c.layers.bytes, c.layers.entries = maxLayersBytes, maxLayers
	c.indexes.bytes, c.indexes.entries = maxIndexesBytes, maxIndexes
	if err := c.prepare(); err != nil {
		return nil, unfit(abs, errors.Join(err, root.Close()))
	}
	return c, nil
}

// prepare makes what is missing in the directory.
func (c *Cache) prepare() error {
	for _, sub := range []string{layersDir, tempDir} {
		if err := c.makeDir(sub); err != nil {
			return err
		}
	}
	if _, err := c.root.Lstat(tagName); errors.Is(err, fs.ErrNotExist) {
		if err := c.root.WriteFile(tagName, []byte(tag), 0o600); err != nil {
			return err
		}
	}
	c.sweep()
	var err error
	c.run, err = c.startRun()
	return err
}

// makeDir makes a directory if it is missing. A link in its place is refused:
// it could lead to where this Cache has locked nothing.
func (c *Cache) makeDir(rel string) error {
	err := c.root.Mkdir(rel, 0o700)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := c.root.Lstat(rel)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", c.path(rel))
	}
	return err
}

// path is the absolute form of a slash-separated path in the directory.
func (c *Cache) path(rel string) string { return filepath.Join(c.dir, filepath.FromSlash(rel)) }

// Temp returns a directory, on the file system of the cache, that is this
// Cache's alone. Close removes it with all that is in it.
func (c *Cache) Temp() string { return c.path(c.run.dir) }

// tempName is a new name in Temp.
func (c *Cache) tempName(kind string) string {
	return path.Join(c.run.dir, fmt.Sprintf(".%s-%d", kind, c.temps.Add(1)))
}

// Close lets others remove what this Cache used, so layers whose files are in the
// cache are closed first, and removes the layers and indexes that were not used for
// the longest time, where there are too many. Nothing but Close may be called
// afterwards.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run == nil {
		return nil
	}
	c.trim()
	for _, use := range c.uses {
		use.release()
	}
	for mount := range c.mounts {
		mount.release()
	}
	clear(c.uses)
	clear(c.mounts)
	err := c.endRun(c.run)
	c.run = nil
	if err = errors.Join(err, c.root.Close()); err != nil {
		return fmt.Errorf("closing the cache %s: %w", c.dir, err)
	}
	return nil
}

// use keeps the lock of something that this Cache now uses, in place of the lock
// it may have of the same.
func (c *Cache) use(rel string, l *lock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.uses[rel]; old != nil {
		old.release()
	}
	c.uses[rel] = l
}

// Packages returns the directory called name in which a package manager keeps
// its own cache, and makes it if it is missing. It is not pruned until Close.
func (c *Cache) Packages(ctx context.Context, name string) (string, error) {
	if !fs.ValidPath(name) || path.Base(name) != name || name == "." ||
		path.Ext(name) == lockExt {
		return "", fmt.Errorf("opening the package cache %q: malformed name", name)
	}
	dir := path.Join(packagesDir, name)
	if err := c.openPackages(ctx, dir); err != nil {
		return "", fmt.Errorf("opening the package cache %s: %w", c.path(dir), err)
	}
	return c.path(dir), nil
}

func (c *Cache) openPackages(ctx context.Context, dir string) error {
	if err := c.makeDir(packagesDir); err != nil {
		return err
	}
	l, err := c.wait(ctx, dir+lockExt, shared)
	if err != nil {
		return err
	}
	c.use(dir, l)
	c.touch(dir + lockExt)
	return c.makeDir(dir)
}

// Key names an entry by all that decides it. Different lists of parts have
// different keys.
func Key(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// isKey keeps anything but a Key from becoming a path.
func isKey(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == sha256.Size && hex.EncodeToString(raw) == s
}
