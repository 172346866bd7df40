package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// counted makes a layer count how often it is read.
func counted(b *blob) *atomic.Int32 {
	var n atomic.Int32
	b.open = func() (io.ReadCloser, error) {
		n.Add(1)
		return io.NopCloser(bytes.NewReader(b.data)), nil
	}
	return &n
}

// expectClean checks that nothing unfinished is in a store.
func expectClean(t *testing.T, s *Store) {
	t.Helper()
	left, err := os.ReadDir(s.path("tmp"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
}

func TestUnpackReadsALayerOnce(t *testing.T) {
	s := openStore(t)
	a, b := layerOf(t, file("a", "1")), layerOf(t, file("b", "1"))
	reads := []*atomic.Int32{counted(a), counted(b)}
	var g errgroup.Group
	for range 8 {
		g.Go(func() error {
			other, err := OpenStore(s.dir)
			if err != nil {
				return err
			}
			r, err := other.Unpack(context.Background(), imageOf(t, a, b), Options{})
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = r.ReadFile("b", 10)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, n := range reads {
		if n.Load() != 1 {
			t.Errorf("layer %d was read %d times", i, n.Load())
		}
	}
	if r := unpack(t, s, a, b); r.Stats.Reused != 2 || r.Stats.Unpacked != 0 {
		t.Errorf("stats are %+v", r.Stats)
	}
	if u, err := s.Usage(context.Background()); err != nil || u.Layers != 2 || u.InUse != 2 ||
		u.Bytes == 0 {
		t.Errorf("usage is %+v, %v", u, err)
	}
}

func TestPruneSparesWhatIsInUse(t *testing.T) {
	s := openStore(t)
	ctx := context.Background()
	a, b, c := layerOf(t, file("a", "1")), layerOf(t, file("b", "1")), layerOf(t, file("c", "1"))
	open, err := s.Unpack(ctx, imageOf(t, a), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, layers := range [][]v1.Layer{{a, b}, {c}} {
		r, err := s.Unpack(ctx, imageOf(t, layers...), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Fatal(err)
		}
	}
	steps := []struct {
		options PruneOptions
		want    Pruned
	}{
		{PruneOptions{UnusedFor: time.Hour}, Pruned{}},
		{PruneOptions{KeepBytes: 1 << 40}, Pruned{}},
		{PruneOptions{}, Pruned{Layers: 2, InUse: 1}},
	}
	for _, step := range steps {
		p, err := s.Prune(ctx, step.options)
		if p.Bytes = 0; err != nil || p != step.want {
			t.Errorf("pruning %+v: %+v, %v", step.options, p, err)
		}
	}
	if _, err := open.ReadFile("a", 10); err != nil {
		t.Error(err)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Prune(ctx, PruneOptions{}); err != nil || p.Layers != 1 {
		t.Errorf("pruning what was closed: %+v, %v", p, err)
	}
	for _, sub := range []string{"layers", "locks", "tmp"} {
		if left, err := os.ReadDir(s.path(sub)); err != nil || len(left) > 0 {
			t.Errorf("in %s: %v, %v", sub, left, err)
		}
	}
}

func TestPruneRemovesTheLeastRecentlyUsedFirst(t *testing.T) {
	s := openStore(t)
	old, young := layerOf(t, file("a", "1")), layerOf(t, file("b", "1"))
	for _, l := range []v1.Layer{old, young} {
		r, err := s.Unpack(context.Background(), imageOf(t, l), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(s.path("locks", old.diffID.Hex[:32]), then, then); err != nil {
		t.Fatal(err)
	}
	u, err := s.Usage(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Prune(context.Background(), PruneOptions{KeepBytes: u.Bytes - 1})
	if err != nil || p.Layers != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := os.Stat(s.path("layers", young.diffID.Hex[:32])); err != nil {
		t.Error(err)
	}
}

func TestOpenStoreSweepsOnlyWhatTheDeadLeft(t *testing.T) {
	s := openStore(t)
	for _, id := range []string{"dead", "alive"} {
		if err := os.MkdirAll(s.path("tmp", id, "fs", "d"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(s.path("tmp", id, "fs", "d"), 0); err != nil {
			t.Fatal(err)
		}
	}
	l, err := tryLock(s.path("locks", "alive"), exclusive)
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	if _, err := OpenStore(s.dir); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(s.path("tmp"))
	if err != nil || len(left) != 1 || left[0].Name() != "alive" {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestOpenStoreClosesItToOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(dir); err != nil {
		t.Fatal(err)
	}
	if st, err := lstat(dir); err != nil || st.Mode&permissions != 0o700 {
		t.Errorf("mode %o, %v", st.Mode, err)
	}
}

func TestOpenStoreRefusesAForeignDirectory(t *testing.T) {
	dir := "/etc"
	if os.Geteuid() == 0 {
		dir = t.TempDir()
		if err := os.Chown(dir, plainID, plainID); err != nil {
			t.Fatal(err)
		}
	}
	_, err := OpenStore(dir)
	var foreign *StoreError
	if !errors.As(err, &foreign) || !strings.Contains(foreign.Hint(), "DECANT_CACHE_DIR") {
		t.Errorf("got %v", err)
	}
}

func TestAFileSystemThatLacksWhiteoutsIsNamed(t *testing.T) {
	s := openStore(t)
	for _, lack := range []error{errNoWhiteouts, errNoOpaque} {
		err := s.explain(&LayerError{Err: lack})
		var store *StoreError
		if !errors.As(err, &store) || store.Dir != s.dir || store.Hint() == "" {
			t.Errorf("got %v", err)
		}
	}
}

// TestUnpackAfterARestart has a layer that is as it was, and one that lost what
// had not been written.
func TestUnpackAfterARestart(t *testing.T) {
	s := openStore(t)
	img := layerOf(t, file("a", "content"), dir("d", 0o755))
	reads := counted(img)
	id := img.diffID.Hex[:32]
	for _, step := range []struct {
		name  string
		spoil func() error
		reads int32
	}{
		{"new", func() error { return nil }, 1},
		{"the same boot", func() error { return nil }, 1},
		{"intact", func() error { return otherBoot(s, id) }, 1},
		{"cut", func() error {
			return errors.Join(otherBoot(s, id), os.Truncate(s.path("layers", id, "fs", "a"), 0))
		}, 2},
		{"without a name", func() error {
			return errors.Join(otherBoot(s, id), os.Remove(s.path("layers", id, "fs", "d")))
		}, 3},
		{"without a record", func() error { return os.Truncate(s.path("layers", id, "record"), 0) }, 4},
		{"intact again", func() error { return otherBoot(s, id) }, 4},
	} {
		if err := step.spoil(); err != nil {
			t.Fatal(err)
		}
		r, err := s.Unpack(context.Background(), imageOf(t, img), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := r.ReadFile("a", 10); err != nil || string(b) != "content" {
			t.Errorf("%s: %q, %v", step.name, b, err)
		}
		if reads.Load() != step.reads {
			t.Errorf("%s: %d reads, want %d", step.name, reads.Load(), step.reads)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		expectClean(t, s)
	}
}

func otherBoot(s *Store, id string) error {
	r, ok := readRecord(s.path("layers", id, "record"))
	if !ok {
		return errors.New("no record")
	}
	r.Boot = "another"
	return r.write(s.path("layers", id, "record"))
}

// A stalled source gives a part of a layer and then nothing until it is closed.
type stalled struct {
	io.Reader
	reached chan struct{}
	closed  chan struct{}
	once    atomic.Bool
}

func (s *stalled) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err == io.EOF {
		if s.once.CompareAndSwap(false, true) {
			close(s.reached)
		}
		<-s.closed
		return 0, errors.New("closed")
	}
	return n, err
}

func (s *stalled) Close() error {
	close(s.closed)
	return nil
}

func TestUnpackEndsWithItsContext(t *testing.T) {
	s := openStore(t)
	good := layerOf(t, file("a", "1"))
	cut := layerOf(t, file("b", strings.Repeat("0123456789", 1<<16)))
	reached := make(chan struct{})
	cut.open = func() (io.ReadCloser, error) {
		return &stalled{
			Reader: bytes.NewReader(cut.data[:len(cut.data)/2]), reached: reached,
			closed: make(chan struct{}),
		}, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-reached
		cancel()
	}()
	_, err := s.Unpack(ctx, imageOf(t, good, cut), Options{Concurrency: 1})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	expectClean(t, s)
	cut.open = nil
	if r := unpack(t, s, good, cut); r.Stats.Reused != 1 {
		t.Errorf("the layer that was whole is not there: %+v", r.Stats)
	}
}

// TestUnpackWaitsForALock shows that a wait for another process can be ended.
func TestUnpackWaitsForALock(t *testing.T) {
	s := openStore(t)
	l := layerOf(t, file("a", "1"))
	held, err := tryLock(s.path("locks", l.diffID.Hex[:32]), exclusive)
	if err != nil {
		t.Fatal(err)
	}
	defer held.release()
	ctx, cancel := context.WithTimeout(context.Background(), 3*lockPoll)
	defer cancel()
	if _, err := s.Unpack(ctx, imageOf(t, l), Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestProgressAddsUp(t *testing.T) {
	s := openStore(t)
	a, b := layerOf(t, file("a", "1")), layerOf(t, file("b", "1"))
	var last Progress
	r, err := s.Unpack(context.Background(), imageOf(t, a, b),
		Options{Progress: func(p Progress) { last = p }})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want := Progress{Layers: 2, LayersDone: 2, Bytes: a.size + b.size, BytesDone: a.size + b.size}
	if last != want {
		t.Errorf("got %+v, want %+v", last, want)
	}
}

// TestUnpackOnAFullDisk does so on a small tmpfs, in a process that may mount one.
func TestUnpackOnAFullDisk(t *testing.T) { inNamespace(t, fullChild+"="+t.TempDir()) }

func unpackOnFullDisk(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		return err
	}
	s, err := OpenStore(filepath.Join(dir, "rootfs"))
	if err != nil {
		return err
	}
	var t testing.T
	img := imageOf(&t, layerOf(&t, file("a", strings.Repeat("x", 4<<20))))
	_, err = s.Unpack(context.Background(), img, Options{})
	var full *SpaceError
	if !errors.As(err, &full) || full.Dir != s.dir ||
		!strings.Contains(full.Hint(), "DECANT_CACHE_DIR") {
		return fmt.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(s.path("tmp")); err != nil || len(left) > 0 {
		return fmt.Errorf("left: %v, %v", left, err)
	}
	return nil
}

func TestFlattenSharesNoFile(t *testing.T) {
	s := openStore(t)
	r := unpack(t, s, layerOf(t,
		fileMode("a", "content", 0), dir("d", 0), xattr(file("x", ""), "user.kept", "1"),
		hardlink("y", "x")))
	before, err := list2(r)
	if err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(filepath.Dir(s.dir), "flat")
	if err := r.Flatten(context.Background(), dst); err != nil {
		t.Fatal(err)
	}
	defer removeTree(dst)
	for _, name := range []string{"a", "x"} {
		st, err := lstat(filepath.Join(dst, name))
		if err != nil {
			t.Fatal(err)
		}
		orig, err := lstat(filepath.Join(r.Layers[0], name))
		if err != nil {
			t.Fatal(err)
		}
		if st.Ino == orig.Ino || st.Mode != orig.Mode || st.Mtim != orig.Mtim || st.Nlink != orig.Nlink {
			t.Errorf("%s: %+v is a bad copy of %+v", name, st, orig)
		}
	}
	var value [8]byte
	if n, err := unix.Getxattr(filepath.Join(dst, "x"), "user.kept", value[:]); err != nil || n != 1 {
		t.Errorf("user.kept: %d, %v", n, err)
	}
	if after, err := list2(r); err != nil || after.diff(before) != "" {
		t.Errorf("the store has changed: %s, %v", after.diff(before), err)
	}
	if err := r.Flatten(context.Background(), dst); !errors.Is(err, os.ErrExist) {
		t.Errorf("into what is there: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Flatten(ctx, dst+"2"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := os.Lstat(dst + "2"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after an error: %v", err)
	}
}

// list2 lists the modes of the bottom layer.
func list2(r *Rootfs) (listing, error) {
	l := listing{}
	entries, err := os.ReadDir(r.Layers[0])
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		st := info.Sys().(*syscall.Stat_t)
		l[e.Name()] = fmt.Sprintf("%o %d %v", st.Mode, st.Nlink, st.Mtim)
	}
	return l, err
}

func TestOwnersAndWhatIsLeftOut(t *testing.T) {
	s := openStore(t)
	owned := func(h tar.Header, uid, gid int) tar.Header {
		h.Uid, h.Gid = uid, gid
		return h
	}
	l := layerOf(t,
		owned(dir("home/node", 0o755), 1000, 1000), owned(file("home/node/a\nb", ""), 1000, 0),
		file("r", ""),
		owned(file("f", ""), 5, 5), file("f", ""), owned(symlink("l", "f"), 0, 7),
		xattr(file("cap", ""), "security.capability", "x"), xattr(dir("d", 0o755), "user.a", "b"),
		xattr(dir("o", 0o755), "user.overlay.opaque", "y"),
		xattr(file("o/m", ""), "user.overlay.metacopy", ""),
		tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3},
	)
	r := unpack(t, s, l)
	got, err := os.ReadFile(filepath.Join(filepath.Dir(r.Layers[0]), "owners"))
	if err != nil {
		t.Fatal(err)
	}
	want := `1000 1000 "home/node"
1000 0 "home/node/a\nb"
5 5 "f"
0 0 "f"
0 7 "l"
0 0 "cap" "security.capability" "x"
device 6 1 3 0 0 0 "null"
implied "home"
`
	if string(got) != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if r.Stats.Devices != 1 || r.Stats.Xattrs != 3 || r.Stats.Entries != 11 {
		t.Errorf("stats are %+v", r.Stats)
	}
	if isOpaque(filepath.Join(r.Layers[0], "o")) {
		t.Error("a tar made a directory opaque")
	}
}

// TestImpliedDirectoriesLookLikeThoseBelow is about the mode of /tmp in an image
// of which a layer has tmp/x, but not tmp.
func TestImpliedDirectoriesLookLikeThoseBelow(t *testing.T) {
	s := openStore(t)
	r := unpack(t, s,
		layerOf(t, dir("./", 0o711), dir("tmp", 0o1777), dir("var/", 0o700), dir("var/ro", 0o555)),
		layerOf(t, file("tmp/x", ""), file("var/ro/x", ""), file("new/x", "")),
		layerOf(t, file("tmp/y", ""), file("var/z", "")),
	)
	for name, mode := range map[string]uint32{
		".": 0o711, "tmp": 0o1777, "var": 0o700, "var/ro": 0o555, "new": 0o755,
	} {
		got, err := r.View().find(name)
		if err != nil || got.stat.Mode&permissions != mode {
			t.Errorf("%s: %o, %v; want %o", name, got.stat.Mode, err, mode)
		}
		if name != "new" && time.Unix(got.stat.Mtim.Unix()).Unix() != noon.Unix() {
			t.Errorf("%s: its time is %v", name, time.Unix(got.stat.Mtim.Unix()))
		}
	}
	for _, l := range r.Layers {
		if st, err := lstat(l); err != nil || st.Mode&permissions != 0o711 {
			t.Errorf("the root of %s: %o, %v", l, st.Mode, err)
		}
	}
}
