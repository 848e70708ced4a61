package commitlog

// Which segments a log needs, and which rooms keep too many of them.

import (
	"cmp"
	"maps"
	"slices"

	"github.com/denrooms/den/storage/commitlog/segment"
)

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
		relaxed: l.o.Relaxed, id: l.id, generation: l.generation, active: active, crashed: l.recovery.crashed,
		relaxedCrash: l.relaxedCrash, clock: l.clock, segments: segments,
		nameless: maps.Clone(l.recovery.refused),
	}
	c.first = active
	if len(segments) > 0 {
		c.first = segments[0].Number
	}
	c.floor = l.firstNeeded(segments, cmp.Or(active, c.next()))
	return c, obsolete
}

// now returns the time by which segments age. mu is held, or nobody else has the log yet.
func (l *Log) now() int64 { return l.clock.read(l.o.Now()) }

// firstNeeded returns the number of the first segment that has, or may have, unreleased entries; otherwise if there is
// none. mu is held.
func (l *Log) firstNeeded(segments []*logSegment, otherwise uint64) uint64 {
	for _, s := range segments {
		if s.pins > 0 || l.recovery.crashed.has(s.Number) {
			return s.Number
		}
	}
	return otherwise
}

// isObsolete reports whether a segment may be deleted once those before it are. mu is held.
func (l *Log) isObsolete(s *logSegment, now int64) bool {
	return s.pins == 0 && !l.recovery.crashed.has(s.Number) && (s.indexedRooms() == 0 || now-s.sealedAt >= l.o.History.Milliseconds())
}

// canShrink reports whether there is an obsolete segment. mu is held.
func (l *Log) canShrink() bool {
	now := l.now()
	if now < l.retryAfter {
		return false
	}
	return l.activeIsObsolete() || len(l.sealed.list) > 0 && l.isObsolete(l.sealed.list[0], now)
}

// activeIsObsolete reports whether a new, empty segment can replace the active one. mu is held.
func (l *Log) activeIsObsolete() bool {
	return l.active.pins == 0 && l.o.History == 0 && l.active.end > shrinkAbove
}

// findBacklog chooses the rooms to call RequestCheckpoint for if the log is too long: those that keep more than half
// of Options.MaxUnreleased. mu is held.
func (l *Log) findBacklog() {
	if l.o.RequestCheckpoint == nil || l.unreleasedBytes() <= l.o.MaxUnreleased {
		return
	}
	limit, bytes := l.active.Number, int64(0)
	for _, s := range slices.Backward(l.sealed.list) {
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
	for i, s := range l.sealed.list {
		if s.pins > 0 {
			for _, s := range l.sealed.list[i:] {
				bytes += s.Size
			}
			return bytes
		}
	}
	return 0
}
