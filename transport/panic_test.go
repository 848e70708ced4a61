package transport

import (
	"bufio"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"

	"github.com/denrooms/den/hibernate"
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

// A frame that does not exist panics where it is sent. The locks of the socket are free then.
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
