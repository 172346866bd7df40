//go:build amd64 || arm64

package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

func recording(c *Config) { c.Owners = RecordOwners }

// chownCall is a raw change of owner, as libraries make them on all machines.
func chownCall(dir int, name string, uid, gid, flags int) error {
	b := append([]byte(name), 0)
	err := call(unix.SYS_FCHOWNAT, uintptr(dir), uintptr(unsafe.Pointer(&b[0])), uintptr(uid),
		uintptr(gid), uintptr(flags))
	runtime.KeepAlive(b)
	return err
}

// record changes owners in all ways.
func record([]string) int {
	here := unix.AT_FDCWD
	sayErr("mkdir", firstOf(os.MkdirAll("/new/sub", 0o755), os.Chdir("/new"),
		os.WriteFile("file", nil, 0o4755), os.WriteFile("/new/sub/rel", nil, 0o600),
		os.Chmod("file", 0o6755), os.Symlink("file", "link"), os.Symlink("file", "still"),
		os.Symlink("nowhere", "dangling"), os.Symlink("/new/sub/rel", "through"),
		unix.Mkfifo("fifo", 0o600)))
	sayErr("path", chownCall(here, "/new/file", 101, 102, 0))
	sayErr("follow", chownCall(here, "through", 1, 2, 0))
	sayErr("nofollow", chownCall(here, "link", 3, 4, unix.AT_SYMLINK_NOFOLLOW))
	sayErr("link's user", chownCall(here, "still", 7, -1, unix.AT_SYMLINK_NOFOLLOW))
	sayErr("fifo", chownCall(here, "fifo", 5, 6, 0))
	sayErr("dangling", chownCall(here, "dangling", 7, 7, 0))
	sayErr("copied up", chownCall(here, "/data/b", 33, 33, 0))
	sayErr("group only", chownCall(here, "/data/b", -1, 34, 0))
	sayErr("directory", chownCall(here, "/data/old", 1<<32-2, 9, 0))
	dir, err := os.Open("sub")
	sayErr("open", err)
	sayErr("at", chownCall(int(dir.Fd()), "rel", 8, -1, 0))
	sayErr("fchown", unix.Fchown(int(dir.Fd()), 10, 11))
	sayErr("empty path", chownCall(int(dir.Fd()), "", 12, -1, unix.AT_EMPTY_PATH))
	sayErr("no path", chownCall(here, "", 12, 12, 0))
	sayErr("missing", chownCall(here, "nothing", 1, 1, 0))
	sayErr("not a directory", chownCall(here, "file/x", 1, 1, 0))
	sayErr("bad flag", chownCall(here, "file", 1, 1, 1))
	sayErr("bad descriptor", unix.Fchown(99, 1, 1))
	sayErr("bad directory", chownCall(98, "x", 1, 1, 0))
	sayErr("bad pointer", call(unix.SYS_FCHOWNAT, ^uintptr(99), 8, 1, 1, 0))
	sayErr("too long", chownCall(here, strings.Repeat("a/", 3000), 1, 1, 0))
	sayErr("stdout", chownCall(here, "/dev/stdout", 1, 1, 0))
	sayErr("null", chownCall(here, "/dev/null", 1, 1, 0))
	sayErr("own descriptor", chownCall(here, fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), 13, 13, 0))
	sayErr("nothing changed", chownCall(here, "/data/old/new", -1, -1, 0))
	sayErr("moved", firstOf(os.Rename("file", "moved"), os.Rename("link", "/data/link"),
		os.Link("moved", "second")))
	st, _ := os.Stat("moved")
	say("mode", st.Mode())
	// A root of its own, with a symlink and a way up that end there.
	sayErr("root", firstOf(os.Mkdir("/new/root", 0o755), os.Mkdir("/new/root/in", 0o755),
		os.WriteFile("/new/root/f", nil, 0o600), os.WriteFile("/new/root/in/g", nil, 0o600),
		os.Symlink("/f", "/new/root/in/l"), os.Chdir("/new/root/in"), unix.Chroot("/new/root")))
	sayErr("in root", chownCall(here, "l", 20, 20, 0))
	sayErr("up", chownCall(here, "../../../in/g", 21, 21, 0))
	sayErr("absolute", chownCall(here, "/in", 22, 22, 0))
	sayErr("out of root", chownCall(here, "/new", 23, 23, 0))
	return 0
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// noted are the owners noted on files below a directory, by name.
func noted(t *testing.T, dir string) map[string]string {
	t.Helper()
	owners := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		buf := make([]byte, 100)
		if n, err := unix.Lgetxattr(p, ownerAttr, buf); err == nil {
			rel, _ := filepath.Rel(dir, p)
			owners[rel] = string(buf[:n])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return owners
}

func TestOwnersAreRecorded(t *testing.T) {
	s := open(t, recording)
	said := mustRun(t, s, Step{}, "record")
	expect(t, said, map[string]string{
		"mkdir": "ok", "path": "ok", "follow": "ok", "nofollow": "ok", "fifo": "ok",
		"dangling": "ENOENT", "copied up": "ok", "group only": "ok", "directory": "ok", "at": "ok",
		"fchown": "ok", "empty path": "ok", "no path": "ENOENT", "missing": "ENOENT",
		"not a directory": "ENOTDIR", "bad flag": "EINVAL", "bad descriptor": "EBADF",
		"bad directory": "EBADF", "bad pointer": "EFAULT", "too long": "ENAMETOOLONG",
		"stdout": "ok", "null": "ok", "own descriptor": "ok", "nothing changed": "ok", "moved": "ok",
		"mode": "-rwxr-xr-x", "root": "ok", "in root": "ok", "up": "ok", "absolute": "ok",
		"out of root": "ENOENT",
	})
	dir, err := s.TakeChanges()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"data/b": "33:34", "data/old": "4294967294:9", "new/moved": "101:102", "new/second": "101:102",
		"new/sub": "13:13", "new/sub/rel": "8:2", "new/root/f": "20:20", "new/root/in/g": "21:21",
		"new/root/in": "22:22",
	}
	if d := cmp.Diff(want, noted(t, dir)); d != "" {
		t.Errorf("wanted -, got +\n%s", d)
	}
	nodes := map[string]Owner{"data/link": {3, 4}, "new/fifo": {5, 6}, "new/still": {7, -1}}
	if d := cmp.Diff(nodes, s.RecordedOwners()); d != "" {
		t.Errorf("wanted -, got +\n%s", d)
	}
	if s.OwnersLost() {
		t.Error("owners are lost")
	}
}

