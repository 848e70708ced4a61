package commitlog

// Group commit. One goroutine at a time, the leader, may write to the log. The first that comes leads, and hands over
// to the request that has waited longest. A leader that appends writes all appends that are queued before the next
// exclusive request as one group: one write, one sync. An appender that is alone uses no channel.

import "github.com/denrooms/den/storage/commitlog/segment"

// A request is a goroutine's place in the queue.
type request struct {
	room *Room // that appends; nil: the caller wants the log for itself
	wake chan role

	entry  Entry
	pieces [][]byte // of the payload, after entry.Payload
	size   int      // of the payload, in bytes
	at     uint32   // offset of the record in the segment
	crc    uint32
	flags  uint8
	err    error
}

// A role is what a request has become when its wait ends.
type role uint8

const (
	leader role = iota
	done        // another leader has written the entry
)

// enqueue queues r, and returns when r leads or is done. mu is held at the call, and is free at the return.
func (l *Log) enqueue(r *request) role {
	l.queue = append(l.queue, r)
	if !l.hasLeader {
		l.hasLeader = true
		l.mu.Unlock()
		return leader
	}
	if r.wake == nil {
		r.wake = make(chan role, 1) // the leader sends once for each request
	}
	l.mu.Unlock()
	return <-r.wake
}

// handOver makes the request that has waited longest the leader. mu is held.
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
	backlog := l.backlog
	l.backlog = nil
	l.handOver()
	l.mu.Unlock()
	l.requestCheckpoints(backlog)
	return err
}

// dequeue moves n requests from the queue into the leader's group. mu is held.
func (l *Log) dequeue(n int) []*request {
	l.group = append(l.group[:0], l.queue[:n]...)
	rest := copy(l.queue, l.queue[n:])
	clear(l.queue[rest:])
	l.queue = l.queue[:rest]
	return l.group
}

// groupSize returns how many of the queued requests are written together. mu is held.
func (l *Log) groupSize() int {
	bytes := 0
	for i, r := range l.queue {
		if r.room == nil {
			return i
		}
		if bytes += r.size; i > 0 && bytes > groupBytes {
			return i
		}
	}
	return len(l.queue)
}

// commit writes the group of a leader that appends.
func (l *Log) commit() {
	l.mu.Lock()
	group := l.dequeue(l.groupSize())
	l.mu.Unlock()
	err := l.writeGroup(group)
	l.mu.Lock()
	l.completeGroup(group, err)
	backlog := l.backlog
	l.backlog = nil
	for _, r := range group[1:] {
		r.wake <- done
	}
	l.handOver()
	l.mu.Unlock()
	l.requestCheckpoints(backlog)
}

// writeGroup writes a group and, unless the log is Relaxed, makes it durable.
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
	chain, indexedTo, err := l.startGroup()
	if err != nil {
		return unwritten(err)
	}
	a.ensureAllocated(l.writer.End() - a.end + a.chooseFlags(group))
	chain = l.encodeGroup(group, chain)
	if err := l.writer.Flush(); err != nil {
		return l.undoWrite(err)
	}
	if indexedTo != a.indexedTo {
		a.writeHint()
	}
	if l.o.Durability == Durable {
		if err := l.syncActive(l.writer.End()); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if indexedTo != a.indexedTo { // the group begins with an index
		a.indexAt, a.indexedTo, a.unindexed = uint32(a.end), indexedTo, a.unindexed[:0]
		a.hints++
		l.stats.Indexes++
	}
	a.end, a.chain = l.writer.End(), chain
	return nil
}

// chooseFlags sets the flags of a group's records, and returns how many bytes the records have.
func (a *active) chooseFlags(group []*request) (bytes int64) {
	for _, r := range group {
		r.flags = 0
		if r.room.last == 0 || r.entry.Number != r.room.last+1 {
			r.flags = segment.FlagStarts
		}
		names := 0
		if r.room.lastIn != a.logSegment || r.flags&segment.FlagStarts != 0 {
			r.flags |= segment.FlagNames
			names = len(r.room.id.Names)
		}
		bytes += int64(segment.RecordSize(names, r.size))
	}
	return bytes
}

// encodeGroup gives a group's records to the writer. chain is the checksum of the record before them; encodeGroup
// returns that of the last one.
func (l *Log) encodeGroup(group []*request, chain uint32) uint32 {
	a := l.active
	for _, r := range group {
		rec := segment.Record{
			Chain: chain, Synced: uint32(a.synced), RoomChain: r.room.lastCRC, Flags: r.flags,
			Number: r.entry.Number, Seq: r.entry.Seq, At: r.entry.At, Key: r.room.id.Key,
		}
		if r.flags&segment.FlagStarts != 0 {
			rec.RoomChain = 0
		}
		names := ""
		if r.flags&segment.FlagNames != 0 {
			names = r.room.id.Names
		} else {
			rec.Previous, rec.Root = r.room.lastAt, a.index.Of[r.room.id.Key].Root
		}
		r.at = uint32(l.writer.End())
		l.writer.Put(a.Salt, &rec, names, r.entry.Payload, r.pieces)
		r.crc, chain = rec.CRC, rec.CRC
	}
	return chain
}

// completeGroup gives each request of a group its result. mu is held.
func (l *Log) completeGroup(group []*request, err error) {
	if err != nil {
		l.stats.Failures++
	} else {
		l.stats.Groups++
		l.stats.Largest = max(l.stats.Largest, len(group))
	}
	for _, r := range group {
		r.err = err
		if err == nil {
			l.stats.Entries++
			l.stats.Payload += uint64(r.size)
			l.active.entries++
			r.room.noteAppended(l.active, r)
		}
		r.entry, r.pieces = Entry{}, nil
		r.room.appending = false
	}
}

func (l *Log) requestCheckpoints(rooms []segment.Identity) {
	for _, id := range rooms {
		l.o.RequestCheckpoint(id.Namespace, id.Room)
	}
}
