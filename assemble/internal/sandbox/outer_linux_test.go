//go:build amd64 || arm64

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// outer is the test binary as something around a sandbox, which it then uses.
func outer(kind string) int {
	if err := forbid(kind); err != nil {
		fmt.Println("outer:", err)
		return 1
	}
	if kind == "landlock" {
		return landlocked(os.Getenv("DIR"))
	}
	layers = os.Getenv("LAYERS")
	cfg := Config{
		Lower:   []string{filepath.Join(layers, "0"), filepath.Join(layers, "1")},
		Dir:     os.Getenv("DIR"),
		Warn:    func(text string) { fmt.Println("warning:", text) },
		Flatten: func(_ context.Context, dst string) error { return flattenLayers(dst) },
	}
	step := Step{Args: []string{"/payload", os.Getenv("DO")}, Stdout: os.Stdout, Stderr: os.Stderr}
	switch kind {
	case "caller":
		step.Args[1] = "hang"
	case "docker-chroot":
		cfg.Isolation = Chroot
	case "subids":
		cfg.Owners = SubIDs
	case "no-listener", "masked-proc":
		cfg.Owners = RecordOwners
	}
	s, err := Open(context.Background(), cfg)
	if err != nil {
		fmt.Println("open:", err)
		return 1
	}
	err = s.Run(context.Background(), step)
	fmt.Println("error:", err)
	fmt.Println("lost:", s.OwnersLost())
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		fmt.Println("hint:", hint.Hint())
	}
	if kind == "docker-chroot" {
		sayErr("lock", lockable(filepath.Join(s.upper(), "data/lock")))
	}
	if kind == "subids" {
		step.UID, step.GID = 1000, 1000
		step.Args[1] = "look"
		fmt.Println("error:", s.Run(context.Background(), step))
	}
	if err := s.Close(); err != nil {
		fmt.Println("close:", err)
	}
	return 0
}

// forbid makes this process one that a host holds back.
func forbid(kind string) error {
	mounts := []int{unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT}
	newMounts := []int{unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_OPEN_TREE,
		unix.SYS_MOVE_MOUNT, unix.SYS_MOUNT_SETATTR}
	var f filter
	f.do(load, offsetNumber)
	all := func(e syscall.Errno, calls ...int) {
		for _, c := range calls {
			f.on(c, e)
		}
	}
	switch kind {
	case "docker", "docker-chroot": // an imitation of its default profile
		all(unix.EPERM, mounts...)
		all(unix.EPERM, newMounts...)
		all(unix.EPERM, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_BPF)
		all(unix.ENOSYS, unix.SYS_CLONE3)
		f.onBits(unix.SYS_CLONE, 0, 0x7e020000, unix.EPERM)
	case "no-mounts": // a security module: namespaces, but no mounts in them
		all(unix.EACCES, mounts...)
		all(unix.EACCES, newMounts...)
	case "old-mounts":
		all(unix.ENOSYS, newMounts...)
	case "no-listener": // an outer one, or an old kernel
		f.onBits(unix.SYS_SECCOMP, 1, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, unix.EBUSY)
	case "no-namespaces":
		return os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0)
	case "masked-proc":
		return unix.Mount("tmpfs", "/proc/bus", "tmpfs", unix.MS_RDONLY, "")
	case "subids":
		text := []byte("root:100000:65536\n")
		name := filepath.Join(os.Getenv("DIR"), "subid")
		err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), os.WriteFile(name, text, 0o644),
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		for _, f := range []string{"/etc/subuid", "/etc/subgid"} {
			err = errors.Join(err, unix.Mount(name, f, "", unix.MS_BIND, ""))
		}
		return errors.Join(err, os.Remove(name))
	default:
		return nil
	}
	f.do(answer, seccompAllow)
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return loadFilter(f)
}

// under runs a sandbox under an outer something, and returns all it said.
func under(t *testing.T, kind, what string) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"sandbox.test"}
	dir := t.TempDir()
	cmd.Env = append(os.Environ(), outerEnv+"="+kind, "DIR="+dir, "LAYERS="+layers, "DO="+what)
	if kind == "no-namespaces" || kind == "masked-proc" || kind == "landlock" {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if left := names(dir); len(left) > 0 && kind != "landlock" {
		t.Errorf("left: %q", left)
	}
	return out.String()
}

func TestRefusalSaysWhatForbidsItAndWhatToDo(t *testing.T) {
	for kind, want := range map[string][]string{
		"docker": {"making namespaces", "operation not permitted", "a seccomp filter forbids it",
			"--security-opt seccomp=unconfined", "--dist"},
		"no-mounts": {"making mounts private", "permission denied", "a security module forbids mounts",
			"--dist"},
		"old-mounts":    {"function not implemented", "seccomp=unconfined", "--dist"},
		"no-namespaces": {"no space left on device", "user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces=15000"},
	} {
		t.Run(kind, func(t *testing.T) {
			said := under(t, kind, "true")
			for _, w := range want {
				if !strings.Contains(said, w) {
					t.Errorf("%q is not in\n%s", w, said)
				}
			}
		})
	}
}

