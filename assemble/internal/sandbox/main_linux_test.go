//go:build amd64 || arm64

package sandbox

import (
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	outerEnv = "DECANT_TEST_OUTER" // set: play an outer container, or a caller
	plainEnv = "DECANT_TEST_PLAIN" // set: these are the tests of a plain user
	plainUID = 65534
)

// TestMain runs everything twice when it is root: as root and as a plain user. The
// test binary is also process 1, what runs inside, and what is around.
func TestMain(m *testing.M) {
	MaybeInit()
	switch { // with unix.Exit: os.Exit waits a second under the race detector
	case os.Args[0] == "/payload":
		unix.Exit(insider[os.Args[1]](os.Args[2:]))
	case os.Args[0] == "/proc/self/exe": // by way of a script's first line
		sayErr("exe", write("/proc/self/exe"))
		sayErr("chown exe", chownExe())
		unix.Exit(0)
	case os.Getenv(outerEnv) != "":
		runtime.LockOSThread()
		unix.Exit(outer(os.Getenv(outerEnv)))
	}
	flag.Parse()
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if err := preferMemory(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "sandbox-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = removeTree(dir) }()
	if err := makeLayers(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	layers = dir
	code := m.Run()
	if os.Getuid() == 0 && code == 0 {
		code = asPlainUser(dir)
	}
	return code
}

// preferMemory has the tests work on tmpfs, unless TMPDIR says where: a disk that is
// busy with other things takes seconds to remove a file.
func preferMemory() error {
	const shm = "/dev/shm"
	var st unix.Statfs_t
	if os.Getenv("TMPDIR") != "" || unix.Statfs(shm, &st) != nil ||
		st.Bavail*uint64(st.Bsize) < 1<<30 || unix.Access(shm, unix.W_OK) != nil {
		return nil
	}
	return os.Setenv("TMPDIR", shm)
}

// layers has the two layers that the tests run on; it is set once, before they run.
var layers string

// asPlainUser runs the same tests again, without any privilege.
func asPlainUser(dir string) int {
	tmp := filepath.Join(dir, "tmp")
	err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(tmp, 0o700), os.Chown(tmp, plainUID, plainUID))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"sandbox.test"}
	for _, name := range []string{"run", "v", "short", "timeout", "count", "bench", "benchtime"} {
		if f := flag.Lookup("test." + name); f.Value.String() != f.DefValue {
			cmd.Args = append(cmd.Args, "-test."+name+"="+f.Value.String())
		}
	}
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "HOME="+tmp, plainEnv+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: plainUID, Gid: plainUID}, Pdeathsig: syscall.SIGKILL,
	}
	fmt.Println("--- as a plain user")
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "as a plain user:", err)
		return 1
	}
	return 0
}

// makeLayers writes a base: a payload and data, then a layer with a whiteout and an
// opaque directory.
func makeLayers(dir string) error {
	b := newBase(filepath.Join(dir, "0"))
	b.payload()
	for _, d := range []string{"data/old", "etc", "tmp", "var"} {
		b.mkdir(d)
	}
	b.write("data/a", "a")
	b.write("data/b", "b")
	b.write("data/old/x", "x")
	b.write("data/notexec", "no program")
	b.link("data/up", "../../../../../../../..")
	b.link("etc/resolv.conf", "../run/resolv/stub")
	b.link("var/run", "/run")
	top := newBase(filepath.Join(dir, "1"))
	top.mkdir("data/old")
	top.write("data/old/new", "n")
	top.check(unix.Mknod(top.path("data/a"), unix.S_IFCHR, 0))
	top.check(unix.Setxattr(top.path("data/old"), "user.overlay.opaque", []byte("y"), 0))
	return errors.Join(b.err, top.err)
}

type base struct {
	dir string
	err error
}

func newBase(dir string) *base {
	b := &base{dir: dir}
	b.mkdir(".")
	return b
}

func (b *base) check(err error)         { b.err = errors.Join(b.err, err) }
func (b *base) path(name string) string { return filepath.Join(b.dir, name) }
func (b *base) mkdir(name string)       { b.check(os.MkdirAll(b.path(name), 0o755)) }
func (b *base) link(name, to string)    { b.check(os.Symlink(to, b.path(name))) }
func (b *base) write(name, text string) {
	b.check(os.WriteFile(b.path(name), []byte(text), 0o644))
}

func (b *base) copy(from, to string, mode os.FileMode) {
	b.mkdir(filepath.Dir(to))
	in, err := os.Open(from)
	if err != nil {
		b.check(err)
		return
	}
	defer in.Close()
	out, err := os.OpenFile(b.path(to), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		b.check(err)
		return
	}
	_, err = io.Copy(out, in)
	b.check(errors.Join(err, out.Close()))
}

// payload is the test binary, with the libraries that it has under the race detector.
func (b *base) payload() {
	b.copy("/proc/self/exe", "payload", 0o755)
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		b.check(err)
		return
	}
	defer f.Close()
	interp := f.Section(".interp")
	if interp == nil {
		return
	}
	loader, err := interp.Data()
	b.check(err)
	name := strings.TrimRight(string(loader), "\x00")
	b.copy(name, name, 0o755)
	libs, err := f.ImportedLibraries()
	b.check(err)
	for _, l := range libs {
		found, _ := filepath.Glob("/lib/*/" + l)
		if len(found) == 0 {
			found, _ = filepath.Glob("/usr/lib*/" + l)
		}
		if len(found) > 0 && filepath.Base(name) != l {
			b.copy(found[0], "lib/"+l, 0o755)
		}
	}
}

// needRoot skips the second pass of a test whose first was as root.
func needRoot(t testing.TB) {
	t.Helper()
	switch {
	case os.Getenv(plainEnv) != "":
		t.Skip("done as root")
	case os.Getuid() != 0:
		missing(t, "root")
	}
}

// missing skips a test for want of something outside, or fails it where all must be
// there.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("DECANT_TEST_REQUIRE_ALL") == "1" {
		t.Fatal("missing: " + what)
	}
	t.Skip("missing: " + what)
}
