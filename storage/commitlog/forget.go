package commitlog

// Histories that nobody takes up again: those of a room whose file was replaced while it
// still lacked entries, because it could not be read.

// Forget says that what a room that is not open has not released, in whatever epoch, is not
// needed any more: it stays for History and then goes. A room that is open keeps its own.
func (l *Log) Forget(namespace, room string) {
	who := identify(namespace, room, "")
	l.mu.Lock()
	sweep := !l.ended && l.forget(who.name) && l.wantsSweep()
	l.mu.Unlock()
	if sweep {
		if err := l.turn(l.sweep); err != nil {
			l.o.Logger.Warn("commit log: old segments stay", "error", err)
		}
	}
}

// forget tells whether it did. mu is held.
func (l *Log) forget(name string) bool {
	for _, r := range l.attached {
		if r.who.name == name {
			return false
		}
	}
	if p, ok := l.pins[name]; ok {
		delete(l.pins, name)
		if in := l.holder(p.segment); in != nil {
			in.pins--
		}
	}
	if l.crashed.generation != 0 {
		l.recovered[name] = struct{}{}
	}
	return true
}
