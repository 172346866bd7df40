package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// batchFiles is how many files of a directory one goroutine copies in a row.
const batchFiles = 32

// Write makes a step of a change set, as filetree.Copy returns it, for a RUN above
// it: sorted, with the content of each File in Data, or in Source below Base, which
// is opened without following links and must have the Size that the entry says.
// parentMode returns the mode that the layers below give a directory that the entries
// do not name but lie in, for an overlay shows that of the topmost layer.
//
// All files are new, none is a hard link to a source. They belong to the caller; the
// owner is noted on them as the sandbox does it, so that it goes where a RUN moves
// them. A device is not on disk, nor is an attribute outside user.*: only the entries
// have them.
//
// If the store has the key already, that step is returned.
func (s *Store) Write(
	ctx context.Context, key string, entries []layer.Entry, parentMode func(dir string) uint32,
) (*Step, error) {
	step, err := s.keep(ctx, key, func(temp string) ([]layer.Entry, tally, error) {
		dir := filepath.Join(temp, layerDir)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, tally{}, err
		}
		w := &writer{
			dir: dir, aside: filepath.Join(temp, asideDir), parentMode: parentMode,
			entries: append([]layer.Entry(nil), entries...),
			made:    map[string]bool{".": true}, bases: map[string]int{},
		}
		if err := w.write(ctx); err != nil {
			return nil, tally{}, err
		}
		t, err := tallyOf(dir)
		return w.entries, t, err
	})
	if err != nil {
		return nil, fmt.Errorf("writing the files of a step: %w", err)
	}
	return step, nil
}

// A writer makes the files of a change set.
type writer struct {
	dir, aside string
	parentMode func(dir string) uint32
	entries    []layer.Entry
	fd         int
	made       map[string]bool // directories, and whether the caller will see into them
	closing    []closing       // parents first
	bases      map[string]int
}

// A pending file is the place of an entry, and the open directory of its source.
type pending struct{ entry, base int }

// A closing is a directory that gets its mode and time when all is in it.
type closing struct {
	name  string
	mode  uint32
	mtime int64
	entry int // -1 for a directory that the entries do not name
}

func (w *writer) write(ctx context.Context) (err error) {
	if w.fd, err = unix.Open(w.dir, dirFlags, 0); err != nil {
		return err
	}
	defer func() {
		for _, fd := range w.bases {
			unix.Close(fd)
		}
		unix.Close(w.fd)
	}()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(copiers)
	err = w.all(gctx, g)
	// An error of a copier cancels gctx, and is then the one to tell.
	if gerr := g.Wait(); gerr != nil {
		err = gerr
	}
	if err == nil {
		err = w.setAside()
	}
	if err == nil {
		err = w.hardLinks()
	}
	if err == nil {
		err = w.close()
	}
	return err
}

// all makes everything but hard links, with the files of one directory in batches.
func (w *writer) all(ctx context.Context, g *errgroup.Group) error {
	var batch []pending
	var dir string
	flush := func() {
		if files, in := batch, dir; len(files) > 0 {
			g.Go(func() error { return w.files(ctx, in, files) })
		}
		batch = nil
	}
	for i := range w.entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := &w.entries[i]
		if err := w.check(i); err != nil {
			return &entryError{e.Name, err}
		}
		up, base := splitName(e.Name)
		if err := w.parents(up); err != nil {
			return &entryError{e.Name, err}
		}
		if e.Kind != layer.File {
			if err := w.node(i, up, base); err != nil {
				return &entryError{e.Name, err}
			}
			continue
		}
		if len(batch) == batchFiles || up != dir {
			flush()
		}
		from, err := w.openBase(e)
		if err != nil {
			return &entryError{e.Name, err}
		}
		batch, dir = append(batch, pending{i, from}), up
	}
	flush()
	return nil
}

// check refuses what the writer relies on.
func (w *writer) check(i int) error {
	e := &w.entries[i]
	switch {
	case !filepath.IsLocal(e.Name) || filepath.Clean(e.Name) != e.Name || e.Name == ".":
		return &EntryError{"its name is not a clean relative path"}
	case i > 0 && layer.Compare(w.entries[i-1].Name, e.Name) >= 0:
		return &EntryError{"it is not after the one before it"}
	case e.Kind == layer.File && e.Source == "" && int64(len(e.Data)) != e.Size:
		return &EntryError{"its content is not here"}
	}
	if e.Kind != layer.File { // those are of the source
		e.CTime, e.Inode = 0, 0
	}
	return nil
}

