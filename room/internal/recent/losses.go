package recent

import (
	"sync"

	"github.com/denrooms/den/actor"
)

// maxLosses is how many sleeping rooms are remembered. Beyond that all are forgotten.
const maxLosses = 4096

// Losses are the rooms without a life whose next messages get a turn each. The zero value is ready to use; its
// methods are safe from any goroutine.
type Losses struct {
	mu    sync.Mutex
	alone map[actor.Key]int
}

// Put remembers how many messages of a room get a turn each. It ignores 0.
func (l *Losses) Put(room actor.Key, alone int) {
	if alone == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alone == nil || len(l.alone) >= maxLosses {
		l.alone = make(map[actor.Key]int)
	}
	l.alone[room] = alone
}

// Take returns that number, and forgets it.
func (l *Losses) Take(room actor.Key) (alone int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	alone = l.alone[room]
	delete(l.alone, room)
	return alone
}
