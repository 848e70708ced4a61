package transport

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// rest is a ParkAfter that is long enough to see that a socket has not been brought back:
// it would take so long to be parked again.
const rest = 400 * time.Millisecond

// startParking is startServer with sockets that are parked at once where o does not say, in
// both runs of the suite.
func startParking(t *testing.T, o Options) *server {
	if o.ParkAfter == 0 {
		o.ParkAfter = 1
	}
	return startServer(t, o)
}

// parked waits until n sockets are.
func parked(t testing.TB, s *server, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d sockets to be parked", n), func() bool { return s.handler.Parked() == n })
}

// parkedClient is a client by hand whose socket is parked.
func parkedClient(t *testing.T, s *server, path string) *rawClient {
	t.Helper()
	raw := rawDial(t, s.addr())
	n := s.handler.Parked()
	raw.upgrade(path)
	parked(t, s, n+1)
	return raw
}

func TestParkedAnswers(t *testing.T) {
	s := startParking(t, Options{ParkAfter: rest})
	raw := parkedClient(t, s, "/parties/probe/home")
	if err := s.host.Sleep(t.Context(), room.Key{Namespace: "probe", Room: "home"}); err != nil {
		t.Fatal(err)
	}
	asks := []byte{}
	for range 3 {
		asks = append(asks, clientFrame(opPing, []byte("a"))...)
		asks = append(asks, clientFrame(opText, []byte(autoRequest))...)
		asks = append(asks, clientFrame(opPong, []byte("unasked"))...)
	}
	for range 5 {
		raw.send(asks)
		for range 3 {
			if f := raw.frame(); f.op != opPong || string(f.payload) != "a" {
				t.Fatalf("got %#x %q", f.op, f.payload)
			}
			if f := raw.frame(); f.op != opText || string(f.payload) != autoResponse {
				t.Fatalf("got %#x %q", f.op, f.payload)
			}
		}
		if s.handler.Parked() != 1 || s.host.Awake() != 0 {
			t.Fatalf("%d sockets are parked, %d rooms awake", s.handler.Parked(), s.host.Awake())
		}
	}
	raw.send(append(asks, clientFrame(opText, []byte(`{"do":"echo"}`))...))
	for range 6 {
		raw.frame()
	}
	if f := raw.frame(); string(f.payload) != `{"do":"echo"}` {
		t.Errorf("behind what needs no room: %#x %q", f.op, f.payload)
	}
}

// What a room sends to a parked socket does not bring it back.
func TestParkedIsSentTo(t *testing.T) {
	s := startParking(t, Options{ParkAfter: rest})
	raw := parkedClient(t, s, "/parties/probe/home")
	other := s.dial("/parties/probe/home")
	other.send(`{"do":"burst","n":20,"len":1000}`)
	for i := range 20 {
		if f := raw.frame(); !strings.HasPrefix(string(f.payload), fmt.Sprintf(`{"n":%d,`, i)) {
			t.Fatalf("message %d: %.30q", i, f.payload)
		}
	}
	if n := s.handler.Parked(); n != 1 { // the other is not
		t.Errorf("%d sockets are parked", n)
	}
}

// TestParkedIsSentMuch: a sender of much data to parked sockets only queues it. The sockets become active, even if the kernel would
// accept all of it.
func TestParkedIsSentMuch(t *testing.T) {
	s := startParking(t, Options{ParkAfter: rest})
	var raws []*rawClient
	for range 10 {
		raws = append(raws, parkedClient(t, s, "/parties/probe/home"))
	}
	for i, served := range s.handler.open() {
		served.Send(text(strings.Repeat("x", parkedWrite)))
		if n := s.handler.Parked(); n != len(raws)-1-i {
			t.Errorf("%d sockets are parked when %d were sent to", n, i+1)
		}
	}
	for _, raw := range raws {
		if f := raw.frame(); len(f.payload) != parkedWrite {
			t.Errorf("got %d bytes", len(f.payload))
		}
	}
}

