package rootfs

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// An ownerTable is the file that keeps of one layer what its files on disk do not
// have. Its lines are
//
//	UID GID NAME [ATTRIBUTE VALUE]...
//	device KIND MAJOR MINOR MODE UID GID NAME [ATTRIBUTE VALUE]...
//	implied NAME
//
// with strings quoted as in Go. A name without a line of the first form belongs to
// 0:0 and has no other attributes than on disk; the last line of a name counts.
// Devices are not on disk; implied directories are, but not in the tar.
type ownerTable struct {
	file *os.File
	w    *bufio.Writer
	// named are the names that have a line, hashed: of two with one sum the later
	// gets a line that it does not need.
	named map[uint64]struct{}
	seed  maphash.Seed
}

func createOwners(name string) (*ownerTable, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &ownerTable{
		file: f, w: bufio.NewWriter(f), named: map[uint64]struct{}{}, seed: maphash.MakeSeed(),
	}, nil
}

// add writes a line if the name needs one. It keeps an error for close, as bufio does.
func (t *ownerTable) add(name string, h *tar.Header) {
	sum := maphash.String(t.seed, name)
	_, again := t.named[sum]
	if !again && h.Uid == 0 && h.Gid == 0 && len(foreignXattrs(h)) == 0 {
		return
	}
	t.named[sum] = struct{}{}
	t.line(name, h)
}

func (t *ownerTable) line(name string, h *tar.Header) {
	fmt.Fprintf(t.w, "%d %d %q", h.Uid, h.Gid, name)
	for _, a := range foreignXattrs(h) {
		fmt.Fprintf(t.w, " %q %q", a.Name, a.Value)
	}
	t.w.WriteByte('\n')
}

func (t *ownerTable) device(name string, h *tar.Header) {
	kind := layer.CharDevice
	if h.Typeflag == tar.TypeBlock {
		kind = layer.BlockDevice
	}
	fmt.Fprintf(t.w, "device %d %d %d %d ", kind, h.Devmajor, h.Devminor, h.Mode&permissions)
	t.line(name, h)
}

func (t *ownerTable) close() error {
	err := t.w.Flush()
	if cerr := t.file.Close(); err == nil {
		err = cerr
	}
	return err
}

// noteImplied adds directories to a table that is closed.
func noteImplied(name string, dirs []string) (err error) {
	if len(dirs) == 0 {
		return nil
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	w := bufio.NewWriter(f)
	for _, dir := range dirs {
		fmt.Fprintf(w, "implied %q\n", dir)
	}
	return w.Flush()
}

// foreignXattrs are those of a header that no file gets: all but those of user.*,
// and without overlayfs's.
func foreignXattrs(h *tar.Header) []layer.Xattr {
	var list []layer.Xattr
	for k, v := range h.PAXRecords {
		name, ok := strings.CutPrefix(k, xattrRecord)
		if ok && name != "" && !strings.HasPrefix(name, "user.") &&
			!strings.HasPrefix(name, "trusted.overlay.") {
			list = append(list, layer.Xattr{Name: name, Value: []byte(v)})
		}
	}
	sortXattrs(list)
	return list
}

// maxOwnerLine is more than the attributes of one header take, quoted.
const maxOwnerLine = 8 << 20

var errOwners = errors.New(
	"its table of owners is damaged, or has an owner that is no number of a user")

// owners is an ownerTable that was read.
type owners struct {
	of      map[string]owned
	implied map[string]bool
	devices []layer.Entry
}

type owned struct {
	uid, gid uint32
	xattrs   []layer.Xattr
}

func readOwners(name string) (*owners, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	o := &owners{of: map[string]owned{}, implied: map[string]bool{}}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxOwnerLine)
	for lines.Scan() {
		l := ownerLine{text: lines.Text()}
		if o.read(&l); l.bad {
			return nil, errOwners
		}
	}
	return o, lines.Err()
}

func (o *owners) read(l *ownerLine) {
	if text, ok := strings.CutPrefix(l.text, "implied "); ok {
		l.text = text
		o.implied[l.quoted()] = true
		return
	}
	text, device := strings.CutPrefix(l.text, "device ")
	l.text = text
	e := layer.Entry{}
	if device {
		e.Kind, e.Major, e.Minor = layer.Kind(l.number()), l.number(), l.number()
		e.Mode = l.number()
	}
	e.UID, e.GID, e.Name = l.number(), l.number(), l.quoted()
	for l.text != "" && !l.bad {
		e.Xattrs = append(e.Xattrs, layer.Xattr{Name: l.quoted(), Value: []byte(l.quoted())})
	}
	if device {
		o.devices = append(o.devices, e)
		return
	}
	o.of[e.Name] = owned{e.UID, e.GID, e.Xattrs}
}

// An ownerLine is what is left of a line.
type ownerLine struct {
	text string
	bad  bool
}

// number reads one of a user, group or device, none of which is the largest.
func (l *ownerLine) number() uint32 {
	text, rest, ok := strings.Cut(l.text, " ")
	n, err := strconv.ParseUint(text, 10, 32)
	if !ok || err != nil || n == math.MaxUint32 {
		l.bad = true
	}
	l.text = rest
	return uint32(n)
}

func (l *ownerLine) quoted() string {
	text, err := strconv.QuotedPrefix(l.text)
	if err != nil {
		l.bad = true
		return ""
	}
	l.text = strings.TrimPrefix(l.text[len(text):], " ")
	text, err = strconv.Unquote(text)
	l.bad = l.bad || err != nil
	return text
}

// present are the devices, the last of each name, that nothing in the layer is in
// the way of.
func (o *owners) present(dir string) []layer.Entry {
	last := map[string]layer.Entry{}
	for _, d := range o.devices {
		last[d.Name] = d
	}
	var list []layer.Entry
	for _, d := range last {
		if d.Major == 0 && d.Minor == 0 {
			continue // it means a whiteout to overlayfs, and nothing to a layer
		}
		_, err := lstat(dir + "/" + d.Name)
		up, _ := splitName(d.Name)
		st, uperr := lstat(dir + "/" + up)
		if errors.Is(err, fs.ErrNotExist) && uperr == nil && fileType(st) == unix.S_IFDIR {
			list = append(list, d)
		}
	}
	return list
}
