package commitlog

// Where to look for a room that is nowhere but in the log. Its key is a hash of its epoch too, so
// the log finds nothing by a name alone.

import (
	"encoding/binary"
	"slices"
)

// Traces says what the log may have of a room whose epoch is not known. epoch is the one in
// which it was closed with unreleased entries, the last one if there are several, "" if it was not. from and to are the generations,
// the oldest and the newest, that may have left it entries when they crashed; 0, 0: none. The
// errors are ErrIO, ErrCorrupt and ErrLost.
func (l *Log) Traces(namespace, room string) (epoch string, from, to uint64, err error) {
	name := identify(namespace, room, "").name
	l.mu.Lock()
	if pins := l.pins[name]; len(pins) > 0 {
		epoch = pins[len(pins)-1].who.epoch
	}
	s, from, first := l.crashed.suspects, l.crashed.oldest, (*segment)(nil)
	if _, done := l.crashed.names[name]; done {
		s = suspects{}
	}
	for _, g := range l.segments {
		if s.has(g.number) {
			first = g
			break
		}
	}
	l.mu.Unlock()
	if first == nil {
		return epoch, 0, 0, nil
	}
	if from == 0 {
		if from, err = l.generationOf(first); err != nil {
			return "", 0, 0, err
		}
		l.mu.Lock()
		if l.crashed.suspects == s {
			l.crashed.oldest = from
		}
		l.mu.Unlock()
	}
	return epoch, from, s.generation, nil
}

// generationOf reads in a segment which generation began it.
func (l *Log) generationOf(s *segment) (uint64, error) {
	if s.lost {
		return 0, lost(s.number)
	}
	f, err := l.openSegment(s.number)
	if f == nil || err != nil {
		return 0, err
	}
	defer f.Close()
	b := make([]byte, segmentHeader)
	if err := s.readAt(f, b, 0); err != nil {
		return 0, err
	}
	if _, err := checkSegmentHeader(b, l.id, s.number); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[40:]), nil
}

// Pinned gives the rooms that were closed with unreleased entries: for range it.
func (l *Log) Pinned(yield func(namespace, room string) bool) {
	l.mu.Lock()
	all := make([]identity, 0, len(l.pins))
	for _, pins := range l.pins {
		all = append(all, pins[0].who)
	}
	l.mu.Unlock()
	slices.SortFunc(all, compareNames)
	for _, who := range all {
		if !yield(who.namespace, who.room) {
			return
		}
	}
}
