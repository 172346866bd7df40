//go:build amd64 || arm64

package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// insider is what the payload, which is the test binary, does inside.
var insider = map[string]func(args []string) int{
	"true":   func([]string) int { return 0 },
	"exit":   func([]string) int { return 7 },
	"kill":   func([]string) int { _ = unix.Kill(os.Getpid(), unix.SIGKILL); select {} },
	"look":   look,
	"try":    try,
	"change": change,
	"echo":   echo,
	"cat":    cat,
	"daemon": daemon,
	"hang":   hang,
	"dial":   dial,
	"spawn":  spawn,
	"write":  writeMuch,
	"owners": owners,
	"serve":  serve,
	"record": record,
	"many":   many,
	"alter":  alter,
	"tree":   seeTrees,
	"steal":  steal,
	"race":   race,
	"own":    own,
}

func say(name string, v any) { fmt.Printf("%s=%v\n", name, v) }

// sayErr says an errno's name, or "ok".
func sayErr(name string, err error) {
	var e syscall.Errno
	switch {
	case err == nil:
		say(name, "ok")
	case errors.As(err, &e):
		say(name, unix.ErrnoName(e))
	default:
		say(name, err)
	}
}

// look says what a step sees.
func look([]string) int {
	say("env", strings.Join(os.Environ(), " "))
	say("uid", os.Getuid())
	say("gid", os.Getgid())
	host, _ := os.Hostname()
	say("hostname", host)
	wd, _ := os.Getwd()
	say("wd", wd)
	say("root", strings.Join(names("/"), " "))
	say("dev", strings.Join(names("/dev"), " "))
	say("sys", strings.Join(names("/sys"), " "))
	var pids []string
	for _, n := range names("/proc") {
		if strings.Trim(n, "0123456789") == "" {
			pids = append(pids, n)
		}
	}
	say("pids", len(pids))
	say("fds", strings.Join(names("/proc/self/fd"), " "))
	old := unix.Umask(0)
	unix.Umask(old)
	say("umask", fmt.Sprintf("%03o", old))
	status, _ := os.ReadFile("/proc/self/status")
	for l := range strings.Lines(string(status)) {
		for _, k := range []string{"CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"} {
			if v, ok := strings.CutPrefix(l, k+":"); ok {
				say(k, strings.TrimSpace(v))
			}
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	say("mountinfo", strings.ReplaceAll(string(mounts), "\n", "|"))
	for _, f := range []string{"/etc/resolv.conf", "/etc/hosts", "/run/secrets/token", "/data/a"} {
		b, err := os.ReadFile(f)
		say(f, strings.TrimSpace(string(b)))
		if err != nil {
			sayErr(f, err)
		}
	}
	_, err := os.Open("/dev/tty")
	sayErr("tty", err)
	sid, _ := unix.Getsid(0)
	say("session", sid == os.Getpid())
	var core unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_CORE, &core)
	say("core", core.Max)
	return 0
}

func names(dir string) (n []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		n = append(n, e.Name())
	}
	slices.Sort(n)
	return n
}

func call(nr uintptr, args ...uintptr) error {
	a := append(args, 0, 0, 0, 0, 0, 0)
	if _, _, e := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); e != 0 {
		return e
	}
	return nil
}

func write(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err == nil {
		err = f.Close()
	}
	return err
}

