package faultdisk

// What a test does to a disk with its own hands: no faults, no counting, with the
// power on or off, and what it changes is on the disk for good.

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Files lists the names of the files on the disk, sorted.
func (d *Disk) Files() (names []string) {
	d.locked(func() { names = d.names(func(_ string, n *inode) bool { return !n.dir }) })
	return names
}

func (d *Disk) find(op, name string) (*inode, error) {
	switch n := d.live[filepath.Clean(name)]; {
	case n == nil:
		return nil, wrap(op, name, fs.ErrNotExist)
	case n.dir:
		return nil, wrap(op, name, syscall.EISDIR)
	default:
		return n, nil
	}
}

// Size is a file's size in bytes.
func (d *Disk) Size(name string) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("stat", name)
	if err != nil {
		return 0, err
	}
	return int64(len(n.data)), nil
}

// Read returns a copy of a file, as programs read it.
func (d *Disk) Read(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("read", name)
	if err != nil {
		return nil, err
	}
	return append([]byte{}, n.data...), nil
}

// Write puts a file on the disk, synced with its name and its directory, in place
// of what had the name. Who has the old one open keeps it.
func (d *Disk) Write(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = filepath.Clean(name)
	n := &inode{data: slices.Clone(data), synced: slices.Clone(data)}
	d.mkdirAll(filepath.Dir(name))
	d.forgetName(name)
	d.live[name], d.durable[name] = n, n
}

// Remove takes a name off the disk.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.find("remove", name); err != nil {
		return err
	}
	name = filepath.Clean(name)
	d.forgetName(name)
	delete(d.live, name)
	delete(d.durable, name)
	return nil
}

// forgetName settles what is pending for a name, so that it cannot come back.
func (d *Disk) forgetName(name string) {
	d.pending = slices.DeleteFunc(d.pending, func(e entry) bool {
		if e.name == name && e.op == OpRename && d.durable[e.from] == e.inode {
			delete(d.durable, e.from)
		}
		return e.name == name
	})
}

// Corrupt flips the bits of mask in the file from offset on, for programs and on
// the disk alike; the file counts as synced then. A mask that does not fit in the file gives EINVAL.
func (d *Disk) Corrupt(name string, offset int64, mask []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("corrupt", name)
	if err != nil {
		return err
	}
	if offset < 0 || offset+int64(len(mask)) > int64(len(n.data)) {
		return wrap("corrupt", name, syscall.EINVAL)
	}
	n.flush()
	for i, m := range mask {
		n.flip(offset+int64(i), m)
	}
	return nil
}

// A Flip is a bit that has changed at rest.
type Flip struct {
	Name   string
	Offset int64
	Bit    int // 0 is the lowest
}

func (f Flip) String() string { return fmt.Sprintf("%s: bit %d at %d", f.Name, f.Bit, f.Offset) }

// FlipBits flips n bits, drawn by the disk's seed, in the files whose names end with suffix, for programs and on the disk
// alike. What was unsynced stays so. It returns which bits; there are fewer where the files have fewer.
func (d *Disk) FlipBits(suffix string, n int) []Flip {
	d.mu.Lock()
	defer d.mu.Unlock()
	total := int64(0)
	files := d.names(func(name string, n *inode) bool { return !n.dir && strings.HasSuffix(name, suffix) })
	for _, name := range files {
		total += int64(len(d.live[name].data))
	}
	taken, flips := make(map[int64]bool), []Flip(nil)
	for n = int(min(int64(n), total*8)); len(flips) < n; {
		at := d.rng.Int64N(total * 8)
		if taken[at] {
			continue
		}
		taken[at] = true
		f := Flip{Offset: at / 8, Bit: int(at % 8)}
		for _, f.Name = range files {
			size := int64(len(d.live[f.Name].data))
			if f.Offset < size {
				break
			}
			f.Offset -= size
		}
		d.live[f.Name].flip(f.Offset, 1<<f.Bit)
		flips = append(flips, f)
	}
	return flips
}

// flip changes bits of a byte wherever the file has it: as programs read it, as a cut leaves it, and in what is unsynced.
func (n *inode) flip(at int64, mask byte) {
	n.data[at] ^= mask
	if at < int64(len(n.synced)) { // a failed sync may have dropped this part
		n.synced[at] ^= mask
	}
	for _, c := range n.ops {
		if i := at - c.off; !c.truncate && i >= 0 && i < int64(c.to-c.from) {
			n.log[int64(c.from)+i] ^= mask
		}
	}
}
