package transport

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestInvariantIsolationShares: while the node has too much to do, a flooder has its share, and one that sends little is answered
// before it.
func TestInvariantIsolationShares(t *testing.T) {
	const delay = 10 * time.Millisecond
	s := startServer(t, Options{})
	flooder, honest := s.dial("/parties/probe/home?_pk=flooder"), s.dial("/parties/probe/home?_pk=honest")
	joined(t, s, 2)
	s.host.Shares().Fix(delay)
	const flood, few = 100, 5
	began := time.Now()
	for i := range flood {
		flooder.send(fmt.Sprintf(`{"do":"echo","i":%d}`, i))
	}
	for i := range few {
		message := fmt.Sprintf(`{"do":"echo","honest":%d}`, i)
		honest.send(message)
		honest.expect(message)
	}
	atHonest := time.Since(began)
	for i := range flood {
		flooder.expect(fmt.Sprintf(`{"do":"echo","i":%d}`, i))
	}
	whole := time.Since(began)
	if least := (flood - 10) * delay; whole < least {
		t.Errorf("a flooder's %d messages were answered in %v, sooner than in %v", flood, whole, least)
	}
	if atHonest >= whole {
		t.Errorf("one that sends %d messages had its answers after %v, and a flooder its %d after %v", few, atHonest, flood, whole)
	}
}

// TestInvariantBoundedControlFlood: pings and automatic answers count as messages.
func TestInvariantBoundedControlFlood(t *testing.T) {
	const delay, n = 10 * time.Millisecond, 100
	for what, frame := range map[string][]byte{
		"pings":             clientFrame(opPing, []byte("?")),
		"automatic answers": clientFrame(opText, []byte(autoRequest)),
	} {
		t.Run(what, func(t *testing.T) {
			s := startServer(t, Options{ParkAfter: -1})
			raw := rawDial(t, s.addr())
			raw.upgrade("/parties/probe/home?_pk=flooder")
			joined(t, s, 1)
			s.host.Shares().Fix(delay)
			began := time.Now()
			for range n {
				raw.send(frame)
			}
			for range n {
				raw.frame()
			}
			if whole, least := time.Since(began), (n-5)*delay; whole < least {
				t.Errorf("%d of them were answered in %v, sooner than in %v", n, whole, least)
			}
		})
	}
}

// TestInvariantIsolationNewcomers: while the node has too much to do, those who are new wait for each other, and for what those who
// came from their address have left unpaid. Those who are there do not wait for them.
func TestInvariantIsolationNewcomers(t *testing.T) {
	const delay = 20 * time.Millisecond
	s := startServer(t, Options{})
	there := s.dial("/parties/probe/home?_pk=there")
	debtor := s.dial("/parties/probe/home?_pk=debtor")
	joined(t, s, 2)
	s.host.Shares().Fix(delay)
	debtor.send(`{"do":"echo"}`)
	debtor.expect(`{"do":"echo"}`)
	debtor.send(fmt.Sprintf(`{"do":"burst","n":1,"len":%d}`, 15*16<<10)) // to two, by one that is new
	debtor.read()
	debtor.ws.CloseNow()
	eventually(t, "the debtor to go", func() bool { return s.handler.Connections() == 1 })
	began := time.Now()
	arrived := make(chan time.Duration, 1)
	go func() {
		if resp, err := http.Get(s.URL + "/parties/probe/home?on=who"); err == nil {
			resp.Body.Close()
		}
		arrived <- time.Since(began)
	}()
	there.read() // the burst
	there.send(`{"do":"echo","there":true}`)
	there.expect(`{"do":"echo","there":true}`)
	atThere := time.Since(began)
	waited := within(t, arrived, "somebody new to be let in")
	if least := 50 * delay; waited < least {
		t.Errorf("somebody new from the address of one that owed for what costs 120 messages waited %v, want %v at least", waited, least)
	}
	if atThere >= waited {
		t.Errorf("one that was there waited %v, as long as somebody new (%v)", atThere, waited)
	}
}

