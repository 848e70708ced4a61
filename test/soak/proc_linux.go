package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// canSoak reports whether this machine lets the program do its work with so many sockets.
func canSoak(sockets int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if need := uint64(sockets) + 64; need > limit.Cur { // Go has raised it to what the system allows
		return fmt.Errorf("%d sockets take %d descriptors, and the process may have %d: raise the limit (ulimit -n) or take fewer -sockets", sockets, need, limit.Cur)
	}
	return nil
}

// residentBytes is the memory of a process that is in RAM.
func residentBytes(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(status, []byte("\nVmRSS:"))
	line, _, _ := bytes.Cut(rest, []byte(" kB\n"))
	kilobytes, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("/proc/%d/status: VmRSS: %w", pid, err)
	}
	return kilobytes << 10, nil
}

// descriptors is how many a process has open.
func descriptors(pid int) (int, error) {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	return len(names), err
}
