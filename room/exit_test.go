package room_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

type exiting struct {
	room.Base
	Items room.Table[item]
}

func (e *exiting) Exit(c *room.Context, in item) error {
	if err := e.Items.Insert(c, in); err != nil {
		return err
	}
	runtime.Goexit() // as t.FailNow does
	return nil
}

func (e *exiting) Put(c *room.Context, in item) error { return e.Items.Upsert(c, in) }

// A hook that ends its goroutine ends the room's life, and nothing of it remains.
func TestInvariantAtomicHookThatExits(t *testing.T) {
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("exiting", func() room.Handler { return new(exiting) },
			room.Action("exit", (*exiting).Exit), room.Action("put", (*exiting).Put))
	})
	alice := h.Join("exiting", "r", "alice")
	mustSucceed(t, alice.Do("items", "put", object{"id": "kept"}))
	mustRefuse(t, alice.Do("items", "exit", object{"id": "ghost"}), "room_unavailable")
	h.Advance(time.Minute)
	mustSucceed(t, alice.Do("items", "put", object{"id": "new"}))
	if got := ids(alice.Sync("items")); got != "kept new" {
		t.Errorf("the room holds %q", got)
	}
}
