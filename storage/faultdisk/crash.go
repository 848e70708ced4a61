package faultdisk

// Power cuts: what is left of the changes that no sync has settled.

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Fate is what a power cut does to a file's unsynced content.
type Fate uint8

// The fates, see the package's doc. For a directory's entries KeepSectors and KeepShuffled are the same.
const (
	KeepAll Fate = iota
	KeepNone
	KeepPrefix
	KeepSectors
	KeepShuffled
	fates
)

// Crash cuts the power, also after Kill: what the programs left unsynced is lost then.
func (d *Disk) Crash() { d.locked(d.cut) }

// CrashAfter cuts the power at the n-th change from now: a write, truncation, sync (of a directory too), creation (of a directory
// too), deletion or rename. The change itself is unsynced then, and its caller gets an error. 0 takes the cut back.
func (d *Disk) CrashAfter(n int) { d.locked(func() { d.fuse = max(n, 0) }) }

// CrashAt cuts the power at the n-th operation of a kind from now, on a file (OpSyncDir, OpMkdir, OpList: a directory) whose name ends
// with suffix; "" means all. Operations that fail do not count. A change is unsynced then, as with CrashAfter; what changes nothing
// fails. Several cuts may be set: the first that is reached takes the others back. Stats.CutAt counts it. 0 sets none.
func (d *Disk) CrashAt(op Op, suffix string, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n > 0 {
		d.fuses = append(d.fuses, fuse{op, suffix, n})
	}
}

// KeepMoments has each power cut from now on keep the disk as it stood right before, for Before. It takes a copy of the
// disk in memory.
func (d *Disk) KeepMoments() { d.locked(func() { d.keep = true }) }

// Before returns a clone, with a seed of its own, of the disk as it stood right before the last power cut: cutting the
// power of several shows several outcomes of that moment. nil: none was kept.
func (d *Disk) Before(seed uint64) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.before == nil {
		return nil
	}
	return d.before.Clone(seed)
}

// Kill ends the programs that use the disk, as kill -9 does: handles die, nothing is lost. Restart follows as after a cut.
func (d *Disk) Kill() { d.locked(d.halt) }

// Restart turns the power on. Connections of before must be closed (ErrInUse): SQLite would open and delete files by name.
func (d *Disk) Restart() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open > 0 {
		return fmt.Errorf("faultdisk: restart: %w: %d", ErrInUse, d.open)
	}
	d.off = false
	return nil
}

func (d *Disk) halt() {
	d.off, d.fuse, d.fuses = true, 0, nil
	d.boot++
	for _, names := range []map[string]*inode{d.live, d.durable} { // a cut brings deleted files back
		for _, n := range names {
			n.locks = nil
		}
	}
}

func (d *Disk) cut() {
	if d.keep {
		d.before = d.clone(0)
	}
	d.halt()
	d.stats.Crashes++
	d.settleEntries()
	d.prune()
	d.live = maps.Clone(d.durable)
	done := map[*inode]bool{}
	for _, name := range slices.Sorted(maps.Keys(d.live)) {
		if n := d.live[name]; !done[n] {
			done[n] = true
			d.settle(n)
		}
	}
}

// settleEntries draws which changes of directories survive.
func (d *Disk) settleEntries() {
	fate, whole := Fate(d.rng.IntN(int(fates))), d.rng.IntN(len(d.pending)+1)
	for i, e := range d.pending {
		keep := false
		switch fate {
		case KeepAll:
			keep = true
		case KeepPrefix:
			keep = i < whole
		case KeepSectors, KeepShuffled:
			keep = d.rng.IntN(2) == 0
		}
		if keep {
			e.apply(d.durable)
			d.stats.EntriesKept++
		} else {
			d.stats.EntriesLost++
		}
	}
	clear(d.pending)
	d.pending = d.pending[:0]
}

// settle draws what is left of a file.
func (d *Disk) settle(n *inode) {
	if len(n.ops) > 0 {
		fate := Fate(d.rng.IntN(int(fates)))
		d.stats.Fates[fate]++
		switch fate {
		case KeepAll:
			d.stats.Kept += n.writes()
			n.flush()
		case KeepNone:
			d.stats.Lost += n.writes()
		case KeepPrefix:
			d.keepPrefix(n)
		case KeepSectors, KeepShuffled:
			d.keepSectors(n, fate)
		}
	}
	n.forget()
	n.data = append(n.data[:0], n.synced...)
}

