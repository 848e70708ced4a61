package commitlog

// What crashed generations have left for their rooms, until every one of them has it. Segments
// of such generations stay till then; so it is looked for again as soon as the room that was
// found waiting does not wait any more.

import (
	"encoding/hex"
	"errors"
	"maps"
	"slices"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// recovery says how far the rooms have come. It is protected by Log.mu.
type recovery struct {
	crashRange
	recoveredNames map[string]struct{}      // by Identity.Name: rooms that have what they need
	recoveredKeys  map[segment.Key]struct{} // of them, where they are known: no record has to be read for their names

	nameless map[segment.Key]uint64 // rooms whose names cannot be read, and their newest numbers

	next       cursor // the rooms before it have what they need, or are nameless
	nextName   string // the room there, that has not; "": not looked for yet
	incomplete bool   // something could not be read: it is tried again with the next segment
	searching  bool   // somebody looks
}

// crashRange are segments of crashed generations whose rooms may not have what they hold.
type crashRange struct {
	generation    uint64 // the newest that crashed; 0: none
	from, through uint64 // segments
}

// cursor is a place among the indexes of the segments.
type cursor struct {
	segment      uint64
	index, block int
}

func (s crashRange) has(number uint64) bool {
	return s.generation != 0 && number >= s.from && number <= s.through
}

// reset forgets all rooms.
func (r *recovery) reset(s crashRange) {
	*r = recovery{crashRange: s, searching: r.searching, recoveredNames: make(map[string]struct{}), recoveredKeys: make(map[segment.Key]struct{}), nameless: make(map[segment.Key]uint64)}
}

// markRecovered notes that a room has what it needs, and tells whether to look for the next one that
// has not. k is of the epoch that it has, if that is known.
func (r *recovery) markRecovered(name string, k *segment.Key) (look bool) {
	if r.generation == 0 {
		return false
	}
	r.recoveredNames[name] = struct{}{}
	if k != nil {
		r.recoveredKeys[*k] = struct{}{}
	}
	return !r.searching && !r.incomplete && (r.nextName == "" || r.nextName == name)
}

// isRecovered tells whether a room has what it needs, by its key if that is enough.
func (l *Log) isRecovered(k segment.Key, who *segment.Identity) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, done := l.recovery.recoveredKeys[k]
	if who != nil && !done {
		if _, done = l.recovery.recoveredNames[who.Name]; done {
			l.recovery.recoveredKeys[k] = struct{}{}
		}
	}
	return done
}

// Unrecovered gives the rooms that have entries of crashed generations and were not opened
// and released since: for range it. One that does not exist any more is settled by Forget, or by
// opening it with any epoch and Release(math.MaxUint64). When there is none left the segments can
// go and Crashed is 0. It reads indexes and the rooms' first records; what cannot be read is left
// out and logged, see Unlisted.
func (l *Log) Unrecovered(yield func(namespace, room string) bool) {
	seen, going := make(map[string]struct{}), true
	l.eachUnrecovered(func(_ cursor, who segment.Identity) bool {
		if _, again := seen[who.Name]; !again {
			seen[who.Name] = struct{}{}
			going = yield(who.Namespace, who.Room)
		}
		return going
	})
	if going && len(seen) == 0 {
		l.checkRecovered()
	}
}

// checkRecovered settles the crash if every room has what it needs. It looks from the room on
// that was found waiting before to the next that has not.
func (l *Log) checkRecovered() {
	l.mu.Lock()
	s := l.recovery.crashRange
	if s.generation == 0 || l.recovery.searching {
		l.mu.Unlock()
		return
	}
	l.recovery.searching = true
	l.mu.Unlock()
	all := true
	complete := l.eachUnrecovered(func(at cursor, who segment.Identity) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		if _, meanwhile := l.recovery.recoveredNames[who.Name]; meanwhile {
			return true
		}
		l.recovery.next, l.recovery.nextName, all = at, who.Name, false
		return false
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recovery.searching, l.recovery.incomplete = false, all && !complete
	if !all || !complete {
		return
	}
	for k, last := range l.recovery.nameless { // they are refused by their keys, if anybody asks for them
		if _, done := l.recovery.recoveredKeys[k]; done {
			continue
		}
		l.nameless[k] = max(l.nameless[k], last)
		l.o.Logger.Error("commit log: a room's entries and its names are damaged, and it will be refused when it is opened", "key", hex.EncodeToString(k[:]))
	}
	l.recovery.reset(crashRange{})
}

// eachUnrecovered calls do for rooms of crashed generations that have not what they need, until it
// returns false; one of several epochs or segments may come several times. at is where to begin
// another time: no further than what could not be read. Rooms whose names are damaged are noted. It
// tells whether all that it came to could be read.
func (l *Log) eachUnrecovered(do func(at cursor, who segment.Identity) bool) (complete bool) {
	l.mu.Lock()
	s, segments := l.recovery.crashRange, l.segments
	w := unrecoveredWalk{l: l, fn: do, from: l.recovery.next, seen: make(map[segment.Key]struct{})}
	l.mu.Unlock()
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
			l.logUnlisted(g, err)
		}
		if !more {
			break
		}
	}
	return w.failedAt == nil
}

