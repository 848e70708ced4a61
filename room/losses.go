package room

// Why an action that takes its whole batch down does not do so again and again. Those that shared the
// batch are sent once more by their clients, likely together with the same action, which would take
// them down each time. So after such a loss a room gives its next messages a turn and a commit
// each, and so it does after a hook that hung, which takes its batch down too. It keeps to that over a
// sleep.

import "sync"

const (
	// aloneAfterLoss is how many messages have a turn each: as many as a connection may have in work, by default.
	aloneAfterLoss = 256
	// maxLosses is how many rooms that sleep are remembered; then none is.
	maxLosses = 4096
)

// losses are the rooms without a life whose next messages are to have a turn each. The zero value is
// ready; its methods are safe from any goroutine.
type losses struct {
	mu    sync.Mutex
	alone map[Key]int
}

func (l *losses) put(room Key, alone int) {
	if alone == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alone == nil || len(l.alone) >= maxLosses {
		l.alone = make(map[Key]int)
	}
	l.alone[room] = alone
}

func (l *losses) take(room Key) (alone int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	alone = l.alone[room]
	delete(l.alone, room)
	return alone
}
