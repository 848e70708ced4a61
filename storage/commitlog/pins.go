package commitlog

// Pins: rooms that were closed with unreleased entries. A pin keeps the segments from the oldest of these entries on,
// across good ends. After a crash all entries count as unreleased, so the pins are not needed then.

import (
	"slices"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// pin is a room that was closed with unreleased entries.
type pin struct {
	id      segment.Identity
	segment uint64 // of the oldest
	last    uint64 // number of the newest
}

// restorePins takes the pins from CURRENT.
func (l *Log) restorePins(pins []pin) {
	for _, p := range pins {
		if s := l.sealedSegment(p.segment); s != nil {
			s.pins++
			l.pins[p.id.Name] = append(l.pins[p.id.Name], p)
		}
	}
}

// adoptPin makes the room's pin the first of its spans. mu is held.
func (r *Room) adoptPin() {
	l := r.log
	for i, p := range l.pins[r.id.Name] {
		if p.id.Key != r.id.Key {
			continue
		}
		if in := l.segmentOrActive(p.segment); in != nil {
			r.spans = []span{{in, p.last}}
		}
		l.setPins(r.id.Name, slices.Delete(l.pins[r.id.Name], i, i+1))
		return
	}
}

// keepPin makes a pin of the spans of a room that is closed. mu is held.
func (l *Log) keepPin(r *Room) {
	if len(r.spans) == 0 {
		return
	}
	p := pin{r.id, r.spans[0].in.Number, r.spans[len(r.spans)-1].last}
	for _, s := range r.spans[1:] {
		s.in.pins--
	}
	r.spans = nil
	l.pins[r.id.Name] = append(l.pins[r.id.Name], p)
}

// dropPins removes the pins of a room in all epochs. mu is held.
func (l *Log) dropPins(name string) {
	for _, p := range l.pins[name] {
		if in := l.segmentOrActive(p.segment); in != nil {
			in.pins--
		}
	}
	delete(l.pins, name)
}

func (l *Log) setPins(name string, pins []pin) {
	if len(pins) == 0 {
		delete(l.pins, name)
		return
	}
	l.pins[name] = pins
}

// Pinned iterates over the rooms that were closed with unreleased entries: for range l.Pinned. They are sorted.
func (l *Log) Pinned(yield func(namespace, room string) bool) {
	l.mu.Lock()
	all := make([]segment.Identity, 0, len(l.pins))
	for _, pins := range l.pins {
		all = append(all, pins[0].id)
	}
	l.mu.Unlock()
	slices.SortFunc(all, compareNames)
	for _, id := range all {
		if !yield(id.Namespace, id.Room) {
			return
		}
	}
}
