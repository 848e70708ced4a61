package commitlog

// Rotation: the active segment is sealed, the next one is begun, and obsolete segments are deleted. The leader does
// all of this, in steps of which each may fail and be repeated.

import (
	"maps"
	"os"
	"slices"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// replaceFailed replaces an active segment that can no longer be written. ErrIO or ErrFull: that did not succeed.
func (l *Log) replaceFailed() error {
	l.mu.Lock()
	failed := !l.closed && (l.active.failed || l.active.sealed)
	l.mu.Unlock()
	if !failed {
		return nil
	}
	return l.exclusively(func() error {
		if l.closed || !l.active.failed && !l.active.sealed {
			return nil
		}
		return l.rotate()
	})
}

// rotate seals the active segment and begins the next.
func (l *Log) rotate() error {
	if err := l.sealActive(); err != nil {
		return err
	}
	a := l.active
	if l.pending == nil {
		next, err := l.createSegment(a.Number + 1)
		if err != nil {
			return err
		}
		l.pending = next
	}
	l.checkRecovered()
	l.mu.Lock()
	c, obsolete := l.nextCurrent(append(slices.Clone(l.segments), a.logSegment), l.pending.Number)
	l.mu.Unlock()
	if err := l.writeCurrent(c); err != nil {
		return err
	}
	l.mu.Lock()
	l.segments, l.active, l.pending = c.segments, l.pending, nil
	l.stats.Rotations++
	l.findBacklog()
	l.mu.Unlock()
	l.removeObsolete(obsolete)
	return nil
}

// sealActive seals the active segment.
func (l *Log) sealActive() error {
	a := l.active
	if a.sealed {
		return nil
	}
	if a.failed {
		return l.rewriteActive(a)
	}
	footer, filter := a.index.Footer(a.Salt)
	size := a.end + int64(len(footer))
	_, err := a.file.WriteAt(footer, a.end)
	if err == nil && a.allocated-size > maxSealedZeros { // to free a few takes long and gains little
		err = a.file.Truncate(size)
	}
	if err != nil {
		a.allocated = a.end
		return failure("sealing "+segment.Name(a.Number), err)
	}
	if err := l.syncActive(a.end); err != nil {
		return err
	}
	a.close()
	l.markSealed(a, a.end, size, filter)
	return nil
}

// markSealed notes that a segment is sealed. at is the offset of the index of the whole segment.
func (l *Log) markSealed(a *active, at, size int64, filter segment.Filter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.Size, a.tail, a.sealedAt, a.unindexed = size, at, l.now(), nil
	if len(a.index.Of) > 0 {
		x := &index{Index: segment.Index{Offset: uint32(at), Rooms: uint32(len(a.index.Of))}}
		l.addFilter(x, filter)
		a.indexes = []*index{x}
	}
	a.sealed, a.failed = true, false
}

// rewriteActive reads the acknowledged part of a segment, checks it, and writes it into a new file in its place:
// after a failed sync the content of the old file is unknown.
func (l *Log) rewriteActive(a *active) error {
	name := segment.Name(a.Number)
	f, err := l.o.FS.Open(l.path(a.Number), os.O_RDONLY)
	if err != nil {
		return failure("opening "+name, err)
	}
	defer f.Close()
	sure := a.end
	if l.o.Durability == Relaxed {
		sure = a.synced
	}
	s, err := a.Scan(f, sure, a.end, nil)
	if err != nil {
		return failure("reading "+name, err)
	}
	l.logDamage(a.Number, s)
	if s.End < a.end {
		l.dropUnsynced(a, s)
	}
	footer, filter := a.index.Footer(a.Salt)
	temp := l.path(a.Number) + ".tmp"
	if err := l.writeFile(temp, func(to vfs.File) error {
		if err := s.CopyTo(to, a.end); err != nil {
			return err
		}
		_, err := to.WriteAt(footer, a.end)
		return err
	}); err != nil {
		return failure("rewriting "+name, err)
	}
	a.close()
	if err := l.o.FS.Rename(temp, l.path(a.Number)); err != nil {
		return failure("replacing "+name, err)
	}
	if err := l.syncDir(); err != nil {
		return failure("syncing the directory", err)
	}
	l.markSealed(a, a.end, a.end+int64(len(footer)), filter)
	l.mu.Lock()
	l.stats.Rewritten++
	l.mu.Unlock()
	l.o.Logger.Info("commit log: a segment was rewritten after a failed sync", "file", name)
	return nil
}

// dropUnsynced drops the entries of a Relaxed log that a failed sync has lost. The files of their rooms may have
// them, so these rooms may go on with any number.
func (l *Log) dropUnsynced(a *active, s *segment.Scan) {
	l.o.Logger.Error("commit log: entries that were not synced yet are lost", "file", segment.Name(a.Number), "bytes", a.end-s.End)
	l.mu.Lock()
	a.end, a.chain = s.End, s.Chain
	gone := make(map[segment.Key]segment.Place) // what the segment had of rooms of which it has nothing now
	for k, p := range a.index.Of {
		if int64(p.At) < s.End {
			continue
		}
		if was := s.Places.Of[k]; was != nil {
			*p = *was
		} else {
			gone[k] = *p
			delete(a.index.Of, k)
		}
	}
	l.truncatePins(a, gone)
	var elsewhere []*Room
	for k, r := range l.rooms {
		if r.lastIn != a.logSegment {
			continue
		}
		r.anyNumber = true
		if p := a.index.Of[k]; p != nil {
			r.last, r.lastAt, r.lastCRC = p.Last, p.At, p.CRC
		} else {
			r.lastIn, r.lastAt, r.lastCRC, r.last = nil, 0, 0, 0
			elsewhere = append(elsewhere, r)
		}
		r.truncateSpans(a.logSegment)
	}
	segments := l.segments
	l.mu.Unlock()
	for _, r := range elsewhere {
		if err := r.findLast(segments); err != nil {
			l.o.Logger.Error("commit log: a room's older entries cannot be found", "namespace", r.id.Namespace, "room", r.id.Room, "error", err)
		}
	}
}

// truncateSpans removes from the room's span in a segment what the segment no longer has. mu is held.
func (r *Room) truncateSpans(in *logSegment) {
	newest := len(r.spans) - 1
	switch {
	case newest < 0 || r.spans[newest].in != in:
	case r.lastIn == in:
		r.spans[newest].last = min(r.spans[newest].last, r.last)
	default:
		r.spans = r.spans[:newest]
		in.pins--
	}
}

// truncatePins does for closed rooms what truncateSpans does for open ones. mu is held.
func (l *Log) truncatePins(a *active, gone map[segment.Key]segment.Place) {
	for name, pins := range l.pins {
		var left []pin
		for _, p := range pins {
			had, lost := gone[p.id.Key]
			switch has := a.index.Of[p.id.Key]; {
			case has != nil:
				p.last = min(p.last, has.Last)
			case lost && p.segment == a.Number:
				a.pins--
				continue
			case lost && !had.Starts:
				p.last = had.First - 1
			}
			left = append(left, p)
		}
		l.setPins(name, left)
	}
}

// nextCurrent returns a CURRENT that names the given sealed segments and the active one, 0 for none. It leaves out
// the obsolete segments, and returns them. mu is held, or nobody else has the log yet.
func (l *Log) nextCurrent(segments []*logSegment, active uint64) (c *current, obsolete []*logSegment) {
	now, n := l.now(), 0
	most := len(segments)
	if active == 0 { // one stays, because its header tells the log and the generation
		most--
	}
	for n < most && l.isObsolete(segments[n], now) {
		n++
	}
	obsolete, segments = segments[:n], segments[n:]
	c = &current{
		relaxed: l.o.Durability == Relaxed, id: l.id, generation: l.generation, active: active, crashed: l.recovery.crashRange,
		relaxedCrash: l.relaxedCrash, clock: l.clock, segments: segments,
		nameless: maps.Clone(l.nameless),
	}
	switch {
	case len(segments) > 0:
		c.first = segments[0].Number
	default:
		c.first = active
	}
	c.floor = c.next()
	if active != 0 {
		c.floor = active
	}
	for _, s := range segments {
		if s.pins > 0 || l.recovery.has(s.Number) {
			c.floor = s.Number
			break
		}
	}
	return c, obsolete
}

// now returns the time by which segments age. mu is held, or nobody else has the log yet.
func (l *Log) now() int64 { return l.clock.read(l.o.Now()) }

// isObsolete reports whether a segment may be deleted once those before it are. mu is held.
func (l *Log) isObsolete(s *logSegment, now int64) bool {
	return s.pins == 0 && !l.recovery.has(s.Number) && (s.indexedRooms() == 0 || now-s.sealedAt >= l.o.History.Milliseconds())
}

// removeObsolete deletes segments that CURRENT no longer names. The next Open deletes those that cannot be deleted
// now.
func (l *Log) removeObsolete(obsolete []*logSegment) {
	l.mu.Lock()
	for _, s := range obsolete {
		l.dropFilters(s)
	}
	l.mu.Unlock()
	for _, s := range obsolete {
		if err := l.removeIfThere(l.path(s.Number)); err != nil {
			l.o.Logger.Warn("commit log: an obsolete segment cannot be removed", "file", segment.Name(s.Number), "error", err)
			return // the numbers must have no gap, or a segment counts as lost if CURRENT has to be made again
		}
	}
}

// maybeShrink deletes obsolete segments, if there are any. If look, it first looks for the next unrecovered room.
func (l *Log) maybeShrink(look bool) {
	if look {
		l.checkRecovered()
	}
	l.mu.Lock()
	sweep := !l.closed && l.canShrink()
	l.mu.Unlock()
	if sweep {
		if err := l.exclusively(l.shrink); err != nil {
			l.o.Logger.Warn("commit log: obsolete segments cannot be removed", "error", err)
		}
	}
}

// canShrink reports whether there is an obsolete segment. mu is held.
func (l *Log) canShrink() bool {
	now := l.now()
	if now < l.retryAfter {
		return false
	}
	return l.activeIsObsolete() || len(l.segments) > 0 && l.isObsolete(l.segments[0], now)
}

// activeIsObsolete reports whether a new, empty segment can replace the active one. mu is held.
func (l *Log) activeIsObsolete() bool {
	return l.active.pins == 0 && l.o.History == 0 && l.active.end > shrinkAbove
}

// shrink deletes obsolete segments. It runs exclusively.
func (l *Log) shrink() error {
	l.mu.Lock()
	wanted, rotate := !l.closed && l.canShrink(), l.activeIsObsolete() || l.active.failed || l.active.sealed
	c, obsolete := l.nextCurrent(l.segments, l.active.Number)
	l.mu.Unlock()
	var err error
	switch {
	case !wanted:
		return nil
	case rotate:
		err = l.rotate()
	default:
		if err = l.writeCurrent(c); err == nil {
			l.mu.Lock()
			l.segments = c.segments
			l.mu.Unlock()
			l.removeObsolete(obsolete)
		}
	}
	if err != nil {
		l.mu.Lock()
		l.retryAfter = l.now() + shrinkRetry.Milliseconds()
		l.mu.Unlock()
	}
	return err
}

// findBacklog chooses the rooms to call RequestCheckpoint for if the log is too long: those that keep more than half
// of Options.MaxUnreleased. mu is held.
func (l *Log) findBacklog() {
	if l.o.RequestCheckpoint == nil || l.unreleasedBytes() <= l.o.MaxUnreleased {
		return
	}
	limit, bytes := l.active.Number, int64(0)
	for _, s := range slices.Backward(l.segments) {
		if bytes += s.Size; bytes > l.o.MaxUnreleased/2 {
			break
		}
		limit = s.Number
	}
	for _, r := range l.rooms {
		if len(r.spans) > 0 && r.spans[0].in.Number < limit {
			l.backlog = append(l.backlog, r.id)
		}
	}
	for _, pins := range l.pins {
		for _, p := range pins {
			if p.segment < limit {
				l.backlog = append(l.backlog, p.id)
			}
		}
	}
	slices.SortFunc(l.backlog, compareNames)
	l.backlog = slices.CompactFunc(l.backlog, func(a, b segment.Identity) bool { return a.Name == b.Name })
}

// unreleasedBytes returns the size of the segments from the oldest unreleased entry on. Segments that are kept only
// for unrecovered rooms do not count. mu is held.
func (l *Log) unreleasedBytes() (bytes int64) {
	for i, s := range l.segments {
		if s.pins > 0 {
			for _, s := range l.segments[i:] {
				bytes += s.Size
			}
			return bytes
		}
	}
	return 0
}
