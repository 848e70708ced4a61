package room_test

import (
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// panicThree has a client's action panic as often as it may, with time for the room to come back between.
func panicThree(t *testing.T, h *roomtest.Host, c *roomtest.Client) {
	t.Helper()
	for range 3 {
		mustRefuse(t, c.Do("items", "panic", object{"id": "x"}), "action_failed")
		h.Advance(time.Second)
	}
}

// TestPanicsDisableTheAction: an action that has panicked three times is not run for the same client for a minute. The
// room does not end for it, others go on, and other actions of the client, too.
func TestPanicsDisableTheAction(t *testing.T) {
	h, p := open(t)
	mallory, alice := h.Join("shop", "r", "mallory"), h.Join("shop", "r", "alice")
	panicThree(t, h, mallory)
	mustSucceed(t, alice.Do("items", "put", object{"id": "1"}))
	lives := p.starts.Load()
	for range 50 {
		mustRefuse(t, mallory.Do("items", "panic", object{"id": "x"}), "action_disabled")
		mustSucceed(t, alice.Do("items", "put", object{"id": "1"}))
	}
	mustSucceed(t, mallory.Do("items", "put", object{"id": "2"}))
	if n := p.starts.Load(); n != lives {
		t.Errorf("the room began %d new lives", n-lives)
	}
	mustRefuse(t, alice.Do("items", "panic", object{"id": "x"}), "action_failed") // it is disabled for mallory alone
	h.Advance(time.Minute)
	mustRefuse(t, mallory.Do("items", "panic", object{"id": "x"}), "action_failed")
}

// TestPanicsOfAUser: a user is the same over all connections, and not another one under the same connection id.
func TestPanicsOfAUser(t *testing.T) {
	h, _ := open(t)
	as := func(id, subject string) *roomtest.Client {
		return h.Join("shop", "r", id, roomtest.As(room.Identity{Subject: subject}))
	}
	panicThree(t, h, as("phone", "mallory"))
	mustRefuse(t, as("laptop", "mallory").Do("items", "panic", object{"id": "x"}), "action_disabled")
	mustRefuse(t, as("phone", "alice").Do("items", "panic", object{"id": "x"}), "action_failed")
}

// TestPanicsOverManyConnections: somebody who connects again and again has an action panic over each connection. The room is
// there for others all the time: it does not back off, and after ten panics the action is not run for who comes after that. Who was there before,
// and who has an identity, still may, and a minute after the last panic everybody may.
func TestPanicsOverManyConnections(t *testing.T) {
	h, p := open(t)
	alice := h.Join("shop", "r", "alice")
	panics := func(c *roomtest.Client, n int) {
		t.Helper()
		for range n {
			mustRefuse(t, c.Do("items", "panic", object{"id": "x"}), "action_failed")
			mustSucceed(t, alice.Do("items", "put", object{"id": "1"}))
		}
	}
	for _, n := range []int{3, 3, 3, 1} {
		mallory := h.Join("shop", "r", "")
		panics(mallory, n)
		if n == 3 {
			mustRefuse(t, mallory.Do("items", "panic", object{"id": "x"}), "action_disabled")
		}
		mallory.Leave()
	}
	lives := p.starts.Load()
	for range 20 {
		mallory := h.Join("shop", "r", "")
		mustRefuse(t, mallory.Do("items", "panic", object{"id": "x"}), "action_disabled")
		mustSucceed(t, mallory.Do("items", "put", object{"id": "2"}))
		mallory.Leave()
	}
	if n := p.starts.Load(); lives != 11 || n != lives {
		t.Errorf("the room had %d lives, and then %d", lives, n)
	}
	panics(alice, 1)
	panics(h.Join("shop", "r", "", roomtest.As(room.Identity{Subject: "bob"})), 1)
	panics(h.Join("shop", "other", ""), 1)
	h.Advance(time.Minute)
	panics(h.Join("shop", "r", ""), 3)
}

// TestPanicsKeepTheNumber: a numbered action that is disabled keeps its number, and is applied when it may be.
func TestPanicsKeepTheNumber(t *testing.T) {
	h, _ := open(t)
	mallory := h.Join("shop", "r", "mallory")
	for _, want := range []string{"aborted", "aborted", "poisoned"} {
		mustRefuse(t, mallory.DoNumbered("phone", 1, "items", "panic", object{"id": "x"}), want)
		h.Advance(time.Second)
	}
	for range 5 {
		e := mustRefuse(t, mallory.DoNumbered("phone", 2, "items", "panic", object{"id": "x"}), "action_disabled")
		if e.Number != "kept" {
			t.Errorf("the number is %q", e.Number)
		}
	}
	mustRefuse(t, mallory.DoNumbered("phone", 1, "items", "panic", object{"id": "x"}), "poisoned") // as it was answered
	mustRefuse(t, mallory.DoNumbered("phone", 3, "items", "put", object{"id": "x"}), "mutation_gap")
	mustSucceed(t, mallory.DoNumbered("phone", 2, "items", "put", object{"id": "x"}))
	mustSucceed(t, mallory.DoNumbered("phone", 3, "items", "put", object{"id": "y"}))
}
