//go:build amd64 || arm64

package sandbox

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

func open(t testing.TB, change ...func(*Config)) *Sandbox {
	t.Helper()
	cfg := Config{
		Lower: []string{filepath.Join(layers, "0"), filepath.Join(layers, "1")},
		Dir:   t.TempDir(),
		Warn:  func(text string) { t.Log("warning:", text) },
		Flatten: func(_ context.Context, dst string) error {
			return flattenLayers(dst)
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if left := names(cfg.Dir); len(left) > 0 {
			t.Errorf("Close left %q", left)
		}
	})
	return s
}

// flattenLayers is what the rootfs package does, for the two layers of the tests.
func flattenLayers(dst string) error {
	err := os.CopyFS(dst, os.DirFS(filepath.Join(layers, "0")))
	if err != nil {
		return err
	}
	for _, l := range []struct{ name, to string }{
		{"data/up", "../../../../../../../.."}, {"var/run", "/run"},
		{"etc/resolv.conf", "../run/resolv/stub"},
	} {
		if _, err := os.Lstat(filepath.Join(dst, l.name)); err == nil {
			continue
		}
		if err := os.Symlink(l.to, filepath.Join(dst, l.name)); err != nil {
			return err
		}
	}
	return errors.Join(os.Remove(filepath.Join(dst, "data/a")), os.RemoveAll(filepath.Join(dst, "data/old")),
		os.CopyFS(filepath.Join(dst, "data/old"), os.DirFS(filepath.Join(layers, "1/data/old"))))
}

// run is a step of the payload, with its standard output.
func run(t testing.TB, s *Sandbox, step Step, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	step.Args = append([]string{"/payload"}, args...)
	step.Stdout, step.Stderr = &out, os.Stderr
	err := s.Run(t.Context(), step)
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Stage == StageClone {
		missing(t, "user namespaces: "+err.Error())
	}
	return out.String(), err
}