// BenchmarkParkedIsSentMuch is what it takes the sender to hand 1 MB to each of 400 parked sockets.
func BenchmarkParkedIsSentMuch(b *testing.B) {
	s := startServer(b, Options{ParkAfter: 1, SendQueueBytes: 1 << 30})
	const sockets = 400
	for range sockets {
		raw := rawDial(b, s.addr())
		raw.upgrade("/parties/probe/home")
		go io.Copy(io.Discard, raw) // ends with the connection
	}
	frame := text(strings.Repeat("x", 1<<20))
	for b.Loop() {
		b.StopTimer()
		parked(b, s, sockets)
		b.StartTimer()
		for _, served := range s.handler.open() {
			served.Send(frame)
		}
	}
}

// The rest of a message that began while the socket was parked has the time that any has.
func TestParkedHalfFrame(t *testing.T) {
	s := startParking(t, Options{ReadTimeout: 200 * time.Millisecond, PingInterval: 50 * time.Millisecond})
	raw := parkedClient(t, s, "/parties/probe/home")
	raw.send(clientFrame(opText, []byte(`{"do":"echo"}`))[:10])
	for {
		f := raw.frame()
		if f.op == opPing {
			continue // it says nothing more, not even that
		}
		if code, reason := f.close(); f.op != opClose || code != syncproto.ClosePolicy || reason != "read_timeout" {
			t.Errorf("got %#x %d %q", f.op, code, reason)
		}
		return
	}
}

func TestParkedEnds(t *testing.T) {
	s := startParking(t, Options{})
	for name, c := range map[string]struct {
		leave func(*rawClient)
		code  int
	}{
		"close":          {func(c *rawClient) { c.send(clientFrame(opClose, []byte{0x0f, 0xa0})) }, 4000},
		"half a close":   {func(c *rawClient) { c.send(clientFrame(opClose, []byte{0x0f, 0xa0})[:3]); c.Close() }, closeAbnormal},
		"half-open":      {func(c *rawClient) { c.Conn.(*net.TCPConn).CloseWrite() }, closeAbnormal},
		"reset":          {func(c *rawClient) { c.Conn.(*net.TCPConn).SetLinger(0); c.Close() }, closeAbnormal},
		"no WebSocket":   {func(c *rawClient) { c.send([]byte("GET / HTTP/1.1\r\n\r\n")) }, closeProtocol},
		"ping and close": {func(c *rawClient) { c.send(clientFrame(opPing, nil), clientFrame(opClose, nil)) }, closeNoStatus},
	} {
		t.Run(name, func(t *testing.T) {
			raw := parkedClient(t, s, "/parties/probe/home")
			c.leave(raw)
			if got := within(t, s.control.closed, "OnClose"); got.Code != c.code {
				t.Errorf("the room was told %+v, want %d", got, c.code)
			}
			eventually(t, "its place to be free", func() bool { return s.handler.Connections() == 0 && s.handler.Parked() == 0 })
		})
	}
}

// A client that is gone without a word is found, and one that pongs is left in peace: its
// pongs do not even bring it back.
func TestParkedVanishes(t *testing.T) {
	s := startParking(t, Options{ParkAfter: rest, PingInterval: rest, PongTimeout: 2 * time.Second})
	alive := parkedClient(t, s, "/parties/probe/home")
	pings := make(chan int, 1000)
	go func() { // ends with the connection
		for {
			f, err := readFrame(alive.r)
			if err != nil || f.op != opPing {
				return
			}
			alive.Write(clientFrame(opPong, f.payload))
			pings <- s.handler.Parked()
		}
	}()
	within(t, pings, "a ping")
	silent := rawDial(t, s.addr())
	silent.upgrade("/parties/probe/home?_pk=silent")
	if got := within(t, s.control.closed, "OnClose"); got.ID != "silent" || got.Code != syncproto.CloseKeepaliveTimeout {
		t.Errorf("the room was told %+v", got)
	}
	for f := silent.frame(); ; f = silent.frame() {
		if f.op == opPing {
			continue
		}
		if code, _ := f.close(); code != syncproto.CloseKeepaliveTimeout {
			t.Errorf("closed with %d", code)
		}
		break
	}
	silent.send(clientFrame(opClose, nil)) // or it would be waited for
	eventually(t, "its place to be free", func() bool { return s.handler.Connections() == 1 })
	for range 3 {
		if n := within(t, pings, "a ping"); n == 0 {
			t.Error("a pong brought its socket back")
		}
	}
}

