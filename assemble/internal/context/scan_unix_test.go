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

	"golang.org/x/sys/unix"
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
		if strings.ContainsAny(s, "\n\xff\x7f") {
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
	if len(got) != 2 || strings.ContainsAny(strings.Join(got, ""), "\n\xff") {
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