func mustRun(t testing.TB, s *Sandbox, step Step, args ...string) map[string]string {
	t.Helper()
	out, err := run(t, s, step, args...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	said := map[string]string{}
	for l := range strings.Lines(out) {
		k, v, _ := strings.Cut(strings.TrimSuffix(l, "\n"), "=")
		said[k] = v
	}
	return said
}

// expect compares what was said with what is wanted, for the names that are wanted.
func expect(t testing.TB, said, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for k := range want {
		got[k] = said[k]
	}
	if p := said["writable"]; p != "" {
		t.Errorf("writable: %s", p)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("wanted -, got +\n%s", d)
	}
}

func TestStepSeesOnlyWhatItIsGiven(t *testing.T) {
	t.Setenv("HOST_VARIABLE", "secret")
	s := open(t, func(c *Config) { c.ResolvConf = []byte("nameserver 192.0.2.1\n") })
	said := mustRun(t, s, Step{
		Env: []string{"A=1", "B=\xff"}, Dir: "/work/deep",
		Secrets: []Secret{{Target: "/var/run/secrets/token", Data: []byte("hush")}},
		Tmpfs:   []TmpfsMount{{Target: "/tmp"}},
	}, "look")
	expect(t, said, map[string]string{
		"env": "A=1 B=\xff", "uid": "0", "gid": "0", "hostname": "sandbox", "wd": "/work/deep",
		"dev": "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero",
		"sys": "devices fs", "pids": "2", "umask": "022", "session": "true", "core": "0",
		"CapEff": "00000000800404fb", "CapBnd": "00000000800404fb", "CapAmb": "0000000000000000", "NoNewPrivs": "1",
		"/etc/resolv.conf":   "nameserver 192.0.2.1",
		"/etc/hosts":         "127.0.0.1 localhost sandbox",
		"/run/secrets/token": "hush", "/data/a": "ENOENT", "tty": "ENXIO",
	})
	if strings.Contains(said["mountinfo"], s.dir) || strings.Contains(said["mountinfo"], layers) {
		t.Errorf("/proc/self/mountinfo tells paths of the host: %s", said["mountinfo"])
	}
	root := strings.Fields(strings.ReplaceAll(said["root"], " lib64", ""))
	root = slices.DeleteFunc(root, func(n string) bool { return n == "lib" }) // of the race detector
	if got := strings.Join(root, " "); got != "data dev etc payload proc run sys tmp var work" {
		t.Errorf("the root has %s", got)
	}
}

func TestStepCannotEscape(t *testing.T) {
	s := open(t)
	hostPIDMax, _ := os.ReadFile("/proc/sys/kernel/pid_max")
	said := mustRun(t, s, Step{}, "try", layers, s.dir, "/root/.profile", "/usr/bin/env")
	want := map[string]string{
		"mount": "EPERM", "remount /proc/sys": "EPERM", "umount": "EPERM", "chroot": "ok",
		"open_tree": "ENOSYS", "call above": "ENOSYS", "call x32": "ENOSYS",
		"ioctl getppid": "ENOTTY", "fifo": "ok", "device": "ok", "device is there": "ENOENT",
		"kill 1": "ok", "host file": "ENOENT", "symlink out": "ENOENT",
		"writable in /proc and /sys": "0", "new in /sys": "EROFS", "firmware": "ENOENT",
		"cpuinfo": "true", "script": "ok", "moved": "ok", "linked": "ok", "null": "ok", "stdout": "ok",
		"socket 1": "ok", "socket 2": "ok",
	}
	for _, nr := range absent {
		want[fmt.Sprintf("call %d", nr)] = "ENOSYS"
	}
	for _, nr := range denied {
		want[fmt.Sprintf("call %d", nr)] = "EPERM"
	}
	for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		want["unshare "+ns], want["clone "+ns] = "EPERM", "EPERM"
	}
	want["unshare time"] = "EPERM"
	for _, request := range []int{unix.TIOCSTI, unix.TIOCLINUX} {
		want[fmt.Sprintf("ioctl %x", request)] = "EPERM"
		want[fmt.Sprintf("ioctl high %x", request)] = "EPERM"
	}
	for _, f := range []string{"exe", "fd/3", "root", "mem", "environ", "maps", "cwd"} {
		want["process 1 "+f] = "EACCES"
	}
	for _, f := range []string{"kcore", "keys", "sysrq-trigger", "timer_list", "kmsg", "interrupts"} {
		want["masked "+f] = "0"
	}
	expect(t, said, want)
	for k, v := range said {
		if strings.HasPrefix(k, "socket ") && !slices.Contains([]string{"1", "2", "10", "16"}, k[7:]) {
			t.Errorf("%s: %s", k, v)
		}
	}
	// The caller's own process holds it; TestLandlock has the other wall.
	expect(t, said, map[string]string{"exe": "ETXTBSY"})
	if now, _ := os.ReadFile("/proc/sys/kernel/pid_max"); string(now) != string(hostPIDMax) {
		t.Errorf("pid_max of the host went from %s to %s", hostPIDMax, now)
	}
}

func landlockABI() int {
	abi, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, landlockVersion)
	if e != 0 {
		return 0
	}
	return int(abi)
}

func TestUserWithoutCapabilities(t *testing.T) {
	s := open(t)
	said := mustRun(t, s, Step{UID: 1000, GID: 1001}, "look")
	expect(t, said, map[string]string{"uid": "1000", "gid": "1001", "CapEff": "0000000000000000",
		"CapBnd": "0000000000000000"})
	expect(t, mustRun(t, s, Step{UID: 1000, GID: 1000}, "owners"), map[string]string{
		"chown": "ok", "owner": "1000", "setuid": "ok"}) // its own id
	expect(t, mustRun(t, s, Step{UID: 1000}, "try"), map[string]string{
		"mount": "EPERM", "chroot": "EPERM", "device": "EPERM", "writable in /proc and /sys": "0"})
}

func TestOwners(t *testing.T) {
	fake := map[string]string{"chown": "ok", "owner": "0", "setgroups": "ok", "setgid": "ok",
		"setuid": "ok", "uid": "0"}
	single := map[string]string{"chown": "EINVAL", "owner": "0", "setgroups": "EPERM",
		"setgid": "EINVAL", "setuid": "EINVAL", "uid": "0"}
	expect(t, mustRun(t, open(t), Step{}, "owners"), fake)
	s := open(t, func(c *Config) { c.Owners = SingleOwner })
	expect(t, mustRun(t, s, Step{}, "owners"), single)
}

