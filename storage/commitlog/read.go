package commitlog

// Reading a room's entries: forwards to bring its file up to date, backwards for its past.

import (
	"cmp"
	"errors"
	"fmt"
)

// run is what one segment holds of a room.
type run struct {
	in *segment
	place
	broken bool // there are others before first, which cannot be read
}

// walk goes through a room's runs, from the newest to the oldest, as long as they follow
// each other.
type walk struct {
	r        *Room
	segments []*segment
	newest   *run   // in the active segment
	oldest   uint64 // number that was come to
	failed   error  // why there is nothing before it
}

// walk begins at the newest run.
func (r *Room) walk() (*walk, error) {
	if err := r.log.heal(); err != nil {
		return nil, err
	}
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.closed || l.ended {
		return nil, closed()
	}
	if r.in == nil && r.unsure != nil {
		return nil, r.unsure
	}
	w := &walk{r: r}
	if p := l.active.index.of[r.who.key]; p != nil {
		w.newest = &run{in: l.active.segment, place: *p}
	}
	for _, s := range l.segments {
		if r.in != nil && s.number <= r.in.number {
			w.segments = append(w.segments, s)
		}
	}
	return w, nil
}

// next gives the next run, ok is false behind the last.
func (w *walk) next() (next run, ok bool, err error) {
	if w.newest != nil {
		next, w.newest = *w.newest, nil
		return w.take(next), true, nil
	}
	var hole error
	for w.failed == nil && w.oldest != 1 && len(w.segments) > 0 {
		s := w.segments[len(w.segments)-1]
		w.segments = w.segments[:len(w.segments)-1]
		if s.lost {
			if s.missing() { // what comes before w.oldest may have been there
				hole = cmp.Or(hole, s.needed())
			}
			continue
		}
		next, found, err := w.find(s)
		if err != nil {
			return run{}, false, err
		}
		if found && (w.oldest == 0 || next.last+1 == w.oldest) {
			return w.take(next), true, nil
		}
		if int64(next.at) < s.holeEnd() { // or there
			hole = cmp.Or(hole, s.needed())
		}
		if found {
			break
		}
	}
	w.failed = cmp.Or(w.failed, hole)
	return run{}, false, w.failed
}

// take goes on before a run.
func (w *walk) take(n run) run {
	w.oldest = n.first
	if n.starts {
		w.segments = nil
	}
	return n
}

// find finds the room in a segment that is done.
func (w *walk) find(s *segment) (run, bool, error) {
	p, f, err := w.r.log.lookup(s, w.r.who.key)
	if f == nil || err != nil {
		return run{}, false, err
	}
	defer f.Close()
	r := s.rootReader(f)
	root, err := r.header(int64(p.root), p.key, forwards)
	if err == nil {
		p.first, p.starts = root.number, root.flags&flagStarts != 0
		return run{in: s, place: p}, true, nil
	}
	if !errors.Is(err, ErrCorrupt) {
		return run{}, false, err
	}
	w.failed = err
	p.first = p.last
	for at := p.at; ; {
		rec, err := r.header(int64(at), p.key, backwards)
		if err == nil && (rec.previous == 0 || rec.previous >= at || rec.number != p.first) {
			return run{in: s, place: p, broken: true}, true, nil
		}
		if err == nil {
			_, err = r.header(int64(rec.previous), p.key, backwards)
		}
		if errors.Is(err, ErrCorrupt) {
			return run{in: s, place: p, broken: true}, true, nil
		}
		if err != nil {
			return run{}, false, err
		}
		p.first, at = p.first-1, rec.previous
	}
}

// Range says which numbers the log holds for the room, without a gap between them; 0, 0: none.
// Where a file of the log is missing, or damaged, it begins behind that, if it has anything behind
// it. Whether the entries themselves are damaged is not looked for. The errors are those of Replay.
func (r *Room) Range() (first, last uint64, err error) {
	w, err := r.walk()
	if err != nil {
		return 0, 0, err
	}
	for {
		next, ok, err := w.next()
		if !ok && (err == nil || last != 0 && w.failed != nil) {
			return first, last, nil
		}
		if err != nil {
			return 0, 0, err
		}
		if last == 0 {
			last = next.last
		}
		first = next.first
	}
}

