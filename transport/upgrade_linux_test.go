package transport

import (
	"testing"
	"time"

	"github.com/denrooms/den/room"
)

// TestHangsUpWhileItConnects: a client whose room does not let it in yet hangs up, with a message that nobody has read. It waits no longer:
// neither its socket nor its place in the room's mailbox is kept until the room has time.
func TestHangsUpWhileItConnects(t *testing.T) {
	s := startServer(t, Options{SetupTimeout: time.Minute})
	busy := rawDial(t, s.addr())
	busy.upgrade("/parties/probe/home")
	busy.send(clientFrame(opText, []byte(`{"do":"block"}`)))
	within(t, s.control.entered, "the room to block")
	defer close(s.control.release)
	for range 3 {
		raw := rawDial(t, s.addr())
		raw.upgrade("/parties/probe/home")
		raw.send(clientFrame(opText, []byte(`{"do":"echo"}`)))
		raw.Close()
	}
	onlyOneStays(t, s)
}

// onlyOneStays waits until all sockets but one are gone, for less time than it takes the pings to find that out.
func onlyOneStays(t *testing.T, s *server) {
	t.Helper()
	for began := time.Now(); s.handler.Connections() > 1; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 8*time.Second {
			t.Fatalf("%d sockets are there, want one", s.handler.Connections())
		}
	}
}

// TestHangsUpWhileItWaits: a client hangs up whose room has no place for its messages. Those that the room has taken are done, the others
// are dropped with the socket after a while, whether or not the room has time again.
func TestHangsUpWhileItWaits(t *testing.T) {
	s := startServer(t, Options{}, func(o *room.Options) { o.MailboxSize = 4 })
	busy := rawDial(t, s.addr())
	busy.upgrade("/parties/probe/home")
	gone := rawDial(t, s.addr())
	gone.upgrade("/parties/probe/home")
	joined(t, s, 2)
	busy.send(clientFrame(opText, []byte(`{"do":"block"}`)))
	within(t, s.control.entered, "the room to block")
	defer close(s.control.release)
	for range 20 {
		gone.send(clientFrame(opText, []byte(`{"do":"broadcast"}`)))
	}
	gone.Close()
	onlyOneStays(t, s)
}