// TestChangesHoldOnlyTheSteps also runs a second step over the changes of the first.
func TestChangesHoldOnlyTheSteps(t *testing.T) {
	bound := t.TempDir()
	s := open(t)
	if _, ok := s.Changes(); ok {
		t.Error("there are changes before a step")
	}
	step := Step{
		Dir:   "/data",
		Binds: []Bind{{Source: bound, Target: "/cache/npm"}, {Source: "/dev/null", Target: "/data/ca.crt", ReadOnly: true}},
		Tmpfs: []TmpfsMount{{Target: "/scratch"}}, Secrets: []Secret{{Target: "/run/secrets/token", Data: []byte("hush")}},
	}
	mustRun(t, s, step, "change")
	mustRun(t, s, Step{}, "true")
	dir, ok := s.Changes()
	if !ok {
		missing(t, "overlay")
	}
	var got []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		if err != nil && rel != "data/shut" {
			return err
		}
		if d.Type()&fs.ModeCharDevice != 0 {
			rel += " whiteout"
		}
		got = append(got, rel)
		if rel == "data/shut" {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".", "data", "data/b whiteout", "data/keep", "data/old", "data/old/z", "data/shut",
		"run", "run/secrets", "run/secrets/own"}
	if d := cmp.Diff(want, slices.DeleteFunc(got, func(n string) bool { return n == "etc" })); d != "" {
		t.Errorf("wanted -, got +\n%s", d)
	}
	if out, err := run(t, s, Step{}, "cat", "/run/secrets/token"); err == nil {
		t.Errorf("a later step reads the secret %q", out)
	}
	if out, err := run(t, s, Step{}, "cat", "/data/keep"); err != nil || out != "k" {
		t.Errorf("a later step reads %q, %v", out, err)
	}
}

func TestBinds(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t)
	step := Step{Binds: []Bind{{dir, "/in", true}, {filepath.Join(dir, "f"), "/one/f", true}}}
	for _, f := range []string{"/in/f", "/one/f"} {
		if out, err := run(t, s, step, "cat", f); err != nil || out != "host" {
			t.Errorf("%s: %q, %v", f, out, err)
		}
	}
	step = Step{Binds: []Bind{{dir, "/data", true}}}
	expect(t, mustRun(t, s, step, "write"), map[string]string{"write": "EROFS"})
	step.Binds[0].ReadOnly = false
	expect(t, mustRun(t, s, step, "write"), map[string]string{"write": "ok"})
	if _, err := os.Stat(filepath.Join(dir, "much")); err != nil {
		t.Error(err)
	}
	// A target behind a symlink of the image stays inside.
	step = Step{Binds: []Bind{{dir, "/data/up/etc/new", true}}}
	if out, err := run(t, s, step, "cat", "/etc/new/f"); err != nil || out != "host" {
		t.Errorf("behind a symlink: %q, %v", out, err)
	}
	var refused *RefusedError
	step = Step{Binds: []Bind{{"/does/not/exist", "/x", true}}}
	if _, err := run(t, s, step, "true"); !errors.As(err, &refused) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a bind of nothing: %v", err)
	}
}

func TestExit(t *testing.T) {
	s := open(t)
	for _, c := range []struct {
		args []string
		want ExitError
	}{
		{[]string{"/payload", "exit"}, ExitError{Code: 7}},
		{[]string{"/payload", "kill"}, ExitError{Code: 137, Signal: 9}},
		{[]string{"nothing"}, ExitError{Code: 127, Reason: `"nothing" is in no directory of PATH (/bin)`}},
		{[]string{"/nothing"}, ExitError{Code: 127, Reason: "/nothing is not in the image: no such file or directory"}},
		{[]string{"/data/notexec"}, ExitError{Code: 126, Reason: "executing /data/notexec: permission denied"}},
	} {
		err := s.Run(t.Context(), Step{Args: c.args, Env: []string{"PATH=/bin"}})
		var exit *ExitError
		if !errors.As(err, &exit) || *exit != c.want {
			t.Errorf("%v: %#v", c.args, err)
		}
	}
}

