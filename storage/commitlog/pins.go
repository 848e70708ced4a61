package commitlog

// Which segments have unreleased entries. A room has spans while it is open, and a pin after it was closed with unreleased
// entries. CURRENT keeps the pins across good ends. After a crash all entries count as unreleased, so no pins are needed.

import (
	"slices"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// span is the unreleased entries of an open room in one segment.
type span struct {
	in   *logSegment
	last uint64
}

// pin is a room that was closed with unreleased entries.
type pin struct {
	id      segment.Identity
	segment uint64      // of the oldest
	last    uint64      // number of the newest
	in      *logSegment // that segment; nil in a CURRENT
}

// pins are the pins of a log by Identity.Name, one for each epoch, as they were closed. Log.mu protects them.
type pins map[string][]pin

// restore takes the pins of a CURRENT whose first segment has this number.
func (p pins) restore(stored []pin, first uint64, segments []*logSegment) {
	for _, held := range stored {
		if i := held.segment - first; i < uint64(len(segments)) {
			held.in = segments[i]
			held.in.pins++
			p[held.id.Name] = append(p[held.id.Name], held)
		}
	}
}

// take removes the pin of a room, and returns it as a span; ok is false if the room has none.
func (p pins) take(id *segment.Identity) (s span, ok bool) {
	for i, held := range p[id.Name] {
		if held.id.Key == id.Key {
			p.set(id.Name, slices.Delete(p[id.Name], i, i+1))
			return span{held.in, held.last}, true
		}
	}
	return span{}, false
}

// keep makes a pin of the spans of a room that is closed.
func (p pins) keep(id segment.Identity, spans []span) {
	if len(spans) == 0 {
		return
	}
	for _, s := range spans[1:] {
		s.in.pins--
	}
	in := spans[0].in
	p[id.Name] = append(p[id.Name], pin{id, in.Number, spans[len(spans)-1].last, in})
}

// drop removes the pins of a room in all epochs.
func (p pins) drop(name string) {
	for _, held := range p[name] {
		held.in.pins--
	}
	delete(p, name)
}

func (p pins) set(name string, held []pin) {
	if len(held) == 0 {
		delete(p, name)
		return
	}
	p[name] = held
}

// truncate removes from the pins what a segment has lost: places has what it still has, and gone what it had of rooms
// of which it has nothing now.
func (p pins) truncate(in *logSegment, places *segment.Places, gone map[segment.Key]segment.Place) {
	for name, pins := range p {
		var left []pin
		for _, held := range pins {
			had, lost := gone[held.id.Key]
			switch has := places.Of[held.id.Key]; {
			case has != nil:
				held.last = min(held.last, has.Last)
			case lost && held.in == in:
				in.pins--
				continue
			case lost && !had.Starts:
				held.last = had.First - 1
			}
			left = append(left, held)
		}
		p.set(name, left)
	}
}
