package transport

import (
	"testing"
	"time"
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
	for began := time.Now(); s.handler.Connections() > 1; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 8*time.Second {
			t.Fatalf("%d sockets are there, want one", s.handler.Connections())
		}
	}
}
