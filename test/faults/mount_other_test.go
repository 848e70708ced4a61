//go:build !linux

package faults

import "testing"

type disk struct{ path string }

func tmpfs(t *testing.T, _ string) disk {
	t.Skip("a small disk is mounted on Linux only")
	return disk{}
}

func (disk) remount(string) {}
