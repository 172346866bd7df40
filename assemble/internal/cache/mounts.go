package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"sync"
)

// Sharing says who may use a directory of MountDir at the same time: the values of
// RUN --mount=type=cache,sharing=.
type Sharing string

const (
	// Shared is everybody who asks for it as Shared.
	Shared Sharing = "shared"
	// Private is nobody else: who comes meanwhile gets another directory.
	Private Sharing = "private"
	// Locked is nobody else: who comes meanwhile waits.
	Locked Sharing = "locked"
)

// maxMounts bounds the directories of one id, and so the users of a private one.
const maxMounts = 256

// MountDir returns a directory for id, any text, whose content stays from build to
// build, until it is pruned. init fills a new one, before anybody sees it.
//
// The directory is kept for the caller, as sharing says, until release or Close; the
// caller calls release, which may be called more than once. Another process counts
// like another caller in this one. Locked waits as long as ctx lets it.
//
// On a file system without locks nobody can have a directory alone: Private and
// Locked then give a new one that does not outlast the Cache.
func (c *Cache) MountDir(
	ctx context.Context, id string, sharing Sharing, init func(dir string) error,
) (dir string, release func(), err error) {
	rel, l, err := c.lockMount(ctx, id, sharing)
	if err != nil {
		return "", nil, fmt.Errorf("opening the cache mount %q: %w", id, err)
	}
	release = func() {}
	if l != nil {
		release = c.holdMount(l)
		c.touch(rel + lockExt)
	}
	if err := c.fillMount(ctx, rel, init); err != nil {
		release()
		return "", nil, fmt.Errorf("opening the cache mount %q: %w", id, err)
	}
	return c.path(rel), release, nil
}

// lockMount finds a directory of id that is free to be used so, and locks it. The id
// decides the name but is no part of it: it comes from a Dockerfile.
func (c *Cache) lockMount(ctx context.Context, id string, sharing Sharing) (string, *lock, error) {
	mode := exclusive
	switch sharing {
	case Shared:
		mode = shared
	case Private, Locked:
	default:
		return "", nil, fmt.Errorf("unknown sharing %q", sharing)
	}
	if err := c.makeDir(mountsDir); err != nil {
		return "", nil, err
	}
	base := path.Join(mountsDir, Key("mount", id)+"-")
	for n := range maxMounts {
		rel := base + strconv.Itoa(n)
		var l *lock
		var err error
		if sharing == Locked {
			l, err = c.poll(ctx, rel+lockExt, mode)
		} else {
			l, err = c.lockNew(rel+lockExt, mode)
		}
		if errors.Is(err, errors.ErrUnsupported) {
			return c.tempName("mount"), nil, nil
		}
		if !errors.Is(err, errInUse) {
			return rel, l, err
		}
		if err := ctx.Err(); err != nil {
			return "", nil, err
		}
	}
	return "", nil, fmt.Errorf("%d are in use", maxMounts)
}

// fillMount makes the directory if it is missing. It is filled elsewhere: several
// that share it may come at once, and one may be killed.
func (c *Cache) fillMount(ctx context.Context, rel string, init func(dir string) error) error {
	if there, err := c.isDir(rel); there || err != nil {
		return err
	}
	temp := c.tempName("mount")
	if err := c.root.Mkdir(temp, 0o700); err != nil {
		return err
	}
	err := c.initMount(ctx, temp, rel, init)
	return errors.Join(err, removeTree(c.root, temp)) // which is gone if all went well
}

func (c *Cache) initMount(
	ctx context.Context, temp, rel string, init func(dir string) error,
) error {
	if init != nil {
		if err := init(c.path(temp)); err != nil {
			return err
		}
	}
	release, err := c.change(ctx)
	if err != nil {
		return err
	}
	defer release()
	if there, err := c.isDir(rel); there || err != nil {
		return err
	}
	return c.root.Rename(temp, rel)
}

func (c *Cache) isDir(rel string) (bool, error) {
	info, err := c.root.Lstat(rel)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", c.path(rel))
	}
	return err == nil, err
}

// holdMount keeps the lock until the function that it returns is called, or Close.
func (c *Cache) holdMount(l *lock) (release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mounts[l] = true
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.mounts[l] { // Close may have been first
			delete(c.mounts, l)
			l.release()
		}
	})
}
