package transport

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// Keep-alive in virtual time: the server's connections are pipes, and the clock
// moves when everybody waits.

// A pipeListener gives a server its connections.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// inVirtualTime runs test in a bubble, with a client that has been sent the
// answer to its handshake.
func inVirtualTime(t *testing.T, path string, o Options, test func(t *testing.T, c *rawClient, k *control)) {
	t.Helper()
	inVirtualTimeDialing(t, o, func(t *testing.T, dial func(path string) *rawClient, k *control) { test(t, dial(path), k) })
}

// inVirtualTimeDialing is inVirtualTime for several clients.
func inVirtualTimeDialing(t *testing.T, o Options, test func(t *testing.T, dial func(path string) *rawClient, k *control)) {
	t.Helper()
	inBubble(t, o, func(t *testing.T, accept func(net.Conn), k *control) {
		test(t, func(path string) *rawClient {
			there, here := net.Pipe()
			t.Cleanup(func() { here.Close() })
			accept(there)
			c := &rawClient{here, t, bufio.NewReader(here)}
			c.upgrade(path)
			return c
		}, k)
	})
}

// inBubble runs test in virtual time with a server that takes the connections that it is given.
func inBubble(t *testing.T, o Options, test func(t *testing.T, accept func(net.Conn), k *control)) {
	t.Helper()
	inBubbleOf(t, o, func(t *testing.T, _ *Handler, accept func(net.Conn), k *control) { test(t, accept, k) })
}

// inBubbleOf is inBubble with the server's handler.
func inBubbleOf(t *testing.T, o Options, test func(t *testing.T, h *Handler, accept func(net.Conn), k *control)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k := &control{entered: make(chan struct{}, 10), release: make(chan struct{}), closed: make(chan closing, 10)}
		host, err := room.Open(room.Options{Dir: t.TempDir(), ActionTimeout: time.Hour, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		probes := func() room.Handler { return &probe{control: k} }
		if err := host.Register("probe", probes, room.Synced("items"), room.WakeOnClose(), room.AutoAnswer(autoRequest, autoResponse)); err != nil {
			t.Fatal(err)
		}
		h, err := NewHandler(host, o)
		if err != nil {
			t.Fatal(err)
		}
		ln := &pipeListener{make(chan net.Conn), make(chan struct{})}
		server := &http.Server{Handler: h}
		go server.Serve(ln) // ends when the server is closed
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Hour)
			defer cancel()
			if err := h.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			server.Close()
			time.Sleep(2 * time.Second) // virtual; what the actors' runtime leaves behind for a second
		})
		test(t, h, func(conn net.Conn) { ln.conns <- conn }, k)
	})
}

func TestKeepaliveAnswered(t *testing.T) {
	inVirtualTime(t, "/parties/probe/home", Options{PingInterval: 30 * time.Second, PongTimeout: 10 * time.Second}, func(t *testing.T, c *rawClient, _ *control) {
		for i := range 5 {
			began := time.Now()
			f := c.frame()
			if f.op != opPing {
				t.Fatalf("got %#x %q", f.op, f.payload)
			}
			if took := time.Since(began); took < 30*time.Second || took > 41*time.Second {
				t.Errorf("ping %d came after %v", i, took)
			}
			time.Sleep(9 * time.Second) // just in time
			c.send(clientFrame(0xA, f.payload))
		}
	})
}

func TestKeepaliveMissed(t *testing.T) {
	inVirtualTime(t, "/parties/probe/home", Options{}, func(t *testing.T, c *rawClient, k *control) {
		c.SetDeadline(time.Time{})
		began := time.Now()
		if f := c.frame(); f.op != opPing {
			t.Fatalf("got %#x", f.op)
		}
		f := c.frame()
		code, reason := f.close()
		if code != syncproto.CloseKeepaliveTimeout || reason != "keepalive_timeout" || time.Since(began) != 40*time.Second {
			t.Errorf("closed with %d %q after %v", code, reason, time.Since(began))
		}
		if got := <-k.closed; got.Code != syncproto.CloseKeepaliveTimeout {
			t.Errorf("the room was told %+v", got)
		}
		if _, err := io.ReadAll(c.r); err != nil { // no answer comes, and the connection ends all the same
			t.Error(err)
		}
		if took := time.Since(began); took != 40*time.Second+closeTimeout {
			t.Errorf("the connection was given up after %v", took)
		}
	})
}

