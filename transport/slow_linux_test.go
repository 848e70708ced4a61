package transport

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/syncproto"
)

// Slow clients over TCP, awake and parked, in real time and with short times.

// A ticked reader reads so many bytes a tick.
type ticked struct {
	r    io.Reader
	tick *time.Ticker
	most int
}

func (s ticked) Read(p []byte) (int, error) {
	<-s.tick.C
	return s.r.Read(p[:min(len(p), s.most)])
}

// slowDial opens a socket whose client takes so many bytes every 20 ms, with buffers as small as
// the kernel lets them be.
func slowDial(t *testing.T, s *server, most int) *lineClient {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1)
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536)
		})
	}}
	conn, err := d.Dial("tcp", s.addr())
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	t.Cleanup(func() { conn.Close(); tick.Stop() })
	c := &lineClient{rawClient: &rawClient{conn, t, bufio.NewReaderSize(ticked{conn, tick, most}, 4096)}}
	c.upgrade("/parties/probe/home?_pk=slow")
	return c
}

// A slow client gets what is sent to it, though that takes many times as long as a pong may:
// while its own queue is full, and while all lies in the kernel and its socket is parked.
func TestSlowTCP(t *testing.T) {
	for name, c := range map[string]struct{ each, n, most int }{
		"queued":        {40_000, 8, 4096},
		"in the kernel": {25_000, 1, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it takes seconds
			s := startParking(t, Options{PingInterval: 500 * time.Millisecond, PongTimeout: 500 * time.Millisecond, WriteTimeout: 2 * time.Second})
			slow := slowDial(t, s, c.most)
			parked(t, s, 1)
			sender := s.dial("/parties/probe/home")
			sender.send(fmt.Sprintf(`{"do":"burst","n":%d,"len":%d}`, c.n, c.each))
			for range c.n {
				sender.read()
			}
			for i := range c.n {
				f, err := slow.message()
				if err != nil || !strings.HasPrefix(string(f.payload), fmt.Sprintf(`{"n":%d,`, i)) {
					t.Fatalf("message %d: %#x %.30q, %v", i, f.op, f.payload, err)
				}
			}
			slow.send(clientFrame(opText, []byte(`{"do":"echo"}`)))
			if f, err := slow.message(); err != nil || string(f.payload) != `{"do":"echo"}` {
				t.Fatalf("behind all that: %#x %q, %v", f.op, f.payload, err)
			}
		})
	}
}

// A client whose kernel lives and that reads nothing is found, though it is sent something now and then.
func TestFrozenTCP(t *testing.T) {
	t.Parallel() // it takes seconds
	s := startParking(t, Options{PingInterval: 500 * time.Millisecond, PongTimeout: 500 * time.Millisecond})
	frozen := rawDial(t, s.addr())
	frozen.upgrade("/parties/probe/home?_pk=frozen")
	sender := s.dial("/parties/probe/home")
	joined(t, s, 2)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 100 {
		<-tick.C
		sender.send(`{"do":"burst","n":1,"len":100}`)
		sender.read()
		if len(s.control.closed) > 0 {
			break
		}
	}
	if got := within(t, s.control.closed, "the frozen client to be closed"); got.ID != "frozen" || got.Code != syncproto.CloseKeepaliveTimeout {
		t.Errorf("the room was told %+v", got)
	}
}