// A parked socket whose descriptor cannot be made a connection again ends as on a broken line, and the operator is told.
func TestParkedCannotComeBack(t *testing.T) {
	s := startParking(t, Options{})
	parkedClient(t, s, "/parties/probe/home")
	null, err := os.Open(os.DevNull) // which cannot be waited for
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	socket := s.handler.open()[0]
	socket.mu.Lock()
	err = syscall.Dup3(int(null.Fd()), int(socket.fd), syscall.O_CLOEXEC)
	socket.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	socket.Send(text("what cannot arrive"))
	if got := within(t, s.control.closed, "OnClose"); got.Code != closeAbnormal {
		t.Errorf("the room was told %+v", got)
	}
	eventually(t, "its place to be free", func() bool { return s.handler.Connections() == 0 })
	if log := s.log.String(); !strings.Contains(log, "a parked socket could not be made active") || strings.Contains(log, "panic") {
		t.Errorf("the log says %s", log)
	}
}

// A pong that comes while the socket is parked confirms what was handed over before its ping.
func TestParkedConfirms(t *testing.T) {
	s := startParking(t, Options{ParkAfter: 1, PingInterval: 50 * time.Millisecond, PongTimeout: 2 * time.Second})
	raw := rawDial(t, s.addr())
	raw.upgrade("/parties/probe/home?_pk=me")
	raw.send(clientFrame(opText, []byte(`{"channel":"items","sync":true,"from":null}`)))
	raw.send(clientFrame(opText, []byte(`{"id":"1","channel":"items","rpc":true,"action":{"type":"add","payload":{"id":"x"}}}`)))
	joined(t, s, 1)
	session := s.handler.open()[0].session.Load
	for session() == nil || inner.OfSession(session()).Confirmed() == 0 {
		if f := raw.frame(); f.op == opPing {
			raw.send(clientFrame(opPong, f.payload))
		}
	}
	if inner.OfSession(session()).Confirmed() != inner.OfSession(session()).Mark() {
		t.Errorf("%d is confirmed of %d", inner.OfSession(session()).Confirmed(), inner.OfSession(session()).Mark())
	}
}

// A parked client that takes nothing is closed like any other.
func TestParkedNeverReads(t *testing.T) {
	t.Parallel() // it waits for closeTimeout
	s := startParking(t, Options{SendQueueBytes: 1 << 20, ParkAfter: 1})
	stuck := rawDial(t, s.addr())
	stuck.Conn.(*net.TCPConn).SetReadBuffer(4096)
	stuck.upgrade("/parties/probe/home?_pk=stuck")
	parked(t, s, 1)
	sender := s.dial("/parties/probe/home")
	for range 30 {
		sender.send(`{"do":"burst","n":10,"len":100000}`)
		for range 10 {
			sender.read()
		}
	}
	if got := within(t, s.control.closed, "the socket that reads nothing to be closed"); got.ID != "stuck" || got.Code != syncproto.CloseSlowConsumer {
		t.Errorf("the room was told %+v", got)
	}
}

// A parked socket that takes a part of a message gets the rest of it, and then what follows.
func TestParkedTakesAPart(t *testing.T) {
	s := startParking(t, Options{SendQueueBytes: 64 << 20, SendQueueFrames: 1 << 20, WriteTimeout: time.Minute})
	slow := rawDial(t, s.addr())
	slow.upgrade("/parties/probe/home")
	parked(t, s, 1)
	sender := s.dial("/parties/probe/home")
	const bursts, each = 20, 20
	for range bursts {
		sender.send(fmt.Sprintf(`{"do":"burst","n":%d,"len":50000}`, each))
		for range each {
			sender.read()
		}
	}
	for i := range bursts * each {
		if f := slow.frame(); !strings.HasPrefix(string(f.payload), fmt.Sprintf(`{"n":%d,`, i%each)) || len(f.payload) < 50_000 {
			t.Fatalf("message %d: %d bytes, %.30q", i, len(f.payload), f.payload)
		}
	}
	parked(t, s, 2)
}

