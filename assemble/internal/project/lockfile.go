package project

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// lockfiles lists the lockfiles of each manager, the one that wins first. A
// project with those of several managers has mostly moved from npm to another.
var lockfiles = []struct {
	name    string
	manager ManagerName
}{
	{"pnpm-lock.yaml", PNPM},
	{"bun.lock", Bun},
	{"bun.lockb", Bun},
	{"yarn.lock", Yarn}, // or Berry, as its head tells
	{"npm-shrinkwrap.json", NPM},
	{"package-lock.json", NPM},
}

// lock is a lockfile that was found.
type lock struct {
	name    string
	manager ManagerName
	version string // of its format; "" if it says none
}

var (
	pnpmLockVersion = regexp.MustCompile(`(?m)^lockfileVersion:[ \t]*['"]?([0-9.]{1,8})`)
	berryLock       = regexp.MustCompile(`(?m)^__metadata:\s+version:[ \t]*['"]?([0-9]{1,4})`)
	berryMetadata   = regexp.MustCompile(`(?m)^__metadata:`)
)

// locks lists the lockfiles in the root, in the order of lockfiles.
func locks(fsys fs.FS) ([]lock, error) {
	var found []lock
	for _, l := range lockfiles {
		head, err := readHead(fsys, l.name, maxLockHead)
		if isNotExist(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, parseLockHead(l.name, l.manager, head))
	}
	return found, nil
}

// parseLockHead tells yarn's two formats apart, and pnpm's versions.
func parseLockHead(name string, manager ManagerName, head []byte) lock {
	l := lock{name: name, manager: manager}
	switch manager {
	case PNPM:
		if m := pnpmLockVersion.FindSubmatch(head); m != nil {
			l.version = string(m[1])
		}
	case Yarn:
		if berryMetadata.Match(head) {
			l.manager = Berry
		}
		if m := berryLock.FindSubmatch(head); m != nil {
			l.version = string(m[1])
		}
	}
	return l
}

func hasLockfile(dir string) bool {
	for _, l := range lockfiles {
		if _, err := os.Stat(filepath.Join(dir, l.name)); err == nil {
			return true
		}
	}
	return false
}

// hasLockfileAbove looks in the directories that could be dir's workspace.
func hasLockfileAbove(dir string) bool {
	for range maxParents {
		parent := filepath.Dir(dir)
		if parent == dir {
			return false
		}
		if hasLockfile(parent) {
			return true
		}
		dir = parent
	}
	return false
}