// parents makes what is missing of a directory.
func (w *writer) parents(dir string) error {
	if _, ok := w.made[dir]; ok {
		return nil
	}
	up, base := splitName(dir)
	if err := w.parents(up); err != nil {
		return err
	}
	mode := uint32(impliedMode)
	if w.parentMode != nil {
		mode = w.parentMode(dir) & permissions
	}
	return w.mkdir(up, base, closing{dir, mode, 0, -1})
}

func (w *writer) mkdir(up, base string, c closing) error {
	fd, err := openBeneath(w.fd, up)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Mkdirat(fd, base, 0o700); err != nil {
		return err
	}
	w.made[c.name] = w.made[up] && c.mode&0o500 == 0o500
	w.closing = append(w.closing, c)
	return nil
}

// node makes an entry that is not a file.
func (w *writer) node(i int, up, base string) error {
	e := &w.entries[i]
	switch e.Kind {
	case layer.Dir:
		return w.mkdir(up, base, closing{e.Name, e.Mode & permissions, e.MTime, i})
	case layer.HardLink:
		return nil // when its file is there
	}
	fd, err := openBeneath(w.fd, up)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	switch e.Kind {
	case layer.Whiteout, layer.CharDevice, layer.BlockDevice:
		// A device hides what is below, which it could not do without a privilege.
		switch err := unix.Mknodat(fd, base, unix.S_IFCHR, 0); err {
		case unix.EPERM, unix.ENOTSUP, unix.EINVAL:
			return errNoWhiteouts
		default:
			return err
		}
	case layer.Link:
		err = unix.Symlinkat(e.Target, fd, base)
	case layer.Fifo:
		err = unix.Mknodat(fd, base, unix.S_IFIFO|0o600, 0)
		if err == nil {
			err = unix.Fchmodat(fd, base, e.Mode&permissions, 0)
		}
	default:
		return &EntryError{"it is of an unknown kind"}
	}
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(fd, base, timesOfNano(e.MTime), unix.AT_SYMLINK_NOFOLLOW)
}

func timesOfNano(t int64) []unix.Timespec { return timesOf(time.Unix(0, t)) }

// openBase opens the directory of a source once.
func (w *writer) openBase(e *layer.Entry) (int, error) {
	if e.Source == "" {
		return -1, nil
	}
	if fd, ok := w.bases[e.Base]; ok {
		return fd, nil
	}
	if !filepath.IsAbs(e.Base) {
		return -1, &EntryError{"the directory of its source is not known"}
	}
	fd, err := unix.Open(e.Base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: e.Base, Err: err}
	}
	w.bases[e.Base] = fd
	return fd, nil
}

// files writes files of one directory.
func (w *writer) files(ctx context.Context, dir string, files []pending) error {
	fd, err := openBeneath(w.fd, dir)
	if err != nil {
		return &entryError{dir, err}
	}
	defer unix.Close(fd)
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := &w.entries[f.entry]
		if err := w.file(fd, e, f.base); err != nil {
			return &entryError{e.Name, err}
		}
	}
	return nil
}

func (w *writer) file(dir int, e *layer.Entry, from int) (err error) {
	const flags = unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	_, base := splitName(e.Name)
	fd, err := unix.Openat(dir, base, flags, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := unix.Close(fd); err == nil {
			err = cerr
		}
	}()
	if e.Source == "" {
		if _, err := fdWriter(fd).Write(e.Data); err != nil {
			return err
		}
	} else if err := copySource(fd, e, from); err != nil {
		return err
	}
	if err := setXattrs(fd, e); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, e.Mode&permissions); err != nil {
		return err
	}
	if err := setTimeFD(fd, timesOfNano(e.MTime)); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	e.Data, e.Base, e.Source = nil, w.dir, e.Name
	e.CTime, e.Inode = st.Ctim.Nano(), st.Ino
	return nil
}

// copySource fills a file from its source below an open directory.
func copySource(fd int, e *layer.Entry, base int) error {
	name := filepath.Join(e.Base, e.Source)
	from, err := openFileBeneath(base, e.Source)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	src := os.NewFile(uintptr(from), name)
	defer src.Close()
	var before, after unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &before); err != nil {
		return err
	}
	if fileType(&before) != unix.S_IFREG || before.Size != e.Size {
		return &ChangedError{name}
	}
	err = copyContent(fd, src, e.Size)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &ChangedError{name}
	}
	if err != nil {
		return err
	}
	if err := unix.Fstat(fd, &after); err != nil {
		return err
	}
	if after.Size != e.Size {
		return &ChangedError{name}
	}
	return nil
}