// TestKeepaliveDeadLine: nothing can even be written.
func TestKeepaliveDeadLine(t *testing.T) {
	inVirtualTime(t, "/parties/probe/home", Options{}, func(t *testing.T, c *rawClient, k *control) {
		c.SetDeadline(time.Time{})
		began := time.Now()
		if got := <-k.closed; got.Code != syncproto.CloseSlowConsumer && got.Code != syncproto.CloseKeepaliveTimeout {
			t.Errorf("the room was told %+v", got)
		}
		if took := time.Since(began); took > 51*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestKeepaliveAnySign: a client that sends is not pinged, and needs not pong.
func TestKeepaliveAnySign(t *testing.T) {
	inVirtualTime(t, "/parties/probe/home", Options{}, func(t *testing.T, c *rawClient, _ *control) {
		c.SetDeadline(time.Time{})
		for range 20 {
			time.Sleep(25 * time.Second)
			c.send(clientFrame(1, []byte(`{"do":"echo"}`)))
			if f := c.frame(); f.op != 1 {
				t.Fatalf("got %#x %q", f.op, f.payload)
			}
		}
	})
}

// TestKeepaliveBusyRoom: while the room does not let the reader go on, pongs
// cannot be heard, and the client is not blamed.
func TestKeepaliveBusyRoom(t *testing.T) {
	inVirtualTime(t, "/parties/probe/home", Options{}, func(t *testing.T, c *rawClient, k *control) {
		c.SetDeadline(time.Time{})
		c.send(clientFrame(1, []byte(`{"do":"block"}`)))
		<-k.entered
		go func() { // ends when the room takes messages again
			for range 300 {
				c.Write(clientFrame(1, []byte(`{"do":"echo"}`)))
			}
		}()
		time.Sleep(10 * time.Minute)
		close(k.release)
		if f := c.frame(); string(f.payload) != `"released"` {
			t.Fatalf("got %#x %q", f.op, f.payload)
		}
		for range 300 {
			if f := c.frame(); string(f.payload) != `{"do":"echo"}` {
				t.Fatalf("got %#x %q", f.op, f.payload)
			}
		}
	})
}

// TestReadTimeout: a message that does not end is not waited for, whatever comes
// of it.
func TestReadTimeout(t *testing.T) {
	inVirtualTime(t, "/parties/probe/home", Options{ReadTimeout: 45 * time.Second}, func(t *testing.T, c *rawClient, k *control) {
		c.SetDeadline(time.Time{})
		began := time.Now()
		stop := make(chan struct{})
		go func() { // ends with stop or the connection
			c.Write(clientHeader(finBit|1, 100_000, nil, [4]byte{}))
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
				}
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		f := c.frame()
		code, reason := f.close()
		if f.op != opClose || code != syncproto.ClosePolicy || reason != "read_timeout" {
			t.Errorf("got %#x %d %q", f.op, code, reason)
		}
		if took := time.Since(began); took < 45*time.Second || took > 75*time.Second {
			t.Errorf("after %v", took)
		}
		close(stop)
		<-k.closed
	})
}

// TestConfirm: a pong confirms what was handed over before its ping, so that a
// client which comes back is not sent it again. A pong that nobody asked for
// confirms nothing.
func TestConfirm(t *testing.T) {
	for _, answered := range []string{"the ping", "nothing"} {
		t.Run("answers "+answered, func(t *testing.T) {
			inVirtualTimeDialing(t, Options{}, func(t *testing.T, dial func(string) *rawClient, k *control) {
				const path, echo = "/parties/probe/home?_pk=me", `{"do":"echo"}`
				c := dial(path)
				next := func(op byte) rawFrame { // past pings
					for {
						if f := c.frame(); f.op == op {
							return f
						} else if f.op != opPing {
							t.Fatalf("got %#x %q", f.op, f.payload)
						}
					}
				}
				c.send(clientFrame(1, []byte(`{"channel":"items","sync":true,"from":null}`)))
				next(opText)
				f := next(opPing) // for the answer, see TestReceipt
				if answered == "the ping" {
					c.send(clientFrame(0xA, f.payload))
				}
				c.send(clientFrame(1, []byte(`{"id":"1","channel":"items","rpc":true,"action":{"type":"add","payload":{"id":"x"}}}`)))
				if f := next(opText); !strings.Contains(string(f.payload), "success") {
					t.Fatalf("got %q", f.payload)
				}
				c.send(clientFrame(0xA, []byte{0, 0, 0, 0, 0, 0, 0, 99})) // unasked
				want := `"broadcast":true`
				if answered == "the ping" {
					time.Sleep(20 * time.Second)
					c.send(clientFrame(1, []byte(echo))) // heard, and still pinged: it was sent a commit
					c.frame()
					began := time.Now()
					f := c.frame()
					if f.op != opPing || len(f.payload) != 8 || time.Since(began) > 10*time.Second {
						t.Fatalf("after %v: %#x %q", time.Since(began), f.op, f.payload)
					}
					want = echo
					c.send(clientFrame(0xA, f.payload))
				}
				c.send(clientFrame(opClose, nil))
				next(opClose)
				<-k.closed
				c = dial(path)
				c.send(clientFrame(1, []byte(echo)))
				if f := c.frame(); !strings.Contains(string(f.payload), want) {
					t.Errorf("back again it gets %s, want %s", f.payload, want)
				}
			})
		})
	}
}

// TestReceipt: a client that was sent an answer is pinged soon, and not again when it has answered.
func TestReceipt(t *testing.T) {
	inVirtualTime(t, "/parties/probe/home?_pk=me", Options{}, func(t *testing.T, c *rawClient, _ *control) {
		c.SetDeadline(time.Time{})
		began := time.Now()
		c.send(clientFrame(opText, []byte(`{"channel":"items","sync":true,"from":null}`)))
		if f := c.frame(); f.op != opText {
			t.Fatalf("got %#x %q", f.op, f.payload)
		}
		f := c.frame()
		if took := time.Since(began); f.op != opPing || took > 3*receiptEvery {
			t.Fatalf("after %v: %#x %q", took, f.op, f.payload)
		}
		c.send(clientFrame(opPong, f.payload))
		began = time.Now()
		if f = c.frame(); f.op != opPing || time.Since(began) < 20*time.Second {
			t.Errorf("after %v: %#x %q", time.Since(began), f.op, f.payload)
		}
	})
}

// TestSetupTimeout: the room hangs in OnConnect for longer than the client is
// made to wait.
func TestSetupTimeout(t *testing.T) {
	inVirtualTime(t, "/parties/probe/home?on=hang", Options{}, func(t *testing.T, c *rawClient, _ *control) {
		began := time.Now()
		if f := c.frame(); !strings.HasPrefix(string(f.payload), `{"error":{"code":"action_timeout"`) {
			t.Errorf("got %q", f.payload)
		}
		if code, reason := c.frame().close(); code != 1011 || reason != "action_timeout" || time.Since(began) != 15*time.Second {
			t.Errorf("closed with %d %q after %v", code, reason, time.Since(began))
		}
	})
}
