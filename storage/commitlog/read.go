package commitlog

// Reading a room's entries: forwards to bring its file up to date, backwards for its history.

import (
	"cmp"
	"fmt"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// run is the entries of a room in one segment that follow each other.
type run struct {
	in *logSegment
	segment.Place
}

// runWalk goes through a room's runs, from the newest to the oldest, as long as they follow each other.
type runWalk struct {
	r        *Room
	segments []*logSegment
	newest   *run   // in the active segment
	oldest   uint64 // number of the oldest entry in the runs so far
	failed   error  // why the runs before it cannot be read
}

func (r *Room) walkRuns() (*runWalk, error) {
	if err := r.log.replaceFailed(); err != nil {
		return nil, err
	}
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.closed || l.closed {
		return nil, errClosed()
	}
	if r.lastIn == nil && r.lost != nil {
		return nil, r.lost
	}
	w := &runWalk{r: r}
	if p := l.active.index.Of[r.id.Key]; p != nil {
		w.newest = &run{in: l.active.logSegment, Place: *p}
	}
	for _, s := range l.sealed.list {
		if r.lastIn != nil && s.Number <= r.lastIn.Number {
			w.segments = append(w.segments, s)
		}
	}
	return w, nil
}

// next returns the next run; ok is false after the last.
func (w *runWalk) next() (next run, ok bool, err error) {
	if w.newest != nil {
		next, w.newest = *w.newest, nil
		return w.advance(next), true, nil
	}
	var hole error
	for w.failed == nil && w.oldest != 1 && len(w.segments) > 0 {
		s := w.segments[len(w.segments)-1]
		w.segments = w.segments[:len(w.segments)-1]
		if s.missing {
			if s.lost() { // the entries before w.oldest may have been there
				hole = cmp.Or(hole, s.lostError())
			}
			continue
		}
		next, found, err := w.find(s)
		if err != nil {
			return run{}, false, err
		}
		if found && (w.oldest == 0 || next.Last+1 == w.oldest) {
			return w.advance(next), true, nil
		}
		if int64(next.At) < s.holeEnd() { // or there
			hole = cmp.Or(hole, s.lostError())
		}
		if found {
			break
		}
	}
	w.failed = cmp.Or(w.failed, hole)
	return run{}, false, w.failed
}

// advance notes that the walk has come to a run.
func (w *runWalk) advance(n run) run {
	w.oldest = n.First
	if n.Starts {
		w.segments = nil
	}
	return n
}

func (w *runWalk) find(s *logSegment) (run, bool, error) {
	p, f, err := w.r.log.sealed.lookup(s, w.r.id.Key)
	if f == nil || err != nil {
		return run{}, false, err
	}
	defer f.Close()
	failed, err := s.Reader(f).FindRunStart(&p)
	w.failed = failed
	return run{in: s, Place: p}, err == nil, err
}

// Range returns the numbers of the first and the last entry that the log has of the room, without a gap between them;
// 0, 0: none. It stops at a lost segment and at a hole if there are entries after it. Range does not look whether the
// entries themselves are damaged. The errors are those of Replay.
func (r *Room) Range() (first, last uint64, err error) {
	w, err := r.walkRuns()
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
			last = next.Last
		}
		first = next.First
	}
}

// Replay calls fn for the entries with a number above after, in order. The payload is valid until fn returns. An
// error of fn ends Replay, and is returned. The other errors are ErrGap, if there are such entries, and the first of
// them are missing (fn was not called then); ErrCorrupt, if an entry is damaged; ErrLost, if some of them are, or may
// have been, in a lost segment or in a hole; ErrIO and ErrClosed.
func (r *Room) Replay(after uint64, fn func(Entry) error) error {
	w, err := r.walkRuns()
	if err != nil {
		return err
	}
	var runs []run
	for {
		next, ok, err := w.next()
		if err != nil {
			return err
		}
		if !ok || len(runs) == 0 && next.Last <= after {
			break
		}
		if runs = append(runs, next); next.First <= after+1 {
			break
		}
	}
	if len(runs) == 0 {
		return nil
	}
	if first := runs[len(runs)-1].First; first > after+1 {
		return fmt.Errorf("commitlog: %w: %d to %d", ErrGap, after+1, first-1)
	}
	var crc uint32
	var s segment.Reader
	for i := len(runs) - 1; i >= 0; i-- {
		if crc, err = r.replayRun(&s, &runs[i], after, crc, fn); err != nil {
			return err
		}
	}
	return nil
}

// replayRun replays the entries of a run above after. chain is the checksum of the entry before them, 0 if it was not read.
func (r *Room) replayRun(s *segment.Reader, n *run, after uint64, chain uint32, fn func(Entry) error) (uint32, error) {
	f, err := r.openRun(n, s)
	if err != nil {
		return 0, err
	}
	if f == nil {
		return 0, fmt.Errorf("commitlog: %w: they have just been deleted", ErrGap)
	}
	defer f.Close()
	return s.Replay(&n.Place, after, chain, func(rec *segment.Record, payload []byte) error { return fn(entryOf(rec, payload)) })
}

func entryOf(r *segment.Record, payload []byte) Entry {
	return Entry{Number: r.Number, Seq: r.Seq, At: r.At, Payload: payload}
}

// Backward calls fn for the room's entries from the newest to the oldest that the log has, until fn returns false. The payload is
// valid until fn returns. Entries that are appended meanwhile are not seen. The errors are those of Replay, without ErrGap.
func (r *Room) Backward(fn func(Entry) (more bool, err error)) error {
	w, err := r.walkRuns()
	if err != nil {
		return err
	}
	chain := uint32(0)
	var s segment.Reader
	for {
		next, ok, err := w.next()
		if err != nil || !ok {
			return err
		}
		if chain != 0 && next.CRC != chain {
			return segment.Corrupt(segment.Name(next.in.Number), int64(next.At), "the room's chain is broken")
		}
		more := false
		if chain, more, err = r.backwardRun(&s, &next, fn); err != nil || !more {
			return err
		}
	}
}

func (r *Room) backwardRun(s *segment.Reader, n *run, fn func(Entry) (bool, error)) (chain uint32, more bool, err error) {
	f, err := r.openRun(n, s)
	if f == nil || err != nil {
		return 0, false, err
	}
	defer f.Close()
	return s.Backward(&n.Place, func(rec *segment.Record, payload []byte) (bool, error) { return fn(entryOf(rec, payload)) })
}

// openRun opens a run's segment; f is nil if it was deleted.
func (r *Room) openRun(n *run, s *segment.Reader) (vfs.File, error) {
	f, err := r.log.sealed.open(n.in.Number)
	if f == nil || err != nil {
		return nil, err
	}
	s.Reset(f, &n.in.File, r.log.dir.logFlip)
	return f, nil
}
