package commitlog

// Histories that nobody takes up again: those of a room whose file was replaced while it
// still lacked entries, because it could not be read.

import "github.com/denrooms/den/storage/commitlog/segment"

// Forget says that what a room that is not open has not released, in whatever epoch, is not
// needed any more: it stays for History and then goes. A room that is open keeps its own.
func (l *Log) Forget(namespace, room string) {
	name := segment.Identify(namespace, room, "").Name
	l.mu.Lock()
	look := l.forgetRoom(name)
	l.mu.Unlock()
	l.maybeShrink(look)
}

// forgetRoom tells whether it is time to look for rooms that wait after a crash. mu is held.
func (l *Log) forgetRoom(name string) (look bool) {
	for _, r := range l.rooms {
		if r.id.Name == name {
			return false
		}
	}
	l.dropPins(name)
	return l.recovery.markRecovered(name, nil)
}
