package room_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A counter counts what it is sent, by the clients' ids, and stops at the message "stop" until it may go on.
type counter struct {
	room.Base
	seen *counted
}

type counted struct {
	stopped chan struct{}
	release chan struct{}

	mu     sync.Mutex
	order  []string
	served chan struct{} // closed when the one who is waited for was served
	await  string
}

func (c *counter) OnMessage(ctx *room.Context, m room.Message) error {
	if string(m.Data) == `{"do":"stop"}` {
		close(c.seen.stopped)
		<-c.seen.release
		return nil
	}
	c.seen.mu.Lock()
	defer c.seen.mu.Unlock()
	c.seen.order = append(c.seen.order, ctx.Conn().ID())
	if ctx.Conn().ID() == c.seen.await && c.seen.served != nil {
		close(c.seen.served)
		c.seen.served = nil
	}
	return nil
}

// openCounter opens a host for a room that counts, and gives a way to connect to it.
func openCounter(t *testing.T, opts ...roomtest.Option) (*roomtest.Host, *counted, func(id string, link room.Link) *room.Session) {
	seen := &counted{stopped: make(chan struct{}), release: make(chan struct{}), served: make(chan struct{})}
	opts = append(opts, func(o *room.Options) { o.ActionTimeout = time.Minute })
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("counter", func() room.Handler { return &counter{seen: seen} })
	}, opts...)
	return h, seen, func(id string, link room.Link) *room.Session {
		s, err := h.Host.Connect(t.Context(), room.Key{Namespace: "counter", Room: "one"}, room.ConnectRequest{ID: id, Link: link})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// stop has the room be in work until it is released.
func (c *counted) stop(s *room.Session) {
	s.Receive([]byte(`{"do":"stop"}`), false)
	<-c.stopped
}

// sink is a link that drops what it is sent.
type sink struct{}

func (sink) Send(...*room.Frame) {}
func (sink) Close(int, string)   {}

// TestInvariantIsolationTurns: sixteen connections send as much as is taken of them. The seventeenth is read
// nevertheless, and its message is served after one turn of each of them: it was served after 4096 messages.
func TestInvariantIsolationTurns(t *testing.T) {
	const flooders = 16
	_, seen, connect := openCounter(t)
	seen.await = "honest"
	blocker, honest := connect("blocker", sink{}), connect("honest", sink{})
	var floods []*room.Session
	for i := range flooders {
		floods = append(floods, connect(fmt.Sprint("flooder ", i), sink{}))
	}
	seen.stop(blocker)
	waiting := 0
	for took := true; took; {
		took = false
		for _, s := range floods {
			if s.Offer([]byte(`{"do":"count"}`), false) {
				took = true
				waiting++
			}
		}
	}
	if waiting < 3000 {
		t.Errorf("sixteen connections have %d messages waiting, want most of 4096", waiting)
	}
	served := seen.served
	if !honest.Offer([]byte(`{"do":"count"}`), false) {
		t.Error("the seventeenth is not read")
	}
	close(seen.release)
	select {
	case <-served:
	case <-time.After(10 * time.Second):
		t.Fatal("the message of the seventeenth was not served")
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	before := 0
	for before < len(seen.order) && seen.order[before] != "honest" {
		before++
	}
	if before > flooders {
		t.Errorf("%d messages were served before that of the seventeenth, want %d at most", before, flooders)
	}
}
