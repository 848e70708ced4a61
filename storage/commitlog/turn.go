package commitlog

// Whose turn it is to write. One goroutine at a time leads: the first that comes, and when it
// is done the one that has waited longest. Who leads with an entry takes those of all that
// wait behind it, up to the next that wants something else, into one group: one write, one
// sync. There is no goroutine for it and, with one appender, no channel.

import "github.com/denrooms/den/storage/commitlog/segment"

// waiter is somebody's turn.
type waiter struct {
	room *Room // who appends; nil: somebody who wants the log for itself
	wake chan verdict

	entry Entry
	more  [][]byte // of the payload, behind entry.Payload
	size  int      // of the payload, in bytes
	at    uint32   // where in the segment it was written
	crc   uint32
	flags uint8
	err   error
}

type verdict uint8

const (
	leads verdict = iota
	served
)

// wait waits for w's turn. mu is held before, and not behind. False: somebody did w's work.
func (l *Log) wait(w *waiter) bool {
	l.queue = append(l.queue, w)
	if !l.led {
		l.led = true
		l.mu.Unlock()
		return true
	}
	if w.wake == nil {
		w.wake = make(chan verdict, 1) // whoever leads sends once for each wait
	}
	l.mu.Unlock()
	return <-w.wake == leads
}

// pass ends a turn. mu is held.
func (l *Log) pass() {
	if len(l.queue) == 0 {
		l.led = false
		return
	}
	l.queue[0].wake <- leads
}

// turn runs fn while no one else writes.
func (l *Log) turn(fn func() error) error {
	l.mu.Lock()
	l.wait(&waiter{})
	l.mu.Lock()
	l.take(1)
	l.mu.Unlock()
	err := fn()
	l.mu.Lock()
	pressed := l.pressed
	l.pressed = nil
	l.pass()
	l.mu.Unlock()
	l.press(pressed)
	return err
}

// take moves n waiters from the queue into the group. mu is held.
func (l *Log) take(n int) []*waiter {
	l.group = append(l.group[:0], l.queue[:n]...)
	rest := copy(l.queue, l.queue[n:])
	clear(l.queue[rest:])
	l.queue = l.queue[:rest]
	return l.group
}

// groupSize says how many of those that wait go together. mu is held.
func (l *Log) groupSize() int {
	bytes := 0
	for i, w := range l.queue {
		if w.room == nil {
			return i
		}
		if bytes += w.size; i > 0 && bytes > groupBytes {
			return i
		}
	}
	return len(l.queue)
}

// commit is the turn of somebody who appends.
func (l *Log) commit() {
	l.mu.Lock()
	group := l.take(l.groupSize())
	l.mu.Unlock()
	err := l.write(group)
	l.mu.Lock()
	l.settle(group, err)
	pressed := l.pressed
	l.pressed = nil
	for _, w := range group[1:] {
		w.wake <- served
	}
	l.pass()
	l.mu.Unlock()
	l.press(pressed)
}

// write writes a group and, unless relaxed, makes it durable.
func (l *Log) write(group []*waiter) error {
	if l.ended {
		return closed()
	}
	if a := l.active; a.bad || a.done || a.end >= l.o.segmentBytes(len(l.segments)) && a.entries > 0 {
		if err := l.advance(); err != nil {
			return unwritten(err)
		}
	}
	a := l.active
	l.out.Begin(a.file, a.end)
	chain, part, err := l.startGroup()
	if err != nil {
		return unwritten(err)
	}
	a.reserve(l.out.End() - a.end + a.plan(group))
	chain = l.encode(group, chain)
	if err := l.out.Flush(); err != nil {
		return l.withdraw(err)
	}
	if part != a.part {
		a.writeHint()
	}
	end, before := a.end, a.chain
	l.endAt(a, l.out.End(), chain)
	if l.o.Durability == Durable {
		if err := l.syncActive(); err != nil {
			l.endAt(a, end, before)
			return err
		}
	}
	if part != a.part {
		l.endPart(end, part)
	}
	return nil
}

// endAt says where the active segment's records end, and the checksum of the last.
func (l *Log) endAt(a *active, end int64, chain uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.end, a.chain = end, chain
}

// plan chooses which of a group's records have the names of their rooms, and says how many
// bytes all of them have.
func (a *active) plan(group []*waiter) (bytes int64) {
	for _, w := range group {
		w.flags = 0
		if w.room.last == 0 || w.entry.Number != w.room.last+1 {
			w.flags = segment.FlagStarts
		}
		names := 0
		if w.room.in != a.logSegment || w.flags&segment.FlagStarts != 0 {
			w.flags |= segment.FlagNames
			names = len(w.room.who.Names)
		}
		bytes += int64(segment.RecordSize(names, w.size))
	}
	return bytes
}

// encode puts a group's records out, behind what has the checksum chain, and returns the last
// one's.
func (l *Log) encode(group []*waiter, chain uint32) uint32 {
	a := l.active
	for _, w := range group {
		rec := segment.Record{
			Chain: chain, Synced: uint32(a.synced), RoomChain: w.room.crc, Flags: w.flags,
			Number: w.entry.Number, Seq: w.entry.Seq, At: w.entry.At, Key: w.room.who.Key,
		}
		if w.flags&segment.FlagStarts != 0 {
			rec.RoomChain = 0
		}
		names := ""
		if w.flags&segment.FlagNames != 0 {
			names = w.room.who.Names
		} else {
			rec.Previous, rec.Root = w.room.at, a.index.Of[w.room.who.Key].Root
		}
		w.at = uint32(l.out.End())
		l.out.Put(a.Salt, &rec, names, w.entry.Payload, w.more)
		w.crc, chain = rec.CRC, rec.CRC
	}
	return chain
}

// settle tells a group what became of it. mu is held.
func (l *Log) settle(group []*waiter, err error) {
	if err != nil {
		l.stats.Failures++
	} else {
		l.stats.Groups++
		l.stats.Largest = max(l.stats.Largest, len(group))
	}
	for _, w := range group {
		w.err = err
		if err == nil {
			l.stats.Entries++
			l.stats.Payload += uint64(w.size)
			l.active.entries++
			w.room.wrote(l.active, w)
		}
		w.entry, w.more = Entry{}, nil
		w.room.busy = false
	}
}

// press calls Pressure.
func (l *Log) press(rooms []segment.Identity) {
	for _, who := range rooms {
		l.o.Pressure(who.Namespace, who.Room)
	}
}
