package filetree

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// Bounds of one tar, far above what images hold.
const (
	maxEntries    = 2_000_000
	maxBytes      = 50 << 30  // of the tar, and of the files in it
	maxMetadata   = 512 << 20 // of names, targets and attributes together
	maxXattrBytes = 64 << 10  // of one entry
	maxAccounts   = 1 << 20   // of a file of users or groups that is kept
)

const (
	xattrRecord = "SCHILY.xattr."
	whiteout    = ".wh."
)

// ReadIndex lists the tar of a layer, already decompressed, in its order, and
// reads it to its end. It keeps no content but that of /etc/passwd and
// /etc/group. Names are cleaned as in a chroot. The root is left out, unless it is
// opaque: its Name is then ".". When a name comes again the former entry is
// dropped, for unpackers overwrite it.
//
// The tar is not trusted. An error is a *LimitError, a *FormatError, or what the
// reader returned.
func ReadIndex(ctx context.Context, r io.Reader) ([]layer.Entry, error) {
	x := indexer{at: map[string]int{}, linked: map[string]bool{}}
	err := readTar(ctx, r, func(h *tar.Header, body io.Reader) error {
		return x.entry(h, body)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the index of a layer: %w", err)
	}
	return slices.DeleteFunc(x.entries, func(e layer.Entry) bool { return e.Name == "" }), nil
}

// readTar calls f for all entries but global headers, and reads r to its end.
func readTar(ctx context.Context, r io.Reader, f func(*tar.Header, io.Reader) error) error {
	in := &boundedReader{ctx: ctx, r: r, left: maxBytes}
	tr := tar.NewReader(in)
	var count, size int64
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // names are cleaned
			return fmt.Errorf("reading the tar: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if count++; count > maxEntries {
			return &LimitError{"entries in a tar", maxEntries}
		}
		// A sparse file counts with its full size.
		if size += h.Size; h.Size > maxBytes || size > maxBytes {
			return &LimitError{"bytes of files in a tar", maxBytes}
		}
		if err := f(h, tr); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, in)
	return err
}

// A boundedReader stops at a limit and when the context is done.
type boundedReader struct {
	ctx  context.Context // an io.Reader has no other way to be told
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, &LimitError{"bytes in a tar", maxBytes}
	}
	return n, err
}

// An indexer gathers the entries of a layer.
type indexer struct {
	entries  []layer.Entry
	at       map[string]int  // where the entry of a name is
	linked   map[string]bool // files that hard links name
	metadata int
}

func (x *indexer) entry(h *tar.Header, body io.Reader) error {
	e, keep, err := layerEntry(h)
	if !keep || err != nil {
		return err
	}
	x.metadata += len(e.Name) + len(e.Target)
	for _, a := range e.Xattrs {
		x.metadata += len(a.Name) + len(a.Value)
	}
	if x.metadata > maxMetadata {
		return &LimitError{"bytes of names and attributes", maxMetadata}
	}
	if i, again := x.at[e.Name]; again {
		if e, err = x.again(i, e); err != nil {
			return err
		}
	}
	if e.Kind == layer.HardLink {
		x.linked[e.Target] = true
	}
	if isAccounts(e) {
		if e.Data, err = io.ReadAll(io.LimitReader(body, maxAccounts)); err != nil {
			return err
		}
	}
	x.at[e.Name] = len(x.entries)
	x.entries = append(x.entries, e)
	return nil
}

// again drops an entry whose name comes again. The same layer's entries stay when
// a whiteout comes after them. What one hid, or what was in the way, stays hidden
// below a directory that takes its place.
func (x *indexer) again(i int, e layer.Entry) (layer.Entry, error) {
	old := &x.entries[i]
	marker := e.Kind == layer.Dir && e.Opaque
	switch {
	case e.Kind == layer.Whiteout, marker && old.Kind == layer.Dir:
		e = *old
		e.Opaque = e.Kind == layer.Dir
	case old.Kind == layer.File && x.linked[e.Name]:
		return e, &FormatError{e.Name, "a file comes again after hard links to it"}
	case e.Kind == layer.Dir:
		e.Opaque = old.Kind != layer.Dir || old.Opaque
	}
	old.Name = ""
	return e, nil
}

