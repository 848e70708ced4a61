package transport

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
)

// TestInvariantIsolationPresence: somebody who shows something new all the time does not get a client closed that reads slowly: it
// gets the newest once it reads. The others are told of each change; a third one that takes no part gets nothing.
func TestInvariantIsolationPresence(t *testing.T) {
	s := startServer(t, Options{SendQueueBytes: 256 << 10})
	stock := s.dial("/parties/shown/home")
	reader, sender := s.dial("/parties/shown/home?_pk=reader"), s.dial("/parties/shown/home?_pk=sender")
	joined(t, s, 3)
	reader.send(`{"presence":0}`)
	reader.read()
	slow := rawDial(t, s.addr())
	if err := slow.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	slow.upgrade("/parties/shown/home?_pk=slow")
	slow.send(clientFrame(1, []byte(`{"presence":"slow"}`)))
	if got := reader.read(); !strings.Contains(got, `"data":"slow"}`) {
		t.Fatalf("the reader got %s", got)
	}
	sender.send(`{"presence":"sender"}`)
	sender.read()
	reader.read()
	pad := strings.Repeat("x", 16_000)
	const changes = 600 // 10 MB, more than the kernel and the queue hold
	for n := range changes {
		sender.send(fmt.Sprintf(`{"presence":"%d%s"}`, n, pad))
		if got, want := reader.read(), fmt.Sprintf(`"data":"%dx`, n); !strings.Contains(got, want) {
			t.Fatalf("change %d came as %.80s", n, got)
		}
	}
	if n := s.handler.Connections(); n != 4 {
		t.Errorf("%d of 4 clients are there", n)
	}
	frames := 0
	for last := fmt.Sprintf(`"data":"%dx`, changes-1); ; frames++ {
		if got := slow.frame(); got.op == opClose || frames > changes {
			t.Fatalf("the slow client got %v after %d frames", got.op, frames)
		} else if strings.Contains(string(got.payload), last) {
			break
		}
	}
	if frames > changes/2 {
		t.Errorf("the slow client got %d of %d changes: nothing was left out", frames, changes)
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
