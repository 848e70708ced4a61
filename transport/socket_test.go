package transport

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// healthy wants a socket that still works.
func healthy(t *testing.T, c *client) {
	t.Helper()
	c.send(`{"do":"echo","still":"here"}`)
	c.expect(`{"do":"echo","still":"here"}`)
}

// TestInvariantIsolationBrokenProtocol: each way to break the framing ends that socket with 1002,
// and no other.
func TestInvariantIsolationBrokenProtocol(t *testing.T) {
	s := startServer(t, Options{})
	bystander := s.dial("/parties/probe/home")
	mask := [4]byte{9, 8, 7, 6}
	tests := []struct {
		name  string
		bytes []byte
	}{
		{"unmasked text", []byte{0x81, 2, '{', '}'}},
		{"unmasked ping", []byte{0x89, 0}},
		{"ping in fragments", clientHeader(opPing, 1, []byte("x"), mask)},
		{"close in fragments", clientHeader(opClose, 2, []byte{3, 0xe8}, mask)},
		{"long ping", clientHeader(finBit|opPing, 126, make([]byte, 126), mask)},
		{"reserved bit 1", clientHeader(finBit|0x40|1, 2, []byte("{}"), mask)},
		{"reserved bit 3", clientHeader(finBit|0x10|1, 2, []byte("{}"), mask)},
		{"reserved opcode", clientHeader(finBit|3, 2, []byte("{}"), mask)},
		{"reserved control opcode", clientHeader(finBit|0xB, 0, nil, mask)},
		{"continuation of nothing", clientHeader(finBit, 2, []byte("{}"), mask)},
		{"text inside a text", append(clientHeader(1, 1, []byte("{"), mask), clientFrame(1, []byte("}"))...)},
		{"close with one byte", clientFrame(opClose, []byte{3})},
		{"close with 1005", clientFrame(opClose, []byte{3, 0xed})},
		{"close with 999", clientFrame(opClose, []byte{3, 0xe7})},
		{"a length below zero", append([]byte{0x81, 0xff}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := rawDial(t, s.addr())
			raw.upgrade("/parties/probe/home")
			raw.send(tt.bytes)
			f := raw.frame()
			if code, _ := f.close(); f.op != opClose || code != closeProtocol {
				t.Fatalf("got %#x %d %q, want a close with 1002", f.op, code, f.payload)
			}
			// It goes on sending, and must see the end, not a reset.
			raw.send(clientFrame(1, []byte("more")))
			if rest, err := io.ReadAll(raw.r); err != nil || len(rest) > 0 {
				t.Errorf("behind the close frame: %q, %v", rest, err)
			}
			if got := within(t, s.control.closed, "OnClose"); got.Code != closeProtocol {
				t.Errorf("the room was told %+v", got)
			}
		})
	}
	healthy(t, bystander)
}

func TestFragments(t *testing.T) {
	s := startServer(t, Options{})
	raw := rawDial(t, s.addr())
	raw.upgrade("/parties/probe/home")
	mask := [4]byte{1, 2, 3, 4}
	raw.send(clientHeader(1, 6, []byte(`{"do":`), mask), clientFrame(opPing, []byte("between")),
		clientHeader(0, 0, nil, mask), clientHeader(finBit, 7, []byte(`"echo"}`), mask))
	if f := raw.frame(); f.op != 0xA || string(f.payload) != "between" {
		t.Errorf("want the pong first, got %#x %q", f.op, f.payload)
	}
	if f := raw.frame(); string(f.payload) != `{"do":"echo"}` {
		t.Errorf("got %q", f.payload)
	}
}

