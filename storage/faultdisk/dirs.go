package faultdisk

// Directories. A directory's name is an entry of its parent as a file's is: a cut takes the name away, with all that is
// in the directory, unless the parent was synced.

import (
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"syscall"
)

// isRoot reports whether a directory is there by itself, as "/" and "." are.
func isRoot(dir string) bool { return filepath.Dir(dir) == dir }

func (d *Disk) isDir(path string) bool {
	if isRoot(path) {
		return true
	}
	n := d.live[path]
	return n != nil && n.dir
}

// Mkdir makes a directory. Without SyncDir of its parent a cut may take it away, with all that is in it. A missing parent
// gives fs.ErrNotExist, a name that is taken fs.ErrExist.
func (d *Disk) Mkdir(dir string) error { return d.call("mkdir", dir, d.mkdir) }

func (d *Disk) mkdir(dir string) error {
	if err := d.judge(OpMkdir, dir); err != nil {
		return err
	}
	switch {
	case isRoot(dir) || d.live[dir] != nil:
		return fs.ErrExist
	case !d.isDir(filepath.Dir(dir)):
		return fs.ErrNotExist
	}
	d.enter(entry{op: OpMkdir, name: dir, inode: &inode{dir: true}})
	return d.burn(OpMkdir, dir)
}

// IsDir reports whether a path is a directory. A missing path gives fs.ErrNotExist.
func (d *Disk) IsDir(path string) (is bool, err error) {
	err = d.call("stat", path, func(path string) error { is = d.isDir(path); return d.stat(path) })
	return is && err == nil, err
}

// stat asks for a name.
func (d *Disk) stat(path string) error {
	if err := d.judge(OpStat, path); err != nil {
		return err
	}
	if d.live[path] == nil && !isRoot(path) {
		return fs.ErrNotExist
	}
	return d.pass(OpStat, path)
}

// list lists the files in a directory, sorted.
func (d *Disk) list(dir string) (names []string, err error) {
	err = d.call("list", dir, func(dir string) error {
		if err := d.judge(OpList, dir); err != nil {
			return err
		}
		if !d.isDir(dir) {
			return fs.ErrNotExist
		}
		for _, path := range d.names(func(path string, n *inode) bool { return !n.dir && filepath.Dir(path) == dir }) {
			names = append(names, filepath.Base(path))
		}
		return d.pass(OpList, dir)
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// SyncDir makes the entries of a directory survive a cut. When it fails, some of them do now and the others are as
// before: nobody is told which.
func (d *Disk) SyncDir(dir string) error { return d.call("sync", dir, d.syncDir) }

func (d *Disk) syncDir(dir string) error {
	if err := d.judge(OpSyncDir, dir); err != nil {
		if !d.off && d.traits&IgnoreSync == 0 {
			d.failSyncDir(dir)
		}
		return err
	}
	if !d.isDir(dir) {
		return fs.ErrNotExist
	}
	if err := d.burn(OpSyncDir, dir); err != nil || d.traits&IgnoreSync != 0 {
		return err
	}
	d.settleDir(func(e entry) bool { return filepath.Dir(e.name) == dir })
	return nil
}

// settleDir makes the pending entries that are chosen durable.
func (d *Disk) settleDir(chosen func(entry) bool) {
	kept := d.pending[:0]
	for _, e := range d.pending {
		if chosen(e) {
			e.apply(d.durable)
		} else {
			kept = append(kept, e)
		}
	}
	clear(d.pending[len(kept):])
	d.pending = kept
}

// failSyncDir draws what a failed sync of a directory leaves. An entry that becomes durable takes those before it that
// are about the same names with it, because the later ones rest on them.
func (d *Disk) failSyncDir(dir string) {
	odds := d.rng.IntN(3) * 32 // of 64: none, half of them, all
	durable := make(map[int]bool)
	rests := make(map[string]bool)
	for i := len(d.pending) - 1; i >= 0; i-- {
		e := d.pending[i]
		if filepath.Dir(e.name) != dir {
			continue
		}
		if d.rng.IntN(64) < odds || rests[e.name] || e.from != "" && rests[e.from] {
			durable[i] = true
			rests[e.name] = true
			if e.from != "" {
				rests[e.from] = true
			}
			d.stats.Settled++
		} else {
			d.stats.Undecided++
		}
	}
	at := -1
	d.settleDir(func(entry) bool { at++; return durable[at] })
}

// prune takes away what lies in directories that a cut has taken.
func (d *Disk) prune() {
	for _, path := range slices.Sorted(maps.Keys(d.durable)) { // a directory comes before what is in it
		if parent := filepath.Dir(path); !isRoot(parent) && d.durable[parent] == nil {
			delete(d.durable, path)
		}
	}
}

// MkdirAll puts a directory on the disk, and those above it, with its own hands as Write does: they are durable.
func (d *Disk) MkdirAll(dir string) { d.locked(func() { d.mkdirAll(filepath.Clean(dir)) }) }

func (d *Disk) mkdirAll(dir string) {
	if isRoot(dir) {
		return
	}
	d.mkdirAll(filepath.Dir(dir))
	n := d.live[dir]
	if n == nil {
		n = &inode{dir: true}
	}
	d.forgetName(dir)
	d.live[dir], d.durable[dir] = n, n
}

// Dirs lists the directories on the disk, sorted, but those that are there by themselves.
func (d *Disk) Dirs() (names []string) {
	d.locked(func() { names = d.names(func(_ string, n *inode) bool { return n.dir }) })
	return names
}

// names returns the names for which which reports true, sorted.
func (d *Disk) names(which func(path string, n *inode) bool) (list []string) {
	for name, n := range d.live {
		if which(name, n) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// size is a file's size, as programs ask for it.
func (d *Disk) size(path string) (size int64, err error) {
	err = d.call("stat", path, func(path string) error {
		err := d.stat(path)
		if err == nil && !isRoot(path) {
			size = int64(len(d.live[path].data))
		}
		return err
	})
	return size, err
}

// check is whether a name can be opened or made.
func (d *Disk) check(name string) error {
	switch n := d.live[name]; {
	case isRoot(name), n != nil && n.dir:
		return syscall.EISDIR
	case n == nil && !d.isDir(filepath.Dir(name)):
		return fs.ErrNotExist
	}
	return nil
}
