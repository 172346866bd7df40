package bed

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxUnpacked bounds what one image may unpack to.
const maxUnpacked = 8 << 30

// Unpack lays the layers of a layout's image for linux and an architecture on one
// another in dir, which must exist and be empty. See UnpackImage.
func Unpack(ctx context.Context, layoutDir, arch, dir string) error {
	index, err := readLayout(layoutDir)
	if err != nil {
		return err
	}
	img, err := platformImage(index, arch)
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", layoutDir, err)
	}
	return UnpackImage(ctx, img, dir)
}

// UnpackImage lays the layers of an image on one another in dir, which must exist
// and be empty: whiteouts take effect, modes and times are kept, owners, devices
// and the set-id bits are not, so that a plain user can do it. Nothing is written
// outside dir. It is a simple second opinion for tests, and no fast one.
func UnpackImage(ctx context.Context, img v1.Image, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpacking to %s: %w", dir, err)
	}
	defer root.Close()
	layers, err := img.Layers()
	if err != nil {
		return fmt.Errorf("unpacking to %s: %w", dir, err)
	}
	for i, layer := range layers {
		if err := unpackLayer(ctx, root, layer); err != nil {
			return fmt.Errorf("unpacking layer %d to %s: %w", i, dir, err)
		}
	}
	return nil
}

func unpackLayer(ctx context.Context, root *os.Root, layer v1.Layer) error {
	r, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	return applyTar(ctx, root, tar.NewReader(io.LimitReader(r, maxUnpacked)))
}

// applyTar applies the entries of a layer to root.
func applyTar(ctx context.Context, root *os.Root, r *tar.Reader) error {
	var dirs []*tar.Header // their modes come last: one may forbid writing
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		h.Name = path.Clean("/" + h.Name)[1:]
		if h.Name == "" {
			continue
		}
		if err := applyEntry(root, h, r); err != nil {
			return fmt.Errorf("unpacking %q: %w", h.Name, err)
		}
		if h.Typeflag == tar.TypeDir {
			dirs = append(dirs, h)
		}
	}
	for _, h := range dirs {
		mode := fs.FileMode(h.Mode & 0o777)
		if h.Mode&0o1000 != 0 {
			mode |= fs.ModeSticky
		}
		err := root.Chmod(h.Name, mode)
		if errors.Is(err, fs.ErrNotExist) {
			continue // replaced or whited out within the layer
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func applyEntry(root *os.Root, h *tar.Header, content io.Reader) error {
	dir, base := path.Split(h.Name)
	if base == ".wh..wh..opq" {
		return removeContents(root, path.Clean(dir))
	}
	if gone, ok := strings.CutPrefix(base, ".wh."); ok {
		return root.RemoveAll(path.Join(dir, gone))
	}
	if dir != "" {
		if err := root.MkdirAll(path.Clean(dir), 0o755); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeDir {
		// A directory of a package may lie on a link, such as /bin, to another.
		if info, err := root.Stat(h.Name); err == nil && info.IsDir() {
			return nil
		}
	}
	if err := root.RemoveAll(h.Name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return root.Mkdir(h.Name, 0o755)
	case tar.TypeReg:
		return writeFile(root, h, content)
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, h.Name)
	case tar.TypeLink:
		return root.Link(path.Clean("/" + h.Linkname)[1:], h.Name)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return nil
	default:
		return fmt.Errorf("type %q is unknown", h.Typeflag)
	}
}

func writeFile(root *os.Root, h *tar.Header, content io.Reader) (err error) {
	f, err := root.OpenFile(h.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err = cmp.Or(err, f.Chmod(fs.FileMode(h.Mode&0o777)), f.Close()); err != nil {
		return err
	}
	return root.Chtimes(h.Name, h.ModTime, h.ModTime)
}

func removeContents(root *os.Root, dir string) error {
	f, err := root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	f.Close()
	for _, name := range names {
		err = cmp.Or(err, root.RemoveAll(path.Join(dir, name)))
	}
	return err
}
