package commitlog

// Whose turn it is to write. One goroutine at a time leads: the first that comes, and when it
// is done the one that has waited longest. Who leads with an entry takes those of all that
// wait behind it, up to the next that wants something else, into one group: one write, one
// sync. There is no goroutine for it and, with one appender, no channel.

import "github.com/denrooms/den/storage/commitlog/segment"

// request is somebody's turn.
type request struct {
	room *Room // who appends; nil: somebody who wants the log for itself
	wake chan role

	entry  Entry
	pieces [][]byte // of the payload, behind entry.Payload
	size   int      // of the payload, in bytes
	at     uint32   // where in the segment it was written
	crc    uint32
	flags  uint8
	err    error
}

type role uint8

const (
	leader role = iota
	done
)

// enqueue waits for w's turn. mu is held before, and not behind. False: somebody did w's work.
func (l *Log) enqueue(r *request) bool {
	l.queue = append(l.queue, r)
	if !l.hasLeader {
		l.hasLeader = true
		l.mu.Unlock()
		return true
	}
	if r.wake == nil {
		r.wake = make(chan role, 1) // whoever leads sends once for each wait
	}
	l.mu.Unlock()
	return <-r.wake == leader
}

// handOver ends a turn. mu is held.
func (l *Log) handOver() {
	if len(l.queue) == 0 {
		l.hasLeader = false
		return
	}
	l.queue[0].wake <- leader
}

// exclusively runs fn while no one else writes.
func (l *Log) exclusively(fn func() error) error {
	l.mu.Lock()
	l.enqueue(&request{})
	l.mu.Lock()
	l.dequeue(1)
	l.mu.Unlock()
	err := fn()
	l.mu.Lock()
	pressed := l.backlog
	l.backlog = nil
	l.handOver()
	l.mu.Unlock()
	l.requestCheckpoints(pressed)
	return err
}

// dequeue moves n waiters from the queue into the group. mu is held.
func (l *Log) dequeue(n int) []*request {
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
	group := l.dequeue(l.groupSize())
	l.mu.Unlock()
	err := l.writeGroup(group)
	l.mu.Lock()
	l.completeGroup(group, err)
	pressed := l.backlog
	l.backlog = nil
	for _, w := range group[1:] {
		w.wake <- done
	}
	l.handOver()
	l.mu.Unlock()
	l.requestCheckpoints(pressed)
}

// writeGroup writes a group and, unless relaxed, makes it durable.
func (l *Log) writeGroup(group []*request) error {
	if l.closed {
		return errClosed()
	}
	if a := l.active; a.failed || a.sealed || a.end >= l.o.segmentBytes(len(l.segments)) && a.entries > 0 {
		if err := l.rotate(); err != nil {
			return unwritten(err)
		}
	}
	a := l.active
	l.writer.Begin(a.file, a.end)
	chain, part, err := l.startGroup()
	if err != nil {
		return unwritten(err)
	}
	a.ensureAllocated(l.writer.End() - a.end + a.chooseFlags(group))
	chain = l.encodeGroup(group, chain)
	if err := l.writer.Flush(); err != nil {
		return l.undoWrite(err)
	}
	if part != a.indexedTo {
		a.writeHint()
	}
	end, before := a.end, a.chain
	l.endAt(a, l.writer.End(), chain)
	if l.o.Durability == Durable {
		if err := l.syncActive(); err != nil {
			l.endAt(a, end, before)
			return err
		}
	}
	if part != a.indexedTo {
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

// chooseFlags chooses which of a group's records have the names of their rooms, and says how many
// bytes all of them have.
func (a *active) chooseFlags(group []*request) (bytes int64) {
	for _, w := range group {
		w.flags = 0
		if w.room.last == 0 || w.entry.Number != w.room.last+1 {
			w.flags = segment.FlagStarts
		}
		names := 0
		if w.room.lastIn != a.logSegment || w.flags&segment.FlagStarts != 0 {
			w.flags |= segment.FlagNames
			names = len(w.room.id.Names)
		}
		bytes += int64(segment.RecordSize(names, w.size))
	}
	return bytes
}

// encodeGroup puts a group's records out, behind what has the checksum chain, and returns the last
// one's.
func (l *Log) encodeGroup(group []*request, chain uint32) uint32 {
	a := l.active
	for _, w := range group {
		rec := segment.Record{
			Chain: chain, Synced: uint32(a.synced), RoomChain: w.room.lastCRC, Flags: w.flags,
			Number: w.entry.Number, Seq: w.entry.Seq, At: w.entry.At, Key: w.room.id.Key,
		}
		if w.flags&segment.FlagStarts != 0 {
			rec.RoomChain = 0
		}
		names := ""
		if w.flags&segment.FlagNames != 0 {
			names = w.room.id.Names
		} else {
			rec.Previous, rec.Root = w.room.lastAt, a.index.Of[w.room.id.Key].Root
		}
		w.at = uint32(l.writer.End())
		l.writer.Put(a.Salt, &rec, names, w.entry.Payload, w.pieces)
		w.crc, chain = rec.CRC, rec.CRC
	}
	return chain
}

// completeGroup tells a group what became of it. mu is held.
func (l *Log) completeGroup(group []*request, err error) {
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
			w.room.noteAppended(l.active, w)
		}
		w.entry, w.pieces = Entry{}, nil
		w.room.appending = false
	}
}

// requestCheckpoints calls RequestCheckpoint.
func (l *Log) requestCheckpoints(rooms []segment.Identity) {
	for _, who := range rooms {
		l.o.RequestCheckpoint(who.Namespace, who.Room)
	}
}
