package assemble_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// This file reads images on its own, so that no bug of decant's hides itself: a
// plain reading of the image specification, in memory.

// A builtImage is what a builder has left: the config file as it is, and the
// layers, unpacked on one another.
type builtImage struct {
	config []byte
	root   *fileNode
	layers [][]byte // the tars
}

// A fileNode is a file, under all its names.
type fileNode struct {
	kind     byte // of tar
	mode     int64
	uid, gid int
	target   string
	device   string
	content  []byte
	xattrs   map[string]string
	children map[string]*fileNode
}

func newRoot() *fileNode {
	return &fileNode{kind: tar.TypeDir, mode: 0o755, children: map[string]*fileNode{}}
}

// readImageDir reads an image of the only manifest in an OCI layout, or of a
// directory as containers/image's transport "dir" writes it.
func readImageDir(dir string) (*builtImage, error) {
	blob := func(digest string) ([]byte, error) {
		name := strings.TrimPrefix(digest, "sha256:")
		data, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", name))
		if errors.Is(err, os.ErrNotExist) {
			return os.ReadFile(filepath.Join(dir, name))
		}
		return data, err
	}
	raw, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if errors.Is(err, os.ErrNotExist) {
		raw, err = os.ReadFile(filepath.Join(dir, "index.json"))
	}
	for err == nil {
		var m struct {
			Manifests []struct{ Digest string }
			Config    struct{ Digest string }
			Layers    []struct{ Digest string }
		}
		if err := json.Unmarshal(raw, &m); err != nil {
			return nil, err
		}
		if m.Config.Digest == "" {
			if len(m.Manifests) != 1 {
				return nil, fmt.Errorf("%d manifests in %s", len(m.Manifests), dir)
			}
			raw, err = blob(m.Manifests[0].Digest)
			continue
		}
		img := &builtImage{root: newRoot()}
		if img.config, err = blob(m.Config.Digest); err != nil {
			return nil, err
		}
		for _, l := range m.Layers {
			packed, err := blob(l.Digest)
			if err != nil {
				return nil, err
			}
			if err := img.add(packed); err != nil {
				return nil, fmt.Errorf("layer %s: %w", l.Digest, err)
			}
		}
		return img, nil
	}
	return nil, err
}

// add lays a layer, compressed or not, on the tree.
func (img *builtImage) add(packed []byte) error {
	plain, err := decompress(packed)
	if err != nil {
		return err
	}
	img.layers = append(img.layers, plain)
	var headers []*tar.Header
	var contents [][]byte
	r := tar.NewReader(bytes.NewReader(plain))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		headers, contents = append(headers, h), append(contents, data)
	}
	// A whiteout hides what lower layers have, wherever it stands in the tar.
	for _, h := range headers {
		if err := img.hide(h); err != nil {
			return err
		}
	}
	for i, h := range headers {
		if err := img.place(h, contents[i]); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
	}
	return nil
}