func TestOutputComesAsItIsWritten(t *testing.T) {
	s := open(t)
	in, feed := io.Pipe()
	out, w := io.Pipe()
	var stderr bytes.Buffer
	done := make(chan error, 1)
	go func() {
		err := s.Run(t.Context(), Step{Args: []string{"/payload", "echo"}, Stdin: in, Stdout: w, Stderr: &stderr})
		done <- errors.Join(err, w.Close())
	}()
	for _, word := range []string{"one", "two"} {
		fmt.Fprintln(feed, word)
		buf := make([]byte, 100)
		if n, err := out.Read(buf); err != nil || string(buf[:n]) != "got "+word+"\n" {
			t.Fatalf("read %q, %v", buf[:n], err)
		}
	}
	feed.Close()
	go func() { _, _ = io.Copy(io.Discard, out) }()
	if err := <-done; err != nil || stderr.String() != "end\n" {
		t.Errorf("%v, stderr %q", err, stderr.String())
	}
}

func TestEqualOutputsKeepTheirOrder(t *testing.T) {
	s := open(t)
	var both bytes.Buffer
	err := s.Run(t.Context(), Step{Args: []string{"/payload", "echo"}, Stdin: strings.NewReader("a\nb"),
		Stdout: &both, Stderr: &both})
	if err != nil || both.String() != "got a\ngot b\nend\n" {
		t.Errorf("%q, %v", both.String(), err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestBrokenOutputEndsTheStep(t *testing.T) {
	s := open(t)
	s.grace = 100 * time.Millisecond
	err := s.Run(t.Context(), Step{Args: []string{"/payload", "hang"}, Stdout: brokenWriter{}})
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

func TestTimeout(t *testing.T) {
	s := open(t)
	s.grace = 100 * time.Millisecond
	_, err := run(t, s, Step{Timeout: 200 * time.Millisecond}, "hang")
	var timeout *TimeoutError
	if !errors.As(err, &timeout) || !errors.Is(err, context.DeadlineExceeded) || timeout.Hint() == "" {
		t.Error(err)
	}
}

// signalled calls f at the first write.
type signalled struct {
	io.Writer
	once sync.Once
	f    func()
}

func (s *signalled) Write(b []byte) (int, error) {
	s.once.Do(s.f)
	return s.Writer.Write(b)
}

func TestCancel(t *testing.T) {
	for name, args := range map[string][]string{"polite": {"hang", "bye"}, "stubborn": {"hang"}} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			if name == "stubborn" {
				s.grace = 100 * time.Millisecond
			}
			ctx, cancel := context.WithCancel(t.Context())
			var out bytes.Buffer
			err := s.Run(ctx, Step{Args: append([]string{"/payload"}, args...),
				Stdout: &signalled{Writer: &out, f: cancel}})
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if name == "polite" && out.String() != "ready\nbye\n" {
				t.Errorf("it said %q", out.String())
			}
			mustRun(t, s, Step{}, "true") // the sandbox is still good
		})
	}
}

// TestEndAtAnyMoment ends steps while process 1 is still being set up, too.
func TestEndAtAnyMoment(t *testing.T) {
	s := open(t)
	start := time.Now()
	for i := range 20 {
		_, err := run(t, s, Step{Timeout: time.Duration(i+1) * time.Millisecond}, "hang", "bye")
		var timeout *TimeoutError
		if !errors.As(err, &timeout) {
			t.Errorf("after %d ms: %v", i+1, err)
		}
	}
	if took := time.Since(start); took > s.grace {
		t.Errorf("a polite command had to be killed, for 20 steps took %s", took)
	}
}

func TestDaemonsDieWithTheStep(t *testing.T) {
	s := open(t)
	if _, err := run(t, s, Step{}, "daemon"); err != nil {
		t.Fatal(err)
	}
	if err := lockable(filepath.Join(s.upper(), "data/lock")); err != nil {
		t.Errorf("a process of the step lives on: %v", err)
	}
}

// lockable tells whether the processes that held a lock are gone.
func lockable(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

func TestNetwork(t *testing.T) {
	s := open(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	expect(t, mustRun(t, s, Step{}, "dial", "tcp", l.Addr().String()), map[string]string{"dial": "ok"})
	expect(t, mustRun(t, s, Step{NoNetwork: true}, "dial", "tcp", l.Addr().String()), map[string]string{
		"dial": "ECONNREFUSED", "interfaces": "1", "listen": "ok", "dial self": "ok"})
	u, err := net.Listen("unix", "@decant-test-"+filepath.Base(s.dir))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if landlockABI() < 6 {
		missing(t, "Landlock ABI 6")
	}
	expect(t, mustRun(t, s, Step{}, "dial", "unix", u.Addr().String()), map[string]string{"dial": "EPERM"})
}

func TestForward(t *testing.T) {
	s := open(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, Step{
			Args: []string{"/payload", "serve"}, NoNetwork: true, Forward: []Forward{{l, 80}},
			Stdout: &signalled{Writer: io.Discard, f: func() { close(ready) }}, Stderr: os.Stderr,
		})
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	var g errgroup.Group
	for i := range 50 {
		g.Go(func() error {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				return err
			}
			defer c.Close()
			fmt.Fprint(c, i)
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				return err
			}
			b, err := io.ReadAll(c)
			if err == nil && string(b) != fmt.Sprint("got ", i) {
				err = fmt.Errorf("connection %d: %q", i, b)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("the listener is still open")
	}
}

func TestLimits(t *testing.T) {
	s := open(t)
	out, err := run(t, s, Step{Limits: Limits{Processes: 200}}, "spawn")
	var n int
	if _, serr := fmt.Sscan(out, &n); serr != nil || n > 300 {
		t.Errorf("a fork bomb had %q, %v", out, err)
	}
	expect(t, mustRun(t, s, Step{Limits: Limits{FileBytes: 1 << 20}}, "write"), map[string]string{"write": "EFBIG"})
}

func tarOf(t *testing.T, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		text := h.PAXRecords["text"]
		h.PAXRecords = nil
		h.Size, h.ModTime = int64(len(text)), time.Unix(1_000_000_000, 0)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func text(s string) map[string]string { return map[string]string{"text": s} }

func TestImportAndExport(t *testing.T) {
	s := open(t)
	in := tarOf(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "src/", Typeflag: tar.TypeDir, Mode: 0o555},
		tar.Header{Name: "src/main.js", Mode: 0o644, PAXRecords: text("hello")},
		tar.Header{Name: "src/same.js", Typeflag: tar.TypeLink, Linkname: "src/main.js"},
		tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		tar.Header{Name: "../../climber", Mode: 0o600, PAXRecords: text("c")},
		tar.Header{Name: "../../climber", Mode: 0o600, PAXRecords: text("again")},
	)
	if err := s.Import(t.Context(), "/data/up/app", in); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, s, Step{Dir: "/app"}, "cat", "src/same.js"); err != nil || out != "hello" {
		t.Errorf("a step reads %q, %v", out, err)
	}
	var out bytes.Buffer
	if err := s.Export(t.Context(), "/app", &out); err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r)
		got = append(got, fmt.Sprintf("%c %s %o %s %s", h.Typeflag, h.Name, h.Mode, h.Linkname, b))
		if h.Typeflag == tar.TypeReg && h.ModTime.Unix() != 1_000_000_000 {
			t.Errorf("%s: time %v", h.Name, h.ModTime)
		}
	}
	want := []string{"5 ./ 755  ", "0 climber 600  again", "2 link 777 /etc/passwd ", "5 src/ 555  ",
		"0 src/main.js 644  hello", "1 src/same.js 644 src/main.js "}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("wanted -, got +\n%s", d)
	}
	out.Reset()
	if err := s.Export(t.Context(), "/app/src/main.js", &out); err != nil {
		t.Fatal(err)
	}
	if h, err := tar.NewReader(&out).Next(); err != nil || h.Name != "main.js" {
		t.Errorf("a file alone: %v, %v", h, err)
	}
	for _, missing := range []string{"/nothing", "/app/link"} { // a link to nothing, inside
		if err := s.Export(t.Context(), missing, io.Discard); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", missing, err)
		}
	}
	device := tarOf(t, tar.Header{Name: "d", Typeflag: tar.TypeChar})
	if err := s.Import(t.Context(), "/app", device); err == nil {
		t.Error("a device is taken")
	}
	if err := s.Import(t.Context(), "/app", strings.NewReader("no tar")); err == nil {
		t.Error("rubbish is taken")
	}
}

