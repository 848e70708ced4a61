package room

import (
	"sync"

	"github.com/denrooms/den/hibernate"
)

// Named clients that have left a room and had asked for nothing, and those that the room did not let in: their question may have
// been lost with the socket. In a room of which nobody has got anything yet (unseen.go) the note on such a client (confirm.go) would make
// the room durable: who names its connection and leaves would leave a file. Of a client that was not let in the room knows
// nothing. And a note is written at the end of a turn, when the client may be back. So the process remembers them, and a restart
// forgets them, as a crash forgets such a note in any room.

// maxQuiet is how many are remembered; beyond that the oldest is forgotten.
const maxQuiet = 4096

// quiet is the memory of a host. The zero value is ready; its methods are safe from any goroutine.
type quiet struct {
	mu    sync.Mutex
	known map[quietClient]uint64 // by their places in order
	order []quietPlace           // the oldest first; those that known does not have are over
	next  uint64
}

type quietClient struct {
	room        Key
	id, subject string
}

type quietPlace struct {
	client quietClient
	at     uint64
}

func quietOf(room Key, conn *hibernate.Connection) quietClient {
	return quietClient{room, conn.ID(), conn.Identity.Subject}
}

// noteQuiet remembers the clients that are there and have asked for nothing, when the room goes to sleep: they may go meanwhile.
func (t *turn) noteQuiet() {
	l := t.life
	for conn := range l.waiting {
		if t.askedNothing(conn) {
			l.host.quiet.note(quietOf(l.key, conn))
		}
	}
}

func (q *quiet) note(c quietClient) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.known == nil {
		q.known = make(map[quietClient]uint64)
	}
	q.next++
	q.known[c] = q.next
	q.order = append(q.order, quietPlace{c, q.next})
	for len(q.order) > maxQuiet {
		if oldest := q.order[0]; q.known[oldest.client] == oldest.at {
			delete(q.known, oldest.client)
		}
		q.order = q.order[1:]
	}
}

func (q *quiet) has(c quietClient) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, has := q.known[c]
	return has
}

func (q *quiet) forget(c quietClient) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.known, c)
}
