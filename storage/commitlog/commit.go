package commitlog

// Group commit. A leader that appends writes all appends that are queued before the next exclusive request as one
// group: one write, one sync. An appender that is alone uses no channel.

// exclusively runs fn while no one else writes.
func (l *Log) exclusively(fn func() error) error {
	l.mu.Lock()
	l.turns.enqueue(&request{})
	l.mu.Lock()
	l.turns.dequeue(1)
	l.mu.Unlock()
	err := fn()
	l.mu.Lock()
	l.endTurn()
	return err
}

// endTurn hands over to the next leader, and calls RequestCheckpoint. mu is held at the call, and is free at the return.
func (l *Log) endTurn() {
	backlog := l.backlog
	l.backlog = nil
	l.turns.handOver()
	l.mu.Unlock()
	for _, id := range backlog {
		l.o.RequestCheckpoint(id.Namespace, id.Room)
	}
}

// commit writes the group of a leader that appends, and makes it durable unless the log is Relaxed.
func (l *Log) commit() {
	l.mu.Lock()
	group := l.turns.dequeue(l.turns.groupSize())
	l.mu.Unlock()
	var w written
	err := l.makeRoom()
	if err == nil {
		w, err = l.active.write(group)
	}
	if err == nil && !l.o.Relaxed {
		err = l.active.sync(w.end)
	}
	l.mu.Lock()
	if err == nil {
		l.active.acknowledge(w, group)
	}
	l.completeGroup(group, err)
	l.endTurn()
}

// makeRoom rotates if the active segment is full, or can no longer be written.
func (l *Log) makeRoom() error {
	if l.closed {
		return errClosed()
	}
	if a := l.active; a.failed || a.sealed || a.end >= l.o.segmentBytes(len(l.sealed.list)) && a.entries > 0 {
		if err := l.rotate(); err != nil {
			return unwritten(err)
		}
	}
	return nil
}

// completeGroup gives each request of a group its result. mu is held.
func (l *Log) completeGroup(group []*request, err error) {
	if err != nil {
		l.stats.Failures++
	} else {
		l.stats.Groups++
		l.stats.Largest = max(l.stats.Largest, len(group))
	}
	for i, r := range group {
		r.err = err
		if err == nil {
			l.stats.Entries++
			l.stats.Payload += uint64(r.size)
		}
		r.entry, r.pieces = Entry{}, nil
		r.room.appending = false
		if i > 0 {
			r.wake <- done
		}
	}
}
