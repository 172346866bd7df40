package assemble

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
)

// heapLimit is what node may take for its heap in a build step, in MiB: three
// quarters of what this process can have. Node's own default follows the
// machine's memory, and not a container's limit. 0 is unknown.
func heapLimit() int64 {
	limit := totalMemory()
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if n := readNumber(file); n > 0 && (limit == 0 || n < limit) {
			limit = n
		}
	}
	return limit / 4 * 3 >> 20
}

// totalMemory is the machine's, in bytes; 0 where the system does not tell.
func totalMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, 1<<16))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == "MemTotal:" {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// readNumber reads a file that has one; 0 is none, or no limit.
func readNumber(file string) int64 {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n
}
