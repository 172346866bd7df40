package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// nobody is a user without any privilege.
const nobody = 65534

// users are those who can run decant here: the test's own, and a plain one if
// the test's own is root.
func users(t *testing.T, bin string) []user {
	own := user{name: "own", bin: bin, home: t.TempDir()}
	if os.Getuid() != 0 {
		return []user{own}
	}
	plain := user{name: "plain", bin: bin, home: t.TempDir(), attr: &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody},
	}}
	openPath(t, plain.home)
	if err := os.Chown(plain.home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	return []user{own, plain}
}

// openPath lets every user reach dir.
func openPath(t *testing.T, dir string) {
	t.Helper()
	for ; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