// try says how each way out ends.
func try(args []string) int {
	text := func(s string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(s + "\x00"))) }
	for _, c := range [][]int{absent[:], denied[:]} {
		for _, nr := range c {
			sayErr(fmt.Sprintf("call %d", nr), call(uintptr(nr)))
		}
	}
	sayErr("call above", call(firstUnknown))
	sayErr("call x32", call(0x40000000))
	sayErr("mount", unix.Mount("x", "/data", "tmpfs", 0, ""))
	sayErr("remount /proc/sys", unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	sayErr("umount", unix.Unmount("/proc", unix.MNT_DETACH))
	sayErr("open_tree", call(unix.SYS_OPEN_TREE, 0, text("/")))
	for name, flag := range map[string]uintptr{
		"user": unix.CLONE_NEWUSER, "mnt": unix.CLONE_NEWNS, "pid": unix.CLONE_NEWPID,
		"net": unix.CLONE_NEWNET, "ipc": unix.CLONE_NEWIPC, "uts": unix.CLONE_NEWUTS,
		"cgroup": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME,
	} {
		sayErr("unshare "+name, call(unix.SYS_UNSHARE, flag))
		if name != "time" { // which clone takes for a signal number
			sayErr("clone "+name, call(unix.SYS_CLONE, flag|uintptr(unix.SIGCHLD)))
		}
	}
	for _, request := range []uintptr{unix.TIOCSTI, unix.TIOCLINUX} {
		sayErr(fmt.Sprintf("ioctl %x", request), call(unix.SYS_IOCTL, 0, request))
		sayErr(fmt.Sprintf("ioctl high %x", request), call(unix.SYS_IOCTL, 0, 1<<32|request))
	}
	sayErr("ioctl getppid", call(unix.SYS_IOCTL, 0, 110)) // a number that is a call's as well
	for f := range uintptr(46) {
		fd, _, e := unix.RawSyscall(unix.SYS_SOCKET, f, unix.SOCK_DGRAM, 0)
		if e == 0 {
			unix.Close(int(fd))
			say(fmt.Sprintf("socket %d", f), "ok")
		} else if e != unix.EAFNOSUPPORT {
			sayErr(fmt.Sprintf("socket %d", f), e)
		}
	}
	fifo := unix.Mknod("/data/fifo", unix.S_IFIFO|0o600, 0)
	sayErr("fifo", fifo)
	sayErr("device", unix.Mknod("/data/device", unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0))))
	_, err := os.Lstat("/data/device")
	sayErr("device is there", err)
	sayErr("kill 1", unix.Kill(1, unix.SIGKILL))
	for _, f := range []string{"exe", "fd/3", "root", "mem", "environ", "maps", "cwd"} {
		_, err := os.Open("/proc/1/" + f)
		sayErr("process 1 "+f, err)
	}
	for _, f := range args { // host files by their paths there
		_, err := os.Stat(f)
		sayErr("host file", err)
	}
	_, err = os.Stat("/data/up/etc/passwd")
	sayErr("symlink out", err)
	tryProc()
	tryWalls()
	sayErr("chroot", unix.Chroot("/data"))
	return 0
}

// tryProc writes to everything in /proc and /sys that is no process.
func tryProc() {
	open := 0
	for _, root := range []string{"/proc", "/sys"} {
		_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			first, _, _ := strings.Cut(strings.TrimPrefix(p, "/proc/"), "/")
			if p != root && (strings.Trim(first, "0123456789") == "" || strings.HasSuffix(first, "self") ||
				first == "net" || first == "mounts") {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			if d.Type().IsRegular() && write(p) == nil {
				if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
					say("writable", p)
					open++
				}
			}
			return nil
		})
	}
	say("writable in /proc and /sys", open)
	sayErr("new in /sys", os.Mkdir("/sys/x", 0o700))
	for _, f := range []string{"kcore", "keys", "sysrq-trigger", "timer_list", "kmsg", "interrupts"} {
		b, _ := os.ReadFile("/proc/" + f)
		say("masked "+f, len(b))
	}
	b, err := os.ReadFile("/proc/cpuinfo")
	say("cpuinfo", len(b) > 0 && err == nil)
	sayErr("firmware", func() error { _, err := os.Stat("/sys/firmware"); return err }())
}

// tryWalls tries what Landlock forbids, and that it forbids nothing else.
func tryWalls() {
	// Before its exec a child's /proc/self/exe is the file that process 1 runs, and an
	// interpreter line is a way to execute that.
	sayErr("script", runScript())
	sayErr("moved", errors.Join(os.Mkdir("/data/d", 0o700), os.Rename("/data/fifo", "/data/d/f")))
	sayErr("linked", errors.Join(os.WriteFile("/data/x", nil, 0o600), os.Link("/data/x", "/data/d/x")))
	sayErr("null", write("/dev/null"))
	sayErr("stdout", write("/dev/stdout"))
}

