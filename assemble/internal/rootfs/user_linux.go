package rootfs

import (
	"strconv"
	"strings"
)

// accountLimit bounds /etc/passwd and /etc/group.
const accountLimit = 4 << 20

// LookupUser finds the user of a Dockerfile's USER: "", a name or a number, with
// ":" and a group if that is not the user's own. A number needs no entry in
// /etc/passwd; its group is then 0 and its home "/". A name without an entry is a
// *UserError.
func (v View) LookupUser(user string) (uid, gid uint32, home string, err error) {
	name, group, _ := strings.Cut(user, ":")
	if name == "" {
		name = "0"
	}
	passwd, err := v.accounts("etc/passwd")
	if err != nil {
		return 0, 0, "", err
	}
	home = "/"
	entry := account(passwd, name)
	number, numeric := parseID(name)
	switch {
	case len(entry) >= 6:
		u, okUser := parseID(entry[2])
		g, okGroup := parseID(entry[3])
		if !okUser || !okGroup {
			return 0, 0, "", &UserError{"user", name}
		}
		uid, gid = u, g
		if entry[5] != "" {
			home = entry[5]
		}
	case numeric:
		uid = number
	default:
		return 0, 0, "", &UserError{"user", name}
	}
	if group != "" {
		gid, err = v.lookupGroup(group)
	}
	return uid, gid, home, err
}

func (v View) lookupGroup(name string) (uint32, error) {
	groups, err := v.accounts("etc/group")
	if err != nil {
		return 0, err
	}
	if entry := account(groups, name); len(entry) >= 3 {
		if gid, ok := parseID(entry[2]); ok {
			return gid, nil
		}
	}
	if gid, ok := parseID(name); ok {
		return gid, nil
	}
	return 0, &UserError{"group", name}
}

// accounts reads a file that an image may lack.
func (v View) accounts(name string) (string, error) {
	b, err := v.ReadFile(name, accountLimit)
	if isAbsent(err) {
		return "", nil
	}
	return string(b), err
}

// account returns the fields of the entry with that name, or else that number.
func account(file, name string) []string {
	var byNumber []string
	for line := range strings.Lines(file) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		switch {
		case len(fields) < 3:
		case fields[0] == name:
			return fields
		case fields[2] == name && byNumber == nil:
			byNumber = fields
		}
	}
	return byNumber
}

// parseID reads a decimal id. The largest number means "no id" to the kernel.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n != 1<<32-1
}
