package room_test

// A connection that has gone is not in the room any more when OnClose is told of it.

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A lobby tells who is there, and what OnClose saw.
type lobby struct {
	room.Base
	seen chan string
}

func (l *lobby) OnConnect(c *room.Context) error {
	if c.Request() != nil {
		return c.Conn().SetTags(c.Request().URL.Query()["tag"]...)
	}
	return nil
}

func (l *lobby) here(c *room.Context, tags ...string) string {
	var all []string
	for _, conn := range c.Connections(tags...) {
		all = append(all, conn.ID())
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (l *lobby) OnClose(c *room.Context, _ int, reason string) error {
	l.seen <- fmt.Sprintf("%s left, here are %s, with the tag %s", c.Conn().ID(), l.here(c), l.here(c, "vip"))
	if err := c.Broadcast(room.Text(`"left"`)); err != nil {
		return err
	}
	switch c.Conn().ID() {
	case "panics":
		panic("no")
	case "fails":
		return c.Abort("no", "No.")
	}
	return nil
}

func (l *lobby) OnMessage(c *room.Context, _ room.Message) error {
	return c.Broadcast(room.Text(strconv.Quote(l.here(c))))
}

// TestInvariantSocketsOutliveRoomsOnClose has connections leave, and looks what OnClose sees of the room, who gets what
// it sends, and who is there afterwards, also where OnClose fails.
func TestInvariantSocketsOutliveRoomsOnClose(t *testing.T) {
	seen := make(chan string, 8)
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("lobby", func() room.Handler { return &lobby{seen: seen} }, room.WakeOnClose())
	})
	vip := func(r *room.ConnectRequest) { r.Request = httptest.NewRequest("GET", "/?tag=vip", nil) }
	stays := h.Join("lobby", "r", "stays", vip)
	twin := h.Join("lobby", "r", "twin")
	for _, leaves := range []struct{ id, here, got string }{
		{"leaves", "stays twin", `"left"`},
		{"twin", "stays twin", `"left"`}, // the other one of the same id is still there
		{"fails", "stays twin", ""},
		{"panics", "stays twin", ""},
	} {
		c := h.Join("lobby", "r", leaves.id, vip)
		c.Leave()
		want := fmt.Sprintf("%s left, here are %s, with the tag stays", leaves.id, leaves.here)
		if got := within(t, seen, "OnClose"); got != want {
			t.Errorf("OnClose saw: %s\nwant: %s", got, want)
		}
		if got := c.Received(); len(got) != 0 {
			t.Errorf("%s has left, and was sent %s", leaves.id, describe(got))
		}
		for _, other := range []*roomtest.Client{stays, twin} {
			got := ""
			for _, e := range other.Received() {
				got += string(e.Data)
			}
			if got != leaves.got {
				t.Errorf("when %s left, %s was sent %q, want %q", leaves.id, other.ID(), got, leaves.got)
			}
		}
		if err := stays.Send([]byte(`{"who":"is here"}`)); err != nil {
			t.Fatal(err)
		}
		if got := stays.Next(); string(got.Data) != strconv.Quote(leaves.here) {
			t.Errorf("when %s has left, here are %s, want %s", leaves.id, got.Data, leaves.here)
		}
		twin.Next()
		if n := h.Connections(); n != 2 {
			t.Errorf("when %s has left, the host counts %d connections", leaves.id, n)
		}
	}
}
