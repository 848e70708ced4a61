package commitlog

// Unrecovered rooms: those that have entries of crashed generations and have not released them since. The segments of
// these generations stay as long as there is one. So when the room that was found first has recovered, the log looks
// for the next one.

import (
	"encoding/hex"
	"errors"
	"maps"
	"slices"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// recovery says which rooms have recovered. Log.mu protects it.
type recovery struct {
	crashRange
	recoveredNames map[string]struct{}      // by Identity.Name: rooms that have recovered
	recoveredKeys  map[segment.Key]struct{} // their keys, as far as known: no record has to be read for the names

	nameless map[segment.Key]uint64 // rooms whose names cannot be read, and their newest numbers

	next       cursor // the rooms before it have recovered, or are nameless
	nextName   string // Identity.Name of the unrecovered room there; "": not looked for yet
	incomplete bool   // something could not be read: it is tried again after the next rotation
	searching  bool   // a goroutine is in checkRecovered
}

// crashRange is the segments of crashed generations that may have entries of unrecovered rooms.
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

// reset begins again with a range, and no room recovered.
func (r *recovery) reset(s crashRange) {
	*r = recovery{crashRange: s, searching: r.searching, recoveredNames: make(map[string]struct{}), recoveredKeys: make(map[segment.Key]struct{}), nameless: make(map[segment.Key]uint64)}
}

// markRecovered notes that a room has recovered, and reports whether to look for the next unrecovered one. k is the
// key of the room in its epoch, if that is known.
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

// isRecovered reports whether a room has recovered: by its key, and by its name if who is not nil.
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

// Unrecovered iterates over the unrecovered rooms: for range l.Unrecovered. A room that no longer exists is recovered
// with Forget, or by opening it in any epoch and Release(math.MaxUint64). When no unrecovered room is left, the
// segments may be deleted, and Crashed returns 0. Unrecovered reads indexes and the rooms' first records. What cannot
// be read is left out and logged; see Unlisted.
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

// checkRecovered ends the recovery if every room has recovered. It goes on from the unrecovered room that was found
// last.
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
	for k, last := range l.recovery.nameless { // from now on such a room is refused by its key
		if _, done := l.recovery.recoveredKeys[k]; done {
			continue
		}
		l.nameless[k] = max(l.nameless[k], last)
		l.o.Logger.Error("commit log: a room's entries and its names are damaged, and it will be refused when it is opened", "key", hex.EncodeToString(k[:]))
	}
	l.recovery.reset(crashRange{})
}

// eachUnrecovered calls do for the unrecovered rooms until do returns false. A room of several epochs or segments may
// come several times. at is where a later walk may begin: not after anything that could not be read. The nameless
// rooms are noted. complete reports whether all could be read.
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

// logUnlisted logs why rooms to recover cannot be listed. They are listed every few seconds, so it logs a reason once
// for each segment until it changes.
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

// Unlisted returns why Unrecovered has left rooms out: the last reason of each segment that could not be read.
func (l *Log) Unlisted() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.unlisted))
}

// unrecoveredWalk is the state of eachUnrecovered.
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

// Epochs returns the epochs, sorted, in which a room may have unreleased entries: those in which it is open or
// pinned, and those in which a crashed generation has left entries of an unrecovered room. It reads the names of all
// rooms of such generations. After an error, which is ErrIO, ErrCorrupt or ErrLost, epochs may be missing.
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

// addEpochs adds the epochs of a room in a segment.
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

// Candidates returns where the log may have entries of a room whose epoch is not known. Its key is a hash of the
// epoch too, so the log cannot find it by its name. epoch is the epoch of its newest pin, "" if it has none. from and
// to are the oldest and the newest generation that may have left it entries when they crashed; 0, 0: none. ErrLost: a
// segment of these generations is lost or has a hole.
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

// Forget releases all entries of a room that is not open, in all epochs: its file was replaced, and nobody will replay
// them. They stay for Options.History. Forget does nothing to a room that is open.
func (l *Log) Forget(namespace, room string) {
	name := segment.Identify(namespace, room, "").Name
	l.mu.Lock()
	look := l.forgetRoom(name)
	l.mu.Unlock()
	l.maybeShrink(look)
}

// forgetRoom reports whether to look for the next unrecovered room. mu is held.
func (l *Log) forgetRoom(name string) (look bool) {
	for _, r := range l.rooms {
		if r.id.Name == name {
			return false
		}
	}
	l.dropPins(name)
	return l.recovery.markRecovered(name, nil)
}
