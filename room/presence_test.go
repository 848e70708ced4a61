package room_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A table of players who show each other their hands.
type table struct {
	porch
	last string // what the client showed when its connection had ended
}

func (p *table) Shown(c *room.Context, _ struct{}) (map[string]json.RawMessage, error) {
	all := map[string]json.RawMessage{}
	for _, conn := range c.Connections() {
		if shown := conn.Presence(); shown != nil {
			all[conn.ID()] = shown
		}
	}
	return all, nil
}

func (p *table) OnClose(c *room.Context, _ int, _ string) error {
	p.last = string(c.Conn().Presence())
	return p.porch.OnClose(c, 0, "")
}

func (p *table) Last(*room.Context, struct{}) (string, error) { return p.last, nil }

func openTable(t *testing.T, opts ...room.Option) (*roomtest.Host, *porchSeen) {
	seen := new(porchSeen)
	opts = append(opts, room.Action("post", (*table).Post), room.Call("shown", (*table).Shown), room.Call("last", (*table).Last))
	return roomtest.New(t, func(h *room.Host) error {
		return h.Register("table", func() room.Handler { return &table{porch: porch{seen: seen}} }, opts...)
	}), seen
}

// OnConnect notes under which id presence shows the client.
func (p *table) OnConnect(c *room.Context) error {
	p.seen.names.Store(c.Conn().PresenceID(), c.Conn().ID())
	return nil
}

// named is the connection id of a client that presence shows.
func (s *porchSeen) named(shown string) string {
	id, known := s.names.Load(shown)
	if !known {
		return "a stranger, " + shown
	}
	return id.(string)
}

// told describes frames of presence by the peers' ids and what they show; a peer that has gone
// is "-". Other frames are what they are.
func (s *porchSeen) told(events []roomtest.Event) string {
	var all []string
	for _, e := range events {
		if e.Kind != "presence" {
			all = append(all, string(e.Data))
			continue
		}
		peers := map[string]string{}
		for _, p := range e.Peers {
			if p == nil {
				peers["-"] += "."
			} else {
				peers[s.named(p.ID)] += string(p.Data)
			}
		}
		what := fmt.Sprint(peers)
		if e.Full {
			what = fmt.Sprintf("%s knows %v", s.named(e.Peers[e.Self].ID), peers)
		}
		all = append(all, what)
	}
	return strings.Join(all, "; ")
}

func wantTold(t *testing.T, seen *porchSeen, c *roomtest.Client, want string) {
	t.Helper()
	if got := seen.told(c.Received()); got != want {
		t.Errorf("%s got  %s\nwant %s", c.ID(), got, want)
	}
}

// Presence is the connections' alone: no room wakes for it, whatever happens, and what a client
// shows outlives its room's sleep and its crash.
func TestInvariantSocketsOutliveRoomsPresence(t *testing.T) {
	h, seen := openTable(t, room.Presence())
	alice, bob := h.Join("table", "r", "alice"), h.Join("table", "r", "bob")
	stock := h.Join("table", "r", "stock")
	h.SleepRoom("table", "r")
	alice.Presence(1)
	wantTold(t, seen, alice, "alice knows map[alice:1]")
	bob.Presence(object{"x": 2})
	wantTold(t, seen, bob, `bob knows map[alice:1 bob:{"x":2}]`)
	wantTold(t, seen, alice, `map[bob:{"x":2}]`)
	bob.Presence(object{"x": 2})
	bob.Presence(3)
	alice.Presence(nil)
	alice.Presence(nil)
	wantTold(t, seen, bob, "map[-:.]")
	bob.Presence(4)
	wantTold(t, seen, alice, "map[bob:3]")
	alice.Presence(5)
	wantTold(t, seen, alice, "alice knows map[alice:5 bob:4]")
	if h.Awake() != 0 || seen.starts.Load() != 1 {
		t.Errorf("%d rooms are awake, in life %d", h.Awake(), seen.starts.Load())
	}
	const shown = `{"alice":5,"bob":4}`
	if e := stock.Do("notes", "shown", nil); string(e.Value) != shown {
		t.Errorf("woken, the room sees %s", e.Value)
	}
	h.CrashRoom("table", "r")
	if e := stock.Do("notes", "shown", nil); string(e.Value) != shown {
		t.Errorf("behind a crash the room sees %s", e.Value)
	}
	h.SleepRoom("table", "r")
	bob.Received()
	bob.Leave()
	wantTold(t, seen, alice, "map[-:.]")
	if h.Awake() != 0 {
		t.Error("a client that has gone woke the room")
	}
	wantTold(t, seen, stock, "")
	if n := seen.messages.Load(); n != 0 {
		t.Errorf("the room saw %d messages", n)
	}
	alice.Leave()
	carol := h.Join("table", "r", "carol")
	carol.Presence(true)
	wantTold(t, seen, carol, "carol knows map[carol:true]")
	carol.Leave()
	if e := stock.Do("notes", "last", nil); string(e.Value) != `""` {
		t.Errorf("in OnClose the client showed %s", e.Value)
	}
}

// Two sockets of one id are two peers, and rooms do not see each other.
func TestPresenceOfOneID(t *testing.T) {
	h, seen := openTable(t, room.Presence())
	one, two := h.Join("table", "r", "same"), h.Join("table", "r", "same")
	elsewhere := h.Join("table", "s", "same")
	one.Presence("one")
	elsewhere.Presence("elsewhere")
	two.Presence("two")
	first, full := one.Received(), two.Received()
	if len(first) != 2 || len(full) != 1 || len(full[0].Peers) != 2 || len(first[1].Peers) != 1 {
		t.Fatalf("got %s and %s", seen.told(first), seen.told(full))
	}
	if first[0].Self == full[0].Self || first[1].Peers[full[0].Self] == nil {
		t.Errorf("the names are %s and %s", first[0].Self, full[0].Self)
	}
	two.Leave()
	if got := one.Received(); len(got) != 1 || len(got[0].Peers) != 1 || got[0].Peers[full[0].Self] != nil {
		t.Errorf("one of them left: %s", seen.told(got))
	}
	wantTold(t, seen, elsewhere, `same knows map[same:"elsewhere"]`)
}

