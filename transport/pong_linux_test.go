package transport

import (
	"encoding/binary"
	"testing"

	"github.com/denrooms/den/internal/inner"
)

// TestInvariantResumeOnlyTheRightPong has pongs come that answer another ping than the last one, or none: they confirm nothing,
// because what was handed over since that ping may not have arrived. The right one confirms.
func TestInvariantResumeOnlyTheRightPong(t *testing.T) {
	for _, parking := range []bool{false, true} {
		options := Options{ParkAfter: -1}
		if parking {
			options.ParkAfter = 1
		}
		s := startServer(t, options)
		raw := rawDial(t, s.addr())
		raw.upgrade("/parties/probe/home?_pk=me")
		joined(t, s, 1)
		raw.send(clientFrame(opText, []byte(`{"channel":"items","sync":true,"from":null}`)))
		raw.next(opText)
		raw.send(clientFrame(opText, []byte(`{"id":"1","channel":"items","rpc":true,"action":{"type":"add","payload":{"id":"x"}}}`)))
		raw.next(opText)
		socket := s.handler.open()[0]
		if parking {
			parked(t, s, 1)
		}
		onlyTheRightPong(t, s, socket)
	}
}

func onlyTheRightPong(t *testing.T, s *server, socket *socket) {
	t.Helper()
	socket.mu.Lock() // so that no ping of the server's own comes between
	defer socket.mu.Unlock()
	session := socket.session.Load()
	before := inner.OfSession(session).Confirmed()
	if before >= inner.OfSession(session).Mark() {
		t.Fatalf("%d is confirmed of %d: the test shows nothing", before, inner.OfSession(session).Mark())
	}
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	socket.ping(s.handler.now())
	socket.ping(s.handler.now())
	last := uint64(socket.number)
	swapped := binary.LittleEndian.AppendUint64(nil, last)
	for _, wrong := range [][]byte{
		nil, number(0), number(last - 1), number(last + 1), number(last + 1<<32), number(last)[1:], append(number(last), 0), swapped, []byte("whatever"),
	} {
		socket.ponged(wrong)
		if got := inner.OfSession(session).Confirmed(); got != before {
			t.Fatalf("the pong %x confirms %d, although the last ping was number %d", wrong, got, last)
		}
	}
	socket.ponged(number(last))
	if got := inner.OfSession(session).Confirmed(); got != inner.OfSession(session).Mark() {
		t.Errorf("the right pong confirms %d of %d", got, inner.OfSession(session).Mark())
	}
}

// next reads frames up to the first of a kind.
func (c *rawClient) next(op byte) rawFrame {
	for {
		if f := c.frame(); f.op == op {
			return f
		}
	}
}
