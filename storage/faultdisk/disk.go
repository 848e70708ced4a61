package faultdisk

// The disk as programs see it: names, cached content, and the list of what no sync has settled yet.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/denrooms/den/storage/dbfile"
)

// SectorSize is what the disk writes whole, in bytes.
const SectorSize = 512

// ErrPowerCut is the error of every call after a power cut: until Restart, and
// for ever on a handle that was open. It comes with syscall.EIO.
var ErrPowerCut = errors.New("the power was cut")

// ErrInUse: SQLite has files of the disk open.
var ErrInUse = dbfile.ErrInUse

// Trait is a property of a disk, for its whole life.
type Trait uint8

const (
	// IgnoreSync: syncs report success and do nothing. A test of durability that passes on such a disk tests nothing.
	IgnoreSync Trait = 1 << iota
	// PowersafeOverwrite: SQLite is told that a cut in a write leaves the bytes beside it alone, as it believes of the host's files
	// by default. It then writes no padding after a synced commit. Without it, SQLite is told nothing.
	PowersafeOverwrite
	// SmashSectors: a write of part of a sector may, in a cut, turn the rest of the
	// sector into garbage: what SQLite must expect without PowersafeOverwrite.
	SmashSectors
)

// Disk is a disk in memory. Make one with New.
type Disk struct {
	traits Trait // immutable

	mu      sync.Mutex
	rng     *rand.Rand // protected by mu, as is all that follows
	live    map[string]*inode
	durable map[string]*inode // the names that a cut leaves for sure
	pending []entry           // what was done to names since
	faults  []*Fault
	fuse    int // changes until the power cut; 0: none is set
	fuses   []fuse
	keep    bool  // keep the moment before each cut
	before  *Disk // the disk as it stood then; nil: none was kept
	off     bool
	boot    int // counts power cuts: a handle of an earlier one is dead
	open    int // SQLite's handles, dead ones too
	files   int // Files that are not closed, dead ones too
	slept   time.Duration
	stats   Stats
}

// New makes an empty disk. seed chooses all that chance decides.
func New(seed uint64, traits ...Trait) *Disk {
	d := &Disk{live: map[string]*inode{}, durable: map[string]*inode{}}
	for _, t := range traits {
		d.traits |= t
	}
	d.seed(seed)
	return d
}

func (d *Disk) seed(seed uint64) { d.rng = rand.New(rand.NewPCG(seed, 1)) }

// locked calls do with the mutex held.
func (d *Disk) locked(do func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	do()
}

// call does with a path what a program has asked for.
func (d *Disk) call(op, path string, do func(path string) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	path = filepath.Clean(path)
	return wrap(op, path, do(path))
}

// inode is a file's content, or a directory.
type inode struct {
	dir bool // then it has no content; its entries are the disk's names

	data   []byte // what programs read
	synced []byte // what a cut leaves for sure
	ops    []change
	log    []byte // the content of ops, one after the other
	locks  map[*handle]struct{}
}

// change is one unsynced write or truncation.
type change struct {
	off      int64 // where it is written, or the new size
	from, to int   // its content in inode.log
	truncate bool
}

func (n *inode) write(off int64, p []byte) {
	if len(p) == 0 {
		return
	}
	from := len(n.log)
	n.log = append(n.log, p...)
	n.ops = append(n.ops, change{off: off, from: from, to: len(n.log)})
	n.data = writeAt(n.data, off, p)
}

func (n *inode) truncate(size int64) {
	n.ops = append(n.ops, change{off: size, truncate: true})
	n.data = resize(n.data, size)
}

// flush makes the unsynced changes certain.
func (n *inode) flush() {
	for _, c := range n.ops {
		n.synced = n.settle(n.synced, c)
	}
	n.forget()
}

func (n *inode) settle(b []byte, c change) []byte {
	if c.truncate {
		return resize(b, c.off)
	}
	return writeAt(b, c.off, n.log[c.from:c.to])
}

// forget drops the list of changes, whatever has become of them.
func (n *inode) forget() { n.ops, n.log = n.ops[:0], n.log[:0] }

func writeAt(b []byte, off int64, p []byte) []byte {
	if end := off + int64(len(p)); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[off:], p)
	return b
}