// Without the option the message is the room's own.
func TestPresenceNotAsked(t *testing.T) {
	h, seen := openTable(t)
	alice := h.Join("table", "r", "alice")
	alice.Presence(1)
	wantTold(t, seen, alice, "")
	if seen.messages.Load() != 1 {
		t.Errorf("the room saw %d messages", seen.messages.Load())
	}
}

// What is too large, and what is no message, is refused, and changes nothing.
func TestInvariantBoundedPresence(t *testing.T) {
	h, seen := openTable(t, room.Presence())
	alice, bob := h.Join("table", "r", "alice"), h.Join("table", "r", "bob")
	const limit = 16 << 10
	most := strings.Repeat("x", limit-2)
	bob.Presence(0)
	alice.Presence(most)
	alice.Received()
	bob.Received()
	for _, bad := range []struct{ message, code string }{
		{`{"presence":"` + most + `x"}`, "too_large"},
		{`{"presence":1` + strings.Repeat(" ", limit) + `}`, ""}, // the space is not the value's
		{`{"presence":[1` + strings.Repeat(" ", limit) + `]}`, "too_large"},
		{`{"presence":}`, "bad_message"},
		{`{"presence"}`, "bad_message"},
		{"{\"presence\":\"\xff\"}", "bad_message"},
		{`{"presence":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "bad_message"},
		{`{"presence":1,"sync":1}`, "bad_message"},
		{`{"presence":1,"sync":true}`, "bad_message"},
		{`{"presence":1,"rpc":true}`, "bad_message"},
	} {
		if err := alice.Send([]byte(bad.message)); err != nil {
			t.Fatal(err)
		}
		got, others := alice.Received(), bob.Received()
		switch {
		case bad.code == "":
			if len(got) != 0 || seen.told(others) != "map[alice:1]" {
				t.Errorf("%.30s…: alice got %s, bob %s", bad.message, seen.told(got), seen.told(others))
			}
		case len(got) != 1 || got[0].Kind != "exception" || got[0].Code != bad.code || len(others) != 0:
			t.Errorf("%.30s…: alice got %s, bob %s", bad.message, seen.told(got), seen.told(others))
		}
	}
	if n := seen.messages.Load(); n != 0 {
		t.Errorf("the room saw %d messages", n)
	}
	// All clients of a room have a limit together. They are made large when all are there.
	big, refused := strings.Repeat("y", limit-2), 0
	var many []*roomtest.Client
	for i := range 8<<20/limit + 1 {
		c := h.Join("table", "full", fmt.Sprint(i))
		c.Presence(0)
		many = append(many, c)
	}
	before := len(many[0].Received())
	for _, c := range many[1:] {
		c.Presence(big)
	}
	if n := len(many[0].Received()); before == 0 || n > 512 || n < 508 {
		t.Errorf("the first was told of %d changes", n)
	}
	for _, e := range many[len(many)-1].Received() {
		if e.Kind == "exception" && e.Code == "overloaded" {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("the last was refused %d times", refused)
	}
}

// Behind the end of its session and of its host a client shows nothing, and nobody waits.
func TestPresenceAtTheEnd(t *testing.T) {
	h, seen := openTable(t, room.Presence())
	alice, bob := h.Join("table", "r", "alice"), h.Join("table", "r", "bob")
	alice.Presence(1)
	bob.Presence(2)
	bob.Leave()
	if err := bob.Send([]byte(`{"presence":3}`)); err == nil {
		t.Error("a session that is over takes presence")
	}
	wantTold(t, seen, alice, "alice knows map[alice:1]; map[bob:2]; map[-:.]")
	h.Reopen()
	if err := alice.Send([]byte(`{"presence":3}`)); err != nil {
		t.Error(err)
	}
	alice = h.Join("table", "r", "alice")
	alice.Presence(4)
	wantTold(t, seen, alice, "alice knows map[alice:4]")
}

// TestPresenceID: what is shown of a client is the same when it comes back, over a restart of the server
// too. It is another one for another user, another id and in another room, and is not the connection's id.
func TestPresenceID(t *testing.T) {
	h, _ := openTable(t, room.Presence())
	shown := func(name, id, subject string) string {
		t.Helper()
		c := h.Join("table", name, id, roomtest.As(room.Identity{Subject: subject}))
		c.Presence(1)
		e := c.Next()
		c.Leave()
		return e.Peers[e.Self].ID
	}
	first := shown("r", "bob", "ann")
	if again := shown("r", "bob", "ann"); again != first || len(first) != 16 {
		t.Errorf("it is shown as %q, and then as %q", first, again)
	}
	seen := map[string]string{first: "the first"}
	for what, id := range map[string]string{
		"another user": shown("r", "bob", "eve"), "nobody": shown("r", "bob", ""), "another id": shown("r", "bo", "ann"),
		"another room": shown("s", "bob", "ann"), "the border elsewhere": shown("r", "ob", "annb"),
	} {
		if other, twice := seen[id]; twice || strings.Contains(id, "bob") {
			t.Errorf("%s and %s are shown as %q", what, other, id)
		}
		seen[id] = what
	}
	h.Reopen()
	if again := shown("r", "bob", "ann"); again != first {
		t.Errorf("after a restart it is shown as %q, and was as %q", again, first)
	}
}
