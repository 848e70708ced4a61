package transport

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
)

// A client that shows much and reads nothing is closed, without holding up the others, and
// they are told once that it has gone; a third one that takes no part gets nothing.
func TestPresenceOverASlowSocket(t *testing.T) {
	t.Parallel() // it waits for closeTimeout
	s := startServer(t, Options{SendQueueBytes: 256 << 10})
	stock := s.dial("/parties/shown/home")
	reader, sender := s.dial("/parties/shown/home?_pk=reader"), s.dial("/parties/shown/home?_pk=sender")
	joined(t, s, 3)
	reader.send(`{"presence":0}`)
	reader.read()
	stuck := rawDial(t, s.addr())
	if err := stuck.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	stuck.upgrade("/parties/shown/home?_pk=stuck")
	stuck.send(clientFrame(1, []byte(`{"presence":"stuck"}`)))
	if got := reader.read(); !strings.Contains(got, `"data":"stuck"}`) {
		t.Fatalf("the reader got %s", got)
	}
	sender.send(`{"presence":"sender"}`)
	sender.read()
	reader.read()
	pad, gone := strings.Repeat("x", 16_000), 0
	const changes = 600 // 10 MB, more than the kernel and the queue hold
	for n := range changes {
		sender.send(fmt.Sprintf(`{"presence":"%d%s"}`, n, pad))
		got := reader.read()
		for strings.Contains(got, ":null") {
			gone++
			got = reader.read()
		}
		if want := fmt.Sprintf(`"data":"%dx`, n); !strings.Contains(got, want) {
			t.Fatalf("change %d came as %.80s", n, got)
		}
	}
	eventually(t, "its place is free", func() bool { return s.handler.Connections() == 3 })
	if gone == 0 { // or it was told of while the changes came
		if got := reader.read(); !strings.Contains(got, ":null") {
			t.Fatalf("want to be told that the stuck one has gone, got %.80s", got)
		}
		gone++
	}
	sender.send(`{"presence":"last"}`)
	if got := reader.read(); !strings.Contains(got, `"last"`) || gone != 1 {
		t.Errorf("told %d times that it has gone, then got %.80s", gone, got)
	}
	stock.send(`{"sync":true,"channel":"none"}`) // the answer is the first that it gets
	if got := stock.read(); !strings.Contains(got, "unknown_channel") {
		t.Errorf("who takes no part got %.80s", got)
	}
}

// The server stops while clients show and go: all are closed, none is stuck.
func TestPresenceAgainstShutdown(t *testing.T) {
	s := startServer(t, Options{})
	const clients = 16
	done := make(chan struct{}, clients)
	started := make(chan struct{}, clients)
	for range clients {
		raw := rawDial(t, s.addr())
		raw.upgrade("/parties/shown/home")
		go func() { // ends when the connection is closed
			defer func() { done <- struct{}{} }()
			for n := 0; ; n++ {
				if _, err := raw.Write(clientFrame(1, fmt.Appendf(nil, `{"presence":%d}`, n))); err != nil {
					return
				}
				if n == 10 {
					started <- struct{}{}
				}
			}
		}()
		go func() { // ends with the connection too
			buf := make([]byte, 1<<16)
			for {
				if _, err := raw.Conn.Read(buf); err != nil {
					raw.Conn.Close()
					return
				}
			}
		}()
	}
	for range clients {
		within(t, started, "all to show something")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.handler.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for range clients {
		within(t, done, "all to be closed")
	}
	if n := s.handler.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}