// resize cuts b, or lengthens it with zeros.
func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size]
	}
	old := len(b)
	b = slices.Grow(b, int(size)-old)[:size]
	clear(b[old:])
	return b
}

// entry is one unsynced change of a directory.
type entry struct {
	op    Op     // OpOpen, OpMkdir: a file or directory was made. OpDelete, OpRename
	name  string // what is made, deleted, or renamed to
	from  string // what is renamed, in the same directory
	inode *inode
}

func (e entry) apply(names map[string]*inode) {
	switch e.op {
	case OpDelete:
		delete(names, e.name)
		return
	case OpRename:
		if names[e.from] == e.inode {
			delete(names, e.from)
		}
	}
	names[e.name] = e.inode
}

func (d *Disk) enter(e entry) {
	e.apply(d.live)
	d.pending = append(d.pending, e)
}

// Delete removes a name. Without SyncDir a cut may bring it back. A missing one gives fs.ErrNotExist.
func (d *Disk) Delete(name string) error { return d.call("delete", name, d.remove) }

func (d *Disk) remove(name string) error {
	if err := d.judge(OpDelete, name); err != nil {
		return err
	}
	switch n := d.live[name]; {
	case n == nil:
		return fs.ErrNotExist
	case n.dir:
		return syscall.EISDIR
	}
	d.enter(entry{op: OpDelete, name: name})
	return d.burn(OpDelete, name)
}

// Rename gives a file another name, in place of what had that name. In one directory a cut
// before SyncDir leaves one state or the other; in another one, which has to be synced too, it may
// leave both names, or none. A missing file or directory gives fs.ErrNotExist. Directories are not renamed.
func (d *Disk) Rename(from, to string) error {
	return d.call("rename", from, func(from string) error { return d.rename(from, filepath.Clean(to)) })
}

func (d *Disk) rename(from, to string) error {
	if err := d.judge(OpRename, from); err != nil {
		return err
	}
	n := d.live[from]
	switch {
	case n == nil || !d.isDir(filepath.Dir(to)):
		return fs.ErrNotExist
	case n.dir || d.isDir(to):
		return syscall.EISDIR
	case from == to:
		return nil
	case filepath.Dir(from) != filepath.Dir(to): // a change of each of them
		d.enter(entry{op: OpRename, name: to, inode: n})
		d.enter(entry{op: OpDelete, name: from})
		return d.burn(OpRename, from)
	}
	d.enter(entry{op: OpRename, name: to, from: from, inode: n})
	return d.burn(OpRename, from)
}

// wrap makes the error that programs know from files.
func wrap(op, name string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if errors.Is(err, ErrPowerCut) {
		err = fmt.Errorf("%w: %w", err, syscall.EIO)
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Clone copies the disk as it stands: names, content, what is unsynced, faults, statistics. The copy has no handles, is registered
// nowhere, and draws from its own seed: cutting many clones shows many outcomes of one moment.
func (d *Disk) Clone(seed uint64) (c *Disk) {
	d.locked(func() { c = d.clone(seed) })
	return c
}

func (d *Disk) clone(seed uint64) *Disk {
	c := &Disk{traits: d.traits, fuse: d.fuse, fuses: slices.Clone(d.fuses), off: d.off, slept: d.slept, stats: d.stats}
	c.seed(seed)
	copies := map[*inode]*inode{nil: nil}
	twin := func(n *inode) *inode {
		if _, ok := copies[n]; !ok {
			copies[n] = &inode{
				dir: n.dir, data: slices.Clone(n.data), synced: slices.Clone(n.synced), ops: slices.Clone(n.ops), log: slices.Clone(n.log),
			}
		}
		return copies[n]
	}
	c.live, c.durable = maps.Clone(d.live), maps.Clone(d.durable)
	for _, names := range []map[string]*inode{c.live, c.durable} {
		for name, n := range names {
			names[name] = twin(n)
		}
	}
	for _, e := range d.pending {
		e.inode = twin(e.inode)
		c.pending = append(c.pending, e)
	}
	for _, f := range d.faults {
		f := *f
		c.faults = append(c.faults, &f)
	}
	return c
}