// A message that makes the goroutine of all parked sockets panic ends its socket alone.
func TestInvariantIsolationParkedPanic(t *testing.T) {
	s := startParking(t, Options{})
	bystander := parkedClient(t, s, "/parties/probe/home")
	raw := parkedClient(t, s, "/parties/probe/home")
	list := s.handler.open()
	session := list[1].session.Swap(nil) // no socket is ever parked without one
	raw.send(clientFrame(opText, []byte(`{"do":"echo"}`)))
	f := raw.frame()
	if code, _ := f.close(); f.op != opClose || code != syncproto.CloseInternal {
		t.Errorf("got %#x %q", f.op, f.payload)
	}
	list[1].session.Store(session)
	raw.send(clientFrame(opClose, f.payload))
	healthyRaw(t, bystander)
}

// A message that comes alone after a quiet time leaves its socket parked; one that follows it
// soon brings it back.
func TestParkedLoneMessage(t *testing.T) {
	s := startParking(t, Options{ParkAfter: rest})
	raw := parkedClient(t, s, "/parties/probe/home")
	for i := range 2 {
		began := time.Now()
		healthyRaw(t, raw)
		if n := s.handler.Parked(); n != 1 {
			t.Fatalf("a lone message brought its socket back")
		}
		healthyRaw(t, raw)
		if n := s.handler.Parked(); n != 0 && time.Since(began) < rest {
			t.Fatalf("round %d: a socket in use is parked", i)
		}
		parked(t, s, 1)
	}
	const at = 300
	message := append(clientFrame(opText, []byte(`{"do":"echo"}`)), clientFrame(2, make([]byte, at))...)
	message = append(message, clientFrame(2, make([]byte, at))[:7]...) // and a half
	raw.send(message)
	if f := raw.frame(); string(f.payload) != `{"do":"echo"}` {
		t.Errorf("got %#x %q", f.op, f.payload)
	}
	raw.send(clientFrame(2, make([]byte, at))[7:])
	for range 2 {
		if f := raw.frame(); f.op != 2 || len(f.payload) != at {
			t.Errorf("got %#x %d bytes", f.op, len(f.payload))
		}
	}
}

// A parked socket whose room takes no more at the moment is not served on: its client is held up
// like any other's.
func TestParkedBusyRoom(t *testing.T) {
	s := startServer(t, Options{ParkAfter: 1}, func(o *room.Options) { o.InFlight = 1 })
	raw := parkedClient(t, s, "/parties/probe/home")
	other := parkedClient(t, s, "/parties/probe/elsewhere")
	raw.send(clientFrame(opText, []byte(`{"do":"block"}`)))
	within(t, s.control.entered, "the room to block")
	for i := range 5 {
		raw.send(clientFrame(opText, fmt.Appendf(nil, `{"do":"echo","i":%d}`, i)))
	}
	healthyRaw(t, other)
	close(s.control.release)
	if f := raw.frame(); string(f.payload) != `"released"` {
		t.Fatalf("got %q", f.payload)
	}
	for i := range 5 {
		if f := raw.frame(); string(f.payload) != fmt.Sprintf(`{"do":"echo","i":%d}`, i) {
			t.Fatalf("answer %d: %q", i, f.payload)
		}
	}
}

