package commitlog

// Unrecovered rooms: those that have entries of crashed generations and have not released them since. The segments of these
// generations stay as long as there is one. So when the room that was found first has recovered, the log looks for the next one.

import (
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// recovery says which rooms have recovered.
type recovery struct {
	sealed *sealedSegments
	logger *slog.Logger

	mu             *sync.Mutex // of the log; protects what follows
	crashed        crashRange
	recoveredNames map[string]struct{}      // by Identity.Name: rooms that have recovered
	recoveredKeys  map[segment.Key]struct{} // their keys, as far as known: no record has to be read for the names

	nameless map[segment.Key]uint64 // rooms whose names cannot be read, and their newest numbers
	refused  map[segment.Key]uint64 // those of recoveries that have ended
	unlisted map[uint64]error       // by segment: why its unrecovered rooms cannot be listed; was logged

	next       cursor // the rooms before it have recovered, or are nameless
	nextName   string // Identity.Name of the unrecovered room there; "": not looked for yet
	incomplete bool   // something could not be read: it is tried again after the next rotation
	searching  bool   // a goroutine is in check
}

// reset begins again with a range, and no room recovered.
func (r *recovery) reset(s crashRange) {
	r.crashed, r.next, r.nextName, r.incomplete = s, cursor{}, "", false
	r.recoveredNames, r.recoveredKeys, r.nameless = make(map[string]struct{}), make(map[segment.Key]struct{}), make(map[segment.Key]uint64)
}

// needed reports whether crashed generations may have left entries.
func (r *recovery) needed() bool {
	return slices.ContainsFunc(r.sealed.list, func(s *logSegment) bool {
		return r.crashed.has(s.Number) && (s.indexedRooms() > 0 || s.lost() || s.holeEnd() > 0)
	})
}

// rangeOf returns the segments that may have entries of a room that it has not released. mu is held.
func (r *recovery) rangeOf(name string) crashRange {
	if _, recovered := r.recoveredNames[name]; recovered {
		return crashRange{}
	}
	return r.crashed
}

// markRecovered notes that a room has recovered, and reports whether to look for the next unrecovered one. k is the
// key of the room in its epoch, if that is known. mu is held.
func (r *recovery) markRecovered(name string, k *segment.Key) (look bool) {
	if r.crashed.generation == 0 {
		return false
	}
	r.recoveredNames[name] = struct{}{}
	if k != nil {
		r.recoveredKeys[*k] = struct{}{}
	}
	return !r.searching && !r.incomplete && (r.nextName == "" || r.nextName == name)
}

// hasRecovered reports whether a room has recovered: by its key, and by its name if who is not nil.
func (r *recovery) hasRecovered(k segment.Key, who *segment.Identity) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, done := r.recoveredKeys[k]
	if who != nil && !done {
		if _, done = r.recoveredNames[who.Name]; done {
			r.recoveredKeys[k] = struct{}{}
		}
	}
	return done
}

// check ends the recovery if every room has recovered. It goes on from the unrecovered room that was found last.
func (r *recovery) check() {
	r.mu.Lock()
	if r.crashed.generation == 0 || r.searching {
		r.mu.Unlock()
		return
	}
	r.searching = true
	r.mu.Unlock()
	all := true
	complete := r.each(func(at cursor, who segment.Identity) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if _, meanwhile := r.recoveredNames[who.Name]; meanwhile {
			return true
		}
		r.next, r.nextName, all = at, who.Name, false
		return false
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.searching, r.incomplete = false, all && !complete
	if !all || !complete {
		return
	}
	for k, last := range r.nameless { // from now on such a room is refused by its key
		if _, done := r.recoveredKeys[k]; done {
			continue
		}
		r.refused[k] = max(r.refused[k], last)
		r.logger.Error("commit log: a room's entries and its names are damaged, and it will be refused when it is opened", "key", hex.EncodeToString(k[:]))
	}
	r.reset(crashRange{})
}

// each calls do for the unrecovered rooms until do returns false. A room of several epochs or segments may come several
// times. at is where a later walk may begin: not after anything that could not be read. The nameless rooms are noted.
// complete reports whether all could be read.
func (r *recovery) each(do func(at cursor, who segment.Identity) bool) (complete bool) {
	r.mu.Lock()
	s, segments := r.crashed, r.sealed.list
	w := unrecoveredWalk{r: r, fn: do, from: r.next, seen: make(map[segment.Key]struct{})}
	r.mu.Unlock()
	for _, g := range segments {
		if g.Number < w.from.segment || !s.has(g.Number) || g.missing && !g.lost() {
			continue
		}
		if g.Number > w.from.segment {
			w.from = cursor{segment: g.Number}
		}
		more, err := w.walkSegment(g)
		if err == nil && more && g.holeEnd() > 0 {
			err = g.lostError()
		}
		if err != nil {
			w.noteFailure(w.from)
			r.logUnlisted(g, err)
		}
		if !more {
			break
		}
	}
	return w.failedAt == nil
}

// logUnlisted logs why rooms to recover cannot be listed. They are listed every few seconds, so it logs a reason once
// for each segment until it changes.
func (r *recovery) logUnlisted(g *logSegment, err error) {
	r.mu.Lock()
	before := r.unlisted[g.Number]
	news := before == nil || before.Error() != err.Error()
	r.unlisted[g.Number] = err
	r.mu.Unlock()
	if news {
		r.logger.Error("commit log: rooms to recover cannot be listed", "file", segment.Name(g.Number), "error", err)
	}
}

// unrecoveredWalk is the state of each.
type unrecoveredWalk struct {
	r        *recovery
	fn       func(at cursor, who segment.Identity) bool
	from     cursor
	failedAt *cursor // where the first thing was that could not be read
	seen     map[segment.Key]struct{}
}

func (w *unrecoveredWalk) noteFailure(at cursor) {
	if w.failedAt == nil {
		w.failedAt = &at
	}
}

func (w *unrecoveredWalk) walkSegment(g *logSegment) (more bool, err error) {
	return w.r.sealed.eachRoom(g, w.from, func(at cursor, p *segment.Place, names *segment.Reader) (bool, error) {
		if _, again := w.seen[p.Key]; again || w.r.hasRecovered(p.Key, nil) {
			return true, nil
		}
		who, err := names.Root(p)
		if errors.Is(err, ErrCorrupt) {
			w.r.mu.Lock()
			defer w.r.mu.Unlock()
			w.r.nameless[p.Key] = max(w.r.nameless[p.Key], p.Last)
			return true, nil
		}
		if err != nil {
			w.noteFailure(at)
			return true, err
		}
		if w.r.hasRecovered(p.Key, &who) {
			return true, nil
		}
		if w.failedAt != nil {
			at = *w.failedAt
		}
		if !w.fn(at, who) {
			return false, nil
		}
		w.seen[p.Key] = struct{}{}
		return true, nil
	})
}