// TestBadMessages: what is framed well but makes no sense is answered with a code,
// and the socket lives.
func TestBadMessages(t *testing.T) {
	s := startServer(t, Options{})
	tests := []struct {
		name, message, code string
		binary              bool
	}{
		{"not JSON", `hello`, "bad_message", false},
		{"empty", ``, "bad_message", false},
		{"deep nesting", strings.Repeat("[", 100_000), "bad_message", false},
		{"action is no object", `{"id":"1","channel":"items","rpc":true,"action":[]}`, "bad_message", false},
		{"channel sqlite_master", `{"channel":"sqlite_master","sync":true,"from":null}`, "unknown_channel", false},
		{"channel with SQL", `{"channel":"items; drop table items","sync":true,"from":null}`, "unknown_channel", false},
		{"binary", "\x00\x01", "unsupported_data", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := s.dial("/parties/base/home")
			kind := websocket.MessageText
			if tt.binary {
				kind = websocket.MessageBinary
			}
			for range 2 { // the second shows that the first did no harm
				if err := c.ws.Write(t.Context(), kind, []byte(tt.message)); err != nil {
					t.Fatal(err)
				}
				if got := c.read(); !strings.Contains(got, `"`+tt.code+`"`) {
					t.Errorf("answered with %s, want %s", got, tt.code)
				}
			}
		})
	}
}

// TestInvariantBoundedHugeFrame: 100 MB are announced and sent. They are not held, and the client
// learns why.
func TestInvariantBoundedHugeFrame(t *testing.T) {
	s := startServer(t, Options{ReadLimit: 64 << 10})
	bystander := s.dial("/parties/probe/home")
	raw := rawDial(t, s.addr())
	raw.upgrade("/parties/probe/home?_pk=huge")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const huge = 100 << 20
	go func() { // ends when all is sent or the connection is closed
		raw.Write(clientHeader(finBit|1, huge, nil, [4]byte{}))
		chunk := make([]byte, 1<<20)
		for range huge / len(chunk) {
			if _, err := raw.Write(chunk); err != nil {
				return
			}
		}
	}()
	raw.expectClose(syncproto.CloseTooBig, "too_large")
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 20<<20 {
		t.Errorf("%d bytes were allocated for it", grown)
	}
	if got := within(t, s.control.closed, "OnClose"); got.ID != "huge" || got.Code != syncproto.CloseTooBig {
		t.Errorf("the room was told %+v", got)
	}
	healthy(t, bystander)
}

// TestInvariantBoundedManyFramesAtOnce: 10,000 in one go are all answered, in order. All answers may wait at a time: while
// the bystander is looked at nobody reads them, and how many the socket's buffers take is the system's affair.
func TestInvariantBoundedManyFramesAtOnce(t *testing.T) {
	const frames = 10_000
	s := startServer(t, Options{SendQueueFrames: frames})
	bystander := s.dial("/parties/probe/elsewhere")
	raw := rawDial(t, s.addr())
	raw.upgrade("/parties/probe/home")
	sent := make(chan error, 1)
	go func() { // ends when all is written or the connection is closed
		var all []byte
		for i := range frames {
			all = append(all, clientFrame(1, fmt.Appendf(nil, `{"do":"echo","i":%d}`, i))...)
		}
		_, err := raw.Write(all)
		sent <- err
	}()
	for i := range frames {
		if f, want := raw.frame(), fmt.Sprintf(`{"do":"echo","i":%d}`, i); string(f.payload) != want {
			t.Fatalf("answer %d: %#x %q", i, f.op, f.payload)
		}
		if i == frames/2 {
			healthy(t, bystander)
		}
	}
	if err := within(t, sent, "the writer"); err != nil {
		t.Error(err)
	}
}

// TestInvariantIsolationNeverReads: one socket takes nothing; the others of its room get everything.
func TestInvariantIsolationNeverReads(t *testing.T) {
	t.Parallel() // it waits for closeTimeout
	s := startServer(t, Options{SendQueueBytes: 1 << 20})
	stuck := rawDial(t, s.addr())
	if err := stuck.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	stuck.upgrade("/parties/probe/home?_pk=stuck")
	reader, sender := s.dial("/parties/probe/home"), s.dial("/parties/probe/home")
	joined(t, s, 3)
	for round := range 30 { // 30 MB, more than the kernel holds for it
		sender.send(`{"do":"burst","n":10,"len":100000}`)
		for _, c := range []*client{reader, sender} {
			for i := range 10 {
				if got := c.read(); !strings.HasPrefix(got, fmt.Sprintf(`{"n":%d,`, i)) {
					t.Fatalf("round %d: message %d is %.30q", round, i, got)
				}
			}
		}
	}
	got := within(t, s.control.closed, "the socket that reads nothing to be closed")
	if got.ID != "stuck" || got.Code != syncproto.CloseSlowConsumer || got.Reason != "slow_consumer" {
		t.Errorf("the room was told %+v", got)
	}
	eventually(t, "its place is free", func() bool { return s.handler.Connections() == 2 })
	healthy(t, reader)
	if log := s.log.String(); strings.Count(log, "slow_consumer") != 1 || !strings.Contains(log, "namespace=probe room=home") {
		t.Errorf("the log has %s", log)
	}
}

