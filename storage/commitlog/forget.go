package commitlog

// Histories that nobody takes up again: those of a room whose file was replaced while it
// still lacked entries, because it could not be read.

// Forget says that what a room that is not open has not released, in whatever epoch, is not
// needed any more: it stays for History and then goes. A room that is open keeps its own.
func (l *Log) Forget(namespace, room string) {
	name := identify(namespace, room, "").name
	l.mu.Lock()
	look := l.forget(name)
	l.mu.Unlock()
	l.tidy(look)
}

// forget tells whether it is time to look for rooms that wait after a crash. mu is held.
func (l *Log) forget(name string) (look bool) {
	for _, r := range l.attached {
		if r.who.name == name {
			return false
		}
	}
	l.dropPins(name)
	return l.crashed.settled(name, nil)
}
