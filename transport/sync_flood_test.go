package transport

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestSyncFlood: 250 questions of one socket, 15 KB, for what 6 MB of changes answer, wait for a room. They are one answer, which
// is read in pieces: another client's action is answered before it has gone out.
func TestSyncFlood(t *testing.T) {
	s := startServer(t, Options{})
	honest := s.dial("/parties/probe/home") // without an id: its replies wait for nothing
	add := func(id, text string) string {
		honest.send(fmt.Sprintf(`{"id":"%s","channel":"items","rpc":true,"action":{"type":"add","payload":{"id":"%[1]s","text":"%s"}}}`, id, text))
		var reply struct{ Type, Cursor string }
		if err := json.Unmarshal([]byte(honest.read()), &reply); err != nil || reply.Type != "success" {
			t.Fatalf("got %+v, %v", reply, err)
		}
		return reply.Cursor
	}
	var cursor string
	for i := range 60 {
		if c := add(fmt.Sprint(i), strings.Repeat("x", 100_000)); i == 0 {
			cursor = c
		}
	}
	raw, other := rawDial(t, s.addr()), rawDial(t, s.addr())
	raw.upgrade("/parties/probe/home")
	other.upgrade("/parties/probe/home")
	joined(t, s, 3)
	honest.send(`{"do":"block"}`)
	within(t, s.control.entered, "the room to block")
	var flood []byte
	for range 250 {
		flood = append(flood, clientFrame(opText, fmt.Appendf(nil, `{"channel":"items","sync":true,"cursor":"%s"}`, cursor))...)
	}
	raw.send(flood, clientFrame(opPing, nil))
	if f := raw.frame(); f.op != opPong {
		t.Fatalf("got %#x", f.op)
	}
	other.send(clientFrame(opText, []byte(`{"id":"h","channel":"items","rpc":true,"action":{"type":"add","payload":{"id":"h","text":"x"}}}`)), clientFrame(opPing, nil))
	if f := other.frame(); f.op != opPong { // the action waits for the room
		t.Fatalf("got %#x", f.op)
	}
	close(s.control.release)
	bytes, before := 0, -1
	for done := false; !done; {
		f := raw.frame()
		bytes += len(f.payload)
		switch {
		case strings.Contains(string(f.payload), `"type":"update"`):
			before = bytes
		case strings.Contains(string(f.payload), `"sync":true`):
			done = !strings.Contains(string(f.payload[max(0, len(f.payload)-100):]), `"more":true`)
		}
	}
	raw.send(clientFrame(opText, []byte(`{"do":"echo"}`)))
	for echo := false; !echo; {
		f := raw.frame()
		bytes += len(f.payload)
		echo = string(f.payload) == `{"do":"echo"}`
	}
	if bytes > 8<<20 || before < 0 || before > 3<<20 {
		t.Errorf("%d bytes came, those of another's action after %d", bytes, before)
	}
}
