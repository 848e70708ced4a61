package faultdisk

// What a test does to a disk with its own hands: no faults, no counting, with the
// power on or off, and what it changes is on the disk for good.

import (
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"syscall"
)

// Files lists the names on the disk, sorted.
func (d *Disk) Files() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.live))
}

func (d *Disk) find(op, name string) (*inode, error) {
	if n := d.live[filepath.Clean(name)]; n != nil {
		return n, nil
	}
	return nil, wrap(op, name, fs.ErrNotExist)
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

// Write puts a file on the disk, synced with its name, in place of what had the
// name. Who has the old one open keeps it.
func (d *Disk) Write(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = filepath.Clean(name)
	n := &inode{data: slices.Clone(data), synced: slices.Clone(data)}
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
		at := offset + int64(i)
		n.data[at] ^= m
		if at < int64(len(n.synced)) { // a failed sync may have dropped this part
			n.synced[at] ^= m
		}
	}
	return nil
}
