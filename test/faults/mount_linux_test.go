package faults

import (
	"os"
	"syscall"
	"testing"
)

// disk is a small file system in memory.
type disk struct {
	t    *testing.T
	path string
}

func tmpfs(t *testing.T, options string) disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk takes root")
	}
	d := disk{t, t.TempDir()}
	if err := syscall.Mount("tmpfs", d.path, "tmpfs", 0, options); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("mounting a small disk: %v", err)
		}
		t.Skipf("this machine mounts no tmpfs: %v", err)
	}
	t.Cleanup(func() { // registered before the host's, so that it runs after it
		if err := syscall.Unmount(d.path, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return d
}

func (d disk) remount(options string) {
	d.t.Helper()
	var flags uintptr = syscall.MS_REMOUNT
	if options == "ro" {
		flags, options = flags|syscall.MS_RDONLY, ""
	}
	if err := syscall.Mount("tmpfs", d.path, "tmpfs", flags, options); err != nil {
		d.t.Fatalf("remounting: %v", err)
	}
}
