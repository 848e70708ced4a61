package commitlog

// Reading a room's entries: forwards to bring its file up to date, backwards for its past.

import (
	"errors"
	"fmt"
	"io"

	"github.com/denrooms/den/storage/vfs"
)

// window is how many bytes are read at once where records are small.
const window = 8 << 10

// run is what one segment holds of a room.
type run struct {
	in *segment
	place
}

// walk goes through a room's runs, from the newest to the oldest, as long as they follow
// each other.
type walk struct {
	r        *Room
	segments []*segment
	newest   *run // in the active segment
	oldest   uint64
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
		w.newest = &run{l.active.segment, *p}
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
		w.oldest = next.first
		return next, true, nil
	}
	for w.oldest != 1 && len(w.segments) > 0 {
		s := w.segments[len(w.segments)-1]
		w.segments = w.segments[:len(w.segments)-1]
		if s.lost {
			return run{}, false, lost(s.number)
		}
		p, found, err := w.find(s)
		if err != nil {
			return run{}, false, err
		}
		if !found {
			continue
		}
		if w.oldest != 0 && p.last+1 != w.oldest {
			break
		}
		w.oldest = p.first
		return run{s, p}, true, nil
	}
	return run{}, false, nil
}

// find finds the room in a segment that is done.
func (w *walk) find(s *segment) (place, bool, error) {
	p, f, err := w.r.log.lookup(s, w.r.who.key)
	if f == nil || err != nil {
		return place{}, false, err
	}
	defer f.Close()
	root, _, err := s.readRoot(f, &p)
	p.first = root.number
	return p, true, err
}

// Range says which numbers the log holds for the room, without a gap between them; 0, 0: none.
// Where a file of the log is missing it begins behind that, if it has anything behind it.
// The errors are those of Replay.
func (r *Room) Range() (first, last uint64, err error) {
	w, err := r.walk()
	if err != nil {
		return 0, 0, err
	}
	for {
		next, ok, err := w.next()
		if !ok && err == nil || last != 0 && errors.Is(err, ErrLost) {
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
// appended. ErrLost: a file with some of them is missing, or may have had some. ErrIO, ErrClosed.
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
	places, err := s.places(n, wanted)
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
func (s *reader) places(n *run, from uint64) ([]uint32, error) {
	var places []uint32
	at := n.at
	for number := n.last; ; number-- {
		b, err := s.bytes(int64(at), recordHeader, backwards)
		if err != nil {
			return nil, err
		}
		rec, ok := parseHeader(b, s.salt)
		if !ok || rec.number != number || rec.previous >= at {
			return nil, s.corrupt(int64(at), "the header of an entry is damaged")
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
		if rec.number != number || rec.crc != chain || rec.previous >= at || (rec.previous == 0) != (number == n.first) {
			return 0, false, s.corrupt(int64(at), "the room's chain is broken")
		}
		if more, err := fn(e); err != nil || !more {
			return 0, false, err
		}
		if at, chain = rec.previous, rec.roomChain; at == 0 {
			return chain, rec.flags&flagStarts == 0, nil
		}
	}
}

// reader reads records of a segment.
type reader struct {
	f      vfs.File
	number uint64
	salt   uint32
	buf    []byte
	start  int64 // of buf in the file
}

// read opens a run's segment; false if it was deleted. The reader's buffer stays.
func (r *Room) read(n *run, s *reader) (bool, error) {
	f, err := r.log.openSegment(n.in.number)
	if f == nil || err != nil {
		return false, err
	}
	s.f, s.number, s.salt, s.buf, s.start = f, n.in.number, n.in.salt, s.buf[:0], 0
	return true, nil
}

func (s *reader) corrupt(at int64, what string) error {
	return corrupt(segmentName(s.number), at, what)
}

// direction is where reading goes on.
type direction uint8

const (
	forwards direction = iota
	backwards
)

// bytes gives n bytes of the file, valid until the next call.
func (s *reader) bytes(off int64, n int, to direction) ([]byte, error) {
	if off < s.start || off+int64(n) > s.start+int64(len(s.buf)) {
		start, size := off, max(n, window)
		if to == backwards {
			start = max(0, off+int64(n)-int64(size))
		}
		if cap(s.buf) < size {
			s.buf = nil // no two large entries at a time
			s.buf = make([]byte, (size+window-1)/window*window)
		}
		got, err := s.f.ReadAt(s.buf[:size], start)
		s.buf, s.start = s.buf[:got], start
		if off+int64(n) > start+int64(got) {
			return nil, shortRead(s.number, start+int64(got), err)
		}
	}
	return s.buf[off-s.start:][:n], nil
}

func shortRead(number uint64, at int64, err error) error {
	if errors.Is(err, io.EOF) {
		return corrupt(segmentName(number), at, "the file ends too early")
	}
	return failure("reading "+segmentName(number), err)
}

// entry reads and checks a whole record.
func (s *reader) entry(at int64, k key) (record, Entry, error) {
	b, err := s.bytes(at, recordHeader, forwards)
	if err != nil {
		return record{}, Entry{}, err
	}
	r, ok := parseHeader(b, s.salt)
	if !ok || r.key != k {
		return r, Entry{}, s.corrupt(at, "the header of an entry is damaged")
	}
	if cap(s.buf) > keepBuffer && r.size() < cap(s.buf)/4 { // the large entry is behind us
		s.buf = nil
	}
	if b, err = s.bytes(at, r.size(), forwards); err != nil {
		return r, Entry{}, err
	}
	if !r.checkBody(b, s.salt) {
		return r, Entry{}, s.corrupt(at, "an entry does not fit its checksum")
	}
	payload := b[recordHeader+int(r.names):][:r.length:r.length]
	return r, Entry{Number: r.number, Seq: r.seq, At: r.at, Payload: payload}, nil
}
