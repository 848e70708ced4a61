package recent

import "sync"

// maxUnsubscribed is how many are remembered. Beyond that the oldest is forgotten.
const maxUnsubscribed = 4096

// Unsubscribed are the named clients that have left a room without having asked for anything. The zero value is ready
// to use; its methods are safe from any goroutine.
type Unsubscribed struct {
	mu    sync.Mutex
	known map[Client]uint64 // by their places in order
	order []place           // the oldest first; places that known does not have are outdated
	next  uint64
}

type place struct {
	client Client
	at     uint64
}

// Note remembers a client.
func (q *Unsubscribed) Note(c Client) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.known == nil {
		q.known = make(map[Client]uint64)
	}
	q.next++
	q.known[c] = q.next
	q.order = append(q.order, place{c, q.next})
	for len(q.order) > maxUnsubscribed {
		if oldest := q.order[0]; q.known[oldest.client] == oldest.at {
			delete(q.known, oldest.client)
		}
		q.order = q.order[1:]
	}
}

// Has reports whether a client is remembered.
func (q *Unsubscribed) Has(c Client) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, has := q.known[c]
	return has
}

// Forget forgets a client.
func (q *Unsubscribed) Forget(c Client) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.known, c)
}
