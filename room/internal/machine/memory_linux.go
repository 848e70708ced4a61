package machine

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Memory returns how much memory the process may have: the machine's, or the limit of a cgroup that it is in (version
// 2 or 1) if that is less. It returns 0 if it is unknown.
func Memory() int64 {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return 0
	}
	most := int64(info.Totalram) * int64(info.Unit)
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return most
	}
	return min(most, cgroupLimit("/sys/fs/cgroup", string(groups), most))
}

// cgroupLimit returns the lowest limit of the cgroups that a process is in, and of those around them; most if there
// is none. root is where they are mounted. groups is what the kernel says of the process: lines such as "0::/a/b"
// (version 2) or "4:memory:/a/b" (version 1). In a container the process's own group may be mounted at root, whatever
// it is called outside.
func cgroupLimit(root, groups string, most int64) int64 {
	for line := range strings.Lines(groups) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		dir, file := root, "memory.max"
		if part[1] == "memory" {
			dir, file = filepath.Join(root, "memory"), "memory.limit_in_bytes"
		} else if part[1] != "" {
			continue
		}
		for at := filepath.Join("/", part[2]); ; at = filepath.Dir(at) {
			most = min(most, readLimit(filepath.Join(dir, at, file), most))
			if at == "/" {
				break
			}
		}
	}
	return most
}

// readLimit reads a file that has a number of bytes, or "max". It returns most if there is no number.
func readLimit(path string, most int64) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return most
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n == 0 || n > uint64(most) {
		return most
	}
	return int64(n)
}
