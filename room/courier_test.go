package room_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// What leaves a room goes over links that may be a program's own, and messages may be missing.

type careless struct {
	room.Base
	Items room.Table[item]
}

type sending struct{ To string }

// Tell sends a message that was never made, or that no client may be sent.
func (*careless) Tell(c *room.Context, in sending) error {
	switch in.To {
	case "all":
		return c.Broadcast(room.Payload{})
	case "one":
		return c.Conn().Send(room.Payload{})
	case "not text":
		return c.Broadcast(room.Text("caf\xe9"))
	case "not a reason":
		return c.Conn().Close(4000, "caf\xe9")
	case "a long reason":
		return c.Conn().Close(4000, strings.Repeat("x", 130))
	case "ignored":
		if err := c.Broadcast(room.Payload{}); err == nil {
			return errors.New("an empty Payload was sent")
		}
		return c.Broadcast(room.Text(`"there"`))
	}
	return c.Broadcast(room.Text(`"hello"`))
}

// A zero Payload, and text that is not UTF-8, is refused where it is sent, and the room goes on in the same life.
func TestInvariantIsolationEmptyPayload(t *testing.T) {
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("shop", func() room.Handler { return new(careless) }, room.Action("tell", (*careless).Tell))
	})
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	for _, to := range []string{"all", "one", "not text", "not a reason"} {
		mustRefuse(t, alice.Do("items", "tell", object{"To": to}), "action_failed")
	}
	mustSucceed(t, alice.Do("items", "tell", object{"To": "ignored"}))
	if got := bob.Received(); len(got) != 1 || string(got[0].Data) != `"there"` {
		t.Errorf("the others got %v", got)
	}
	act(bob, "close", "tell", object{"To": "a long reason"})
	bob.Received()
	if _, reason, closed := bob.Closed(); !closed || reason != strings.Repeat("x", 123) {
		t.Errorf("closed: %t, with a reason of %d bytes; a close frame has room for 123", closed, len(reason))
	}
}

// A link of a program's own that panics loses its own connection. What was applied is answered as applied, and the
// others get it.
func TestInvariantIsolationLinkPanics(t *testing.T) {
	h, _ := open(t)
	broken := new(brokenLink)
	if _, err := h.Connect(t.Context(), room.Key{Namespace: "shop", Room: "r"}, room.ConnectRequest{ID: "broken", Link: broken}); err != nil {
		t.Fatal(err)
	}
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	bob.Sync("items")
	broken.armed.Store(true)
	mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "x"}))
	if got := bob.Received(); len(got) != 1 {
		t.Errorf("the others got %d messages", len(got))
	}
	if broken.sends.Load() == 0 || broken.closes.Load() == 0 {
		t.Errorf("the link was sent to %d times and closed %d times", broken.sends.Load(), broken.closes.Load())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil { // which closes the links
		t.Error(err)
	}
	if _, _, closed := alice.Closed(); !closed {
		t.Error("a link that panics kept the others from being closed")
	}
}

// A brokenLink panics in both methods when it is armed.
type brokenLink struct {
	armed         atomic.Bool
	sends, closes atomic.Int32
}

func (b *brokenLink) Send(...*hibernate.Frame) {
	if b.armed.Load() {
		b.sends.Add(1)
		panic("not today")
	}
}

func (b *brokenLink) Close(int, string) {
	b.closes.Add(1)
	panic("not today")
}
