package room

import (
	"sync"
	"time"
)

// What a room that has no life, or that lost its clients in a crash, is to be told when it wakes.

// owed are the ends of connections that a room without a life is to be told of. The zero value is ready; its
// methods are safe from any goroutine. There are at most as many as connections were there when their rooms failed.
type owed struct {
	mu    sync.Mutex
	rooms map[Key][]*closeMessage
}

func (o *owed) put(key Key, messages ...*closeMessage) {
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

func (o *owed) take(key Key) []*closeMessage {
	o.mu.Lock()
	defer o.mu.Unlock()
	messages := o.rooms[key]
	delete(o.rooms, key)
	return messages
}

const (
	// rosterPause is how long a note waits for a transaction to go with.
	rosterPause = time.Second
	// rosterGrace is how long clients have to come back after a crash, from their room's first wake on.
	rosterGrace = time.Minute
)

// graces are the times until which rooms wait for clients of an earlier process. The zero value is ready; its methods are
// safe from any goroutine.
type graces struct {
	mu    sync.Mutex
	until map[Key]time.Time
}

// plan gives the end of a room's grace, which begins with the first call, and has the room woken then. Where nobody is lost there is none.
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
	n.afterFunc(rosterGrace, "telling a room who did not come back", func() {
		_ = n.actors.Push(key, rosterMessage{}, nil) // a room that is down finds the time over when it is up
	})
	return until
}
