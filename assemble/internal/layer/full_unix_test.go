//go:build unix

package layer

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// limitFileSize makes writes beyond n bytes fail with EFBIG, in all of the process.
func limitFileSize(t *testing.T, n uint64) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk runs itself again in a process whose files may only be small.
func TestFullDisk(t *testing.T) {
	const env = "LAYER_TEST_FULL_DISK"
	if temp := os.Getenv(env); temp != "" {
		limitFileSize(t, 100_000)
		_, _, err := Build(context.Background(), scan(t, filepath.Dir(temp)),
			Options{Compression: Gzip, Temp: temp})
		var space *SpaceError
		if !errors.As(err, &space) || space.Dir != temp || !strings.Contains(space.Hint(), temp) {
			t.Errorf("got %v", err)
		}
		if left, _ := os.ReadDir(temp); len(left) > 0 {
			t.Errorf("left %v", left)
		}
		return
	}
	dir := t.TempDir()
	site{"a": noise(1, 3*pieceSize)}.write(t, dir)
	temp := filepath.Join(dir, "temp")
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	cmd.Env = append(os.Environ(), env+"="+temp)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
