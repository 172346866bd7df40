package filetree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// accountLimit bounds a file of users or groups.
const accountLimit = 4 << 20

// accountFile is where the users, or the groups, of a tree are.
func accountFile(kind string) string {
	if kind == "group" {
		return "etc/group"
	}
	return "etc/passwd"
}

// ResolveOwner returns the numbers of a --chown: a user, with ":" and a group if
// that is not the user's own. A number, or root, needs no entry in /etc/passwd,
// and is then the group as well. An error is an *OwnerError.
func (t *Tree) ResolveOwner(chown string) (uid, gid uint32, err error) {
	user, group, both := strings.Cut(chown, ":")
	both = both && (group != "" || user == "") // "web:" is web and its group
	if number, ok := parseID(user); ok {
		uid, gid = number, number
	} else if user != "" || !both {
		fields, err := t.account("user", user)
		if err != nil {
			return 0, 0, err
		}
		uid, gid = fields[0], fields[1]
	}
	if !both {
		return uid, gid, nil
	}
	if number, ok := parseID(group); ok {
		return uid, number, nil
	}
	fields, err := t.account("group", group)
	if err != nil {
		return 0, 0, err
	}
	return uid, fields[0], nil
}

// UserIDs returns the owner of a directory that WORKDIR makes for a USER. As in
// BuildKit it is root for one that the tree does not know: what runs as that
// user will say so.
func (t *Tree) UserIDs(user string) (uid, gid uint32) {
	if user == "" {
		return 0, 0
	}
	name, group, both := strings.Cut(user, ":")
	uid, gid, err := t.ResolveOwner(name)
	if err != nil {
		uid, gid = 0, 0
	}
	if both {
		if _, g, err := t.ResolveOwner("0:" + group); err == nil {
			gid = g
		}
	}
	return uid, gid
}

// account returns the numbers in the entry of that name: uid and gid of a user, or
// the gid.
func (t *Tree) account(kind, name string) (ids [2]uint32, err error) {
	content, err := t.readAccounts(accountFile(kind))
	if errors.Is(err, ErrNotExist) || errors.Is(err, ErrNotDir) {
		return ids, &OwnerError{kind, name, nil}
	}
	if err != nil {
		return ids, &OwnerError{kind, name, err}
	}
	for line := range strings.Lines(content) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 3 || fields[0] != name || name == "" {
			continue
		}
		first, ok := parseID(fields[2])
		if kind == "group" && ok {
			return [2]uint32{first}, nil
		}
		if ok && len(fields) > 3 {
			second, ok := parseID(fields[3])
			if ok {
				return [2]uint32{first, second}, nil
			}
		}
	}
	return ids, &OwnerError{kind, name, nil}
}

// readAccounts reads a file of the tree, links followed.
func (t *Tree) readAccounts(name string) (string, error) {
	n, err := t.Lookup(name)
	if err != nil {
		return "", err
	}
	e := n.Entry
	if e.Kind != layer.File {
		return "", fmt.Errorf("/%s is not a file", e.Name)
	}
	if _, _, blob := Blob(e); blob {
		return "", fmt.Errorf("the content of /%s is not at hand", e.Name)
	}
	if e.Source == "" {
		return string(e.Data), nil
	}
	return readSource(e)
}

// readSource reads the file of an entry, which is below its Base whatever links
// lie there.
func readSource(e layer.Entry) (content string, err error) {
	root, err := os.OpenRoot(e.Base)
	if err != nil {
		return "", err
	}
	defer root.Close()
	source := filepath.FromSlash(e.Source)
	if info, err := root.Lstat(source); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(err, fmt.Errorf("the file of /%s is gone", e.Name))
	}
	f, err := root.Open(source)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, accountLimit+1))
	if len(b) > accountLimit {
		return "", &LimitError{"bytes in /" + e.Name, accountLimit}
	}
	return string(b), err
}

// parseID reads an id. The largest number means "no id" to the kernel.
func parseID(s string) (uint32, bool) {
	if s == "root" {
		return 0, true
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n != 1<<32-1
}