func isAccounts(e layer.Entry) bool {
	return e.Kind == layer.File && e.Size <= maxAccounts &&
		(e.Name == accountFile("user") || e.Name == accountFile("group"))
}

// layerEntry makes the entry of a header of a layer's tar; what has no meaning to
// a layer is not kept.
func layerEntry(h *tar.Header) (e layer.Entry, keep bool, err error) {
	name := clean(h.Name)
	dir, base := split(name)
	base, white := strings.CutPrefix(base, whiteout)
	if skip, err := reserved(h.Name, dir, base, white); skip || err != nil {
		return e, false, err
	}
	switch {
	case name == "":
		return e, false, nil
	case white && base == ".wh..opq":
		return layer.Entry{
			Name: cmp.Or(dir, rootName), Kind: layer.Dir, Mode: impliedMode, Opaque: true,
		}, true, nil
	case white:
		return layer.Entry{Name: join(dir, base), Kind: layer.Whiteout}, true, nil
	}
	e, err = tarEntry(h)
	return e, err == nil, err
}

// reserved looks for names that have a meaning to layers: AUFS's own files are
// left out, as everybody does.
func reserved(full, dir, base string, white bool) (skip bool, err error) {
	for part := range elements(dir) {
		if strings.HasPrefix(part, whiteout+whiteout) {
			return true, nil
		}
		if strings.HasPrefix(part, whiteout) {
			return false, &FormatError{full, "it lies below a whiteout"}
		}
	}
	switch {
	case !white || base == ".wh..opq":
		return false, nil
	case strings.HasPrefix(base, whiteout):
		return true, nil
	case base == "" || base == "." || base == "..":
		return false, &FormatError{full, "a whiteout of no name"}
	}
	return false, nil
}

// tarEntry makes the entry of a header, without content.
func tarEntry(h *tar.Header) (layer.Entry, error) {
	e := layer.Entry{Name: clean(h.Name), Mode: uint32(h.Mode) & modeBits}
	if len(e.Name) > maxPathLength || len(h.Linkname) > maxPathLength {
		return e, &LimitError{"bytes in a name", maxPathLength}
	}
	fault := func(why string) (layer.Entry, error) { return e, &FormatError{h.Name, why} }
	if !isID(h.Uid) || !isID(h.Gid) {
		return fault("its owner is no number of a user and a group")
	}
	e.UID, e.GID = uint32(h.Uid), uint32(h.Gid)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		e.Kind, e.Size = layer.File, h.Size
	case tar.TypeDir:
		e.Kind = layer.Dir
	case tar.TypeSymlink:
		e.Kind, e.Target, e.Mode = layer.Link, h.Linkname, 0
	case tar.TypeLink:
		e.Kind, e.Target = layer.HardLink, clean(h.Linkname)
		if e.Target == "" {
			return fault("a hard link to the root")
		}
	case tar.TypeFifo:
		e.Kind = layer.Fifo
	case tar.TypeChar, tar.TypeBlock:
		e.Kind = layer.CharDevice
		if h.Typeflag == tar.TypeBlock {
			e.Kind = layer.BlockDevice
		}
		if !isID(int(h.Devmajor)) || !isID(int(h.Devminor)) {
			return fault("a device of no number")
		}
		e.Major, e.Minor = uint32(h.Devmajor), uint32(h.Devminor)
	default:
		return fault(fmt.Sprintf("it is of the unknown type %q", h.Typeflag))
	}
	var err error
	e.Xattrs, err = xattrs(h)
	return e, err
}

func isID(n int) bool { return n >= 0 && int64(n) < math.MaxUint32 }

// xattrs are those of a header, without the ones by which overlayfs is told what
// to show.
func xattrs(h *tar.Header) ([]layer.Xattr, error) {
	var list []layer.Xattr
	size := 0
	for k, v := range h.PAXRecords {
		name, ok := strings.CutPrefix(k, xattrRecord)
		if !ok || name == "" || strings.HasPrefix(name, "user.overlay.") ||
			strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		if size += len(name) + len(v); size > maxXattrBytes {
			return nil, &LimitError{"bytes of extended attributes in an entry", maxXattrBytes}
		}
		list = append(list, layer.Xattr{Name: name, Value: []byte(v)})
	}
	slices.SortFunc(list, func(a, b layer.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}
