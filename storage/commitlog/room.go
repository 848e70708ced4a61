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
	log  *Log             // immutable
	who  segment.Identity // immutable
	turn waiter           // owned by whoever appends, and by the leader

	// Protected by Log.mu. While busy the leader may read them without.

	busy   bool
	closed bool
	last   uint64      // number of the newest entry; 0: none
	in     *logSegment // that has it; nil: none
	at     uint32
	crc    uint32
	held   uint64 // what last was when the room was opened
	spans  []span // unreleased entries, oldest first
	unsure error  // ErrLost: its newest entries may have been in a segment that is missing or damaged
	any    bool   // what the chain was is unknown: the next entry may have any number
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
	if err := l.heal(); err != nil {
		return nil, err
	}
	r := &Room{log: l, who: segment.Identify(namespace, room, epoch)}
	r.turn.room = r
	l.mu.Lock()
	if l.ended || l.attached[r.who.Key] != nil {
		defer l.mu.Unlock()
		if l.ended {
			return nil, closed()
		}
		return nil, misuse("the room is open already")
	}
	l.attached[r.who.Key] = r
	p, found := l.active.index.Of[r.who.Key]
	in, segments := l.active.logSegment, l.segments
	if found {
		r.settleAt(in, *p)
	}
	l.mu.Unlock()
	if !found {
		if err := r.locate(segments); err != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			delete(l.attached, r.who.Key)
			return nil, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := l.nameless[r.who.Key]; last > r.last {
		r.in, r.last, r.held, r.unsure = nil, 0, 0, damagedRoom(last)
	}
	r.takePin()
	return r, nil
}

// locate finds the room's newest entry in the segments that are done. Behind one that is missing, or in which
// the room may have had newer entries that are damaged, it looks only for what is known to be the newest, and
// for what a crash has left that the room has not taken yet.
func (r *Room) locate(segments []*logSegment) error {
	newest, suspect := r.unreleased()
	var missed error
	passed := false // a segment in which all that the room had was released
	for _, s := range slices.Backward(segments) {
		if s.lost && !s.missing() || passed && !suspect(s) {
			continue
		}
		var p segment.Place
		if !s.lost {
			found, f, err := r.log.lookup(s, r.who.Key)
			if err != nil {
				return err
			}
			if f != nil {
				f.Close()
				p = found
			}
		}
		sure := !s.lost && int64(p.At) >= s.holeEnd()
		switch {
		case p.Last > 0 && (sure && missed == nil || p.Last == newest):
			r.log.mu.Lock()
			defer r.log.mu.Unlock()
			r.settleAt(s, p)
			return nil
		case p.Last > 0 && missed != nil:
			r.unsure = missed
			return nil
		case !sure && newest == 0 && suspect(s):
			r.unsure = s.needed()
			return nil
		case !sure && newest == 0:
			passed = true // older ones may have what a crash has left of the room
		case !sure && missed == nil:
			missed = s.needed()
		}
	}
	r.unsure = missed
	return nil
}

// unreleased says which is the room's newest entry that was not released, if that is known; else 0,
// and suspect tells which segments may have others. If all in a segment was released the room lacks
// nothing without it, and that is as if it had been deleted.
func (r *Room) unreleased() (newest uint64, suspect func(*logSegment) bool) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, pin := range l.pins[r.who.Name] {
		if pin.who.Key == r.who.Key {
			newest = pin.last
		}
	}
	if n := len(r.spans); n > 0 {
		newest = max(newest, r.spans[n-1].last)
	}
	s := l.crashed.suspects
	if _, recovered := l.crashed.names[r.who.Name]; recovered {
		s = suspects{}
	}
	return newest, func(g *logSegment) bool { return s.has(g.Number) }
}

func (r *Room) settleAt(in *logSegment, p segment.Place) {
	r.in, r.at, r.crc, r.last, r.held = in, p.At, p.CRC, p.Last, p.Last
}

// takePin makes a pin of the room's life before this one's own. mu is held.
func (r *Room) takePin() {
	l := r.log
	for i, p := range l.pins[r.who.Name] {
		if p.who.Key != r.who.Key {
			continue
		}
		if in := l.holder(p.segment); in != nil {
			r.spans = []span{{in, p.last}}
		}
		l.setPins(r.who.Name, slices.Delete(l.pins[r.who.Name], i, i+1))
		return
	}
}

// keepPin keeps what a closed room has not released. mu is held.
func (l *Log) keepPin(r *Room) {
	if len(r.spans) == 0 {
		return
	}
	p := pin{r.who, r.spans[0].in.Number, r.spans[len(r.spans)-1].last}
	for _, s := range r.spans[1:] {
		s.in.pins--
	}
	r.spans = nil
	l.pins[r.who.Name] = append(l.pins[r.who.Name], p)
}

// dropPins forgets what a closed room has not released, in whatever epoch. mu is held.
func (l *Log) dropPins(name string) {
	for _, p := range l.pins[name] {
		if in := l.holder(p.segment); in != nil {
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
	if err := r.accepts(e); err != nil {
		l.mu.Unlock()
		return err
	}
	r.busy = true
	r.turn.entry, r.turn.more, r.turn.size, r.turn.err = e, more, size, nil
	if l.wait(&r.turn) {
		l.commit()
	}
	return r.turn.err
}

// accepts says whether an entry comes in order. mu is held.
func (r *Room) accepts(e Entry) error {
	switch {
	case r.closed || r.log.ended:
		return closed()
	case r.busy:
		return misuse("two Appends of a room at once")
	case e.Number == 0 || e.Number <= r.last:
		return misuse("the log has an entry of this number")
	case e.Number != r.last+1 && !r.any && !r.first():
		return misuse("entries are left out")
	}
	return nil
}

// first tells whether nothing was appended since Room. mu is held.
func (r *Room) first() bool { return r.last == r.held }

// wrote notes an entry that was written. mu is held.
func (r *Room) wrote(a *active, w *waiter) {
	p := a.index.Get(r.who.Key)
	if p.At < uint32(a.part) {
		a.touched = append(a.touched, p)
	}
	if w.flags&segment.FlagNames != 0 {
		p.First, p.Root, p.Starts = w.entry.Number, w.at, w.flags&segment.FlagStarts != 0
	}
	p.Last, p.At, p.CRC = w.entry.Number, w.at, w.crc
	r.last, r.in, r.at, r.crc, r.any = w.entry.Number, a.logSegment, w.at, w.crc, false
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
	l.dropPins(r.who.Name)
	if last, ok := l.nameless[r.who.Key]; ok && through >= last {
		delete(l.nameless, r.who.Key)
		r.unsure = nil
	}
	look := through >= r.held && l.crashed.settled(r.who.Name, &r.who.Key)
	l.mu.Unlock()
	l.tidy(look)
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
	delete(l.attached, r.who.Key)
	if !l.ended {
		l.keepPin(r)
	}
}
