package room_test

import (
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A payload whose type decodes itself is the room's to decode.

type picky struct {
	room.Base
	Items room.Table[item]
}

func (p *picky) Take(c *room.Context, in struct {
	ID    string
	Slots []map[string]*slot
}) error {
	return p.Items.Insert(c, item{ID: in.ID})
}

// A slot tells the test of its name when its decoding has begun, and waits for it. It is deep in the payload.
type slot struct{}

func (*slot) UnmarshalJSON(data []byte) error {
	var name string
	if err := json.Unmarshal(data, &name); err != nil {
		return err
	}
	d, there := decodings.Load(name)
	if !there {
		return errors.New("no such test")
	}
	d.(decoding).entered <- struct{}{}
	<-d.(decoding).release
	return nil
}

// A decoding is what a test has of a slot.
type decoding struct{ entered, release chan struct{} }

// decodings are those of the tests that run, by the tests' names: encoding/json makes the slots.
var decodings sync.Map

// A payload that takes for ever to decode takes its action's time, and nobody else's: not the goroutine that brings
// the message, which serves others.
func TestInvariantIsolationPayloadThatNeverDecodes(t *testing.T) {
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("picky", func() room.Handler { return new(picky) }, room.Action("take", (*picky).Take))
	})
	alice := h.Join("picky", "r", "alice")
	d := decoding{make(chan struct{}, 1), make(chan struct{})}
	decodings.Store(t.Name(), d)
	defer decodings.Delete(t.Name())
	sent := make(chan struct{})
	go func() { // ends at once
		defer close(sent)
		alice.SendJSON(object{"id": "h", "channel": "items", "rpc": true, "action": object{"type": "take", "payload": object{
			"ID": "never", "Slots": []any{object{"a": t.Name()}}}}})
	}()
	within(t, d.entered, "the payload to be decoded")
	select {
	case <-sent:
	case <-time.After(20 * time.Second):
		close(d.release)
		t.Fatal("who brings the message is held up by its decoding")
	}
	h.Clock.Advance(5 * time.Second)
	h.Clock.Advance(5 * time.Second)
	var refused roomtest.Event
	for refused.ID != "h" {
		refused = alice.Next()
	}
	if refused.Kind != "error" || refused.Code != "room_unavailable" {
		t.Errorf("it was answered with %s", refused.Data)
	}
	mustSucceed(t, alice.Do("items", "take", object{"ID": "1"}))
	close(d.release)
	if got := ids(alice.Sync("items")); got != "1" {
		t.Errorf("the room holds %q", got)
	}
}
