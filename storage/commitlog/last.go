package commitlog

// Last is the number of the room's newest entry that the log still has; 0 for none. It
// reads nothing.
func (r *Room) Last() uint64 {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return r.last
}

// Failed tells that a sync has failed and that the log has not healed since. Append, and
// what reads, tries to heal it.
func (l *Log) Failed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active.failed
}
