package commitlog

// What a failed sync takes from a Relaxed log.

import "github.com/denrooms/den/storage/commitlog/segment"

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
	l.pins.truncate(a.logSegment, &a.index, gone)
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
	segments := l.sealed.list
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
