package bed

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// epoch is the time of everything that the recipes write themselves.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// leftOut tells whether a file is a part of a package that no base needs.
func leftOut(name string) bool {
	for _, prefix := range []string{"etc/cron", "etc/default/", "etc/init.d/", "etc/logrotate.d/", "etc/ufw/",
		"etc/update-motd.d/", "usr/games/", "usr/include/", "usr/lib/systemd/"} {
		if strings.HasPrefix(name+"/", prefix) {
			return true
		}
	}
	if share, ok := strings.CutPrefix(name, "usr/share/"); ok {
		top, _, _ := strings.Cut(share, "/")
		return slices.Contains([]string{"apport", "base-files", "bash-completion", "bug", "debianutils", "doc",
			"doc-base", "gcc", "gdb", "info", "initramfs-tools", "java", "lintian", "locale", "man", "maven-repo",
			"menu"}, top)
	}
	return strings.HasSuffix(name, "/gconv") || strings.Contains(name, "/gconv/")
}

// A tree gathers the files of one layer; their contents wait in a temporary file.
// A later entry of the same name replaces an earlier one.
type tree struct {
	entries map[string]entry
	spool   *os.File
	size    int64 // of the spool
}

type entry struct {
	header tar.Header
	offset int64 // of a file's content in the spool
}

func newTree(dir string) (*tree, error) {
	spool, err := os.CreateTemp(dir, "spool-")
	if err != nil {
		return nil, err
	}
	return &tree{entries: map[string]entry{}, spool: spool}, nil
}

// close gives the temporary file back.
func (t *tree) close() {
	t.spool.Close()
	os.Remove(t.spool.Name())
}

// debs adds packages.
func (t *tree) debs(ctx context.Context, files []string) error {
	for _, file := range files {
		err := readDeb(ctx, file, func(r *tar.Reader) error {
			return t.tar(r, func(name string) string {
				name = usrMerged(name)
				if leftOut(name) {
					return ""
				}
				return name
			})
		})
		if err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
	}
	return nil
}

// readDeb calls read with the files of a package.
func readDeb(ctx context.Context, file string, read func(*tar.Reader) error) (err error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := read(tar.NewReader(out))
	if readErr == nil {
		_, readErr = io.Copy(io.Discard, out) // the padding, or dpkg-deb fails
	}
	if readErr != nil {
		out.Close() // ends a dpkg-deb that still writes
	}
	waitErr := cmd.Wait()
	return cmp.Or(readErr, waitErr)
}

// npm adds a package of the npm registry, from its tarball, below the directory
// prefix; keep may refuse names, and bin files get to be executable.
func (t *tree) npm(tarball, prefix string, keep func(name string) bool) error {
	return readTarGz(tarball, func(r *tar.Reader) error {
		return t.tar(r, func(name string) string {
			// The first directory is called "package" as a rule.
			_, rest, ok := strings.Cut(name, "/")
			if !ok || !keep(rest) {
				return ""
			}
			return path.Join(prefix, rest)
		})
	})
}

// readTarGz calls read with the contents of a tarball.
func readTarGz(file string, read func(*tar.Reader) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	if err := read(tar.NewReader(z)); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	return nil
}

// tar adds what r holds under the names that rename returns; an empty one is
// left out.
func (t *tree) tar(r *tar.Reader, rename func(string) string) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := rename(path.Clean("/" + h.Name)[1:])
		if name == "" {
			continue
		}
		clean := tar.Header{Typeflag: h.Typeflag, Name: name, Linkname: h.Linkname, Size: h.Size,
			Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid, ModTime: h.ModTime.Truncate(time.Second)}
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeDir, tar.TypeSymlink:
		case tar.TypeLink:
			clean.Linkname = rename(path.Clean("/" + h.Linkname)[1:])
		default:
			return fmt.Errorf("%q is of type %q", h.Name, h.Typeflag)
		}
		if err := t.add(clean, r); err != nil {
			return err
		}
	}
}

// usrMerged is where a file of a package lies on today's Debian, whose /bin,
// /lib, /lib64 and /sbin are links into /usr.
func usrMerged(name string) string {
	top, _, _ := strings.Cut(name, "/")
	switch top {
	case "bin", "lib", "lib64", "sbin":
		return "usr/" + name
	}
	return name
}

func (t *tree) add(h tar.Header, content io.Reader) error {
	e := entry{header: h, offset: t.size}
	if h.Typeflag == tar.TypeReg {
		n, err := io.Copy(t.spool, io.LimitReader(content, h.Size))
		if err == nil && n != h.Size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("keeping %q: %w", h.Name, err)
		}
		t.size += n
	}
	t.entries[h.Name] = e
	return nil
}

// file adds a file of root with this content.
func (t *tree) file(name string, mode fs.FileMode, content string) error {
	return t.add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(mode), Size: int64(len(content)),
		ModTime: epoch}, strings.NewReader(content))
}

// dir adds a directory. mode has tar's bits: 0o1777 is sticky.
func (t *tree) dir(name string, mode int64, owner int) {
	t.entries[name] = entry{header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode,
		Uid: owner, Gid: owner, ModTime: epoch}}
}

// link adds a symbolic link.
func (t *tree) link(name, target string) {
	t.entries[name] = entry{header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target,
		Mode: 0o777, ModTime: epoch}}
}

// writeLayer writes the tree as a gzip-compressed tar: parents first, sorted,
// with nothing that depends on this machine.
func (t *tree) writeLayer(file string) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, f.Close()) }()
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	t.addParents()
	for _, name := range slices.Sorted(maps.Keys(t.entries)) {
		e := t.entries[name]
		if e.header.Typeflag == tar.TypeDir {
			e.header.Name += "/"
		}
		if err := w.WriteHeader(&e.header); err != nil {
			return fmt.Errorf("writing %q: %w", name, err)
		}
		if _, err := io.Copy(w, io.NewSectionReader(t.spool, e.offset, contentSize(e))); err != nil {
			return fmt.Errorf("writing %q: %w", name, err)
		}
	}
	return cmp.Or(w.Close(), z.Close())
}

func contentSize(e entry) int64 {
	if e.header.Typeflag != tar.TypeReg {
		return 0
	}
	return e.header.Size
}

func (t *tree) addParents() {
	for _, name := range slices.Collect(maps.Keys(t.entries)) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := t.entries[dir]; !ok {
				t.dir(dir, 0o755, 0)
			}
		}
	}
}
