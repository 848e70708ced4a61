package commitlog

// From one segment to the next: when one is full, when a sync of it has failed, and when all
// that it holds was released; and what becomes of the old ones. All of it is done by whoever
// leads, in steps of which each can fail and be done again.

import (
	"maps"
	"os"
	"slices"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// heal leaves a segment that cannot be written any more. ErrIO or ErrFull: it still cannot.
func (l *Log) heal() error {
	l.mu.Lock()
	sick := !l.ended && (l.active.bad || l.active.done)
	l.mu.Unlock()
	if !sick {
		return nil
	}
	return l.turn(func() error {
		if l.ended || !l.active.bad && !l.active.done {
			return nil
		}
		return l.advance()
	})
}

// advance leaves the active segment and begins the next.
func (l *Log) advance() error {
	if err := l.finish(); err != nil {
		return err
	}
	a := l.active
	if l.next == nil {
		next, err := l.create(a.Number + 1)
		if err != nil {
			return err
		}
		l.next = next
	}
	l.lookForRecovered()
	l.mu.Lock()
	c, doomed := l.describe(append(slices.Clone(l.segments), a.logSegment), l.next.Number)
	l.mu.Unlock()
	if err := l.writeCurrent(c); err != nil {
		return err
	}
	l.mu.Lock()
	l.segments, l.active, l.next = c.segments, l.next, nil
	l.stats.Rotations++
	l.choosePressed()
	l.mu.Unlock()
	l.discard(doomed)
	return nil
}

// finish makes the active segment one that is done.
func (l *Log) finish() error {
	a := l.active
	if a.done {
		return nil
	}
	if a.bad {
		return l.rewrite(a)
	}
	footer, keep := a.index.Footer(a.Salt)
	size := a.end + int64(len(footer))
	_, err := a.file.WriteAt(footer, a.end)
	if err == nil && a.zeroed-size > zerosLeft { // to free a few would take long and gain little
		err = a.file.Truncate(size)
	}
	if err != nil {
		a.zeroed = a.end
		return failure("sealing "+segment.Name(a.Number), err)
	}
	if err := l.syncActive(); err != nil {
		return err
	}
	a.close()
	l.finished(a, a.end, size, keep)
	return nil
}

// finished notes that a segment is done, with the index of all of it at an offset.
func (l *Log) finished(a *active, at, size int64, keep segment.Filter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.Size, a.tail, a.newest, a.touched = size, at, l.now(), nil
	if len(a.index.Of) > 0 {
		x := &index{Index: segment.Index{Offset: uint32(at), Rooms: uint32(len(a.index.Of))}}
		l.keepFilter(x, keep)
		a.indexes = []*index{x}
	}
	a.done, a.bad = true, false
}

// rewrite puts the acknowledged part of a segment, read and checked again, into a fresh file
// in its place: after a failed sync nothing is known of the old one.
func (l *Log) rewrite(a *active) error {
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
	l.complain(a.Number, s)
	if s.End < a.end {
		l.fallBack(a, s)
	}
	footer, keep := a.index.Footer(a.Salt)
	temp := l.path(a.Number) + ".tmp"
	if err := l.writeFile(temp, func(to vfs.File) error {
		if err := s.CopyTo(to, a.end); err != nil {
			return err
		}
		_, err := to.WriteAt(footer, a.end)
		return err
	}); err != nil {
		return failure("writing "+name+" anew", err)
	}
	a.close()
	if err := l.o.FS.Rename(temp, l.path(a.Number)); err != nil {
		return failure("replacing "+name, err)
	}
	if err := l.syncDir(); err != nil {
		return failure("syncing the directory", err)
	}
	l.finished(a, a.end, a.end+int64(len(footer)), keep)
	l.mu.Lock()
	l.stats.Healed++
	l.mu.Unlock()
	l.o.Logger.Info("commit log: a segment was written anew after a failed sync", "file", name)
	return nil
}

// fallBack forgets the entries of a Relaxed log that a failed sync has lost. Their rooms may
// be ahead of the log then: they go on with any number.
func (l *Log) fallBack(a *active, s *segment.Scan) {
	l.o.Logger.Error("commit log: entries that were not synced yet are lost", "file", segment.Name(a.Number), "bytes", a.end-s.End)
	l.mu.Lock()
	a.end, a.chain = s.End, s.Chain
	gone := make(map[segment.Key]segment.Place) // rooms of which the segment has nothing any more, and what it had
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
	l.shortenPins(a, gone)
	var elsewhere []*Room
	for k, r := range l.attached {
		if r.in != a.logSegment {
			continue
		}
		r.any = true
		if p := a.index.Of[k]; p != nil {
			r.last, r.at, r.crc = p.Last, p.At, p.CRC
		} else {
			r.in, r.at, r.crc, r.last = nil, 0, 0, 0
			elsewhere = append(elsewhere, r)
		}
		r.shorten(a.logSegment)
	}
	segments := l.segments
	l.mu.Unlock()
	for _, r := range elsewhere {
		if err := r.locate(segments); err != nil {
			l.o.Logger.Error("commit log: a room's older entries cannot be found", "namespace", r.who.Namespace, "room", r.who.Room, "error", err)
		}
	}
}

// shorten leaves of what the room has not released in a segment no more than the segment has. mu is held.
func (r *Room) shorten(in *logSegment) {
	newest := len(r.spans) - 1
	switch {
	case newest < 0 || r.spans[newest].in != in:
	case r.in == in:
		r.spans[newest].last = min(r.spans[newest].last, r.last)
	default:
		r.spans = r.spans[:newest]
		in.pins--
	}
}

// shortenPins is shorten for rooms that are closed. mu is held.
func (l *Log) shortenPins(a *active, gone map[segment.Key]segment.Place) {
	for name, pins := range l.pins {
		var left []pin
		for _, p := range pins {
			had, lost := gone[p.who.Key]
			switch has := a.index.Of[p.who.Key]; {
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

// describe makes the content of CURRENT: the segments that are done and the active one, 0 for
// none. Those that nobody needs any more are left out and returned too. mu is held, or nobody
// else has the log yet.
func (l *Log) describe(segments []*logSegment, active uint64) (c *current, doomed []*logSegment) {
	now, n := l.now(), 0
	most := len(segments)
	if active == 0 { // one stays: it says which log this is, and which generation
		most--
	}
	for n < most && l.expendable(segments[n], now) {
		n++
	}
	doomed, segments = segments[:n], segments[n:]
	c = &current{
		relaxed: l.o.Durability == Relaxed, id: l.id, generation: l.generation, active: active, crashed: l.crashed.suspects,
		unsynced: l.unsynced, clock: l.clock, segments: segments,
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
		if s.pins > 0 || l.crashed.has(s.Number) {
			c.floor = s.Number
			break
		}
	}
	return c, doomed
}

// now is the time by which segments age. mu is held, or nobody else has the log yet.
func (l *Log) now() int64 { return l.clock.read(l.o.Now()) }

// expendable tells whether a segment may be deleted once those before it are. mu is held.
func (l *Log) expendable(s *logSegment, now int64) bool {
	return s.pins == 0 && !l.crashed.has(s.Number) && (s.rooms() == 0 || now-s.newest >= l.o.History.Milliseconds())
}

// discard deletes files that CURRENT does not name any more. One that cannot be deleted is
// deleted by the next Open.
func (l *Log) discard(doomed []*logSegment) {
	l.mu.Lock()
	for _, s := range doomed {
		l.dropFilters(s)
	}
	l.mu.Unlock()
	for _, s := range doomed {
		if err := l.removeIfThere(l.path(s.Number)); err != nil {
			l.o.Logger.Warn("commit log: segments that are not needed any more stay", "file", segment.Name(s.Number), "error", err)
			return // what stays has no holes: none is missed if CURRENT has to be made again
		}
	}
}

// tidy looks for rooms that still wait after a crash, if somebody has seen that it is time,
// and then deletes what is not needed any more.
func (l *Log) tidy(look bool) {
	if look {
		l.lookForRecovered()
	}
	l.mu.Lock()
	sweep := !l.ended && l.wantsSweep()
	l.mu.Unlock()
	if sweep {
		if err := l.turn(l.sweep); err != nil {
			l.o.Logger.Warn("commit log: old segments stay", "error", err)
		}
	}
}

// wantsSweep tells whether there is something to delete. mu is held.
func (l *Log) wantsSweep() bool {
	now := l.now()
	if now < l.quiet {
		return false
	}
	return l.idle() || len(l.segments) > 0 && l.expendable(l.segments[0], now)
}

// idle tells whether the active segment can be left for an empty one. mu is held.
func (l *Log) idle() bool {
	return l.active.pins == 0 && l.o.History == 0 && l.active.end > shrinkAbove
}

// sweep deletes what is not needed any more. It is a turn.
func (l *Log) sweep() error {
	l.mu.Lock()
	wanted, idle := !l.ended && l.wantsSweep(), l.idle() || l.active.bad || l.active.done
	c, doomed := l.describe(l.segments, l.active.Number)
	l.mu.Unlock()
	var err error
	switch {
	case !wanted:
		return nil
	case idle:
		err = l.advance()
	default:
		if err = l.writeCurrent(c); err == nil {
			l.mu.Lock()
			l.segments = c.segments
			l.mu.Unlock()
			l.discard(doomed)
		}
	}
	if err != nil {
		l.mu.Lock()
		l.quiet = l.now() + sweepPause.Milliseconds()
		l.mu.Unlock()
	}
	return err
}

// choosePressed chooses the rooms that are to checkpoint, if the log is too long: those that
// hold more than half of what it may be. mu is held.
func (l *Log) choosePressed() {
	if l.o.Pressure == nil || l.unreleased() <= l.o.MaxUnreleased {
		return
	}
	limit, bytes := l.active.Number, int64(0)
	for _, s := range slices.Backward(l.segments) {
		if bytes += s.Size; bytes > l.o.MaxUnreleased/2 {
			break
		}
		limit = s.Number
	}
	for _, r := range l.attached {
		if len(r.spans) > 0 && r.spans[0].in.Number < limit {
			l.pressed = append(l.pressed, r.who)
		}
	}
	for _, pins := range l.pins {
		for _, p := range pins {
			if p.segment < limit {
				l.pressed = append(l.pressed, p.who)
			}
		}
	}
	slices.SortFunc(l.pressed, compareNames)
	l.pressed = slices.CompactFunc(l.pressed, func(a, b segment.Identity) bool { return a.Name == b.Name })
}

// unreleased is how many bytes there are from the oldest unreleased entry's segment on, but
// for those that wait for a recovery. mu is held.
func (l *Log) unreleased() (bytes int64) {
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
