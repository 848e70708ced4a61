package recent

import "sync"

// maxQuiet is how many are remembered; beyond that the oldest is forgotten.
const maxQuiet = 4096

// Quiet are the named clients that have left a room and had asked for nothing. The zero value is ready; its methods are safe from any goroutine.
type Quiet struct {
	mu    sync.Mutex
	known map[Client]uint64 // by their places in order
	order []place           // the oldest first; those that known does not have are over
	next  uint64
}

type place struct {
	client Client
	at     uint64
}

// Note remembers a client.
func (q *Quiet) Note(c Client) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.known == nil {
		q.known = make(map[Client]uint64)
	}
	q.next++
	q.known[c] = q.next
	q.order = append(q.order, place{c, q.next})
	for len(q.order) > maxQuiet {
		if oldest := q.order[0]; q.known[oldest.client] == oldest.at {
			delete(q.known, oldest.client)
		}
		q.order = q.order[1:]
	}
}

// Has reports whether a client is remembered.
func (q *Quiet) Has(c Client) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, has := q.known[c]
	return has
}

// Forget forgets a client.
func (q *Quiet) Forget(c Client) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.known, c)
}
