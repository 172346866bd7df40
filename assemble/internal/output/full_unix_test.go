//go:build unix

package output

import (
	"errors"
	"os/signal"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"
)

// TestFullDiskLeavesNothing lets the system refuse to make files grow: a limit
// fails the same writes as a full disk does, and needs no mount and no root.
func TestFullDiskLeavesNothing(t *testing.T) {
	img, err := random.Image(300_000, 2)
	if err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	for _, w := range writers {
		for _, before := range []bool{false, true} {
			t.Run(w.kind, func(t *testing.T) {
				failedWrite(t, w, before, func(path string) error {
					lift := limitFiles(t, 100_000)
					defer lift()
					err := w.write(t.Context(), path, []string{"a"}, img, WriteOptions{})
					var space *SpaceError
					if !errors.As(err, &space) || space.Hint() == "" {
						t.Errorf("got %v, want a SpaceError", err)
					}
					return err
				})
			})
		}
	}
}

// limitFiles sets the size to which files may grow; lift takes it back.
func limitFiles(t *testing.T, size uint64) (lift func()) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := old
	limit.Cur = size
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}
}
