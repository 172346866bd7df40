//go:build amd64 || arm64

package sandbox

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// masked of /proc shows memory, keys, addresses and timing of the whole machine. It
// is replaced with nothing. Everything else that does not belong to a process is
// read-only.
var masked = map[string]bool{
	"acpi": true, "asound": true, "bus": true, "driver": true, "dynamic_debug": true,
	"fs": true, "interrupts": true, "iomem": true, "ioports": true, "irq": true,
	"kallsyms": true, "kcore": true, "key-users": true, "keys": true, "kmsg": true,
	"kpagecgroup": true, "kpagecount": true, "kpageflags": true, "latency_stats": true,
	"modules": true, "mtrr": true, "pagetypeinfo": true, "sched_debug": true, "scsi": true,
	"slabinfo": true, "softirqs": true, "sysrq-trigger": true, "sysvipc": true,
	"timer_list": true, "timer_stats": true, "tty": true, "vmallocinfo": true, "zoneinfo": true,
}

// coverProc hides what is masked and write-protects the rest, for all that is in
// /proc and no process: so also what a later kernel adds.
func coverProc() error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("reading /proc: %w", err)
	}
	empty, err := newFS("tmpfs", noSUIDDevExec|unix.MOUNT_ATTR_RDONLY, option{"mode", "0555"})
	if err != nil {
		return fmt.Errorf("an empty directory: %w", err)
	}
	const hold = "/dev/.empty"
	if err := os.Mkdir(hold, 0o700); err != nil {
		return err
	}
	if err := attachAt(empty, hold); err != nil {
		return err
	}
	unix.Close(empty)
	for _, e := range entries {
		kind := e.Type()
		if _, err := strconv.Atoi(e.Name()); err == nil || kind&os.ModeSymlink != 0 {
			continue
		}
		from := "/proc/" + e.Name()
		switch {
		case !masked[e.Name()]:
		case kind.IsDir():
			from = hold
		default:
			from = "/dev/null"
		}
		if err := cover("/proc/"+e.Name(), from); err != nil {
			return err
		}
	}
	if err := unix.Unmount(hold, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("umount %s: %w", hold, err)
	}
	return os.Remove(hold)
}

func cover(name, from string) error {
	fd, err := cloneWith(from, noSUIDDevExec&^unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return fmt.Errorf("covering %s: %w", name, err)
	}
	defer unix.Close(fd)
	if err := attachAt(fd, name); err != nil {
		return fmt.Errorf("covering %s: %w", name, err)
	}
	return nil
}

// minPIDMax is the kernel's: it keeps 300 numbers for itself.
const minPIDMax = 301

// limitProcesses bounds the process ids of this PID namespace. The usual limit,
// RLIMIT_NPROC, does not bind user id 0 of the host. Before Linux 6.14 this sysctl
// is the whole machine's, which user id 0 could really change: so not there.
func (b *builder) limitProcesses() {
	if !kernelAtLeast(6, 14) {
		return
	}
	n := strconv.Itoa(max(minPIDMax, b.Limits.Processes))
	if err := os.WriteFile("/proc/sys/kernel/pid_max", []byte(n), 0); err != nil &&
		os.Geteuid() == 0 {
		b.out.warn("the number of processes is not limited: %v", err)
	}
}

func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a > major || a == major && b >= minor
}
