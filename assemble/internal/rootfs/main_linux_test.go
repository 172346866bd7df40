package rootfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The test binary starts itself again to be root in a user namespace, or to be a
// plain user.
const (
	mountChild = "DECANT_ROOTFS_TEST_MOUNT" // JSON of a mountOrder
	fullChild  = "DECANT_ROOTFS_TEST_FULL"  // a directory
	plainChild = "DECANT_ROOTFS_TEST_PLAIN"
	plainID    = 65534
)

func TestMain(m *testing.M) {
	var err error
	switch {
	case os.Getenv(mountChild) != "":
		err = mountAndList(os.Getenv(mountChild))
	case os.Getenv(fullChild) != "":
		err = unpackOnFullDisk(os.Getenv(fullChild))
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// missing skips a test for want of an outside component, which is not accepted
// where everything should be there.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("DECANT_TEST_REQUIRE_ALL") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// A listing says of every name below a directory what is there.
type listing map[string]string

func list(root string) (listing, error) {
	l := listing{}
	firsts := map[uint64]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := lstat(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		l[rel], err = describe(name, rel, st, firsts)
		return err
	})
	return l, err
}

func describe(name, rel string, st *unix.Stat_t, firsts map[uint64]string) (string, error) {
	s := fmt.Sprintf("%06o %d.%09d", st.Mode, st.Mtim.Sec, st.Mtim.Nsec)
	switch fileType(st) {
	case unix.S_IFREG:
		f, err := openReadable(name, 0)
		if err != nil {
			return "", err
		}
		defer f.Close()
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		if err != nil {
			return "", err
		}
		sum := sha256.Sum256(b)
		s += fmt.Sprintf(" %d %s", len(b), hex.EncodeToString(sum[:6]))
		if st.Nlink > 1 {
			if firsts[st.Ino] == "" {
				firsts[st.Ino] = rel
			}
			s += " = " + firsts[st.Ino]
		}
	case unix.S_IFLNK:
		target, err := os.Readlink(name)
		return s + " -> " + target, err
	}
	return s, nil
}

func (l listing) diff(other listing) string {
	var b strings.Builder
	for name, have := range l {
		if want, ok := other[name]; !ok {
			fmt.Fprintf(&b, "- %s: %s\n", name, have)
		} else if want != have {
			fmt.Fprintf(&b, "- %s: %s\n+ %s: %s\n", name, have, name, want)
		}
	}
	for name, want := range other {
		if _, ok := l[name]; !ok {
			fmt.Fprintf(&b, "+ %s: %s\n", name, want)
		}
	}
	return b.String()
}

type mountOrder struct {
	Lowers []string // bottom first
	Temp   string
	// Upper and Work, if set, are directories of the caller's; otherwise they are on
	// a tmpfs and lost.
	Upper, Work string
	Script      string   // for the shell, in the root
	Xattrs      []string // "NAME=VALUE=PATH", set afterwards
}

// mounted lists layers as the kernel shows them when they are mounted by root of a
// user namespace. The upper directory is empty.
func mounted(t testing.TB, r *Rootfs) listing {
	t.Helper()
	return mountedAs(t, mountOrder{Lowers: r.Layers})
}

// mountedAs lists what an order comes to.
func mountedAs(t testing.TB, o mountOrder) listing {
	t.Helper()
	temp, err := os.MkdirTemp("", "mounted") // t.TempDir has commas of the test's name
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(temp)
	o.Temp = temp
	order, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var l listing
	if err := json.Unmarshal(inNamespace(t, mountChild+"="+string(order)), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

// inNamespace starts this binary as root of a user namespace.
func inNamespace(t testing.TB, env string) []byte {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	// The race detector sleeps for a second before a process ends.
	cmd.Env = append(os.Environ(), env, "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		missing(t, "no user namespace here: "+err.Error())
	}
	if err != nil {
		t.Fatalf("in a user namespace: %v: %s", err, &stderr)
	}
	return out
}

func mountAndList(order string) error {
	var o mountOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making / private: %w", err)
	}
	if err := unix.Mount("tmpfs", o.Temp, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mounting tmpfs: %w", err)
	}
	for _, sub := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(o.Temp, sub), 0o755); err != nil {
			return err
		}
	}
	// Relative names, as the options have to fit into a page.
	if err := os.Chdir(filepath.Dir(filepath.Dir(o.Lowers[0]))); err != nil {
		return err
	}
	var lowers string
	for _, l := range o.Lowers {
		rel := filepath.Join(filepath.Base(filepath.Dir(l)), filepath.Base(l))
		lowers = ":" + rel + lowers
	}
	if o.Upper == "" {
		o.Upper, o.Work = filepath.Join(o.Temp, "upper"), filepath.Join(o.Temp, "work")
	}
	root := filepath.Join(o.Temp, "root")
	options := fmt.Sprintf("userxattr,lowerdir=%s,upperdir=%s,workdir=%s",
		lowers[1:], o.Upper, o.Work)
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		return fmt.Errorf("mounting overlay %s: %w", options, err)
	}
	if err := o.change(root); err != nil {
		return err
	}
	l, err := list(root)
	if err != nil {
		return err
	}
	// With an upper directory, the root's attributes are those of the upper.
	delete(l, ".")
	return json.NewEncoder(os.Stdout).Encode(l)
}

// change does in a mounted root what a step would do.
func (o *mountOrder) change(root string) error {
	if o.Script != "" {
		cmd := exec.Command("/bin/sh", "-ec", o.Script)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("running the script: %w: %s", err, out)
		}
	}
	for _, x := range o.Xattrs {
		parts := strings.SplitN(x, "=", 3)
		err := unix.Lsetxattr(filepath.Join(root, parts[2]), parts[0], []byte(parts[1]), 0)
		if err != nil {
			return fmt.Errorf("setting %s: %w", x, err)
		}
	}
	return nil
}

// TestAsPlainUser runs all the other tests of the package without privileges.
func TestAsPlainUser(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv(plainChild) == "" {
			t.Log("the tests run as a plain user anyway")
		}
		return
	}
	temp, err := os.MkdirTemp("", "decant-plain")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeTree(temp) })
	if err := os.Chown(temp, plainID, plainID); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.timeout=60s", "-test.short")
	cmd.Env = append(os.Environ(), plainChild+"=1", "TMPDIR="+temp, "HOME="+temp)
	cmd.Dir = temp
	credential := &syscall.Credential{Uid: plainID, Gid: plainID}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("as user %d: %v\n%s", plainID, err, out)
	}
}
