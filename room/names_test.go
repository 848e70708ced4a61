package room_test

// An action is known again by all of its names together: its user, its connection's id or its client's, its own id or
// number. Who differs in one of them alone is somebody else.

import (
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

const appendMark = `UPDATE items SET name = name || 'x' WHERE id = 'row'`

// twice sends one action as each of several, and again over a crash, and fails the test unless each was applied
// for each of them once, and answered alike.
func twice(t *testing.T, h *roomtest.Host, senders []string, send func(sender string) roomtest.Event) {
	t.Helper()
	first := make(map[string]string)
	row := func(want int) {
		t.Helper()
		rows := h.Join("shop", "r", "").Sync("items")
		if len(rows) != 1 || rows[0][1] != strings.Repeat("x", want) {
			t.Errorf("the room holds %v, want %d marks in one row", rows, want)
		}
	}
	for i, sender := range senders {
		h.Advance(time.Millisecond) // so that no two replies are alike
		first[sender] = string(mustSucceed(t, send(sender)).Data)
		row(i + 1)
	}
	for _, death := range []func(string, string){func(string, string) {}, h.SleepRoom, h.CrashRoom} {
		death("shop", "r")
		for _, sender := range senders {
			if again := send(sender); string(again.Data) != first[sender] {
				t.Errorf("%q again: %s, first %s", sender, again.Data, first[sender])
			}
		}
		row(len(senders))
	}
}

func TestInvariantExactlyOnceNames(t *testing.T) {
	h, _ := open(t)
	mustSucceed(t, h.Join("shop", "r", "").Do("items", "sql", `INSERT INTO items VALUES ('row', '', 1, 1, NULL)`))
	// user, connection and id; the last two have the first one's letters in other places
	twice(t, h, []string{"ann tab x", "eve tab x", " tab x", "ann bat x", "ann tab y", "annt ab x", "an tab nx", "ann ta bx"}, func(sender string) roomtest.Event {
		names := strings.Split(sender, " ")
		c := h.Join("shop", "r", names[1], roomtest.As(room.Identity{Subject: names[0]}))
		defer c.Leave()
		return c.DoAs(names[2], "items", "sql", appendMark)
	})
}

func TestInvariantExactlyOnceNumberedNames(t *testing.T) {
	h, _ := open(t)
	mustSucceed(t, h.Join("shop", "r", "").Do("items", "sql", `INSERT INTO items VALUES ('row', '', 1, 1, NULL)`))
	twice(t, h, []string{"ann cat", "eve cat", " cat", "ann dog", "annc at", "an ncat"}, func(sender string) roomtest.Event {
		user, client, _ := strings.Cut(sender, " ")
		c := h.Join("shop", "r", "tab", roomtest.As(room.Identity{Subject: user}))
		defer c.Leave()
		return c.DoNumbered(client, 1, "items", "sql", appendMark)
	})
}

// TestInvariantExactlyOnceNumberIsNoID has an id look like a client's number: they name two actions.
func TestInvariantExactlyOnceNumberIsNoID(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "c")
	mustSucceed(t, alice.DoNumbered("c", 1, "items", "add", object{"id": "1", "name": "x"}))
	mustSucceed(t, alice.DoAs("\x00\x00\x00\x00\x00\x00\x00\x01", "items", "add", object{"id": "2", "name": "x"}))
}

// TestInvariantResumeOfAnother has somebody come under an id whose client has left: only the same user gets, unasked, what that
// client missed, and only where the room holds that client's channel.
func TestInvariantResumeOfAnother(t *testing.T) {
	as := func(user string) roomtest.JoinOption { return roomtest.As(room.Identity{Subject: user}) }
	for _, death := range []string{"none", "crash"} {
		h, _ := open(t)
		alice := h.Join("shop", "r", "alice")
		bob := h.Join("shop", "r", "tab", as("bob"))
		bob.Sync("items")
		bob.Confirm()
		bob.Leave()
		mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "x"}))
		if death == "crash" {
			h.CrashRoom("shop", "r")
		}
		for _, who := range []struct{ room, id, user, want string }{
			{"r", "tab", "eve", ""}, {"r", "tab", "", ""}, {"r", "bat", "bob", ""}, {"r2", "tab", "bob", ""}, {"r", "tab", "bob", "1"},
		} {
			got := ""
			for _, e := range h.Join("shop", who.room, who.id, as(who.user)).Received() {
				got += ids(e.Rows)
			}
			if got != who.want {
				t.Errorf("%s: user %q under %q in %s gets the rows %q unasked, want %q", death, who.user, who.id, who.room, got, who.want)
			}
		}
	}
}