// TestInvariantBoundedBackPressure: while a room is busy the socket of a client that floods it is
// not read, and when it goes on nothing is lost.
func TestInvariantBoundedBackPressure(t *testing.T) {
	s := startServer(t, Options{}, func(o *room.Options) { o.InFlight = 8 })
	raw := rawDial(t, s.addr())
	raw.upgrade("/parties/probe/home")
	raw.send(clientFrame(1, []byte(`{"do":"block"}`)))
	within(t, s.control.entered, "the room to block")
	const frames = 2000
	var written atomic.Int64
	sent := make(chan error, 1)
	frame := clientFrame(1, []byte(`{"do":"echo","pad":"`+strings.Repeat("x", 10_000)+`"}`))
	go func() { // ends when all is written or the connection is closed
		for range frames {
			if _, err := raw.Write(frame); err != nil {
				sent <- err
				return
			}
			written.Add(1)
		}
		sent <- nil
	}()
	last, still := int64(-1), 0
	eventually(t, "the client to be held up", func() bool { // no progress for 100 looks
		if now := written.Load(); now != last {
			last, still = now, 0
		}
		still++
		return still > 100
	})
	if n := written.Load(); n == frames {
		t.Fatal("20 MB were taken while the room was busy")
	}
	close(s.control.release)
	if f := raw.frame(); string(f.payload) != `"released"` {
		t.Fatalf("got %.40q", f.payload)
	}
	for i := range frames {
		if f := raw.frame(); len(f.payload) != 10_022 {
			t.Fatalf("answer %d: %#x %.60q", i, f.op, f.payload)
		}
	}
	if err := within(t, sent, "the writer"); err != nil {
		t.Error(err)
	}
}

func TestClientCloses(t *testing.T) {
	s := startServer(t, Options{})
	tests := []struct {
		name       string
		payload    []byte
		code       int
		reason     string
		roomCode   int
		roomReason string
	}{
		{"with a code and a reason", append([]byte{0x0f, 0xa0}, "tired"...), 4000, "tired", 4000, "tired"},
		{"going away", []byte{3, 0xe9}, 1001, "", 1001, ""},
		{"without a code", nil, closeNoStatus, "", closeNoStatus, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := rawDial(t, s.addr())
			raw.upgrade("/parties/probe/home")
			raw.send(clientFrame(opClose, tt.payload))
			raw.expectClose(tt.code, tt.reason)
			if got := within(t, s.control.closed, "OnClose"); got.Code != tt.roomCode || got.Reason != tt.roomReason {
				t.Errorf("the room was told %+v", got)
			}
		})
	}
}

func TestRoomCloses(t *testing.T) {
	s := startServer(t, Options{})
	raw := rawDial(t, s.addr())
	raw.upgrade("/parties/probe/home")
	raw.send(clientFrame(1, []byte(`{"do":"echo"}`)), clientFrame(1, []byte(`{"do":"close"}`)), clientFrame(1, []byte(`{"do":"echo"}`)))
	if f := raw.frame(); string(f.payload) != `{"do":"echo"}` {
		t.Errorf("got %q", f.payload)
	}
	for { // the third message may or may not have been answered
		if f := raw.frame(); f.op == opClose {
			if code, reason := f.close(); code != 4700 || reason != "as you wish" {
				t.Errorf("closed with %d %q", code, reason)
			}
			raw.send(clientFrame(opClose, f.payload))
			break
		}
	}
	if rest, err := io.ReadAll(raw.r); err != nil || len(rest) > 0 {
		t.Errorf("behind the handshake: %q, %v", rest, err)
	}
	if got := within(t, s.control.closed, "OnClose"); got.Code != 4700 {
		t.Errorf("the room was told %+v", got)
	}
}

