package transport

import (
	"fmt"
	"testing"

	"github.com/denrooms/den/room"
)

// TestInvariantBoundedFullMailbox: many clients send more than a room's mailbox holds. They are not read,
// and not refused: each gets all its answers in order. One that comes meanwhile is let in, and the room
// hears of one that goes.
func TestInvariantBoundedFullMailbox(t *testing.T) {
	const clients, each = 12, 100
	s := startServer(t, Options{}, func(o *room.Options) { o.MailboxSize, o.InFlight = 8, 4 })
	var list []*rawClient
	for i := range clients {
		raw := rawDial(t, s.addr())
		raw.upgrade(fmt.Sprintf("/parties/probe/home?_pk=c%d", i))
		list = append(list, raw)
	}
	gone := rawDial(t, s.addr())
	gone.upgrade("/parties/probe/home?_pk=gone")
	joined(t, s, clients+1)
	blocker := s.dial("/parties/probe/home?_pk=blocker")
	blocker.send(`{"do":"block"}`)
	within(t, s.control.entered, "the room to block")
	for _, raw := range list {
		for i := range each {
			raw.send(clientFrame(opText, fmt.Appendf(nil, `{"do":"echo","i":%d}`, i)))
		}
	}
	gone.send(clientFrame(opClose, nil))
	late := rawDial(t, s.addr())
	late.upgrade("/parties/probe/home?_pk=late")
	late.send(clientFrame(opText, []byte(`{"do":"echo","late":true}`)))
	close(s.control.release)
	for n, raw := range list {
		for i := range each {
			if f, want := raw.frame(), fmt.Sprintf(`{"do":"echo","i":%d}`, i); string(f.payload) != want {
				t.Fatalf("client %d, answer %d: %q", n, i, f.payload)
			}
		}
	}
	if f := late.frame(); string(f.payload) != `{"do":"echo","late":true}` {
		t.Errorf("who came late got %q", f.payload)
	}
	if got := within(t, s.control.closed, "OnClose"); got.ID != "gone" {
		t.Errorf("the room was told %+v", got)
	}
}
