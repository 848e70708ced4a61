package commitlog

// Where to look for a room that is nowhere but in the log. Its key is a hash of its epoch too, so
// the log finds nothing by a name alone.

import (
	"slices"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// Candidates says what the log may have of a room whose epoch is not known. epoch is the one in
// which it was closed with unreleased entries, the last one if there are several, "" if it was not.
// from and to are the generations, the oldest and the newest, that may have left it entries when
// they crashed; 0, 0: none. ErrLost: a file of these is missing, or damaged so that it is not known
// whose entries it had.
func (l *Log) Candidates(namespace, room string) (epoch string, from, to uint64, err error) {
	name := segment.Identify(namespace, room, "").Name
	l.mu.Lock()
	defer l.mu.Unlock()
	if pins := l.pins[name]; len(pins) > 0 {
		epoch = pins[len(pins)-1].id.Epoch
	}
	if _, done := l.recovery.recoveredNames[name]; done {
		return epoch, 0, 0, nil
	}
	for _, g := range l.segments {
		switch {
		case !l.recovery.has(g.Number):
			continue
		case g.lost(), g.holeEnd() > 0:
			return "", 0, 0, g.lostError()
		case to == 0:
			from, to = g.generation, l.recovery.generation
		}
	}
	return epoch, from, to, nil
}

// Pinned gives the rooms that were closed with unreleased entries: for range it.
func (l *Log) Pinned(yield func(namespace, room string) bool) {
	l.mu.Lock()
	all := make([]segment.Identity, 0, len(l.pins))
	for _, pins := range l.pins {
		all = append(all, pins[0].id)
	}
	l.mu.Unlock()
	slices.SortFunc(all, compareNames)
	for _, who := range all {
		if !yield(who.Namespace, who.Room) {
			return
		}
	}
}
