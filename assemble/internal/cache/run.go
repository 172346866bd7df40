package cache

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
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
	err := removeTree(c.root, r.dir)
	if err == nil { // as long as it is there, the lock lets others try again
		err = c.root.Remove(r.dir + lockExt)
	}
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
				_ = removeTree(c.root, rel)
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

// RemoveTree removes a directory and all in it, also what a build step made hard
// to remove: an overlay's work directory has mode 0, and packages bring directories
// of mode 0555.
func RemoveTree(dir string) error {
	parent, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	return removeTree(parent, filepath.Base(dir))
}

// removeTree is RemoveTree below root, without leaving it.
func removeTree(root *os.Root, rel string) error {
	if root.RemoveAll(rel) == nil {
		return nil
	}
	_ = fs.WalkDir(root.FS(), rel, func(name string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = root.Chmod(name, 0o700) // before it is read; RemoveAll tells what remains
		}
		return nil
	})
	return root.RemoveAll(rel)
}
