package commitlog

import (
	"slices"
	"strings"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// Entry is what a room has committed in one transaction.
type Entry struct {
	Number  uint64 // 1, 2, 3, … of the room's transactions
	Seq     uint64 // the room's seq behind it
	At      int64  // Unix milliseconds
	Payload []byte // at most MaxEntry bytes
}

// Room is one room's part of the log. Append has one caller at a time, others may read.
type Room struct {
	log     *Log             // immutable
	id      segment.Identity // immutable
	request request          // owned by whoever appends, and by the leader

	// Protected by Log.mu. While busy the leader may read them without.

	appending  bool
	closed     bool
	last       uint64      // number of the newest entry; 0: none
	lastIn     *logSegment // that has it; nil: none
	lastAt     uint32
	lastCRC    uint32
	lastAtOpen uint64 // what last was when the room was opened
	spans      []span // unreleased entries, oldest first
	lost       error  // ErrLost: its newest entries may have been in a segment that is missing or damaged
	anyNumber  bool   // what the chain was is unknown: the next entry may have any number
}

// span is what of a room is unreleased in a segment.
type span struct {
	in   *logSegment
	last uint64
}

// Room opens a room's part of the log. Only one at a time may be open of a room and epoch:
// otherwise ErrMisuse. Where a missing file of the log, or a damaged part of one, may have had its
// newest entries, Last is 0 and Range, Replay and Backward give ErrLost; it is not Room but they that
// need it. Once the room's file is known to hold all that Range and Replay give,
// call Release, or the log goes on to keep it.
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
	in, segments := l.active.logSegment, l.segments
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
	if last := l.nameless[r.id.Key]; last > r.last {
		r.lastIn, r.last, r.lastAtOpen, r.lost = nil, 0, 0, errRoomDamaged(last)
	}
	r.adoptPin()
	return r, nil
}

// findLast finds the room's newest entry in the segments that are done. Behind one that is missing, or in which
// the room may have had newer entries that are damaged, it looks only for what is known to be the newest, and
// for what a crash has left that the room has not taken yet.
func (r *Room) findLast(segments []*logSegment) error {
	newest, inCrash := r.expectedLast()
	var lost error
	releasedOnly := false // a segment in which all that the room had was released
	for _, s := range slices.Backward(segments) {
		if s.missing && !s.lost() || releasedOnly && !inCrash(s) {
			continue
		}
		var p segment.Place
		if !s.missing {
			found, f, err := r.log.lookup(s, r.id.Key)
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
			releasedOnly = true // older ones may have what a crash has left of the room
		case !certain && lost == nil:
			lost = s.lostError()
		}
	}
	r.lost = lost
	return nil
}

// expectedLast says which is the room's newest entry that was not released, if that is known; else 0,
// and suspect tells which segments may have others. If all in a segment was released the room lacks
// nothing without it, and that is as if it had been deleted.
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
	s := l.recovery.crashRange
	if _, recovered := l.recovery.recoveredNames[r.id.Name]; recovered {
		s = crashRange{}
	}
	return newest, func(g *logSegment) bool { return s.has(g.Number) }
}

func (r *Room) setLast(in *logSegment, p segment.Place) {
	r.lastIn, r.lastAt, r.lastCRC, r.last, r.lastAtOpen = in, p.At, p.CRC, p.Last, p.Last
}

// adoptPin makes a pin of the room's life before this one's own. mu is held.
func (r *Room) adoptPin() {
	l := r.log
	for i, p := range l.pins[r.id.Name] {
		if p.id.Key != r.id.Key {
			continue
		}
		if in := l.segmentOrActive(p.segment); in != nil {
			r.spans = []span{{in, p.last}}
		}
		l.setPins(r.id.Name, slices.Delete(l.pins[r.id.Name], i, i+1))
		return
	}
}

// keepPin keeps what a closed room has not released. mu is held.
func (l *Log) keepPin(r *Room) {
	if len(r.spans) == 0 {
		return
	}
	p := pin{r.id, r.spans[0].in.Number, r.spans[len(r.spans)-1].last}
	for _, s := range r.spans[1:] {
		s.in.pins--
	}
	r.spans = nil
	l.pins[r.id.Name] = append(l.pins[r.id.Name], p)
}

// dropPins forgets what a closed room has not released, in whatever epoch. mu is held.
func (l *Log) dropPins(name string) {
	for _, p := range l.pins[name] {
		if in := l.segmentOrActive(p.segment); in != nil {
			in.pins--
		}
	}
	delete(l.pins, name)
}

func (l *Log) setPins(name string, pins []pin) {
	if len(pins) == 0 {
		delete(l.pins, name)
		return
	}
	l.pins[name] = pins
}

// Append appends an entry. Its payload is e.Payload followed by the pieces of more; the log makes no
// copy of a large one, and none of it may change before Append returns. After nil the entry is
// durable or, in a Relaxed log, written.
//
// The entry's number must be one above the newest that the log has; the first entry after Room may
// have any number above that.
//
// After an error that matches ErrUnwritten, as each that matches ErrFull does, the entry is
// certainly not in the log, and the same number can be tried again. After another ErrIO that is not
// known: the log does not have it, but may have it after a crash. Others: ErrTooLarge, ErrMisuse,
// ErrClosed.
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
	if l.enqueue(&r.request) {
		l.commit()
	}
	return r.request.err
}

// checkOrder says whether an entry comes in order. mu is held.
func (r *Room) checkOrder(e Entry) error {
	switch {
	case r.closed || r.log.closed:
		return errClosed()
	case r.appending:
		return misuse("two Appends of a room at once")
	case e.Number == 0 || e.Number <= r.last:
		return misuse("the log has an entry of this number")
	case e.Number != r.last+1 && !r.anyNumber && !r.nothingAppended():
		return misuse("entries are left out")
	}
	return nil
}

// nothingAppended tells whether nothing was appended since Room. mu is held.
func (r *Room) nothingAppended() bool { return r.last == r.lastAtOpen }

// noteAppended notes an entry that was written. mu is held.
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

// Release says that the room's file holds all up to a number, and has been synced: these
// entries are not needed any more but for History, nor are those of the room's other epochs, but
// for one that is open. What is not needed is deleted in passing.
func (r *Room) Release(through uint64) {
	l := r.log
	l.mu.Lock()
	n := 0
	for n < len(r.spans) && r.spans[n].last <= through {
		r.spans[n].in.pins--
		n++
	}
	r.spans = slices.Delete(r.spans, 0, n)
	l.dropPins(r.id.Name)
	if last, ok := l.nameless[r.id.Key]; ok && through >= last {
		delete(l.nameless, r.id.Key)
		r.lost = nil
	}
	look := through >= r.lastAtOpen && l.recovery.markRecovered(r.id.Name, &r.id.Key)
	l.mu.Unlock()
	l.maybeShrink(look)
}

// Close ends the room's part. What is unreleased stays in the log until the room is opened
// again and released, over restarts too.
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
		l.keepPin(r)
	}
}