func TestClientVanishes(t *testing.T) {
	s := startServer(t, Options{})
	for name, leave := range map[string]func(*net.TCPConn){
		"half-open": func(c *net.TCPConn) { c.CloseWrite() },
		"closed":    func(c *net.TCPConn) { c.Close() },
		"reset":     func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
	} {
		for part, bytes := range map[string][]byte{"between messages": nil, "in a header": {0x81}, "in a message": clientFrame(1, []byte(`{"do":"echo"}`))[:10]} {
			t.Run(name+" "+part, func(t *testing.T) {
				raw := rawDial(t, s.addr())
				raw.upgrade("/parties/probe/home")
				raw.send(bytes)
				leave(raw.Conn.(*net.TCPConn))
				if got := within(t, s.control.closed, "OnClose"); got.Code != closeAbnormal {
					t.Errorf("the room was told %+v", got)
				}
			})
		}
	}
	eventually(t, "all places are free", func() bool { return s.handler.Connections() == 0 })
}

func TestPing(t *testing.T) {
	s := startServer(t, Options{})
	raw := rawDial(t, s.addr())
	raw.upgrade("/parties/probe/home")
	payload := []byte(strings.Repeat("p", 125))
	raw.send(clientFrame(opPing, payload), clientFrame(0xA, []byte("unasked")), clientFrame(opPing, nil))
	if f := raw.frame(); f.op != 0xA || string(f.payload) != string(payload) {
		t.Errorf("got %#x %q", f.op, f.payload)
	}
	if f := raw.frame(); f.op != 0xA || len(f.payload) != 0 {
		t.Errorf("got %#x %q", f.op, f.payload)
	}
}

// TestInvariantBoundedPingFlood: pongs are queued like everything else, so a client that asks for
// them and reads nothing is closed.
func TestInvariantBoundedPingFlood(t *testing.T) {
	t.Parallel() // it waits for closeTimeout
	s := startServer(t, Options{SendQueueFrames: 100})
	raw := rawDial(t, s.addr())
	raw.Conn.(*net.TCPConn).SetReadBuffer(4096)
	raw.upgrade("/parties/probe/home?_pk=flood")
	pings := make([]byte, 0, 1<<20)
	for len(pings) < 1<<20-200 {
		pings = append(pings, clientFrame(opPing, make([]byte, 125))...)
	}
	for range 200 {
		if _, err := raw.Write(pings); err != nil {
			break
		}
	}
	if got := within(t, s.control.closed, "OnClose"); got.ID != "flood" || got.Code != syncproto.CloseSlowConsumer {
		t.Errorf("the room was told %+v", got)
	}
}

// TestInvariantIsolationPanic: a hook that panics fails its message; sockets stay.
func TestInvariantIsolationPanic(t *testing.T) {
	s := startServer(t, Options{})
	c := s.dial("/parties/probe/home")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+s.addr()+"/parties/probe/home?on=panic", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	(&client{t, ws}).expectClose(1011, "action_failed")
	healthy(t, c)
}

// TestInvariantSocketsOutliveRooms: a room's life ends, in order or not, and its
// sockets do not notice.
func TestInvariantSocketsOutliveRooms(t *testing.T) {
	s := startServer(t, Options{})
	c := s.dial("/parties/probe/home")
	key := room.Key{Namespace: "probe", Room: "home"}
	for name, end := range map[string]func(context.Context, room.Key) error{"sleep": s.host.Sleep, "crash": inner.OfHost(s.host).Crash} {
		healthy(t, c)
		if err := end(t.Context(), key); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		healthy(t, c)
	}
	if n := s.handler.Connections(); n != 1 {
		t.Errorf("%d sockets", n)
	}
}