func TestEmptyRoot(t *testing.T) {
	s := open(t, func(c *Config) { c.Lower = nil })
	if err := s.Import(t.Context(), "/", tarOf(t, tar.Header{Name: "f", Mode: 0o600, PAXRecords: text("x")})); err != nil {
		t.Fatal(err)
	}
	var exit *ExitError
	if err := s.Run(t.Context(), Step{Args: []string{"/f"}}); !errors.As(err, &exit) || exit.Code != 126 {
		t.Error(err)
	}
}

func TestManyLayersAndLongPaths(t *testing.T) {
	long := t.TempDir()
	for range 3 {
		long = filepath.Join(long, strings.Repeat("long:name,", 20))
	}
	s := open(t, func(c *Config) {
		c.Dir, c.Flatten = filepath.Join(long, "changes"), nil
		for i := range 200 {
			l := filepath.Join(long, fmt.Sprint(i))
			if err := os.MkdirAll(l, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(l, "top"), []byte(fmt.Sprint(i)), 0o600); err != nil {
				t.Fatal(err)
			}
			c.Lower = append(c.Lower, l)
		}
	})
	if out, err := run(t, s, Step{}, "cat", "/top"); err != nil || out != "199" {
		t.Errorf("the top layer says %q, %v", out, err)
	}
}

