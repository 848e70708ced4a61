package recent

import (
	"sync"

	"github.com/denrooms/den/room/internal/replies"
)

// maxHangs is how many clients' hung actions a host remembers. Beyond that it starts from scratch.
const maxHangs = 4096

// Hangs are the actions whose hooks did not return, the last one of each client. The zero value is ready to use; its
// methods are safe from any goroutine.
type Hangs struct {
	mu   sync.Mutex
	last map[Client]Hung
}

// Hung is what is remembered of an action.
type Hung struct {
	Mutation uint64
	Digest   replies.Digest
	Tries    int
	Counted  int // how many of the tries are in the room's file
}

// None reports whether no action is remembered.
func (h *Hangs) None() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.last) == 0
}

// Of returns what is remembered of a client's last hung action, if there is one.
func (h *Hangs) Of(client Client) (last Hung, there bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	last, there = h.last[client]
	return last, there
}

// Count notes that all tries are in the room's file. The action stays remembered, because the next life has to look
// there too before it runs the action.
func (h *Hangs) Count(client Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if last, there := h.last[client]; there {
		last.Counted = last.Tries
		h.last[client] = last
	}
}

// Forget forgets a client's action. It is called when the action's number is used up.
func (h *Hangs) Forget(client Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.last, client)
}

// Note counts a try of a client's action that has hung.
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