// runScript executes the file of the host that process 1 runs.
func runScript() error {
	if err := os.WriteFile("/data/script", []byte("#!/proc/self/exe\n"), 0o755); err != nil {
		return err
	}
	pid, err := syscall.ForkExec("/data/script", []string{"x"},
		&syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	if err == nil {
		_, err = syscall.Wait4(pid, nil, 0, nil)
	}
	return err
}

// change makes all kinds of differences.
func change([]string) int {
	for _, err := range []error{
		os.Remove("/data/b"), os.RemoveAll("/data/old"), os.Mkdir("/data/old", 0o755),
		os.WriteFile("/data/old/z", nil, 0o644), os.WriteFile("/data/keep", []byte("k"), 0o600),
		os.Mkdir("/data/shut", 0), os.WriteFile("/run/secrets/own", nil, 0o600),
	} {
		if err != nil {
			fmt.Println(err)
			return 1
		}
	}
	return 0
}

// echo answers each line at once.
func echo([]string) int {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println("got", in.Text())
	}
	fmt.Fprintln(os.Stderr, "end")
	return 0
}

func cat(args []string) int {
	b, err := os.ReadFile(args[0])
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_, _ = os.Stdout.Write(b)
	return 0
}

// daemon leaves a process that ignores SIGTERM, in a session of its own, and holds a
// lock.
func daemon([]string) int {
	r, w, err := os.Pipe()
	if err != nil {
		return 1
	}
	lock, err := os.Create("/data/lock")
	if err != nil || unix.Flock(int(lock.Fd()), unix.LOCK_EX) != nil {
		return 1
	}
	_, err = os.StartProcess("/payload", []string{"/payload", "hang"}, &os.ProcAttr{
		Files: []*os.File{lock, w, nil}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return 1
	}
	_, _ = r.Read(make([]byte, 1)) // until it ignores the signal
	return 0
}

// hang ignores SIGTERM, unless told to say goodbye.
func hang(args []string) int {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGTERM)
	fmt.Println("ready")
	if len(args) > 0 {
		<-c
		fmt.Println("bye")
		return 0
	}
	for range c {
	}
	return 0
}

func dial(args []string) int {
	c, err := net.DialTimeout(args[0], args[1], 5*time.Second)
	if err == nil {
		c.Close()
	}
	sayErr("dial", err)
	interfaces, _ := net.Interfaces()
	say("interfaces", len(interfaces))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	sayErr("listen", err)
	if err == nil {
		_, err = net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
		sayErr("dial self", err)
	}
	return 0
}

// serve answers on port 80, which no plain user has on the host.
func serve([]string) int {
	l, err := net.Listen("tcp", "127.0.0.1:80")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			return 1
		}
		b, _ := io.ReadAll(c)
		fmt.Fprintf(c, "got %s", b)
		c.Close()
	}
}

// spawn starts processes until it cannot.
func spawn([]string) int {
	for n := range 2000 {
		pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if e != 0 {
			fmt.Println(n)
			return 0
		}
		if pid == 0 {
			for {
				_, _, _ = unix.RawSyscall(unix.SYS_PPOLL, 0, 0, 0)
			}
		}
	}
	return 1
}

func writeMuch([]string) int {
	signal.Ignore(unix.SIGXFSZ)
	f, err := os.Create("/data/much")
	if err == nil {
		_, err = f.Write(make([]byte, 3<<20))
	}
	sayErr("write", err)
	return 0
}

func owners([]string) int {
	sayErr("chown", os.Chown("/data/b", 1000, 1000))
	var st unix.Stat_t
	_ = unix.Stat("/data/b", &st)
	say("owner", st.Uid)
	sayErr("setgroups", unix.Setgroups([]int{1000}))
	sayErr("setgid", call(unix.SYS_SETGID, 1000))
	sayErr("setuid", call(unix.SYS_SETUID, 1000))
	say("uid", os.Getuid())
	return 0
}