func (n *inode) writes() int {
	count := 0
	for _, c := range n.ops {
		if !c.truncate {
			count++
		}
	}
	return count
}

func (d *Disk) keepPrefix(n *inode) {
	whole := d.rng.IntN(len(n.ops) + 1)
	for i, c := range n.ops {
		switch {
		case i < whole:
			n.synced = n.settle(n.synced, c)
			d.count(c, 1, 1)
		case i == whole && !c.truncate:
			size := d.tear(c)
			n.synced = writeAt(n.synced, c.off, n.log[c.from:c.from+size])
			d.count(c, size, c.to-c.from)
		default:
			d.count(c, 0, 1)
		}
	}
}

// tear draws how many bytes of a write get through.
func (d *Disk) tear(c change) int {
	size := d.rng.IntN(c.to - c.from + 1)
	if d.rng.IntN(4) > 0 {
		end := (c.off + int64(size)) / SectorSize * SectorSize
		size = int(max(end-c.off, 0))
	}
	return size
}

// count adds a write of which kept parts of all got through.
func (d *Disk) count(c change, kept, all int) {
	switch {
	case c.truncate:
	case kept == 0:
		d.stats.Lost++
	case kept == all:
		d.stats.Kept++
	default:
		d.stats.Torn++
	}
}

// piece is what of a change lies in one sector; a truncation is one piece.
type piece struct {
	change
	of   int // the change's place in the list
	keep bool
}

// pieces cuts a file's changes at the edges of sectors.
func (n *inode) pieces() []piece {
	var out []piece
	for i, c := range n.ops {
		if c.truncate {
			out = append(out, piece{change: c, of: i})
			continue
		}
		for c.from < c.to {
			size := min(int(SectorSize-c.off%SectorSize), c.to-c.from)
			out = append(out, piece{change: change{off: c.off, from: c.from, to: c.from + size}, of: i})
			c.from, c.off = c.from+size, c.off+int64(size)
		}
	}
	return out
}

func (d *Disk) keepSectors(n *inode, fate Fate) {
	// Few losses find other mistakes than many.
	odds := [...]int{2, 16, 32, 62}[d.rng.IntN(4)] // of 64
	pieces, before := n.pieces(), int64(len(n.synced))
	if fate == KeepShuffled {
		d.rng.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
	}
	for i := range pieces {
		p := &pieces[i]
		p.keep = d.rng.IntN(64) < odds
		d.smash(n, p)
		if p.keep {
			n.synced = n.settle(n.synced, p.change)
		} else if !p.truncate && p.off >= before && d.rng.IntN(8) == 0 {
			d.garbage(n, p.off, p.off+int64(p.to-p.from))
		}
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return cmp.Compare(a.of, b.of) })
	for len(pieces) > 0 {
		kept, all := 0, 0
		for all < len(pieces) && pieces[all].of == pieces[0].of {
			if pieces[all].keep {
				kept++
			}
			all++
		}
		d.count(pieces[0].change, kept, all)
		pieces = pieces[all:]
	}
}

// garbage fills a part of the file with it, the file grows as needed.
func (d *Disk) garbage(n *inode, from, to int64) {
	n.synced = resize(n.synced, max(to, int64(len(n.synced))))
	for i := from; i < to; i++ {
		n.synced[i] = byte(d.rng.Uint32())
	}
}

// smash spoils the rest of the sector that a piece is in, see SmashSectors.
func (d *Disk) smash(n *inode, p *piece) {
	end := p.off + int64(p.to-p.from)
	if d.traits&SmashSectors == 0 || p.truncate || end-p.off == SectorSize || d.rng.IntN(4) > 0 {
		return
	}
	first := p.off / SectorSize * SectorSize
	d.garbage(n, min(first, int64(len(n.synced))), min(p.off, int64(len(n.synced))))
	d.garbage(n, min(end, int64(len(n.synced))), min(first+SectorSize, int64(len(n.synced))))
}
