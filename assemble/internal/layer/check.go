package layer

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of what an entry may carry. Linux holds names and values of attributes
// to those of theirs; together they stay below what readers take of one PAX
// header, a MiB in archive/tar.
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
	maxXattrs     = 512 << 10
	// maxDevice is the largest number that the fields of a device hold in USTAR,
	// and more than Linux has.
	maxDevice = 1<<21 - 1
	// noOwner is the number that chown takes for "as it is".
	noOwner = 1<<32 - 1
)

// overlayXattrs begin the names of the attributes in which an overlay keeps its
// own state: whiteouts, redirections, the place of a file in this machine.
func overlayXattrs() []string { return []string{"trusted.overlay.", "user.overlay."} }

// checkEntries refuses what must not be in a layer. Who lists the files sees to
// all of this already; a mistake there must not become a layer that a runtime
// unpacks.
func checkEntries(entries []Entry) error {
	for i := range entries {
		e := &entries[i]
		why, way := faultOf(e)
		if why == "" {
			why = orderFault(entries, i)
		}
		if why == "" && e.Kind == HardLink {
			why = hardLinkFault(entries[:i], e)
		}
		if why != "" {
			return &EntryError{Name: e.Name, Why: why, Way: way}
		}
	}
	return nil
}

// orderFault says what is wrong with the place of entry i.
func orderFault(entries []Entry, i int) string {
	if i == 0 {
		return ""
	}
	prev, e := &entries[i-1], &entries[i]
	switch c := Compare(prev.Name, e.Name); {
	case c == 0:
		return "the name is there twice"
	case c > 0:
		return "the entries are not sorted"
	case prev.Kind != Dir && isBelow(e.Name, prev.Name):
		// In this order whatever is below a name follows it at once.
		return "what it lies in is not a directory"
	}
	return ""
}

func isBelow(name, dir string) bool {
	return len(name) > len(dir) && name[len(dir)] == '/' && name[:len(dir)] == dir
}

// hardLinkFault says what is wrong with a hard link after the entries before it.
func hardLinkFault(before []Entry, e *Entry) string {
	i, found := find(before, e.Target)
	if !found || before[i].Kind != File {
		return "it is a hard link to what is no file before it in the layer"
	}
	if !sameOwnership(&before[i], e) {
		return "its owner, mode or attributes are not those of the file that it is a hard link to"
	}
	return ""
}

// find returns the place of a name in sorted entries.
func find(entries []Entry, name string) (int, bool) {
	return slices.BinarySearchFunc(entries, name,
		func(e Entry, name string) int { return Compare(e.Name, name) })
}

// faultOf says what is wrong with one entry, and what to do about it.
func faultOf(e *Entry) (why, way string) {
	if why, way := headerFault(e); why != "" {
		return why, way
	}
	if e.Kind == File {
		return contentFault(e), ""
	}
	return "", ""
}

// headerFault looks at all but where the content comes from.
func headerFault(e *Entry) (why, way string) {
	if why, way := nameFault(e.Name); why != "" {
		return why, way
	}
	if why := attributeFault(e); why != "" {
		return why, ""
	}
	switch e.Kind {
	case File:
		if e.Size < 0 {
			return "its size is negative", ""
		}
	case Link:
		if e.Target == "" || strings.IndexByte(e.Target, 0) >= 0 || !utf8.ValidString(e.Target) {
			return "the target of the link cannot be written into a tar", "remove the link"
		}
	case CharDevice, BlockDevice:
		if e.Major > maxDevice || e.Minor > maxDevice || e.Major == 0 && e.Minor == 0 {
			return "it has not the number of a device", ""
		}
	case Dir, HardLink, Whiteout, Fifo:
	default:
		return "it is of no kind that a layer can hold", ""
	}
	return "", ""
}

func nameFault(name string) (why, way string) {
	const rename = "rename the file"
	switch {
	case name == "" || name == "." || name == ".." || path.IsAbs(name) ||
		path.Clean(name) != name || strings.HasPrefix(name, "../"):
		return "its name is not a clean relative path", ""
	case strings.IndexByte(name, 0) >= 0 || !utf8.ValidString(name):
		return "its name is not UTF-8", rename
	case strings.HasPrefix(name, ".wh.") || strings.Contains(name, "/.wh."):
		return "a name with .wh. in front deletes files when the image is unpacked", rename
	}
	return "", ""
}

// attributeFault looks at what an entry has beside its name, and at what its kind
// must not have.
func attributeFault(e *Entry) string {
	device := e.Kind == CharDevice || e.Kind == BlockDevice
	switch {
	case e.Mode > 0o7777:
		return "its mode has more than permission bits"
	case e.UID == noOwner || e.GID == noOwner:
		return "its owner is not known"
	case e.Opaque && e.Kind != Dir:
		return "it hides what is below it and is not a directory"
	case !device && (e.Major != 0 || e.Minor != 0):
		return "it has the number of a device and is none"
	case e.Kind == Whiteout && len(e.Xattrs) > 0:
		return "it is a whiteout with attributes"
	}
	return xattrFault(e.Xattrs)
}

func xattrFault(xattrs []Xattr) string {
	total := 0
	for i := range xattrs {
		x := &xattrs[i]
		total += len(x.Name) + len(x.Value)
		switch {
		case x.Name == "" || len(x.Name) > maxXattrName || strings.ContainsAny(x.Name, "=\x00") ||
			!utf8.ValidString(x.Name):
			return "the name of an attribute cannot be written into a tar"
		case len(x.Value) > maxXattrValue || total > maxXattrs:
			return "its attributes are too large"
		case i > 0 && xattrs[i-1].Name >= x.Name:
			return "its attributes are not sorted"
		}
		for _, prefix := range overlayXattrs() {
			if strings.HasPrefix(x.Name, prefix) {
				return "it has an attribute in which an overlay keeps its own state"
			}
		}
	}
	return ""
}

func contentFault(e *Entry) string {
	switch {
	case e.Source == "" && int64(len(e.Data)) != e.Size:
		return "its size is not that of its data"
	case e.Source != "" && len(e.Data) > 0:
		return "it has both a source and data"
	case e.Source != "" && !filepath.IsLocal(e.Source):
		return "its source is outside the directory"
	case e.Source != "" && e.Base != "" &&
		(!filepath.IsAbs(e.Base) || filepath.Clean(e.Base) != e.Base):
		return "the directory of its source is not a clean absolute path"
	}
	return ""
}
