package transport

import (
	"testing"
	"time"

	"github.com/denrooms/den/syncproto"
)

// TestTwins: a client comes back while its older socket is still there. The older one is pinged at once, and
// closed after 2 s if no pong comes. If it answers, both sockets stay.
func TestTwins(t *testing.T) {
	for _, answers := range []bool{true, false} {
		inVirtualTimeDialing(t, Options{}, func(t *testing.T, dial func(string) *rawClient, k *control) {
			const path = "/parties/probe/home?_pk=me"
			old := dial(path)
			old.SetDeadline(time.Time{})
			time.Sleep(5 * time.Second)
			young := dial(path)
			began := time.Now()
			f := old.frame()
			if f.op != opPing || time.Since(began) != 0 {
				t.Fatalf("after %v: %#x %q", time.Since(began), f.op, f.payload)
			}
			if answers {
				time.Sleep(1900 * time.Millisecond)
				old.send(clientFrame(opPong, f.payload))
				time.Sleep(time.Second)
				for _, c := range []*rawClient{old, young} {
					c.send(clientFrame(opText, []byte(`{"do":"echo"}`)))
					if f := c.frame(); f.op != opText {
						t.Errorf("got %#x %q", f.op, f.payload)
					}
				}
				return
			}
			f = old.frame()
			if code, reason := f.close(); code != syncproto.CloseKeepaliveTimeout || time.Since(began) != probeTimeout {
				t.Errorf("closed with %d %q after %v", code, reason, time.Since(began))
			}
			if got := <-k.closed; got.ID != "me" || time.Since(began) != probeTimeout {
				t.Errorf("the room was told %+v after %v", got, time.Since(began))
			}
			young.send(clientFrame(opText, []byte(`{"do":"echo"}`)))
			if f := young.frame(); f.op != opText {
				t.Errorf("the younger one got %#x %q", f.op, f.payload)
			}
		})
	}
}

// TestTwinsOfOthers has a socket of another id, and one whose id the server made, come: nobody is pinged.
func TestTwinsOfOthers(t *testing.T) {
	inVirtualTimeDialing(t, Options{}, func(t *testing.T, dial func(string) *rawClient, _ *control) {
		began := time.Now()
		old := dial("/parties/probe/home?_pk=me")
		old.SetDeadline(time.Time{})
		dial("/parties/probe/home?_pk=you")
		dial("/parties/probe/home")
		dial("/parties/probe/other?_pk=me")
		if f := old.frame(); f.op != opPing || time.Since(began) < 20*time.Second {
			t.Errorf("after %v: %#x %q", time.Since(began), f.op, f.payload)
		}
	})
}