// chownExe is done by the test binary of the host, in a step: it owns a descriptor of a
// file that is outside.
func chownExe() error {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer f.Close()
	return firstOf(unix.Fchown(int(f.Fd()), 1, 1),
		chownCall(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), 1, 1, 0))
}

// steal asks for owners of what is not the step's.
func steal([]string) int {
	here := unix.AT_FDCWD
	for fd := range 20 {
		for _, p := range []string{"/proc/1/fd/", "/proc/1/root/../proc/1/fd/", "/proc/1/task/1/fd/"} {
			if err := chownCall(here, p+fmt.Sprint(fd), 1, 1, 0); err == nil {
				say("changed", p+fmt.Sprint(fd))
			}
		}
	}
	for _, p := range []string{"root", "cwd", "exe", "root/etc", "cwd/data"} {
		sayErr("1/"+p, chownCall(here, "/proc/1/"+p, 1, 1, 0))
		sayErr("self/"+p, chownCall(here, "/proc/self/"+p, 1, 1, 0))
	}
	memfd, err := unix.MemfdCreate("x", 0)
	sayErr("memfd", firstOf(err, unix.Fchown(memfd, 1, 1)))
	sayErr("script", runScript())
	return 0
}

func TestRecorderTouchesNothingOutside(t *testing.T) {
	s := open(t, recording)
	said := mustRun(t, s, Step{}, "steal")
	want := map[string]string{"changed": "", "memfd": "ok", "script": "ok"}
	for _, p := range []string{"root", "cwd", "exe", "root/etc", "cwd/data"} {
		want["1/"+p], want["self/"+p] = "ELOOP", "ELOOP"
	}
	expect(t, said, want)
	// A child of process 1 executes the file that this one does.
	var out bytes.Buffer
	if err := s.Run(t.Context(), Step{Args: []string{"/data/script"}, Stdout: &out}); err != nil ||
		!strings.HasPrefix(out.String(), "exe=E") || !strings.HasSuffix(out.String(), "\nchown exe=ok\n") {
		t.Errorf("%q, %v", out.String(), err)
	}
	for _, name := range []string{"/proc/self/exe", s.lock.Name(), s.dir, s.upper()} {
		if n, err := unix.Getxattr(name, ownerAttr, make([]byte, 100)); err == nil {
			t.Errorf("%s has an owner of %d bytes noted", name, n)
		}
	}
	expect(t, mustRun(t, s, Step{}, "try", layers), map[string]string{ // the other walls stand
		"mount": "EPERM", "host file": "ENOENT", "process 1 fd/3": "EACCES", "process 1 mem": "EACCES",
		"writable in /proc and /sys": "0", "device": "ok", "call x32": "ENOSYS"})
}

// race changes the path that a call is about, and who it is, while it is asked.
func race([]string) int {
	_ = os.MkdirAll("/race/in", 0o755)
	_ = os.WriteFile("/race/in/f", nil, 0o600)
	_ = os.Symlink("/proc/1/root", "/race/magic")
	_ = os.Symlink("in", "/race/way")
	name := []byte("/race/way/f\x00")
	var g errgroup.Group
	done := make(chan struct{})
	g.Go(func() error {
		for i := 0; ; i++ {
			select {
			case <-done:
				return nil
			default:
			}
			_ = os.Symlink([]string{"in", "magic", "/proc/1/fd", "/proc/self/fd"}[i%4], "/race/next")
			_ = os.Rename("/race/next", "/race/way")
			name[10] = "f7"[i%2]
		}
	})
	for range 2000 {
		_ = call(unix.SYS_FCHOWNAT, ^uintptr(99),
			uintptr(unsafe.Pointer(&name[0])), 1, 1, 0)
	}
	for range 200 { // many short-lived askers, which are killed as they ask
		pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if e == 0 && pid == 0 {
			for {
				_, _, _ = unix.RawSyscall6(unix.SYS_FCHOWNAT, ^uintptr(99),
					uintptr(unsafe.Pointer(&name[0])), 2, 2, 0, 0)
			}
		}
		_ = unix.Kill(int(pid), unix.SIGKILL)
	}
	close(done)
	_ = g.Wait()
	sayErr("after", chownCall(unix.AT_FDCWD, "/race/in/f", 3, 3, 0))
	return 0
}