// Replay calls fn for the entries with a number above after, in order. Payload is valid until
// fn returns. An error of fn ends it and is returned. ErrGap: there are such entries, and the
// first of them are missing; fn was not called. ErrCorrupt: an entry is not what was
// appended. ErrLost: a file with some of them is missing, or may have had some; or it is not known
// whose entries were damaged that it had. ErrIO, ErrClosed.
func (r *Room) Replay(after uint64, fn func(Entry) error) error {
	w, err := r.walk()
	if err != nil {
		return err
	}
	var runs []run
	for {
		next, ok, err := w.next()
		if err != nil {
			return err
		}
		if !ok || len(runs) == 0 && next.last <= after {
			break
		}
		if runs = append(runs, next); next.first <= after+1 {
			break
		}
	}
	if len(runs) == 0 {
		return nil
	}
	if first := runs[len(runs)-1].first; first > after+1 {
		return fmt.Errorf("commitlog: %w: %d to %d", ErrGap, after+1, first-1)
	}
	var crc uint32
	var s reader
	for i := len(runs) - 1; i >= 0; i-- {
		if crc, err = r.replayRun(&s, &runs[i], after, crc, fn); err != nil {
			return err
		}
	}
	return nil
}

// replayRun replays what one segment holds above after. chain is the checksum of the entry
// before, 0 if it was not read.
func (r *Room) replayRun(s *reader, n *run, after uint64, chain uint32, fn func(Entry) error) (uint32, error) {
	there, err := r.read(n, s)
	if err != nil {
		return 0, err
	}
	if !there {
		return 0, fmt.Errorf("commitlog: %w: they were deleted meanwhile", ErrGap)
	}
	defer s.f.Close()
	wanted := max(after+1, n.first)
	places, err := s.places(r.who.key, n, wanted)
	if err != nil {
		return 0, err
	}
	for i := len(places) - 1; i >= 0; i-- {
		rec, e, err := s.entry(int64(places[i]), r.who.key)
		if err != nil {
			return 0, err
		}
		if rec.number != wanted || chain != 0 && rec.roomChain != chain || i == 0 && rec.crc != n.crc {
			return 0, s.corrupt(int64(places[i]), "the room's chain is broken")
		}
		wanted++
		chain = rec.crc
		if err := fn(e); err != nil {
			return 0, err
		}
	}
	return chain, nil
}

// places are the offsets of the run's records from number from on, the newest first.
func (s *reader) places(k key, n *run, from uint64) ([]uint32, error) {
	var places []uint32
	at := n.at
	for number := n.last; ; number-- {
		rec, err := s.header(int64(at), k, backwards)
		if err != nil {
			return nil, err
		}
		if rec.number != number || rec.previous >= at {
			return nil, s.corrupt(int64(at), "the room's chain is broken")
		}
		places = append(places, at)
		if number == from {
			return places, nil
		}
		if at = rec.previous; at == 0 {
			return nil, s.corrupt(int64(n.at), "the room's chain ends too early")
		}
	}
}

// Backward calls fn for the room's entries from the newest to the oldest that the log holds,
// until fn says that it wants no more. Payload is valid until fn returns. Others may append
// meanwhile; what they append is not seen. Errors as Replay, without ErrGap.
func (r *Room) Backward(fn func(Entry) (more bool, err error)) error {
	w, err := r.walk()
	if err != nil {
		return err
	}
	chain := uint32(0)
	var s reader
	for {
		next, ok, err := w.next()
		if err != nil || !ok {
			return err
		}
		if chain != 0 && next.crc != chain {
			return corrupt(segmentName(next.in.number), int64(next.at), "the room's chain is broken")
		}
		more := false
		if chain, more, err = r.backwardRun(&s, &next, fn); err != nil || !more {
			return err
		}
	}
}

// backwardRun goes through one segment.
func (r *Room) backwardRun(s *reader, n *run, fn func(Entry) (bool, error)) (chain uint32, more bool, err error) {
	there, err := r.read(n, s)
	if !there || err != nil {
		return 0, false, err
	}
	defer s.f.Close()
	at, chain := n.at, n.crc
	for number := n.last; ; number-- {
		rec, e, err := s.entry(int64(at), r.who.key)
		if err != nil {
			return 0, false, err
		}
		first := number == n.first
		if rec.number != number || rec.crc != chain || rec.previous >= at || (rec.previous == 0) != (first && !n.broken) {
			return 0, false, s.corrupt(int64(at), "the room's chain is broken")
		}
		if more, err := fn(e); err != nil || !more {
			return 0, false, err
		}
		if first && n.broken {
			return 0, true, nil
		}
		if at, chain = rec.previous, rec.roomChain; at == 0 {
			return chain, rec.flags&flagStarts == 0, nil
		}
	}
}

// read opens a run's segment; false if it was deleted. The reader's buffer stays.
func (r *Room) read(n *run, s *reader) (bool, error) {
	f, err := r.log.openSegment(n.in.number)
	if f == nil || err != nil {
		return false, err
	}
	*s = reader{f: f, number: n.in.number, salt: n.in.salt, buf: s.buf[:0], noticed: r.log.noticed}
	return true, nil
}
