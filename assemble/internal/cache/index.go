package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
)

// maxIndexBytes bounds one index.
const maxIndexBytes = 64 << 20

// indexMagic begins the file of an index. A checksum follows, and then the data.
const indexMagic = "decant index 1\n"

const indexHeadBytes = len(indexMagic) + crc32.Size

// Index returns what KeepIndex was given for key. ok is false when there is nothing,
// or nothing that can be read whole.
func (c *Cache) Index(key string) (data []byte, ok bool) {
	if !isKey(key) {
		return nil, false
	}
	rel := path.Join(indexDir, key)
	data, err := c.readIndex(rel)
	if err != nil {
		return nil, false
	}
	c.touch(rel)
	return data, true
}

func (c *Cache) readIndex(rel string) ([]byte, error) {
	// Opening a fifo would block, and only a damaged cache has one.
	info, err := c.root.Lstat(rel)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > int64(indexHeadBytes+maxIndexBytes) {
		return nil, fmt.Errorf("%s is no index", c.path(rel))
	}
	f, err := c.root.Open(rel)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw := make([]byte, info.Size())
	if _, err := io.ReadFull(f, raw); err != nil {
		return nil, err
	}
	if len(raw) < indexHeadBytes || string(raw[:len(indexMagic)]) != indexMagic ||
		binary.BigEndian.Uint32(raw[len(indexMagic):]) != sumIndex(raw[indexHeadBytes:]) {
		return nil, fmt.Errorf("%s is damaged", c.path(rel))
	}
	return raw[indexHeadBytes:], nil
}

// sumIndex finds damage. It need not withstand forgery: who can write the data can
// write the sum.
func sumIndex(data []byte) uint32 {
	return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
}

// KeepIndex remembers data, of at most 64 MiB, in place of what key named before.
// Those that were not used for the longest time make room when the Cache is closed.
func (c *Cache) KeepIndex(key string, data []byte) error {
	if !isKey(key) {
		return fmt.Errorf("keeping an index: malformed key %q", key)
	}
	if len(data) > maxIndexBytes {
		return fmt.Errorf("keeping an index in %s: it has more than %d MiB",
			c.dir, maxIndexBytes>>20)
	}
	if err := c.keepIndex(key, data); err != nil {
		return fmt.Errorf("keeping an index in %s: %w", c.dir, err)
	}
	return nil
}

func (c *Cache) keepIndex(key string, data []byte) error {
	if err := c.makeDir(indexDir); err != nil {
		return err
	}
	temp := c.tempName("index")
	if err := c.writeIndex(temp, data); err != nil {
		return errors.Join(err, c.root.RemoveAll(temp))
	}
	c.indexes.add(int64(len(data)))
	if err := c.place(temp, path.Join(indexDir, key)); err != nil {
		return errors.Join(err, c.root.RemoveAll(temp))
	}
	return nil
}

func (c *Cache) writeIndex(rel string, data []byte) (err error) {
	f, err := c.root.OpenFile(rel, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	head := binary.BigEndian.AppendUint32([]byte(indexMagic), sumIndex(data))
	if _, err := f.Write(head); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// IndexFile is where the index of key is, for what has a format of its own and
// replaces the file itself, by a rename in the same directory. Index does not read
// it. It counts as used now.
func (c *Cache) IndexFile(key string) (string, error) {
	if !isKey(key) {
		return "", fmt.Errorf("opening an index: malformed key %q", key)
	}
	if err := c.makeDir(indexDir); err != nil {
		return "", fmt.Errorf("opening an index in %s: %w", c.dir, err)
	}
	rel := path.Join(indexDir, key)
	c.touch(rel)
	c.indexes.add(0)
	return c.path(rel), nil
}

// indexEntries lists the indexes, each by itself.
func (c *Cache) indexEntries(ctx context.Context) ([]entry, error) {
	return c.fileEntries(ctx, indexesKind, indexDir)
}
