package cache

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"
)

// staleAfter is when something in temp/ that nobody can vouch for is debris.
const staleAfter = 24 * time.Hour

// run is the directory in temp/ of one Cache.
type run struct {
	dir  string
	lock *lock // nil on a file system without locks
}

// startRun makes a directory and locks it. The lock is a file beside it, as not
// every system locks directories, and comes first, so that nobody sweeps the
// directory before it is locked.
func (c *Cache) startRun() (*run, error) {
	r := &run{}
	for {
		r.dir = path.Join(tempDir, "run-"+rand.Text())
		var err error
		r.lock, err = c.lockNew(r.dir+lockExt, exclusive)
		if err == nil || errors.Is(err, errors.ErrUnsupported) {
			break
		}
		// Another process may have found the file unlocked, and swept it.
		if !errors.Is(err, errInUse) {
			return nil, err
		}
	}
	if err := c.root.Mkdir(r.dir, 0o700); err != nil {
		return nil, errors.Join(err, c.endRun(r))
	}
	return r, nil
}

func (c *Cache) endRun(r *run) error {
	err := errors.Join(c.root.RemoveAll(r.dir), c.root.Remove(r.dir+lockExt))
	if r.lock != nil {
		r.lock.release()
	}
	return err
}

// sweep removes what killed processes left in temp/. What cannot be removed is
// no reason to fail.
func (c *Cache) sweep() {
	names, err := c.list(tempDir)
	if err != nil {
		return
	}
	for _, e := range names {
		rel := path.Join(tempDir, e.Name())
		dir, isLock := strings.CutSuffix(rel, lockExt)
		if !isLock {
			// Its lock decides, and an old one without has lost it.
			if _, err := c.root.Lstat(rel + lockExt); errors.Is(err, fs.ErrNotExist) && c.stale(rel) {
				_ = c.root.RemoveAll(rel)
			}
			continue
		}
		l, err := c.lock(rel, exclusive, 0)
		if err != nil && !(errors.Is(err, errors.ErrUnsupported) && c.stale(rel)) {
			continue
		}
		_ = c.endRun(&run{dir: dir, lock: l})
	}
}

func (c *Cache) stale(rel string) bool {
	info, err := c.root.Lstat(rel)
	return err == nil && time.Since(info.ModTime()) > staleAfter
}
