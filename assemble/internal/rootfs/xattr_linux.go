package rootfs

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/decant-build/decant/assemble/internal/layer"
)

const (
	// originXattr is what overlayfs gives a file that it copied up, and a directory
	// that is merged with one below.
	originXattr = "user.overlay.origin"
	// ownerXattr holds the owner that the sandbox recorded, as "UID:GID".
	ownerXattr = "user.decant.owner"
	// capabilityXattr is the one attribute outside user.* that layers are to keep.
	capabilityXattr = "security.capability"

	overlayPrefix = "user.overlay."
	ownPrefix     = "user.decant."
	// maxXattrList and maxXattrValue are the kernel's.
	maxXattrList  = 64 << 10
	maxXattrValue = 64 << 10
)

// xattrs reads the attributes of a file or directory, which most do not have.
func (w *walker) xattrs(f *found, st *unix.Stat_t) error {
	full := filepath.Join(w.root, f.Name)
	n, err := unix.Llistxattr(full, w.buf)
	if n == 0 || err == unix.ENOTSUP {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing its attributes: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(w.buf[:n]), "\x00"), "\x00") {
		if err := w.xattr(f, full, name, st); err != nil {
			return fmt.Errorf("reading its attribute %q: %w", name, err)
		}
	}
	sortXattrs(f.Xattrs)
	return nil
}

func sortXattrs(list []layer.Xattr) {
	slices.SortFunc(list, func(a, b layer.Xattr) int { return strings.Compare(a.Name, b.Name) })
}

func (w *walker) xattr(f *found, full, name string, st *unix.Stat_t) error {
	if name != capabilityXattr && !strings.HasPrefix(name, "user.") {
		return nil
	}
	value, err := getXattr(full, name, st)
	if err != nil {
		return err
	}
	switch {
	case name == capabilityXattr:
		f.Xattrs = append(f.Xattrs, layer.Xattr{Name: name, Value: plainCapability(value)})
	case name == opaqueXattr && f.Kind == layer.Dir && string(value) == "y":
		f.Opaque = true
	case strings.HasPrefix(name, overlayPrefix):
		f.copied = f.copied || name == originXattr
		if w.tidy {
			return w.strip(f, full, name, st)
		}
	case name == ownerXattr:
		f.noted = parseOwner(string(value))
	case !strings.HasPrefix(name, ownPrefix):
		f.Xattrs = append(f.Xattrs, layer.Xattr{Name: name, Value: value})
	}
	return nil
}

// strip removes an attribute. That changes the time of the inode.
func (w *walker) strip(f *found, full, name string, st *unix.Stat_t) error {
	err := withMode(full, st, 0o600, func() error { return unix.Lremovexattr(full, name) })
	if err != nil {
		return err
	}
	now, err := lstat(full)
	if err == nil {
		f.CTime = now.Ctim.Nano()
	}
	return err
}

// getXattr reads one also where the mode does not let the caller.
func getXattr(full, name string, st *unix.Stat_t) ([]byte, error) {
	value := make([]byte, 128)
	var n int
	get := func() (err error) {
		n, err = unix.Lgetxattr(full, name, value)
		if err == unix.ERANGE {
			value = make([]byte, maxXattrValue)
			n, err = unix.Lgetxattr(full, name, value)
		}
		return err
	}
	err := withMode(full, st, 0o400, get)
	return value[:max(0, n)], err
}

// withMode does something to a file or directory of the caller's that its mode may
// not let the caller do.
func withMode(full string, st *unix.Stat_t, bits uint32, do func() error) error {
	err := do()
	if err != unix.EACCES || st.Mode&bits == bits {
		return err
	}
	if err := unix.Chmod(full, st.Mode&permissions|bits); err != nil {
		return err
	}
	return errors.Join(do(), unix.Chmod(full, st.Mode&permissions))
}

// plainCapability turns the form that file capabilities have when root of a user
// namespace sets them, which names that user on this machine, into the one without.
func plainCapability(v []byte) []byte {
	const size2, size3, revision2, revision3 = 20, 24, 2, 3
	if len(v) != size3 || v[3] != revision3 {
		return v
	}
	v = slices.Clone(v[:size2])
	v[3] = revision2
	return v
}

// parseOwner reads what was recorded on a file. Text that has no meaning is none:
// a step may write it itself.
func parseOwner(text string) *Owner {
	u, g, ok := strings.Cut(text, ":")
	uid, uerr := parseOwnerID(u)
	gid, gerr := parseOwnerID(g)
	if !ok || uerr != nil || gerr != nil {
		return nil
	}
	return &Owner{uid, gid}
}

// parseOwnerID reads an id, or -1.
func parseOwnerID(text string) (int64, error) {
	if text == "-1" {
		return -1, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err == nil && n == math.MaxUint32 {
		err = strconv.ErrRange
	}
	return int64(n), err
}

func (o Owner) apply(e *layer.Entry) {
	if o.UID >= 0 && o.UID < math.MaxUint32 {
		e.UID = uint32(o.UID)
	}
	if o.GID >= 0 && o.GID < math.MaxUint32 {
		e.GID = uint32(o.GID)
	}
}
