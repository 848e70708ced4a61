package transport

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// A fault in one socket's goroutines ends that socket, and never the process.

// A queue that contradicts itself makes the flusher panic. That ends the link.
func TestInvariantIsolationFlusherPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, client, ended := pipeLink(t, Options{})
		l.offset = 1000 // more than the frame has
		l.Send(text("x"))
		<-l.done
		synctest.Wait()
		if code, _ := l.why(); code != closeAbnormal || *ended != 1 {
			t.Errorf("code %d, ended %d times", code, *ended)
		}
		if n, err := client.Read(make([]byte, 1)); err == nil {
			t.Errorf("the client got %d bytes", n)
		}
		l.Send(text("x")) // does not wait for a lock
		l.abort(closeAbnormal, "")
	})
}

// A nil frame panics when it is sent. The socket's locks are free afterwards.
func TestInvariantIsolationSendPanics(t *testing.T) {
	server, _ := tcpPair(t)
	opts, err := Options{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	l := newLink(server, &opts, func() {})
	for _, frames := range [][]*hibernate.Frame{{nil}, {text("x"), nil}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a frame that does not exist was sent")
				}
			}()
			l.Send(frames...)
		}()
		if !l.mu.TryLock() {
			t.Fatal("the link is locked")
		}
		l.mu.Unlock()
	}
	l.abort(closeAbnormal, "")
}

// A program's own connection may panic when it is closed. The room hears that the client has gone, and the
// place is free again; inBubble waits for that.
func TestInvariantIsolationClosePanics(t *testing.T) {
	for name, leave := range map[string]func(c *rawClient){
		"a close frame": func(c *rawClient) { c.send(clientFrame(opClose, []byte{3, 0xe8})) },
		"a broken line": func(c *rawClient) { c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Options{Logger: slog.New(slog.DiscardHandler)}, func(t *testing.T, accept func(net.Conn), k *control) {
				there, here := net.Pipe()
				t.Cleanup(func() { here.Close() })
				accept(closePanics{there})
				c := &rawClient{here, t, bufio.NewReader(here)}
				c.upgrade("/parties/probe/home")
				synctest.Wait()
				leave(c)
				<-k.closed
			})
		})
	}
}

type closePanics struct{ net.Conn }

func (c closePanics) Close() error { c.Conn.Close(); panic("not today") }

// A program's own connection may fail in its own way when it is read, again and again. That ends its socket, and the room hears of it.
func TestInvariantIsolationReadPanics(t *testing.T) {
	for name, c := range map[string]struct {
		fails func() (int, error)
		code  int
	}{
		"a panic":                    {func() (int, error) { panic("not today") }, syncproto.CloseInternal},
		"neither bytes nor an error": {func() (int, error) { return 0, nil }, closeAbnormal},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Options{Logger: slog.New(slog.DiscardHandler)}, func(t *testing.T, accept func(net.Conn), k *control) {
				there, here := net.Pipe()
				t.Cleanup(func() { here.Close() })
				conn := &readFails{Conn: there, fails: c.fails}
				accept(conn)
				raw := &rawClient{here, t, bufio.NewReader(here)}
				raw.upgrade("/parties/probe/home")
				synctest.Wait()
				conn.broken.Store(true) // the read that waits gets what comes now: the beginning of a large message
				raw.send(clientHeader(finBit|opText, 100_000, nil, [4]byte{}))
				go io.Copy(io.Discard, here) // ends with the connection
				if end := within(t, k.closed, "the room to hear that the client has gone"); end.Code != c.code {
					t.Errorf("the room was told %d, want %d", end.Code, c.code)
				}
			})
		})
	}
}

// A readFails is a connection whose reads fail from the next one on, once broken is set.
type readFails struct {
	net.Conn
	fails  func() (int, error)
	broken atomic.Bool
	failed int
}

func (c *readFails) Read(p []byte) (int, error) {
	if !c.broken.Load() {
		return c.Conn.Read(p)
	}
	if c.failed++; c.failed > 1000 {
		<-make(chan int) // rather than to be asked for ever
	}
	return c.fails()
}
