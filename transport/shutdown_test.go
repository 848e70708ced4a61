package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/denrooms/den/room"
)

// TestShutdownOrder: what a room has in work is finished and answered before the
// socket is closed, new requests are refused meanwhile, and what was acknowledged
// is there afterwards.
func TestShutdownOrder(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, Options{}, func(o *room.Options) { o.Dir = dir })
	quiet := s.dial("/parties/probe/quiet")
	raw := rawDial(t, s.addr())
	raw.upgrade("/parties/probe/home")
	raw.send(clientFrame(1, []byte(`{"id":"b","channel":"items","rpc":true,"action":{"type":"block"}}`)))
	within(t, s.control.entered, "the room to block")
	const queued = 20
	for i := range queued {
		raw.send(clientFrame(1, fmt.Appendf(nil, `{"id":"a%d","channel":"items","rpc":true,"action":{"type":"add","payload":{"id":"x%d"}}}`, i, i)))
	}
	raw.send(clientFrame(opPing, nil)) // its pong says that all of these are with the room
	if f := raw.frame(); f.op != 0xA {
		t.Fatalf("got %#x %q", f.op, f.payload)
	}
	done := make(chan error, 1)
	go func() { done <- s.handler.Shutdown(t.Context()) }() // ends when everything is closed
	eventually(t, "draining", s.handler.draining.Load)

	resp, body := s.do("GET", "/parties/probe/home?on=who", nil)
	expectCode(t, resp, body, 503, "shutting_down")
	if resp := rawDial(t, s.addr()).handshake("/parties/probe/home"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("an upgrade got %d", resp.StatusCode)
	}

	raw.send(clientFrame(1, []byte(`{"id":"late","channel":"items","rpc":true,"action":{"type":"add","payload":{"id":"late"}}}`)), clientFrame(opPing, nil))
	if f := raw.frame(); f.op != 0xA {
		t.Fatalf("a message that came too late was answered: %q", f.payload)
	}
	close(s.control.release)
	for i := -1; i < queued; i++ {
		want := fmt.Sprintf(`{"type":"success","rpc":true,"channel":"items","id":"a%d",`, i)
		if i < 0 {
			want = `{"type":"success","rpc":true,"channel":"items","id":"b",`
		}
		if f := raw.frame(); !strings.HasPrefix(string(f.payload), want) {
			t.Fatalf("before the close: %#x %q, want %s", f.op, f.payload, want)
		}
	}
	f := raw.frame()
	if code, reason := f.close(); f.op != opClose || code != 1001 || reason != "server is shutting down" {
		t.Fatalf("then came %#x %q", f.op, f.payload)
	}
	raw.send(clientFrame(opClose, f.payload))
	quiet.expectClose(1001, "server is shutting down")
	if err := within(t, done, "the shutdown"); err != nil {
		t.Error(err)
	}
	if n := s.handler.Connections(); n != 0 {
		t.Errorf("%d sockets are left", n)
	}
	again := startServer(t, Options{}, func(o *room.Options) { o.Dir = dir })
	c := again.dial("/parties/probe/home")
	c.send(`{"channel":"items","sync":true,"from":null}`)
	if rows := c.read(); strings.Count(rows, `["x`) != queued {
		t.Errorf("after the restart: %s", rows)
	}
}

// TestShutdownGivesUp: a client that does not answer the close, and a room that
// does not end, cannot hold it up for longer than the context says.
func TestShutdownGivesUp(t *testing.T) {
	s := startServer(t, Options{}, func(o *room.Options) { o.InFlight = 1 })
	raw := rawDial(t, s.addr())
	raw.upgrade("/parties/probe/home")
	raw.send(clientFrame(1, []byte(`{"do":"block"}`)))
	within(t, s.control.entered, "the room to block")
	raw.send(clientFrame(1, []byte(`{"do":"echo"}`))) // the reader waits for the room with this one
	eventually(t, "the reader to wait", func() bool {
		list := s.handler.open()
		if len(list) != 1 {
			return false
		}
		list[0].mu.Lock()
		defer list[0].mu.Unlock()
		return list[0].active != nil && list[0].active.busy.Load()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.handler.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	eventually(t, "the socket to be cut off", func() bool { return s.handler.Connections() == 0 })
	close(s.control.release)
}

// TestShutdownCutsOff: a client that has not answered the close when the context ends is cut off then, and not when it would have
// been given up.
func TestShutdownCutsOff(t *testing.T) {
	const patient = closeTimeout / 2
	inBubbleOf(t, Options{}, func(t *testing.T, h *Handler, accept func(net.Conn), k *control) {
		there, here := net.Pipe()
		accept(there)
		c := &rawClient{here, t, bufio.NewReader(here)}
		c.upgrade("/parties/probe/home")
		synctest.Wait()
		began := time.Now()
		ended := make(chan time.Duration, 1)
		go func() { // ends with the connection
			io.Copy(io.Discard, c.r)
			ended <- time.Since(began)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), patient)
		defer cancel()
		if err := h.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if took := <-ended; took != patient {
			t.Errorf("the client was cut off after %v, want %v", took, patient)
		}
	})
}

// TestShutdownWaitsForAnswers: a client that is slow to answer the close is waited for.
func TestShutdownWaitsForAnswers(t *testing.T) {
	s := startServer(t, Options{})
	raw := rawDial(t, s.addr())
	raw.upgrade("/parties/probe/home")
	eventually(t, "the room to know of it", func() bool { return s.host.Connections() == 1 })
	done := make(chan error, 1)
	go func() { done <- s.handler.Shutdown(t.Context()) }() // ends when the socket is closed
	f := raw.frame()
	if code, reason := f.close(); code != 1001 || reason != "server is shutting down" {
		t.Errorf("closed with %d %q", code, reason)
	}
	select {
	case <-done:
		t.Error("it did not wait for the answer")
	default:
	}
	raw.send(clientFrame(opClose, f.payload))
	if err := within(t, done, "the shutdown"); err != nil {
		t.Error(err)
	}
	if err := s.handler.Shutdown(t.Context()); err != nil {
		t.Errorf("once more: %v", err)
	}
}
