//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// facts are what the host says about itself. They word a refusal; they never decide
// what is tried.
type facts struct {
	sysctl   map[string]string
	filtered bool // a seccomp filter is on us
	chrooted bool
	label    string // of AppArmor
	exe      string
}

const apparmorSysctl = "kernel/apparmor_restrict_unprivileged_userns"

func hostFacts() facts {
	f := facts{sysctl: map[string]string{}, exe: "/path/to/decant"}
	read := func(name string) string {
		b, _ := readBounded(name, 64<<10)
		return strings.TrimSpace(strings.TrimRight(string(b), "\x00\n"))
	}
	for _, k := range append(namespaceSysctls(), "kernel/unprivileged_userns_clone",
		apparmorSysctl) {
		f.sysctl[k] = read("/proc/sys/" + k)
	}
	for l := range strings.Lines(read("/proc/self/status")) {
		if v, ok := strings.CutPrefix(l, "Seccomp:"); ok {
			f.filtered = strings.TrimSpace(v) == "2"
		}
	}
	f.label = read("/proc/self/attr/current")
	// The root of a mount namespace is a mount; another one is a chroot's.
	info := read("/proc/self/mountinfo")
	f.chrooted = info != ""
	for l := range strings.Lines(info) {
		if p := strings.Fields(l); len(p) > 4 && p[4] == "/" {
			f.chrooted = false
		}
	}
	if exe, err := os.Executable(); err == nil {
		f.exe = exe
	}
	return f
}

func namespaceSysctls() (names []string) {
	for _, kind := range []string{"user", "mnt", "pid", "ipc", "uts", "cgroup", "net"} {
		names = append(names, "user/max_"+kind+"_namespaces")
	}
	return names
}

func explainClone(err error) error { return explain(StageClone, err, hostFacts()) }

const dockerRemedy = "start the outer container with --security-opt seccomp=unconfined " +
	"--security-opt apparmor=unconfined --security-opt systempaths=unconfined"

// explain makes a RefusedError of a failure. It is pure.
func explain(stage string, err error, f facts) error {
	r := &RefusedError{Stage: stage, Err: err}
	switch stage {
	case StageClone:
		r.Cause, r.Remedy = f.clone(err)
	case StageIDs:
		r.Cause = "real owners need newuidmap, newgidmap, and a range for this user in " +
			"/etc/subuid and /etc/subgid"
		r.Remedy = "install uidmap and add a range with usermod --add-subuids 100000-165535 " +
			"--add-subgids 100000-165535"
	case StageOverlay:
		r.Cause, r.Remedy = overlayCause(err)
	default:
		r.Cause, r.Remedy = f.mounts(stage, err)
	}
	return r
}

func (f facts) clone(err error) (cause, remedy string) {
	if errors.Is(err, unix.ENOSPC) {
		for _, k := range namespaceSysctls() {
			if f.sysctl[k] == "0" {
				k = strings.ReplaceAll(k, "/", ".")
				return k + " is 0", "sysctl -w " + k + "=15000"
			}
		}
		return "the limit of namespaces, or of 32 of them in one another, is reached",
			"raise user.max_user_namespaces"
	}
	switch {
	case errors.Is(err, unix.EINVAL):
		return "this kernel is built without user namespaces", ""
	case f.sysctl["kernel/unprivileged_userns_clone"] == "0":
		return "kernel.unprivileged_userns_clone is 0",
			"sysctl -w kernel.unprivileged_userns_clone=1"
	case f.apparmor():
		return f.apparmorCause()
	case f.filtered:
		return "a seccomp filter forbids it, as an outer container's does", dockerRemedy
	case f.chrooted:
		return "decant runs in a chroot, where the kernel gives no user namespace",
			"run it outside of the chroot"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOSYS):
		return "a security module, an outer container or a chroot forbids it", dockerRemedy
	}
	return "", ""
}

// apparmor tells whether Ubuntu's restriction is on and holds us.
func (f facts) apparmor() bool {
	return f.sysctl[apparmorSysctl] == "1"
}

func (f facts) apparmorCause() (cause, remedy string) {
	return "kernel.apparmor_restrict_unprivileged_userns is 1 and decant has no AppArmor profile",
		fmt.Sprintf("add the profile \"profile decant %s flags=(unconfined) { userns, }\", or "+
			"sysctl -w kernel.apparmor_restrict_unprivileged_userns=0", f.exe)
}

func (f facts) mounts(stage string, err error) (cause, remedy string) {
	switch {
	case errors.Is(err, unix.EACCES) && f.apparmor(), errors.Is(err, unix.EPERM) && f.apparmor():
		return f.apparmorCause()
	case errors.Is(err, unix.ENOSYS) && (stage == StageMount || stage == StageRoot ||
		stage == StageCopy):
		return "the kernel, or a seccomp filter around decant, has no fsopen, open_tree or " +
			"openat2 (Linux 5.12)", dockerRemedy
	case errors.Is(err, unix.EACCES) && stage == StagePrivate:
		cause = "a security module forbids mounts"
		if f.label != "" && f.label != "unconfined" {
			cause += " (profile " + f.label + ")"
		}
		return cause, dockerRemedy
	case errors.Is(err, unix.EPERM) && f.filtered:
		return "a seccomp filter forbids it, as an outer container's does", dockerRemedy
	}
	return "", ""
}

func overlayCause(err error) (cause, remedy string) {
	const room = "put decant's cache on a volume or tmpfs (DECANT_CACHE_DIR)"
	switch {
	case strings.Contains(err.Error(), "not supported as upperdir"):
		return "the directory for the changes is on a file system that cannot be an upper one, " +
			"such as a container's own disk", room
	case errors.Is(err, unix.EINVAL):
		return "the kernel does not take these directories; the one for the changes cannot be " +
			"on a container's own disk", room
	case errors.Is(err, unix.ENODEV):
		return "the kernel has no overlay file system", "modprobe overlay"
	case errors.Is(err, unix.EACCES):
		return "a layer of the base cannot be read, or a security module forbids it", ""
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		return "the kernel, or a seccomp filter around decant, forbids it", dockerRemedy
	}
	return "", ""
}