// landlocked opens a file outside of its root for writing, by way of a magic link,
// before and after the rules.
func landlocked(dir string) int {
	proc, err := unix.Open("/proc", unix.O_PATH, 0)
	name, root := filepath.Join(dir, "f"), filepath.Join(dir, "root")
	err = errors.Join(err, os.WriteFile(name, nil, 0o600))
	file, ferr := unix.Open(name, unix.O_PATH, 0)
	err = errors.Join(err, ferr, os.Mkdir(root, 0o700), unix.Chroot(root), unix.Chdir("/"))
	open := func() error {
		fd, err := unix.Openat(proc, fmt.Sprintf("self/fd/%d", file), unix.O_WRONLY, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	sayErr("set up", err)
	sayErr("before", open())
	sayErr("rules", errors.Join(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), restrictFiles()))
	sayErr("after", open())
	sayErr("inside", os.WriteFile("/x", []byte("x"), 0o600))
	return 0
}

func TestLandlockForbidsMagicLinksOutOfTheRoot(t *testing.T) {
	if landlockABI() < 2 {
		missing(t, "Landlock ABI 2")
	}
	want := "set up=ok\nbefore=ok\nrules=ok\nafter=EACCES\ninside=ok\n"
	if said := under(t, "landlock", ""); said != want {
		t.Errorf("wanted\n%sgot\n%s", want, said)
	}
}

func TestMaskedProcIsShownReadOnly(t *testing.T) {
	said := under(t, "masked-proc", "try")
	for _, w := range []string{"warning: the kernel refuses a /proc of its own", "error: <nil>",
		"writable in /proc and /sys=0"} {
		if !strings.Contains(said, w) {
			t.Errorf("%q is not in\n%s", w, said)
		}
	}
}

func TestOwnersCannotBeRecorded(t *testing.T) {
	for kind, want := range map[string][]string{
		"no-listener": {"warning: owners that a step changes are not recorded here", "lost: false"},
		"masked-proc": {"lost: true"}, // it knows not whose call it is
	} {
		said := under(t, kind, "owners")
		for _, w := range append(want, "chown=ok", "setuid=ok", "error: <nil>") {
			if !strings.Contains(said, w) {
				t.Errorf("%s: %q is not in\n%s", kind, w, said)
			}
		}
	}
}

func TestRootChrootLeavesNoProcess(t *testing.T) {
	needRoot(t)
	said := under(t, "docker-chroot", "daemon")
	for _, w := range []string{"keeps nothing from this machine", "steps run as root", "error: <nil>", "lock=ok"} {
		if !strings.Contains(said, w) {
			t.Errorf("%q is not in\n%s", w, said)
		}
	}
}

func TestSubIDsAreRealOwners(t *testing.T) {
	needRoot(t) // to give itself a range
	if _, err := exec.LookPath("newuidmap"); err != nil {
		missing(t, "newuidmap")
	}
	said := under(t, "subids", "owners")
	for _, w := range []string{"chown=ok", "owner=1000", "setuid=ok", "uid=1000", "gid=1000",
		"CapEff=0000000000000000"} {
		if !strings.Contains(said, w) {
			t.Errorf("%q is not in\n%s", w, said)
		}
	}
	if strings.Count(said, "error: <nil>") != 2 || strings.Contains(said, "close:") {
		t.Error(said)
	}
}

func TestExplain(t *testing.T) {
	for name, c := range map[string]struct {
		stage string
		err   error
		facts facts
		want  string // in the cause
		hint  string
	}{
		"ubuntu": {StageClone, unix.EACCES, facts{sysctl: map[string]string{apparmorSysctl: "1"}, exe: "/bin/decant"},
			"no AppArmor profile", "profile decant /bin/decant"},
		"ubuntu's mounts": {StagePrivate, unix.EACCES, facts{sysctl: map[string]string{apparmorSysctl: "1"}},
			"no AppArmor profile", "sysctl -w"},
		"docker's profile": {StagePrivate, unix.EACCES, facts{label: "docker-default (enforce)"},
			"docker-default", "apparmor=unconfined"},
		"old Debian": {StageClone, unix.EPERM, facts{sysctl: map[string]string{"kernel/unprivileged_userns_clone": "0"}},
			"unprivileged_userns_clone is 0", "unprivileged_userns_clone=1"},
		"chroot":       {StageClone, unix.EPERM, facts{chrooted: true}, "in a chroot", "outside"},
		"nesting":      {StageClone, unix.ENOSPC, facts{}, "the limit of namespaces", "raise"},
		"no ipc":       {StageClone, unix.ENOSPC, facts{sysctl: map[string]string{"user/max_ipc_namespaces": "0"}}, "user.max_ipc_namespaces is 0", "sysctl -w user.max_ipc"},
		"no userns":    {StageClone, unix.EINVAL, facts{}, "without user namespaces", "--dist"},
		"on overlayfs": {StageOverlay, unix.EINVAL, facts{}, "a container's own disk", "DECANT_CACHE_DIR"},
		"no range":     {StageIDs, errors.New("x"), facts{}, "/etc/subuid", "usermod"},
	} {
		t.Run(name, func(t *testing.T) {
			var r *RefusedError
			if !errors.As(explain(c.stage, c.err, c.facts), &r) {
				t.Fatal("not a RefusedError")
			}
			if !strings.Contains(r.Error(), c.want) || !strings.Contains(r.Hint(), c.hint) ||
				!strings.Contains(r.Hint(), "--dist") || !errors.Is(r, c.err) {
				t.Errorf("error: %v\nhint: %s", r, r.Hint())
			}
		})
	}
}
