package room_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// What happens to the connections of a room that sleeps. Here SleepRoom puts it to
// sleep: the next life begins with the next message.

// A porch tells who came to it and who went.
type porch struct {
	room.Base
	Notes room.Table[memo]

	seen *porchSeen
}

type memo struct {
	ID string
	room.Stamps
}

type porchSeen struct {
	starts, messages, closes atomic.Int32
	names                    sync.Map // connection ids by what presence shows in their place
}

func (p *porch) OnStart(*room.Context) error {
	p.seen.starts.Add(1)
	return nil
}

func (p *porch) OnMessage(c *room.Context, m room.Message) error {
	p.seen.messages.Add(1)
	return nil
}

func (p *porch) OnClose(c *room.Context, code int, _ string) error {
	p.seen.closes.Add(1)
	return nil
}

func (p *porch) Post(c *room.Context, in memo) error { return p.Notes.Insert(c, memo{ID: in.ID}) }

func (p *porch) Last(c *room.Context, _ struct{}) (map[string]any, error) {
	return map[string]any{"at": c.Conn().LastAutoAnswer().UnixMilli(), "never": c.Conn().LastAutoAnswer().IsZero()}, nil
}

func openPorch(t *testing.T, opts ...room.Option) (*roomtest.Host, *porchSeen) {
	seen := new(porchSeen)
	opts = append(opts, room.Action("post", (*porch).Post), room.Call("last", (*porch).Last))
	return roomtest.New(t, func(h *room.Host) error {
		return h.Register("porch", func() room.Handler { return &porch{seen: seen} }, opts...)
	}), seen
}

// A client that goes while its room sleeps wakes it only where the room asked for that, and
// is gone from the room in both cases; without the option OnClose runs when the room wakes.
func TestClosedWhileAsleep(t *testing.T) {
	for name, want := range map[string]struct {
		opts           []room.Option
		starts, closes int32
	}{
		"without the option": {nil, 1, 0},
		"with the option":    {[]room.Option{room.WakeOnClose()}, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h, seen := openPorch(t, want.opts...)
			alice, bob := h.Join("porch", "r", "alice"), h.Join("porch", "r", "bob")
			h.SleepRoom("porch", "r")
			alice.Leave()
			if seen.starts.Load() != want.starts || seen.closes.Load() != want.closes || h.Connections() != 1 {
				t.Errorf("%d lives, OnClose %d times, %d connections; want %+v", seen.starts.Load(), seen.closes.Load(), h.Connections(), want)
			}
			mustSucceed(t, bob.Do("notes", "post", object{"ID": "1"}))
			if got := alice.Received(); len(got) != 0 {
				t.Errorf("alice has gone and got %s", describe(got))
			}
			bob.Leave() // the room is awake
			if seen.closes.Load() != 2 || h.Connections() != 0 {
				t.Errorf("OnClose %d times, %d connections", seen.closes.Load(), h.Connections())
			}
		})
	}
}

// A client without cursors that goes while the room sleeps, and comes back, lacks nothing:
// what the room noted of it is a lower bound.
func TestInvariantResumeClosedWhileAsleep(t *testing.T) {
	for _, confirmed := range []bool{false, true} {
		h, _ := openPorch(t)
		alice, bob := h.Join("porch", "r", "alice"), h.Join("porch", "r", "bob")
		alice.Sync("notes")
		mustSucceed(t, bob.Do("notes", "post", object{"ID": "1"}))
		if confirmed {
			alice.Confirm()
		}
		h.SleepRoom("porch", "r")
		alice.Leave()
		mustSucceed(t, bob.Do("notes", "post", object{"ID": "2"}))
		h.SleepRoom("porch", "r")
		mustSucceed(t, bob.Do("notes", "post", object{"ID": "3"}))
		alice = h.Join("porch", "r", "alice")
		ids := map[any]bool{}
		for _, e := range alice.Received() {
			for _, row := range e.Rows {
				ids[row.ID()] = true
			}
		}
		if !ids["2"] || !ids["3"] || len(ids) > 3 {
			t.Errorf("confirmed %v: alice is back and gets %v", confirmed, ids)
		}
	}
}

// The configured message is answered whether the room sleeps or not, and the room neither
// wakes for it nor sees it.
func TestAutoAnswer(t *testing.T) {
	h, seen := openPorch(t, room.AutoAnswer(`"ping"`, `"pong"`))
	alice := h.Join("porch", "r", "alice")
	if e := alice.Do("notes", "last", nil); !strings.Contains(string(e.Value), `"never":true`) {
		t.Errorf("before any: %s", e.Value)
	}
	ping := func(awake int) {
		t.Helper()
		if err := alice.Send([]byte(`"ping"`)); err != nil {
			t.Fatal(err)
		}
		if h.Awake() != awake {
			t.Errorf("%d rooms are awake behind the message, want %d", h.Awake(), awake)
		}
		if got := alice.Received(); len(got) != 1 || string(got[0].Data) != `"pong"` {
			t.Errorf("got %s", describe(got))
		}
	}
	ping(1)
	h.SleepRoom("porch", "r")
	h.Advance(time.Hour)
	at := h.Clock.Now()
	ping(0)
	h.Advance(time.Hour)
	if err := alice.SendBinary([]byte(`"ping"`)); err != nil { // another message
		t.Fatal(err)
	}
	if e := alice.Do("notes", "last", nil); string(e.Value) != fmt.Sprintf(`{"at":%d,"never":false}`, at.UnixMilli()) {
		t.Errorf("answered last at %v, the room says %s", at.UnixMilli(), e.Value)
	}
	if n := seen.messages.Load(); n != 1 {
		t.Errorf("the room saw %d messages, want the binary one", n)
	}
}

func TestAutoAnswerBounds(t *testing.T) {
	long := strings.Repeat("x", room.MaxAutoAnswer)
	h := roomtest.New(t, func(*room.Host) error { return nil })
	for name, c := range map[string]struct {
		opts []room.Option
		fine bool
	}{
		"a":  {[]room.Option{room.AutoAnswer(long, long)}, true},
		"b":  {[]room.Option{room.AutoAnswer("", "x")}, false},
		"c":  {[]room.Option{room.AutoAnswer("x", "")}, false},
		"d":  {[]room.Option{room.AutoAnswer(long+"x", "x")}, false},
		"e":  {[]room.Option{room.AutoAnswer("x", long+"x")}, false},
		"f":  {[]room.Option{room.AutoAnswer("x", "\xff")}, false},
		"g2": {[]room.Option{room.AutoAnswer("x", "y"), room.AutoAnswer("z", "y")}, false},
	} {
		if err := h.Register(name, func() room.Handler { return new(porch) }, c.opts...); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}
