package room_test

import (
	"context"
	"fmt"
	"slices"
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
	work    chan struct{} // closed when the work of "go" may end
	begun   sync.WaitGroup
	worked  sync.WaitGroup

	mu     sync.Mutex
	order  []string
	served chan struct{} // closed when the one who is waited for was served
	await  string
}

func (c *counter) OnMessage(ctx *room.Context, m room.Message) error {
	if string(m.Data) == `{"do":"go"}` {
		work := func(context.Context) error {
			c.seen.begun.Done()
			<-c.seen.work
			c.seen.worked.Done()
			return nil
		}
		return ctx.Go(work, func(*room.Context, error) error { c.seen.note("work"); return nil })
	}
	if string(m.Data) == `{"do":"stop"}` {
		close(c.seen.stopped)
		<-c.seen.release
		return nil
	}
	c.seen.note(ctx.Conn().ID())
	return nil
}

// note notes what was served.
func (c *counted) note(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.order = append(c.order, name)
	if name == c.await && c.served != nil {
		close(c.served)
		c.served = nil
	}
}

// openCounter opens a host for a room that counts, and gives a way to connect to it.
func openCounter(t *testing.T, opts ...roomtest.Option) (*roomtest.Host, *counted, func(id string, link room.Link) *room.Session) {
	seen := &counted{stopped: make(chan struct{}), release: make(chan struct{}), served: make(chan struct{}), work: make(chan struct{})}
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
// nevertheless, and its message, the only one of it, is served before theirs: it was served after 4096 messages.
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
	if before > 2 { // what the turn in work had taken
		t.Errorf("%d messages were served before that of the seventeenth, want 2 at most", before)
	}
}

// TestWorkTakesItsTurn: the results of work that one connection's messages have begun take its turns: they do not go before a message of
// another one.
func TestWorkTakesItsTurn(t *testing.T) {
	const pieces = 40
	_, seen, connect := openCounter(t)
	seen.await = "honest"
	blocker, honest, busy := connect("blocker", sink{}), connect("honest", sink{}), connect("busy", sink{})
	seen.begun.Add(pieces)
	seen.worked.Add(pieces)
	for range pieces {
		if err := busy.Receive([]byte(`{"do":"go"}`), false); err != nil {
			t.Fatal(err)
		}
	}
	seen.begun.Wait()
	seen.stop(blocker)
	served := seen.served
	close(seen.work)
	seen.worked.Wait() // the results come now, or will have come
	if !honest.Offer([]byte(`{"do":"count"}`), false) {
		t.Error("the other one is not read")
	}
	close(seen.release)
	within(t, served, "the other one's message")
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if before := slices.Index(seen.order, "honest"); before > 2 {
		t.Errorf("%d results were served before it", before)
	}
}