func decompress(packed []byte) ([]byte, error) {
	var r io.Reader = bytes.NewReader(packed)
	var err error
	switch {
	case bytes.HasPrefix(packed, []byte{0x1f, 0x8b}):
		r, err = gzip.NewReader(r)
	case bytes.HasPrefix(packed, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		r, err = zstd.NewReader(r)
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func (img *builtImage) hide(h *tar.Header) error {
	dir, base := path.Split(path.Clean("/" + h.Name))
	hidden, is := strings.CutPrefix(base, ".wh.")
	if !is {
		return nil
	}
	parent, err := img.dir(dir, false)
	if base == ".wh..wh..opq" {
		if err == nil && parent != nil { // it may be new, or in the place of a file
			clear(parent.children)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if parent == nil || parent.children[hidden] == nil {
		return fmt.Errorf("whiteout %q of nothing", h.Name)
	}
	delete(parent.children, hidden)
	return nil
}

func (img *builtImage) place(h *tar.Header, content []byte) error {
	name := path.Clean("/" + h.Name)
	dir, base := path.Split(name)
	if strings.HasPrefix(base, ".wh.") {
		return nil
	}
	n := &fileNode{kind: h.Typeflag, mode: h.Mode & 0o7777, uid: h.Uid, gid: h.Gid, content: content}
	switch h.Typeflag {
	case tar.TypeDir:
		n.children = map[string]*fileNode{}
	case tar.TypeSymlink:
		n.target, n.mode = h.Linkname, 0o777
	case tar.TypeChar, tar.TypeBlock:
		n.device = fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor)
	}
	n.xattrs = map[string]string{}
	for key, value := range h.PAXRecords {
		if x, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			n.xattrs[x] = value
		}
	}
	if name == "/" {
		n.children, img.root = img.root.children, n
		return nil
	}
	parent, err := img.dir(dir, true)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		to, base := path.Split(path.Clean("/" + h.Linkname))
		from, err := img.dir(to, false)
		if err != nil {
			return err
		}
		if from == nil || from.children[base] == nil {
			return fmt.Errorf("hard link to %q, which is not there", h.Linkname)
		}
		n = from.children[base]
	}
	if old := parent.children[base]; old != nil && old.kind == tar.TypeDir && n.kind == tar.TypeDir {
		n.children = old.children
	}
	parent.children[base] = n
	return nil
}

// dir finds a directory. Unpackers differ in what they do below a symbolic link,
// so a layer that relies on it is an error.
func (img *builtImage) dir(name string, create bool) (*fileNode, error) {
	at := img.root
	for _, part := range strings.Split(strings.Trim(name, "/"), "/") {
		if part == "" {
			continue
		}
		next := at.children[part]
		switch {
		case next == nil && !create:
			return nil, nil
		case next == nil:
			next = newRoot()
			at.children[part] = next
		case next.kind != tar.TypeDir:
			return nil, fmt.Errorf("in %s, %q is no directory", name, part)
		}
		at = next
	}
	return at, nil
}

// lines describes every file in one line, by its path.
func (img *builtImage) lines() map[string]string {
	lines := map[string]string{}
	first := map[*fileNode]string{}
	var walk func(name string, n *fileNode)
	walk = func(name string, n *fileNode) {
		if known, ok := first[n]; ok {
			lines[name] = fmt.Sprintf("hard link %s = %s", name, known)
			return
		}
		first[n] = name
		lines[name] = n.describe(name)
		for _, child := range slices.Sorted(maps.Keys(n.children)) {
			walk(path.Join(name, child), n.children[child])
		}
	}
	walk("/", img.root)
	return lines
}

func (n *fileNode) describe(name string) string {
	var b strings.Builder
	kind := map[byte]string{tar.TypeReg: "file", tar.TypeDir: "dir", tar.TypeSymlink: "link",
		tar.TypeFifo: "fifo", tar.TypeChar: "char", tar.TypeBlock: "block"}[n.kind]
	fmt.Fprintf(&b, "%04o %d:%d %s %s", n.mode, n.uid, n.gid, kind, name)
	switch n.kind {
	case tar.TypeReg:
		b.WriteString(" " + contentOf(n.content))
	case tar.TypeSymlink:
		b.WriteString(" -> " + n.target)
	case tar.TypeChar, tar.TypeBlock:
		b.WriteString(" " + n.device)
	}
	for _, key := range slices.Sorted(maps.Keys(n.xattrs)) {
		fmt.Fprintf(&b, " %s=%q", key, n.xattrs[key])
	}
	return b.String()
}

// contentOf is a short text itself, or else the digest.
func contentOf(data []byte) string {
	printable := func(r rune) bool { return unicode.IsPrint(r) || r == '\n' || r == '\t' }
	text := string(data)
	if len(text) <= 300 && utf8.ValidString(text) &&
		!strings.ContainsFunc(text, func(r rune) bool { return !printable(r) }) {
		return fmt.Sprintf("%q", text)
	}
	sum := sha256.Sum256(data)
	return fmt.Sprintf("%d bytes sha256:%s", len(data), hex.EncodeToString(sum[:4]))
}

// treeDiff is what tree has and base has not, and with a minus what it has no
// more: of a directory that is gone, the directory alone.
func treeDiff(base, tree map[string]string) string {
	var out strings.Builder
	names := slices.Collect(maps.Keys(base))
	for name := range tree {
		if _, ok := base[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		line, is := tree[name]
		was := base[name]
		_, parent := tree[path.Dir(name)]
		switch {
		case is && line != was:
			fmt.Fprintln(&out, line)
		case !is && parent:
			fmt.Fprintf(&out, "- %s\n", name)
		}
	}
	return out.String()
}

// mentions tells whether a text occurs anywhere in the image.
func (img *builtImage) mentions(text string) bool {
	for _, data := range append(slices.Clone(img.layers), img.config) {
		if bytes.Contains(data, []byte(text)) {
			return true
		}
	}
	return false
}