func TestShutdownOfParkedSockets(t *testing.T) {
	s := startParking(t, Options{})
	var clients []*rawClient
	for i := range 50 {
		clients = append(clients, parkedClient(t, s, fmt.Sprintf("/parties/probe/room-%d", i%10)))
	}
	if err := s.host.Sleep(t.Context(), room.Key{Namespace: "probe", Room: "room-1"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.handler.Shutdown(context.Background()) }() // ends when all sockets are closed
	for _, c := range clients {
		f := c.frame()
		if code, reason := f.close(); code != 1001 || reason != "server is shutting down" {
			t.Fatalf("got %#x %d %q", f.op, code, reason)
		}
		c.Write(clientFrame(opClose, f.payload)) // fails where the server waits no longer for the last of them
	}
	if err := within(t, done, "the shutdown"); err != nil {
		t.Error(err)
	}
}

// Frames that came with the handshake are there before the socket is ever parked.
func TestParkedAfterEarlyFrames(t *testing.T) {
	s := startParking(t, Options{ParkAfter: 1})
	raw := rawDial(t, s.addr())
	early := append(clientFrame(opText, []byte(`{"do":"echo","i":1}`)), clientFrame(opText, []byte(`{"do":"echo","i":2}`))[:9]...)
	raw.send([]byte(handshakeText("/parties/probe/home")), early)
	var answer []byte
	for !strings.HasSuffix(string(answer), "\r\n\r\n") {
		b, err := raw.r.ReadByte()
		if err != nil {
			t.Fatal(err)
		}
		answer = append(answer, b)
	}
	raw.frame()
	raw.send(clientFrame(opText, []byte(`{"do":"echo","i":2}`))[9:])
	if f := raw.frame(); string(f.payload) != `{"do":"echo","i":2}` {
		t.Errorf("got %#x %q", f.op, f.payload)
	}
	parked(t, s, 1)
}

// Parked sockets have no goroutine, and each has one descriptor; when they are gone nothing
// is left of either.
func TestParkedLeaksNothing(t *testing.T) {
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	s := startParking(t, Options{})
	first := parkedClient(t, s, "/parties/probe/home")
	healthyRaw(t, first)
	parked(t, s, 1)
	const sockets = 100
	before, routines := descriptors(), runtime.NumGoroutine()
	var clients []*rawClient
	for range sockets {
		clients = append(clients, parkedClient(t, s, "/parties/probe/home"))
	}
	for range 5 {
		for _, c := range clients {
			healthyRaw(t, c)
		}
	}
	parked(t, s, sockets+1)
	eventually(t, "the readers to end", func() bool { return runtime.NumGoroutine() < routines+sockets/4 })
	if n := descriptors(); n > before+2*sockets+5 { // two for each, one is the client's
		t.Errorf("%d descriptors for %d sockets", n-before, sockets)
	}
	for i, c := range clients {
		if i%2 == 0 {
			c.Conn.(*net.TCPConn).SetLinger(0)
		}
		c.Close()
	}
	eventually(t, "all to be gone", func() bool { return s.handler.Connections() == 1 && descriptors() <= before+2 })
	first.send(clientFrame(opClose, nil))
	io.Copy(io.Discard, first.r)
	eventually(t, "the poller to be closed", func() bool {
		s.handler.mu.Lock()
		defer s.handler.mu.Unlock()
		return s.handler.poller == nil && s.handler.sweeper == nil
	})
}

func healthyRaw(t *testing.T, c *rawClient) {
	t.Helper()
	c.send(clientFrame(opText, []byte(`{"do":"echo"}`)))
	if f := c.frame(); string(f.payload) != `{"do":"echo"}` {
		t.Fatalf("got %#x %q", f.op, f.payload)
	}
}

// What a quiet client costs is counted in fields.
func TestQuietClientIsSmall(t *testing.T) {
	sizes := map[string][2]uintptr{
		"socket":               {unsafe.Sizeof(socket{}), 80},
		"room.Session":         {unsafe.Sizeof(room.Session{}), 128},
		"hibernate.Connection": {unsafe.Sizeof(hibernate.Connection{}), 96}, // a part of the session
	}
	for name, size := range sizes {
		t.Logf("%s: %d bytes", name, size[0])
		if size[0] > size[1] {
			t.Errorf("%s has %d bytes, and %d are allowed", name, size[0], size[1])
		}
	}
}
