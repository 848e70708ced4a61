package room_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// What can happen to a room while it goes to sleep, with real goroutines, many times over.

// sleeper puts a room to sleep again and again until stop is called.
func sleeper(t *testing.T, h *roomtest.Host, name string) (stop func()) {
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // ends with stop
		for {
			select {
			case <-over:
				return
			default:
				if err := h.Sleep(t.Context(), room.Key{Namespace: "diary", Room: name}); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	return func() { close(over); wg.Wait() }
}

// A message against going to sleep: each is answered, once, and in the order of its sender.
func TestInvariantOrderedMessageAgainstSleep(t *testing.T) {
	h, _ := keep(t)
	var clients []*roomtest.Client
	for i := range 4 {
		clients = append(clients, h.Join("diary", "r", fmt.Sprint("client", i)))
	}
	stop := sleeper(t, h, "r")
	const each = 50
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			for n := range each {
				c.SendJSON(object{"id": fmt.Sprintf("%03d", n), "channel": "lines", "rpc": true,
					"action": object{"type": "write", "payload": object{"id": fmt.Sprintf("%d-%03d", i, n), "text": "x"}}})
			}
		})
	}
	wg.Wait()
	for i, c := range clients {
		for n := 0; n < each; {
			e := c.Next()
			if e.Kind == "update" {
				continue
			}
			if e.Kind != "success" || e.ID != fmt.Sprintf("%03d", n) {
				t.Fatalf("client %d, action %d: got %s", i, n, e.Data)
			}
			n++
		}
	}
	stop()
	if rows := clients[0].Sync("lines"); len(rows) != len(clients)*each {
		t.Errorf("%d rows", len(rows))
	}
}

// Two sockets against sleep (cloudflare/workerd #6862: an object that never hibernates again
// when two sockets race): they come, speak and go at once; after that the room sleeps.
func TestInvariantSocketsOutliveRoomsTwoAgainstSleep(t *testing.T) {
	h, _ := keep(t)
	for round := range 30 {
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() {
				c, err := h.TryJoin("diary", "r", fmt.Sprint("client", i))
				if err != nil {
					t.Error(err)
					return
				}
				c.SendJSON(object{"id": fmt.Sprint(round), "channel": "lines", "rpc": true,
					"action": object{"type": "write", "payload": object{"id": fmt.Sprint(i), "text": fmt.Sprint(round)}}})
				for e := c.Next(); e.Kind != "success"; e = c.Next() {
					if e.Kind == "error" {
						t.Errorf("got %s", e.Data)
						return
					}
				}
				if round%2 == i {
					c.Leave()
				}
			})
		}
		wg.Go(func() { h.Sleep(t.Context(), room.Key{Namespace: "diary", Room: "r"}) })
		wg.Wait()
		h.Advance(11 * time.Second)
		if h.Awake() != 0 {
			t.Fatalf("round %d: the room does not sleep any more", round)
		}
	}
	if n := h.Connections(); n != 30 {
		t.Errorf("%d connections", n)
	}
}

// Unload against reconnect (ueberdosis/hocuspocus #971: updates lost when unloading races with a
// reconnect): what was acknowledged before a client left is there when it is back, however the
// room's sleep lies between.
func TestInvariantGateUnloadAgainstReconnect(t *testing.T) {
	h, _ := keep(t)
	stop := sleeper(t, h, "r")
	defer stop()
	for round := range 12 {
		c := h.Join("diary", "r", "alice")
		mustSucceed(t, c.Do("lines", "write", object{"id": fmt.Sprint(round), "text": "x"}))
		c.Leave()
		if rows := h.Join("diary", "r", "bob").Sync("lines"); len(rows) != round+1 {
			t.Fatalf("round %d: %d rows", round, len(rows))
		}
	}
}

// A tap is a link whose frames a test takes from a channel.
type tap struct {
	frames chan string
	over   chan struct{}
	once   sync.Once
}

func (l *tap) Send(frames ...*room.Frame) {
	for _, f := range frames {
		l.frames <- string(f.Payload()) // has room for all that a test is sent
	}
}

func (l *tap) Close(int, string) { l.once.Do(func() { close(l.over) }) }

// The host's stop against wakes: it ends, and what was acknowledged is there afterwards.
func TestInvariantGateStopAgainstWake(t *testing.T) {
	for round := range 3 {
		h, _ := keep(t)
		acknowledged := make([]atomic.Int32, 8)
		var wg sync.WaitGroup
		enough := make(chan struct{}, 10_000)
		for i := range acknowledged {
			link := &tap{frames: make(chan string, 10_000), over: make(chan struct{})}
			key := room.Key{Namespace: "diary", Room: fmt.Sprint(i)}
			session, err := h.Connect(t.Context(), key, room.ConnectRequest{ID: "alice", Link: link})
			if err != nil {
				t.Fatal(err)
			}
			h.SleepRoom("diary", key.Room)
			wg.Go(func() { // ends when its link is closed
				for n := 1; ; n++ {
					session.Receive(fmt.Appendf(nil, `{"id":"%d","channel":"lines","rpc":true,"action":{"type":"write","payload":{"id":"%d","text":"x"}}}`, n, n), false)
					select {
					case frame := <-link.frames:
						if !strings.Contains(frame, `"success"`) {
							return
						}
						acknowledged[i].Store(int32(n))
						enough <- struct{}{}
					case <-link.over:
						return
					}
				}
			})
		}
		for range round * 5 {
			within(t, enough, "acknowledgements")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := h.Host.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		wg.Wait()
		h.Reopen()
		for i := range acknowledged {
			rows := h.Join("diary", fmt.Sprint(i), "alice").Sync("lines")
			if len(rows) < int(acknowledged[i].Load()) {
				t.Errorf("room %d: %d rows of %d", i, len(rows), acknowledged[i].Load())
			}
		}
	}
}
