//go:build unix

package context

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/decant-build/decant/assemble/internal/layer"
)

func TestScanRefusesWhatIsNoFile(t *testing.T) {
	dir := grow(t, "index.html", "sub/")
	if err := unix.Mkfifo(filepath.Join(dir, "sub", "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	// A socket's path is short; t.TempDir's may not be.
	short, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(short, "s")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Rename(filepath.Join(short, "s"), filepath.Join(dir, "socket")); err != nil {
		t.Fatal(err)
	}
	want := []string{`"socket": it is a socket`, `"sub/fifo": it is a fifo`}
	err = unix.Mknod(filepath.Join(dir, "device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	if err == nil {
		want = append([]string{`"device": it is a device`}, want...)
	} else if !errors.Is(err, unix.EPERM) {
		t.Fatal(err)
	}
	if got := problemsOf(t, dir, ScanOptions{}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestScanRefusesNames(t *testing.T) {
	tests := []struct {
		element string
		want    string
	}{
		{".wh.index.html", "deletes files"},
		{".wh..wh..opq", "deletes files"},
		{"a\nb", "control character"},
		{"a\x7fb", "control character"},
		{"a\u0085b", "control character"},
		{"a\xffb", "not UTF-8"},
		{"\xed\xa0\x80", "not UTF-8"}, // a surrogate
	}
	dir := grow(t, "index.html")
	for _, tt := range tests {
		// As a file, and as a directory whose content is then not told as well.
		growIn(t, dir, "f/"+tt.element, "d/"+tt.element+"/x\n")
	}
	got := problemsOf(t, dir, ScanOptions{})
	if len(got) != 2*len(tests) {
		t.Errorf("%d problems, want %d: %q", len(got), 2*len(tests), got)
	}
	for _, tt := range tests {
		for _, path := range []string{"f/" + tt.element, "d/" + tt.element} {
			if !slices.ContainsFunc(got, func(s string) bool {
				return strings.HasPrefix(s, quote(path)+":") && strings.Contains(s, tt.want)
			}) {
				t.Errorf("%q: not told that it is %q", path, tt.want)
			}
		}
	}
	for _, s := range got {
		if strings.ContainsAny(s, "\n\x7f") || !utf8.ValidString(s) {
			t.Errorf("%q has raw foreign text", s)
		}
	}
}

func TestScanRefusesLongPaths(t *testing.T) {
	long := strings.Repeat("n", 255)
	dir := grow(t, long)
	if _, _, err := Scan(t.Context(), dir, ScanOptions{Prefix: "p"}); err != nil {
		t.Errorf("an element of 255 bytes: %v", err)
	}
	// 14 × 256 bytes fit; behind a prefix of 511 the last name does not.
	growIn(t, dir, strings.Repeat(strings.Repeat("d", 255)+"/", 14)+"x")
	prefix := strings.Repeat("p/", 255) + "p"
	if _, _, err := Scan(t.Context(), dir, ScanOptions{Prefix: "p"}); err != nil {
		t.Errorf("a path of 3587 bytes: %v", err)
	}
	got := problemsOf(t, dir, ScanOptions{Prefix: prefix})
	if len(got) != 1 || !strings.Contains(got[0], "bytes; 4096 are possible") {
		t.Errorf("got %q", got)
	}
}

func TestScanRefusesLinksWithStrangeTargets(t *testing.T) {
	got := problemsOf(t, grow(t, "f", "l -> a\nb", "m -> \xff"), ScanOptions{})
	all := strings.Join(got, "")
	if len(got) != 2 || strings.Contains(all, "\n") || !utf8.ValidString(all) {
		t.Errorf("got %q", got)
	}
}

// TestScanReportsWhatItMayNotRead runs itself as a plain user where needed:
// root may read everything.
func TestScanReportsWhatItMayNotRead(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	dir := grow(t, "index.html", "dir/x", "secret", "private", "list/x", "ok/y")
	for name, mode := range map[string]os.FileMode{"dir": 0, "secret": 0, "private": 0o600,
		"list": 0o444} {
		path := filepath.Join(dir, name)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(path, 0o700) })
	}
	const denied = ": it cannot be read: permission denied"
	want := []string{`"dir"` + denied, `"list/x"` + denied, `"secret"` + denied}
	if got := problemsOf(t, dir, ScanOptions{}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o700) })
	got := problemsOf(t, dir, ScanOptions{})
	if !slices.Equal(got, []string{"it cannot be read: permission denied"}) {
		t.Errorf("got %q", got)
	}
}

// FuzzALayerTakesWhatIsScanned gives the scan any name and target that the
// system takes: what it lets through, the layer's own checks must accept.
func FuzzALayerTakesWhatIsScanned(f *testing.F) {
	f.Add("index.html", "a")
	f.Add(".wh.x", "..")
	f.Add("a\xff", "b\n")
	f.Add("\u0085", "x/../y")
	f.Fuzz(func(t *testing.T, name, target string) {
		if strings.Contains(name, "/") {
			return
		}
		dir := grow(t, "site/index.html", "site/d/")
		bad := os.WriteFile(filepath.Join(dir, "site/d", name), nil, 0o644)
		badLink := os.Symlink(target, filepath.Join(dir, "site/link"))
		if bad != nil && badLink != nil {
			return
		}
		tree, _, err := Scan(t.Context(), filepath.Join(dir, "site"), ScanOptions{Prefix: "p"})
		if err != nil {
			return
		}
		l, _, err := layer.Build(t.Context(), tree, layer.Options{
			Compression: layer.Gzip, Temp: t.TempDir()})
		if err != nil {
			t.Fatalf("Scan lets %q, %q through: %v", name, target, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzLinksLeadWhereTheSystemSays compares the resolution of random links with
// os.Root's, which refuses what leaves the directory.
func FuzzLinksLeadWhereTheSystemSays(f *testing.F) {
	f.Add("..", "a/l", "d/l1")
	f.Add("l1/../f", "d/e/..", "d/../..")
	f.Add("a/l0", "l2", "l1")
	f.Add("d/e/../../l1", "d/l3/../x", "./f")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		dir := grow(t, "f", "d/e/x")
		at := []string{"l1", "d/l2", "d/e/l3"}
		for i, target := range []string{a, b, c} {
			if os.Symlink(target, filepath.Join(dir, at[i])) != nil {
				return
			}
		}
		w := newWalker(ScanOptions{})
		var err error
		if w.root, err = openRoot(dir); err != nil {
			t.Fatal(err)
		}
		defer w.root.Close()
		top, err := w.walk(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		links := &resolver{entries: w.flatten(top)}
		for i, target := range []string{a, b, c} {
			_, err := w.root.Stat(at[i])
			if inside := links.resolve(at[i], target) == linkInside; inside && err != nil &&
				!errors.Is(err, unix.ENOTDIR) || !inside && err == nil {
				t.Errorf("%s -> %q among %q: inside is %v; %v", at[i], target,
					[]string{a, b, c}, inside, err)
			}
		}
	})
}

// asNobody runs the calling test in a child process without privileges.
func asNobody(t *testing.T) {
	t.Helper()
	temp, err := os.MkdirTemp("", "nobody")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(temp)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	// The binary may lie where only root can go.
	binary := filepath.Join(temp, "test")
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(temp, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(work, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "TMPDIR="+work, "HOME="+work)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as uid 65534: %v\n%s", err, out)
	}
}