// logUnlisted tells the operator why rooms to recover cannot be listed: of each segment once, and again only if it
// has become another reason, because they are looked for every few seconds.
func (l *Log) logUnlisted(g *logSegment, err error) {
	l.mu.Lock()
	before := l.unlisted[g.Number]
	news := before == nil || before.Error() != err.Error()
	if l.unlisted == nil {
		l.unlisted = make(map[uint64]error)
	}
	l.unlisted[g.Number] = err
	l.mu.Unlock()
	if news {
		l.o.Logger.Error("commit log: rooms to recover cannot be listed", "file", segment.Name(g.Number), "error", err)
	}
}

// Unlisted returns why Unrecovered has left rooms out: for each file of the log that could not be read, the last reason.
func (l *Log) Unlisted() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.unlisted))
}

// unrecoveredWalk is one run of waiting.
type unrecoveredWalk struct {
	l        *Log
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

// walkSegment goes through a segment.
func (w *unrecoveredWalk) walkSegment(g *logSegment) (more bool, err error) {
	f, err := w.l.openSegment(g.Number)
	if f == nil || err != nil {
		return true, err
	}
	defer f.Close()
	r := g.Reader(f)
	return w.l.eachRoom(g, f, w.from, func(at cursor, p *segment.Place) (bool, error) {
		if _, again := w.seen[p.Key]; again || w.l.isRecovered(p.Key, nil) {
			return true, nil
		}
		who, err := r.Root(p)
		if errors.Is(err, ErrCorrupt) {
			w.l.mu.Lock()
			defer w.l.mu.Unlock()
			w.l.recovery.nameless[p.Key] = max(w.l.recovery.nameless[p.Key], p.Last)
			return true, nil
		}
		if err != nil {
			w.noteFailure(at)
			return true, err
		}
		if w.l.isRecovered(p.Key, &who) {
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

// Epochs are the epochs of which the log holds entries of a room that were not released: by
// somebody who has it open or has closed it, or in a generation that crashed and of which the room
// was not recovered. They are sorted. It reads the names of all rooms of such generations. With an
// error, which is ErrIO, ErrCorrupt or ErrLost, others may be missing.
func (l *Log) Epochs(namespace, room string) ([]string, error) {
	name := segment.Identify(namespace, room, "").Name
	l.mu.Lock()
	s, segments := l.recovery.crashRange, l.segments
	if _, done := l.recovery.recoveredNames[name]; done {
		s = crashRange{}
	}
	var epochs []string
	for _, p := range l.pins[name] {
		epochs = append(epochs, p.id.Epoch)
	}
	for _, r := range l.rooms {
		if r.id.Name == name && len(r.spans) > 0 {
			epochs = append(epochs, r.id.Epoch)
		}
	}
	l.mu.Unlock()
	var failed error
	for _, g := range segments {
		if s.has(g.Number) && (!g.missing || g.lost()) {
			failed = errors.Join(failed, l.addEpochs(g, name, &epochs))
		}
	}
	slices.Sort(epochs)
	return slices.Compact(epochs), failed
}

// addEpochs adds a room's epochs that a segment has.
func (l *Log) addEpochs(g *logSegment, name string, epochs *[]string) error {
	f, err := l.openSegment(g.Number)
	if f == nil || err != nil {
		return err
	}
	defer f.Close()
	r := g.Reader(f)
	_, err = l.eachRoom(g, f, cursor{segment: g.Number}, func(_ cursor, p *segment.Place) (bool, error) {
		who, err := r.Root(p)
		if err == nil && who.Name == name {
			*epochs = append(*epochs, who.Epoch)
		}
		return true, err
	})
	return err
}
