//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Changes is the directory with what was changed, in the form of an overlay's upper
// directory mounted with "userxattr": a whiteout is a character device 0:0, an opaque
// directory has user.overlay.opaque=y. It is there until Close; nothing may write to
// it. ok is false as long as nothing ran, where there is no overlay, and after
// TakeChanges.
func (s *Sandbox) Changes() (dir string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.upper(), s.settled && s.rung == overlayRung && !s.closed && !s.taken
}

// TakeChanges hands the directory of Changes over to the caller, who renames it away
// before Close, which removes it otherwise. It also gives one where there is no overlay:
// by comparing the private tree with what it was at first. Nothing runs on the Sandbox
// afterwards.
//
// The files are the caller's to use as a layer directory of a later Sandbox. They have
// not been synced to disk.
func (s *Sandbox) TakeChanges() (dir string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.taken {
		return "", fmt.Errorf("taking the changes of a sandbox: %w", os.ErrClosed)
	}
	if !s.settled {
		return "", errors.New("taking the changes of a sandbox: nothing ran on it")
	}
	s.taken = true
	if s.rung == overlayRung {
		return s.upper(), nil
	}
	dir = filepath.Join(s.dir, "changes")
	if err := s.separate(dir); err != nil {
		return "", fmt.Errorf("finding what a step changed: %w", err)
	}
	return dir, nil
}

// RecordedOwners are the owners, with RecordOwners, of the symlinks and other nodes that
// cannot hold the note that files do; by names as in a layer: relative and clean. It is
// complete after a Run that returned nil.
func (s *Sandbox) RecordedOwners() map[string]Owner {
	s.mu.Lock()
	defer s.mu.Unlock()
	owners := make(map[string]Owner, len(s.owners))
	for name, o := range s.owners {
		owners[name] = o
	}
	return owners
}

// OwnersLost tells, with RecordOwners, that an owner was changed and could not be
// recorded. It is false where that cannot be known: then Config.Warn was told so.
func (s *Sandbox) OwnersLost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// heed takes the findings of a step's recorder.
func (s *Sandbox) heed(m message) {
	if m.Identity && !s.warnedIdentity {
		s.warnedIdentity = true
		s.warn("a step changed its user by itself (su, setpriv, …): with one user id that has no " +
			"effect, and what it wrote afterwards belongs to the step's own user")
	}
	s.lost = s.lost || m.Lost
	for _, n := range m.Nodes {
		name, err := filepath.Rel("/", string(n.Path))
		if err != nil || !filepath.IsLocal(name) {
			continue
		}
		owner := n.Owner
		if old, ok := s.owners[name]; ok {
			owner = owner.over(old)
		}
		s.owners[name] = owner
	}
}

// mark is what tells a changed file of a private tree from an unchanged one.
type mark struct {
	ino, size uint64
	mode      uint32
	ctime     unix.Timespec
	owner     string // what is noted on a directory
	kids      map[string]*mark
}

func (m *mark) isDir() bool { return m.mode&unix.S_IFMT == unix.S_IFDIR }

func markOf(st *unix.Stat_t) *mark {
	return &mark{ino: st.Ino, size: uint64(st.Size), mode: st.Mode, ctime: st.Ctim}
}

// same tells whether nothing was done to a file.
func (m *mark) same(now *mark) bool {
	return m.ino == now.ino && m.mode == now.mode && m.size == now.size && m.ctime == now.ctime
}

// snapshot remembers a tree, which nobody changes meanwhile.
func snapshot(dir int, depth int) (map[string]*mark, error) {
	kids := map[string]*mark{}
	return kids, eachIn(dir, func(name string, st *unix.Stat_t) error {
		m := markOf(st)
		kids[name] = m
		if !m.isDir() {
			return nil
		}
		sub, err := openDirAt(dir, name, st, depth)
		if err != nil {
			return err
		}
		defer unix.Close(sub)
		m.owner = string(attrOf(sub, ownerAttr))
		m.kids, err = snapshot(sub, depth+1)
		return err
	})
}

// eachIn calls f for all names in a directory.
func eachIn(dir int, f func(name string, st *unix.Stat_t) error) error {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	list := os.NewFile(uintptr(fd), "a directory")
	names, err := list.Readdirnames(-1)
	list.Close()
	if err != nil {
		return err
	}
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if err := f(name, &st); err != nil {
			return err
		}
	}
	return nil
}

// openDirAt opens a directory of a private tree, if need be by giving its owner the
// right to, which restore takes away again.
func openDirAt(dir int, name string, st *unix.Stat_t, depth int) (int, error) {
	if depth >= maxDepth {
		return -1, fmt.Errorf("%q is in %d directories: %w", name, depth, unix.ENAMETOOLONG)
	}
	if st.Mode&0o700 != 0o700 {
		if err := unix.Fchmodat(dir, name, st.Mode&0o7777|0o700, 0); err != nil {
			return -1, fmt.Errorf("%q: %w", name, err)
		}
	}
	fd, err := unix.Openat(dir, name,
		unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("%q: %w", name, err)
	}
	return fd, nil
}