func TestRecorderSurvivesRaces(t *testing.T) {
	s := open(t, recording)
	expect(t, mustRun(t, s, Step{}, "race"), map[string]string{"after": "ok"})
	dir, err := s.TakeChanges()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"race/in/f": "3:3"}, noted(t, dir)); d != "" {
		t.Errorf("wanted -, got +\n%s", d)
	}
	for _, name := range []string{s.lock.Name(), s.dir} {
		if _, err := unix.Getxattr(name, ownerAttr, make([]byte, 100)); err == nil {
			t.Errorf("%s has an owner noted", name)
		}
	}
}

func TestChrootTellsOfLostOwners(t *testing.T) {
	s := open(t, recording, func(c *Config) { c.Isolation = Chroot })
	mustRun(t, s, Step{}, "own")
	if s.OwnersLost() {
		t.Error("the owner that there is is lost")
	}
	expect(t, mustRun(t, s, Step{}, "owners"), map[string]string{"chown": "ok", "setuid": "ok"})
	if !s.OwnersLost() {
		t.Error("an owner is lost, and nobody knows")
	}
}

func own([]string) int {
	sayErr("chown", os.Chown("/data/b", 0, 0))
	return 0
}

func TestIdentityIsWarnedOfOnce(t *testing.T) {
	var warned []string
	s := open(t, recording, func(c *Config) { c.Warn = func(w string) { warned = append(warned, w) } })
	expect(t, mustRun(t, s, Step{}, "owners"), map[string]string{"chown": "ok", "owner": "0",
		"setgroups": "ok", "setgid": "ok", "setuid": "ok", "uid": "0"})
	mustRun(t, s, Step{}, "owners")
	if len(warned) != 1 || !strings.Contains(warned[0], "changed its user") {
		t.Errorf("warnings: %q", warned)
	}
}

func TestGroupOfTheStepIsNoOther(t *testing.T) {
	s := open(t, recording)
	expect(t, mustRun(t, s, Step{GID: 1000}, "record"), map[string]string{
		"path": "ok", "nofollow": "ok", "fifo": "ok", "group only": "ok", "fchown": "ok"})
}

func TestParseOwner(t *testing.T) {
	for text, want := range map[string]Owner{"0:0": {}, "-1:5": {-1, 5}, "4294967294:1": {1<<32 - 2, 1}} {
		got, ok := parseOwner(text)
		if !ok || got != want || string(got.append(nil)) != text {
			t.Errorf("%q is %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "1", "1:", "-2:0", "4294967295:0", "1:2:3", "a:b", " 1:1"} {
		if got, ok := parseOwner(text); ok {
			t.Errorf("%q is %v", text, got)
		}
	}
}

// many changes the owners of many files, and says how long one took.
func many([]string) int {
	const files = 20_000
	for i := range files {
		if i%1000 == 0 {
			if err := os.MkdirAll(fmt.Sprintf("/many/%d", i/1000), 0o755); err != nil {
				return 1
			}
		}
		if err := os.WriteFile(fmt.Sprintf("/many/%d/%d", i/1000, i), nil, 0o644); err != nil {
			return 1
		}
	}
	start := time.Now()
	for i := range files {
		if err := chownCall(unix.AT_FDCWD, fmt.Sprintf("/many/%d/%d", i/1000, i), 101, 101,
			unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return 1
		}
	}
	say("took", time.Since(start))
	return 0
}

func BenchmarkRecord20000(b *testing.B) {
	for _, owners := range []Owners{FakeOwners, RecordOwners} {
		b.Run(fmt.Sprint(owners), func(b *testing.B) {
			for b.Loop() {
				s := open(b, func(c *Config) { c.Owners = owners })
				took, err := time.ParseDuration(mustRun(b, s, Step{}, "many")["took"])
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(took.Microseconds())/20_000, "µs/chown")
			}
		})
	}
}

func FuzzParseOwner(f *testing.F) {
	f.Add("0:-1")
	f.Add("4294967295:+1")
	f.Fuzz(func(t *testing.T, text string) {
		o, ok := parseOwner(text)
		if !ok {
			return
		}
		if back, ok := parseOwner(string(o.append(nil))); !ok || back != o || len(o.append(nil)) > maxOwnerText {
			t.Errorf("%q is %v, and that %v", text, o, back)
		}
	})
}
