package recent

import (
	"sync"

	"github.com/denrooms/den/room/internal/replies"
)

// maxHangs is how many actions that hung a host remembers; then it starts from scratch.
const maxHangs = 4096

// Hangs are the actions whose hooks did not return, the last one of each client. The zero value is
// ready; its methods are safe from any goroutine.
type Hangs struct {
	mu   sync.Mutex
	last map[Client]Hung
}

// Hung is what is remembered of an action.
type Hung struct {
	Mutation uint64
	Digest   replies.Digest
	Tries    int
	Counted  int // of them, those that are in the room's file
}

// None reports whether no action is remembered.
func (h *Hangs) None() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.last) == 0
}

// Of is what is remembered of a client's last action, if anything is.
func (h *Hangs) Of(client Client) (last Hung, there bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	last, there = h.last[client]
	return last, there
}

// Count notes that all tries are in the room's file. The note stays: the next life, too, is to look there before
// it runs the action.
func (h *Hangs) Count(client Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if last, there := h.last[client]; there {
		last.Counted = last.Tries
		h.last[client] = last
	}
}

// Forget is called when a number of the client is used up.
func (h *Hangs) Forget(client Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.last, client)
}

// Note counts a try of a client's that has hung.
func (h *Hangs) Note(client Client, mutation uint64, digest replies.Digest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last == nil || len(h.last) >= maxHangs {
		h.last = make(map[Client]Hung)
	}
	last := h.last[client]
	if last.Mutation != mutation || last.Digest != digest {
		last = Hung{Mutation: mutation, Digest: digest}
	}
	last.Tries++
	h.last[client] = last
}
