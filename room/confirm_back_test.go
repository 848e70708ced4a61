package room_test

// The published client is back sooner than the room has noticed that it was there, or left.

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// queued waits until something more waits in the host than before.
func queued(t *testing.T, h *roomtest.Host, before int64) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); h.Host.MemoryUsed() <= before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("nothing came to wait in the room")
		}
	}
}

// TestStockBackInOneTurn has a page's socket end before its sync has arrived, and come back before the room has looked: one turn
// serves the end and the new connection.
func TestStockBackInOneTurn(t *testing.T) {
	h, p := open(t)
	alice := h.Join("shop", "r", "alice")
	first, err := h.Host.Connect(t.Context(), room.Key{Namespace: "shop", Room: "r"}, room.ConnectRequest{ID: "bob", Stock: true, Link: new(noise)})
	if err != nil {
		t.Fatal(err)
	}
	bob := backInBusyRoom(t, h, p, alice, func() { first.Close(1006, "") })
	mustSucceed(t, alice.Do("items", "add", object{"id": "1"}))
	if got := kinds(bob.Received()); !strings.HasPrefix(got, "delete-all; update") || !strings.Contains(got, "1") {
		t.Errorf("when it is back it gets %q, want the whole channel", got)
	}
}

// backInBusyRoom has alice's action keep the room busy, calls leave, and has bob come in with the next turn.
func backInBusyRoom(t *testing.T, h *roomtest.Host, p *probe, alice *roomtest.Client, leave func()) *roomtest.Client {
	t.Helper()
	act(alice, "busy", "hang", object{})
	within(t, p.entered, "the hook to begin")
	leave()
	before, back := h.Host.MemoryUsed(), make(chan *roomtest.Client, 1)
	go func() {
		c, _ := h.TryJoin("shop", "r", "bob", published)
		back <- c
	}()
	queued(t, h, before)
	close(p.block)
	bob := within(t, back, "the client to be let in")
	if bob == nil {
		t.Fatal("it was refused")
	}
	return bob
}

// TestStockNotLetIn has a page's socket end before the room has let it in, because the client gave up or the room did not start.
func TestStockNotLetIn(t *testing.T) {
	for name, come := range map[string]func(t *testing.T, h *roomtest.Host, p *probe){
		"gave up": func(t *testing.T, h *roomtest.Host, p *probe) {
			alice := h.Join("shop", "r", "alice")
			act(alice, "busy", "hang", object{})
			within(t, p.entered, "the hook to begin")
			ctx, cancel := context.WithCancel(t.Context())
			before, over := h.Host.MemoryUsed(), make(chan error, 1)
			go func() {
				_, err := h.Host.Connect(ctx, room.Key{Namespace: "shop", Room: "r"}, room.ConnectRequest{ID: "bob", Stock: true, Link: new(noise)})
				over <- err
			}()
			queued(t, h, before)
			cancel()
			if within(t, over, "the client to give up") == nil {
				t.Fatal("it was let in")
			}
			close(p.block)
		},
		"did not start": func(t *testing.T, h *roomtest.Host, p *probe) {
			h.SleepRoom("shop", "r")
			p.failing.Store(true)
			if _, err := h.TryJoin("shop", "r", "bob", published); err == nil {
				t.Fatal("it was let in")
			}
			p.failing.Store(false)
			h.Advance(time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, p := open(t)
			mustSucceed(t, h.Join("shop", "r", "carol").Do("items", "add", object{"id": "1"}))
			come(t, h, p)
			bob := h.Join("shop", "r", "bob", published)
			mustSucceed(t, bob.Do("items", "add", object{"id": "2"}))
			if got := kinds(bob.Received()); !strings.Contains(got, "delete-all; update 1") {
				t.Errorf("when it is let in it gets %q, want the whole channel", got)
			}
		})
	}
}

// TestStockComeInAnotherOrder has two connections of a page come into the room in another order than the page made them. The one that ends
// had the page's sync.
func TestStockComeInAnotherOrder(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "add", object{"id": "1"}))
	second := h.Join("shop", "r", "bob", published)
	first := h.Join("shop", "r", "bob", published)
	first.Leave()
	mustSucceed(t, second.Do("items", "add", object{"id": "2"}))
	if got := kinds(second.Received()); !strings.Contains(got, "delete-all; update 1") {
		t.Errorf("the one that stays gets %q, want the whole channel", got)
	}

	// A client that takes cursors asks each time.
	first = h.Join("shop", "r", "carol", published)
	first.SendJSON(object{"channel": "items", "sync": true, "cursor": nil})
	first.Received()
	second = h.Join("shop", "r", "carol", published)
	first.Leave()
	expect(t, "a client that takes cursors", second, "message")
}