// TestInvariantBoundedNewcomers: too many that are new are refused with overloaded, before the handshake.
func TestInvariantBoundedNewcomers(t *testing.T) {
	s := startServer(t, Options{})
	s.host.Shares().Fix(time.Hour) // the first one fills the queue
	first, body := s.do("GET", "/parties/probe/home?on=who", nil)
	if first.StatusCode != http.StatusOK {
		t.Errorf("the first one: %s %s", first.Status, body)
	}
	resp, body := s.do("GET", "/parties/probe/home?on=who", nil)
	expectCode(t, resp, body, http.StatusServiceUnavailable, "overloaded")
	resp, body = s.do("GET", "/parties/probe/home?_pk=new", nil, "Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	expectCode(t, resp, body, http.StatusServiceUnavailable, "overloaded")
}

// TestInvariantBoundedUnanswered: frames that nobody answers count, too: pongs that nobody has asked for, and the parts of a message
// that does not end.
func TestInvariantBoundedUnanswered(t *testing.T) {
	const delay, n = 10 * time.Millisecond, 100
	pong, part := clientFrame(opPong, nil), clientHeader(opText, 0, nil, [4]byte{})
	rest := clientHeader(0, 0, nil, [4]byte{})
	end := clientHeader(finBit, 2, []byte("{}"), [4]byte{})
	for what, frames := range map[string][]byte{
		"pongs": bytes.Repeat(pong, n),
		"parts": slices.Concat(part, bytes.Repeat(rest, n*framesPerMessage), end),
	} {
		t.Run(what, func(t *testing.T) {
			s := startServer(t, Options{ParkAfter: -1})
			raw := rawDial(t, s.addr())
			raw.upgrade("/parties/probe/home?_pk=flooder")
			joined(t, s, 1)
			s.host.Shares().Fix(delay)
			began := time.Now()
			raw.send(frames, clientFrame(opPing, []byte("?")))
			for {
				if raw.frame().op == opPong {
					break
				}
			}
			if whole, least := time.Since(began), (n-5)*delay; whole < least {
				t.Errorf("a ping after %d of them was answered in %v, sooner than in %v", n, whole, least)
			}
		})
	}
}

// TestAddressOf: IPv6 addresses of one network count as one, and what a proxy says counts if it is trusted.
func TestAddressOf(t *testing.T) {
	o := Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}
	for _, c := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:80", "", "192.0.2.1"},
		{"192.0.2.1:80", "203.0.113.7", "192.0.2.1"},
		{"198.51.100.9:80", "203.0.113.7", "203.0.113.7"},
		{"198.51.100.9:80", "10.0.0.1, 203.0.113.7", "203.0.113.7"},
		{"198.51.100.9:80", "nobody", "198.51.100.9"},
		{"[2001:db8:1:2:3::4]:80", "", "2001:db8:1:2::/64"},
		{"[::ffff:192.0.2.1]:80", "", "192.0.2.1"},
		{"@", "", network(netip.Addr{})},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := o.addressOf(r); got != c.want {
			t.Errorf("from %s, forwarded for %q: %q, want %q", c.remote, c.forwarded, got, c.want)
		}
	}
}

// TestInvariantBoundedParkedFlood: while the node has too much to do, a parked socket that goes on to send gets a reader of its own,
// which waits for its share: one goroutine serves all parked sockets.
func TestInvariantBoundedParkedFlood(t *testing.T) {
	s := startServer(t, Options{ParkAfter: time.Second})
	raw := rawDial(t, s.addr())
	if !canPark(raw.Conn) {
		t.Log("no socket is parked on this system")
		return
	}
	raw.upgrade("/parties/probe/home?_pk=flooder")
	joined(t, s, 1)
	eventually(t, "the socket to be parked", func() bool { return s.handler.Parked() == 1 })
	s.host.Shares().Fix(time.Millisecond)
	for range 50 {
		raw.send(clientFrame(opPing, []byte("?")))
		raw.frame()
		if s.handler.Parked() == 0 {
			return
		}
	}
	t.Error("50 pings in a row were served without a reader")
}
