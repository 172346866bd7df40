package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// ownersOf shows who owns what.
func ownersOf(entries []layer.Entry) map[string]string {
	m := map[string]string{}
	for _, e := range entries {
		if e.Kind != layer.Whiteout {
			m[e.Name] = fmt.Sprintf("%d:%d", e.UID, e.GID)
		}
	}
	return m
}

// TestAdoptFindsOwners runs a step as 1000:1001 over files of 5:6.
func TestAdoptFindsOwners(t *testing.T) {
	five := func(h tar.Header) tar.Header {
		h.Uid, h.Gid = 5, 6
		return h
	}
	s := openStore(t)
	r := unpack(t, s, layerOf(t,
		five(dir("d", 0o755)), five(file("d/touched", "1")), five(file("d/replaced", "1")),
		five(file("d/moved", "moved")), five(file("d/linked", "1")),
		five(hardlink("d/names", "d/linked")),
		five(file("d/added", "1")), five(symlink("d/same", "x")), five(symlink("d/other", "x")),
		five(dir("again", 0o755)), five(file("d/noted", "1")), five(file("d/half", "1")),
		five(file("d/untouched", "1")), five(file("to", "1")), five(file("was/file", "1")),
	))
	st := stackOf(t, r)
	o := upperIn(t, s)
	o.Lowers, o.Script = st.dirs, `
chmod 600 d/touched d/linked d/noted d/half
cp d/replaced d/new; mv d/new d/replaced
mv d/moved moved
ln d/added added
touch -h d/same; ln -sf y d/other
rm -r again; mkdir again; echo 1 > again/f
mkdir fresh; echo 1 > fresh/f; ln -s x fresh/l; mkfifo fresh/p
rm to; mkdir to; rm -r was; echo 1 > was`
	o.Xattrs = []string{"user.decant.owner=7:8=d/noted", "user.decant.owner=-1:8=d/half",
		"user.decant.owner=33:-1=fresh", "user.decant.owner=what?=fresh/f"}
	mountedAs(t, o)
	step, err := s.Adopt(context.Background(), keyOf("a"), o.Upper, AdoptOptions{
		UID: 1000, GID: 1001, Lower: st.lower,
		Recorded: map[string]Owner{"fresh/l": {UID: 44, GID: -1}, "d/same": {UID: -1, GID: 0},
			"fresh/f": {UID: 9, GID: 9}},
	})
	closes(t, step, err)
	want := map[string]string{
		"added": "5:6", "again": "1000:1001", "again/f": "1000:1001", "d": "5:6", "d/added": "5:6",
		"d/half": "5:8", "d/linked": "5:6", "d/noted": "7:8", "d/other": "1000:1001",
		"d/replaced": "1000:1001", "d/same": "5:0", "d/touched": "5:6", "fresh": "33:1001",
		"fresh/f": "1000:1001", "fresh/l": "44:1001", "fresh/p": "1000:1001", "moved": "5:6",
		"to": "1000:1001", "was": "1000:1001",
	}
	if d := cmp.Diff(want, ownersOf(step.Entries)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	for _, e := range step.Entries {
		if len(e.Xattrs) > 0 {
			t.Errorf("%s has the attribute %s", e.Name, e.Xattrs[0].Name)
		}
		if e.Opaque != (e.Name == "again") {
			t.Errorf("%s is opaque: %v", e.Name, e.Opaque)
		}
	}
	// What overlayfs noted for itself would mean something in a lower directory.
	if list := attributesBelow(t, step.Dir); strings.Contains(list, originXattr) {
		t.Errorf("left in the directory:\n%s", list)
	}
}

func attributesBelow(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	buf := make([]byte, maxXattrList)
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		n, err := unix.Llistxattr(name, buf)
		if err == nil && n > 0 {
			fmt.Fprintf(&b, "%s %q\n", name, buf[:n])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestStepsStack runs three steps, each over the one before, and compares what is
// merged in memory, and in layers, with what the last one saw.
func TestStepsStack(t *testing.T) {
	s := openStore(t)
	layers := layersOf(t, stepBase)
	r := unpack(t, s, layers...)
	st := stackOf(t, r)
	var want listing
	for i, script := range []string{
		stepScript,
		"rm -r sub; echo 3 >> one; rm -r again; mkdir d; echo 1 > d/f; rm etc/a; mv one two2",
		"rm d/f; rmdir d; mkdir d; echo 2 > d/g; mkdir again; echo back > etc/a; echo 1 > gone",
	} {
		o := upperIn(t, s)
		o.Lowers, o.Script = st.dirs, script
		want = mountedAs(t, o)
		step, err := s.Adopt(context.Background(), keyOf(script), o.Upper, AdoptOptions{Lower: st.lower})
		closes(t, step, err)
		st.add(t, step)
		layers = append(layers, builtOf(t, step.Entries))
		if d := mountedAs(t, mountOrder{Lowers: st.dirs}).diff(want); d != "" {
			t.Fatalf("step %d, mounted again (-) and as it saw it (+):\n%s", i+1, d)
		}
	}
	again := unpack(t, openStore(t), layers...)
	if d := mounted(t, again).timeless().diff(want.timeless()); d != "" {
		t.Errorf("built and unpacked (-) and as the last step saw it (+):\n%s", d)
	}
	for name := range want {
		if _, ok := st.names[name]; !ok {
			t.Errorf("%s is not in the merged tree", name)
		}
	}
	if len(st.names) != len(want) {
		t.Errorf("the merged tree has %d names, the step saw %d", len(st.names), len(want))
	}
}

func TestAdoptKeepsFileCapabilities(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"of a user namespace", "\x01\x00\x00\x03abcdefghijklmnop\xfe\xff\x00\x00",
			"\x01\x00\x00\x02abcdefghijklmnop"},
		{"plain", "\x01\x00\x00\x02abcdefghijklmnop", "\x01\x00\x00\x02abcdefghijklmnop"},
		{"of no form", "\x01\x00\x00\x03", "\x01\x00\x00\x03"},
	} {
		if got := string(plainCapability([]byte(test.in))); got != test.want {
			t.Errorf("%s: %q", test.name, got)
		}
	}
	setcap, err := exec.LookPath("setcap")
	if err != nil {
		if setcap = "/usr/sbin/setcap"; os.Geteuid() != 0 {
			t.Skip("setcap is tried as root") // and there it has to be
		}
	}
	s := openStore(t)
	r := unpack(t, s, layerOf(t, fileMode("ping", "1", 0o755)))
	o := upperIn(t, s)
	o.Lowers, o.Script = r.Layers, setcap+" cap_net_raw+ep ping"
	mountedAs(t, o)
	step, err := s.Adopt(context.Background(), keyOf("a"), o.Upper, AdoptOptions{})
	closes(t, step, err)
	if len(step.Entries) != 1 || len(step.Entries[0].Xattrs) != 1 {
		t.Fatalf("entries are %s", text(step.Entries))
	}
	x := step.Entries[0].Xattrs[0]
	if x.Name != capabilityXattr || len(x.Value) != 20 || x.Value[3] != 2 {
		t.Errorf("the attribute is %s=%q", x.Name, x.Value)
	}
}

// TestAdoptOfAHostileDirectory adopts what a step could leave where it writes to the
// directory itself.
func TestAdoptOfAHostileDirectory(t *testing.T) {
	outside := t.TempDir()
	write := func(name string) error { return os.WriteFile(name, []byte("1"), 0o644) }
	set := func(name, attr, value string) error {
		return unix.Lsetxattr(name, attr, []byte(value), 0)
	}
	tests := []struct {
		name string
		make func(dir string) error
		skip []string
		want string
		fail string
	}{
		{name: "symlinks that lead out are links", make: func(dir string) error {
			return errors.Join(os.Symlink(outside, dir+"/d"), os.Symlink("/etc/passwd", dir+"/f"))
		}, want: "d l 0 0:0 -> " + outside + "\nf l 0 0:0 -> /etc/passwd\n"},
		{name: "nothing is removed through a symlink", make: func(dir string) error {
			return errors.Join(os.Symlink(outside, dir+"/d"), write(outside+"/kept"))
		}, skip: []string{"d/kept", "no/such"}, want: "d l 0 0:0 -> " + outside + "\n"},
		{name: "what is skipped goes", make: func(dir string) error {
			return errors.Join(os.MkdirAll(dir+"/p/q", 0o755), write(dir+"/p/q/r"), write(dir+"/p/s"))
		}, skip: []string{"p/q", "t"}, want: "p d 755 0:0\np/s f 644 0:0 1\n"},
		{name: "a name to skip outside", make: func(string) error { return nil },
			skip: []string{"../x"}, fail: "not a relative path"},
		{name: "attributes of overlayfs are not the step's to set", make: func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/d", 0o755), write(dir+"/d/f"),
				set(dir+"/d", opaqueXattr, "x"), set(dir+"/d", "user.overlay.redirect", "/etc"),
				set(dir+"/d/f", "user.overlay.whiteout", "y"), set(dir+"/d/f", opaqueXattr, "y"),
				set(dir+"/d/f", "user.overlay.metacopy", ""), set(dir+"/d/f", "user.mine", "1"))
		}, want: "d d 755 0:0\nd/f f 644 0:0 1 user.mine=\"1\"\n"},
		{name: "sockets are left out", make: func(dir string) error {
			l, err := net.Listen("unix", dir+"/s")
			if err != nil {
				return err
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			return errors.Join(l.Close(), write(dir+"/t"))
		}, want: "t f 644 0:0 1\n"},
		{name: "directories in one another", make: func(dir string) error {
			return os.MkdirAll(dir+strings.Repeat("/d", maxDepth+1), 0o755)
		}, fail: "directories in one another"},
		{name: "a path that is too long", make: func(dir string) error {
			if err := os.Chdir(dir); err != nil {
				return err
			}
			for range 17 {
				part := strings.Repeat("n", 240)
				if err := errors.Join(os.Mkdir(part, 0o755), os.Chdir(part)); err != nil {
					return err
				}
			}
			return os.Chdir("/")
		}, fail: "bytes in a path"},
		{name: "files that nobody may read", make: func(dir string) error {
			return errors.Join(write(dir+"/f"), set(dir+"/f", "user.a", "b"), os.Chmod(dir+"/f", 0),
				os.Mkdir(dir+"/d", 0o755), write(dir+"/d/f"), os.Chmod(dir+"/d", 0o300))
		}, want: "d d 300 0:0\nd/f f 644 0:0 1\nf f 0 0:0 1 user.a=\"b\"\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := openStore(t)
			o := upperIn(t, s)
			if err := test.make(o.Upper); err != nil {
				t.Fatal(err)
			}
			step, err := s.Adopt(context.Background(), keyOf("a"), o.Upper, AdoptOptions{Skip: test.skip})
			expectClean(t, s)
			if test.fail != "" {
				if err == nil || !strings.Contains(err.Error(), test.fail) {
					t.Fatalf("it is adopted: %v", err)
				}
				if _, ok := s.Step(keyOf("a")); ok {
					t.Error("a step that failed is there")
				}
				return
			}
			closes(t, step, err)
			if got := text(step.Entries); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
			if os.Geteuid() != 0 && test.name == "files that nobody may read" {
				if err := os.Chmod(filepath.Join(step.Dir, "d"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if list := attributesBelow(t, step.Dir); strings.Contains(list, overlayPrefix) {
				t.Errorf("left:\n%s", list)
			}
			for _, e := range step.Entries {
				if e.Kind != layer.File {
					continue
				}
				b, err := os.ReadFile(filepath.Join(e.Base, e.Source))
				if err != nil || string(b) != "1" {
					t.Errorf("the content of %s is %q, %v", e.Name, b, err)
				}
			}
		})
	}
	if b, err := os.ReadFile(outside + "/kept"); err != nil || string(b) != "1" {
		t.Errorf("outside there is %q, %v", b, err)
	}
}

func TestAdoptNeedsTheStoresFileSystem(t *testing.T) {
	if info, err := os.Stat("/dev/shm"); err != nil || !info.IsDir() {
		missing(t, "no second file system here")
	}
	upper, err := os.MkdirTemp("/dev/shm", "upper")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(upper)
	s := openStore(t)
	_, err = s.Adopt(context.Background(), keyOf("a"), upper, AdoptOptions{})
	var se *StoreError
	if !errors.As(err, &se) || !strings.Contains(se.Error(), "another file system") {
		t.Errorf("the error is %v", err)
	}
	expectClean(t, s)
}

// TestOneOfSeveralMakesAStep has a dozen goroutines, with stores of their own, adopt
// under one key.
func TestOneOfSeveralMakesAStep(t *testing.T) {
	s := openStore(t)
	var g errgroup.Group
	const many = 12
	names := make([]string, many)
	for i := range many {
		o := upperIn(t, s)
		if err := os.WriteFile(filepath.Join(o.Upper, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		g.Go(func() error {
			other, err := OpenStore(s.dir)
			if err != nil {
				return err
			}
			step, err := other.Adopt(context.Background(), keyOf("a"), o.Upper, AdoptOptions{})
			if err != nil {
				return err
			}
			defer step.Close()
			names[i] = step.Entries[0].Name
			_, err = os.Lstat(filepath.Join(step.Dir, names[i]))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if only := slices.Compact(slices.Clone(names)); len(only) != 1 || only[0] == "" {
		t.Errorf("the step is %v", names)
	}
	expectClean(t, s)
}

func TestAStepThatWasNotFinishedIsSwept(t *testing.T) {
	s := openStore(t)
	p := stepPlace(keyOf("a"))
	half := s.path("tmp", p.id, layerDir, "closed")
	if err := errors.Join(os.MkdirAll(half, 0o700), os.Chmod(half, 0)); err != nil {
		t.Fatal(err)
	}
	maker, err := tryLock(s.path("locks", p.id), exclusive)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(s.dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(half); err != nil {
		t.Errorf("what is being made was swept: %v", err)
	}
	if _, ok := s.Step(keyOf("a")); ok {
		t.Error("a step is there that is being made")
	}
	if err := maker.release(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(s.dir); err != nil {
		t.Fatal(err)
	}
	expectClean(t, s)
}
