package machine

import (
	"os"
	"path/filepath"
	"testing"
)

// The default is half of what the process may have: of the machine's memory, or of the limit of its cgroup or one around it.
func TestMachineMemory(t *testing.T) {
	if got := Memory(); got < 64<<20 {
		t.Errorf("this machine has %d bytes of memory", got)
	}
	const machine = 8 << 30
	for _, c := range []struct {
		name, groups string
		files        map[string]string
		want         int64
	}{
		{"no limit", "0::/a/b\n", map[string]string{"a/b/memory.max": "max\n", "a/memory.max": "max\n"}, machine},
		{"its own", "0::/a/b\n", map[string]string{"a/b/memory.max": "1073741824\n", "a/memory.max": "max\n"}, 1 << 30},
		{"one around it", "0::/a/b\n", map[string]string{"a/b/memory.max": "2147483648\n", "a/memory.max": "1073741824\n"}, 1 << 30},
		{"in a container", "0::/docker/abc\n", map[string]string{"memory.max": "536870912\n"}, 512 << 20},
		{"more than the machine", "0::/\n", map[string]string{"memory.max": "99999999999999\n"}, machine},
		{"version 1", "11:cpu,cpuacct:/x\n4:memory:/x\n", map[string]string{"memory/x/memory.limit_in_bytes": "268435456\n"}, 256 << 20},
		{"version 1 without one", "4:memory:/x\n", map[string]string{"memory/x/memory.limit_in_bytes": "9223372036854771712\n"}, machine},
		{"a name with a colon", "0::/a:b\n", map[string]string{"a:b/memory.max": "1073741824\n"}, 1 << 30},
		{"nonsense", "4\n::\n0::/a\n", map[string]string{"a/memory.max": "lots\n"}, machine},
	} {
		root := t.TempDir()
		for name, text := range c.files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := cgroupLimit(root, c.groups, machine); got != c.want {
			t.Errorf("%s: %d bytes, want %d", c.name, got, c.want)
		}
	}
}