// TestCopyRung has more layers than overlay takes.
func TestCopyRung(t *testing.T) {
	var warned []string
	many := func(c *Config) {
		for range 520 {
			c.Lower = append(c.Lower, c.Lower[1])
		}
		c.Warn = func(text string) { warned = append(warned, text) }
	}
	s := open(t, many)
	if err := s.Import(t.Context(), "/app", tarOf(t, tar.Header{Name: "f", Mode: 0o600, PAXRecords: text("x")})); err != nil {
		t.Fatal(err)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "copied") {
		t.Errorf("warnings: %q", warned)
	}
	if out, err := run(t, s, Step{}, "cat", "/app/f"); err != nil || out != "x" {
		t.Errorf("a step reads %q, %v", out, err)
	}
	if _, ok := s.Changes(); ok {
		t.Error("a copy has no changes")
	}
	said := mustRun(t, s, Step{}, "try")
	expect(t, said, map[string]string{"mount": "EPERM", "writable in /proc and /sys": "0"})
	s = open(t, many, func(c *Config) { c.Flatten = nil })
	var refused *RefusedError
	if _, err := run(t, s, Step{}, "true"); !errors.As(err, &refused) || refused.Stage != StageOverlay {
		t.Error(err)
	}
}

func TestChroot(t *testing.T) {
	s := open(t, func(c *Config) { c.Isolation = Chroot })
	expect(t, mustRun(t, s, Step{Env: []string{"A=1"}, Dir: "/data",
		Secrets: []Secret{{Target: "/run/secrets/token", Data: []byte("hush")}}}, "look"),
		map[string]string{"env": "A=1", "wd": "/data", "uid": "0", "/run/secrets/token": "hush"})
	if out, err := run(t, s, Step{}, "cat", "/run/secrets/token"); err == nil {
		t.Errorf("a later step reads the secret %q", out)
	}
	expect(t, mustRun(t, s, Step{}, "try"), map[string]string{"chroot": "EPERM", "mount": "EPERM"})
	var refused *RefusedError
	if _, err := run(t, s, Step{Binds: []Bind{{t.TempDir(), "/x", false}}}, "true"); !errors.As(err, &refused) {
		t.Errorf("a bind without mounts: %v", err)
	}
}

func TestSweepTakesOnlyTheDead(t *testing.T) {
	dir := t.TempDir()
	living, err := Open(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"sandbox.test"}
	cmd.Env = append(os.Environ(), outerEnv+"=caller", "DIR="+dir, "LAYERS="+layers)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(dir); err != nil {
		t.Error(err)
	}
	if n := len(names(dir)); n != 4 {
		t.Errorf("with two living sandboxes there are %d entries, want 4", n)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for deadline := time.Now().Add(10 * time.Second); len(names(dir)) > 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) { // a process inside still holds the lock
			t.Fatalf("after a kill there are %q", names(dir))
		}
		if err := Sweep(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := living.Close(); err != nil || len(names(dir)) > 0 {
		t.Errorf("%v, left %q", err, names(dir))
	}
	if err := living.Run(t.Context(), Step{Args: []string{"/x"}}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func BenchmarkStart(b *testing.B) {
	for name, owners := range map[string]Owners{"fake": FakeOwners, "record": RecordOwners} {
		b.Run(name, func(b *testing.B) {
			s := open(b, func(c *Config) { c.Owners = owners })
			for b.Loop() {
				if err := s.Run(b.Context(), Step{Args: []string{"/payload", "true"}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
