//go:build amd64 || arm64

package sandbox

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const opaqueAttr = "user.overlay.opaque"

// clean takes away the mount points that process 1 had to make, last first, unless
// the step put something there; and then the directories that overlay copied up for them.
func (s *Sandbox) clean(made []string) {
	root, err := os.OpenRoot(s.upper())
	if err != nil {
		return
	}
	defer root.Close()
	for i := len(made) - 1; i >= 0; i-- {
		name, err := filepath.Rel("/", made[i])
		if err != nil || !filepath.IsLocal(name) {
			continue
		}
		info, err := root.Lstat(name)
		if err == nil && (info.IsDir() || info.Mode().IsRegular() && info.Size() == 0 || s.ours[name]) {
			_ = root.Remove(name) // a directory that is not empty stays
		}
		if s.rung == overlayRung {
			s.dropCopied(root, path.Dir(name))
		}
	}
}

// dropCopied removes a directory of the upper, and then those that it is in, as long as
// they are empty and say nothing that the layers do not say.
func (s *Sandbox) dropCopied(root *os.Root, name string) {
	for ; name != "."; name = path.Dir(name) {
		dir, err := root.Open(name)
		if err != nil {
			return
		}
		same := s.sameBelow(int(dir.Fd()), name)
		dir.Close()
		if !same || root.Remove(name) != nil {
			return
		}
	}
}

// sameBelow tells whether the layers have the same directory as the upper.
func (s *Sandbox) sameBelow(fd int, name string) bool {
	var ours, theirs unix.Stat_t
	if unix.Fstat(fd, &ours) != nil || attrOf(fd, opaqueAttr) != nil {
		return false
	}
	below, ok := s.dirBelow(name)
	if !ok {
		return false
	}
	defer unix.Close(below)
	return unix.Fstat(below, &theirs) == nil && ours.Mode == theirs.Mode &&
		bytes.Equal(attrOf(fd, ownerAttr), attrOf(below, ownerAttr))
}

// attrOf is an attribute of an open directory, nil if it has none.
func attrOf(fd int, name string) []byte {
	buf := make([]byte, 64)
	n, err := unix.Fgetxattr(fd, name, buf)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// dirBelow opens what the layers show under a name, if that is a directory. No element
// of the name is a symlink in the merged view.
func (s *Sandbox) dirBelow(name string) (int, bool) {
	for i := len(s.cfg.Lower) - 1; i >= 0; i-- {
		fd, next := openBelow(s.cfg.Lower[i], name)
		if fd >= 0 {
			return fd, true
		}
		if !next {
			break
		}
	}
	return -1, false
}

// openBelow opens a directory of one layer. Without it next tells whether layers below
// still count.
func openBelow(layer, name string) (fd int, next bool) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Open(layer, flags, 0)
	if err != nil {
		return -1, false
	}
	hides := false
	for element := range strings.SplitSeq(name, "/") {
		sub, err := unix.Openat(fd, element, flags, 0)
		unix.Close(fd)
		if err != nil {
			return -1, err == unix.ENOENT && !hides // else it is a whiteout or a file
		}
		fd = sub
		hides = hides || string(attrOf(fd, opaqueAttr)) == "y"
	}
	return fd, false
}
