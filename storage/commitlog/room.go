package commitlog

import (
	"slices"
	"strings"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// Entry is what a room has committed in one transaction.
type Entry struct {
	Number  uint64 // 1, 2, 3, … of the room's transactions
	Seq     uint64 // the room's seq after it
	At      int64  // Unix milliseconds
	Payload []byte // at most MaxEntry bytes
}

// Room is the part of the log that belongs to one room in one epoch. Append may have one caller at a time; the other
// methods may be called from any goroutine.
type Room struct {
	log     *Log             // immutable
	id      segment.Identity // immutable
	request request          // owned by the caller of Append, and by the leader

	// Protected by Log.mu. While appending is set, the leader may read them without it.

	appending  bool
	closed     bool
	last       uint64      // number of the newest entry; 0: none
	lastIn     *logSegment // segment of the newest entry; nil: none
	lastAt     uint32
	lastCRC    uint32
	lastAtOpen uint64 // last, when the room was opened; the same as last if nothing was appended since
	spans      []span // unreleased entries, oldest first
	lost       error  // why its newest entries may be lost
	anyNumber  bool   // the next entry may have any number, because dropUnsynced has dropped the one before it
}

// Room opens a room's part of the log. If the same room is open in the same epoch, the error is ErrMisuse. If the room's newest
// entry may have been in a lost segment or a hole, Room succeeds, Last is 0, and Range, Replay and Backward return ErrLost. Call
// Release once the room's file is known to have all that Replay gives, or the log keeps the entries.
func (l *Log) Room(namespace, room, epoch string) (*Room, error) {
	if len(namespace)+len(room)+len(epoch) > MaxNames {
		return nil, ErrTooLarge
	}
	if strings.ContainsRune(namespace+room+epoch, 0) {
		return nil, misuse("a name with a zero byte")
	}
	if err := l.replaceFailed(); err != nil {
		return nil, err
	}
	r := &Room{log: l, id: segment.Identify(namespace, room, epoch)}
	r.request.room = r
	l.mu.Lock()
	if l.closed || l.rooms[r.id.Key] != nil {
		defer l.mu.Unlock()
		if l.closed {
			return nil, errClosed()
		}
		return nil, misuse("the room is open already")
	}
	l.rooms[r.id.Key] = r
	p, found := l.active.index.Of[r.id.Key]
	in, segments := l.active.logSegment, l.sealed.list
	if found {
		r.setLast(in, *p)
	}
	l.mu.Unlock()
	if !found {
		if err := r.findLast(segments); err != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			delete(l.rooms, r.id.Key)
			return nil, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := l.recovery.refused[r.id.Key]; last > r.last {
		r.lastIn, r.last, r.lastAtOpen, r.lost = nil, 0, 0, errRoomDamaged(last)
	}
	if s, ok := l.pins.take(&r.id); ok {
		r.spans = []span{s}
	}
	return r, nil
}

// findLast finds the room's newest entry in the sealed segments. Once it has passed a segment that is missing, or has
// a hole in which the room may have newer entries, it accepts only the entry that is known to be the newest one, and
// looks for entries that a crash has left for a room that is unrecovered.
func (r *Room) findLast(segments []*logSegment) error {
	newest, inCrash := r.expectedLast()
	var lost error
	releasedOnly := false // a segment was passed in which the room had only released entries
	for _, s := range slices.Backward(segments) {
		if s.missing && !s.lost() || releasedOnly && !inCrash(s) {
			continue
		}
		var p segment.Place
		if !s.missing {
			found, f, err := r.log.sealed.lookup(s, r.id.Key)
			if err != nil {
				return err
			}
			if f != nil {
				f.Close()
				p = found
			}
		}
		certain := !s.missing && int64(p.At) >= s.holeEnd()
		switch {
		case p.Last > 0 && (certain && lost == nil || p.Last == newest):
			r.log.mu.Lock()
			defer r.log.mu.Unlock()
			r.setLast(s, p)
			return nil
		case p.Last > 0 && lost != nil:
			r.lost = lost
			return nil
		case !certain && newest == 0 && inCrash(s):
			r.lost = s.lostError()
			return nil
		case !certain && newest == 0:
			releasedOnly = true // older segments may have entries that a crash has left
		case !certain && lost == nil:
			lost = s.lostError()
		}
	}
	r.lost = lost
	return nil
}

// expectedLast returns the number of the room's newest unreleased entry if it is known, else 0. inCrash reports whether a segment
// may have others, because the room is unrecovered. A segment in which all entries were released counts as deleted.
func (r *Room) expectedLast() (newest uint64, inCrash func(*logSegment) bool) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, pin := range l.pins[r.id.Name] {
		if pin.id.Key == r.id.Key {
			newest = pin.last
		}
	}
	if n := len(r.spans); n > 0 {
		newest = max(newest, r.spans[n-1].last)
	}
	s := l.recovery.rangeOf(r.id.Name)
	return newest, func(g *logSegment) bool { return s.has(g.Number) }
}

func (r *Room) setLast(in *logSegment, p segment.Place) {
	r.lastIn, r.lastAt, r.lastCRC, r.last, r.lastAtOpen = in, p.At, p.CRC, p.Last, p.Last
}

// Append appends an entry. Its payload is e.Payload followed by the pieces of more. Append does not copy a large payload; the
// caller must not change any of it before Append returns. After nil the entry is durable or, in a Relaxed log, written.
//
// The number must be one above that of the room's newest entry in the log. The first entry after Log.Room may have
// any number above that.
//
// After an error that matches ErrUnwritten, as every ErrFull does, the entry is certainly not in the log, and the
// same number may be tried again. After any other ErrIO the log does not have the entry, but may have it after a
// crash. The other errors are ErrTooLarge, ErrMisuse and ErrClosed.
func (r *Room) Append(e Entry, more ...[]byte) error {
	size := len(e.Payload)
	for _, piece := range more {
		size += len(piece)
	}
	if size > MaxEntry {
		return ErrTooLarge
	}
	l := r.log
	l.mu.Lock()
	if err := r.checkOrder(e); err != nil {
		l.mu.Unlock()
		return err
	}
	r.appending = true
	r.request.entry, r.request.pieces, r.request.size, r.request.err = e, more, size, nil
	if l.turns.enqueue(&r.request) == leader {
		l.commit()
	}
	return r.request.err
}

// checkOrder returns the error of an entry that does not come in order. mu is held.
func (r *Room) checkOrder(e Entry) error {
	switch {
	case r.closed || r.log.closed:
		return errClosed()
	case r.appending:
		return misuse("two Appends of a room at once")
	case e.Number == 0 || e.Number <= r.last:
		return misuse("the log has an entry of this number")
	case e.Number != r.last+1 && !r.anyNumber && r.last != r.lastAtOpen:
		return misuse("entries are left out")
	}
	return nil
}

// noteAppended makes a request's entry the newest of the room. mu is held.
func (r *Room) noteAppended(a *active, w *request) {
	p := a.index.Get(r.id.Key)
	if p.At < uint32(a.indexedTo) {
		a.unindexed = append(a.unindexed, p)
	}
	if w.flags&segment.FlagNames != 0 {
		p.First, p.Root, p.Starts = w.entry.Number, w.at, w.flags&segment.FlagStarts != 0
	}
	p.Last, p.At, p.CRC = w.entry.Number, w.at, w.crc
	r.last, r.lastIn, r.lastAt, r.lastCRC, r.anyNumber = w.entry.Number, a.logSegment, w.at, w.crc, false
	if n := len(r.spans); n > 0 && r.spans[n-1].in == a.logSegment {
		r.spans[n-1].last = w.entry.Number
		return
	}
	a.pins++
	r.spans = append(r.spans, span{a.logSegment, w.entry.Number})
}

// Release says that the room's file has all entries up to a number, and was synced. The log no longer needs these entries but for
// Options.History, nor those of the room's other epochs, unless an epoch is open. Release deletes obsolete segments.
func (r *Room) Release(through uint64) {
	l := r.log
	l.mu.Lock()
	n := 0
	for n < len(r.spans) && r.spans[n].last <= through {
		r.spans[n].in.pins--
		n++
	}
	r.spans = slices.Delete(r.spans, 0, n)
	l.pins.drop(r.id.Name)
	if last, ok := l.recovery.refused[r.id.Key]; ok && through >= last {
		delete(l.recovery.refused, r.id.Key)
		r.lost = nil
	}
	look := through >= r.lastAtOpen && l.recovery.markRecovered(r.id.Name, &r.id.Key)
	l.mu.Unlock()
	l.maybeShrink(look)
}

// Close closes the room. Its unreleased entries stay in the log, across restarts, until the room is opened again and releases them.
func (r *Room) Close() {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	delete(l.rooms, r.id.Key)
	if !l.closed {
		l.pins.keep(r.id, r.spans)
		r.spans = nil
	}
}

// Last returns the number of the newest entry that the log has of the room, or 0. It reads nothing from the disk.
func (r *Room) Last() uint64 {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return r.last
}
