package room

import (
	"sync"
	"time"
)

// What a room without a life, or one that lost its clients in a crash, is told when it wakes.

// pendingCloses are the ends of connections that rooms without a life are to be told of. The zero value is ready to
// use; its methods are safe from any goroutine. There are at most as many as there were connections when their rooms
// failed.
type pendingCloses struct {
	mu    sync.Mutex
	rooms map[Key][]*closeMessage
}

func (o *pendingCloses) put(key Key, messages ...*closeMessage) {
	if len(messages) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.rooms == nil {
		o.rooms = make(map[Key][]*closeMessage)
	}
	o.rooms[key] = append(o.rooms[key], messages...)
}

func (o *pendingCloses) take(key Key) []*closeMessage {
	o.mu.Lock()
	defer o.mu.Unlock()
	messages := o.rooms[key]
	delete(o.rooms, key)
	return messages
}

const (
	// rosterPause is how long a note waits for a transaction to be written with.
	rosterPause = time.Second
	// rosterGrace is how long clients may take to come back after a crash. It begins with their room's first wake.
	rosterGrace = time.Minute
)

// graces are the times until which rooms wait for clients of an earlier process. The zero value is ready to use; its
// methods are safe from any goroutine.
type graces struct {
	mu    sync.Mutex
	until map[Key]time.Time
}

// plan returns the end of a room's grace, which begins with the first call, and has the room woken at that time.
// Without lost clients there is none.
func (g *graces) plan(n *node, key Key, some bool) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !some {
		delete(g.until, key)
		return time.Time{}
	}
	if until, there := g.until[key]; there {
		return until
	}
	if g.until == nil {
		g.until = make(map[Key]time.Time)
	}
	until := n.now().Add(rosterGrace)
	g.until[key] = until
	n.afterFunc(rosterGrace, "ending a room's wait for lost clients", func() {
		_ = n.actors.Push(key, rosterMessage{}, nil) // a room that is down notices when it is up
	})
	return until
}
