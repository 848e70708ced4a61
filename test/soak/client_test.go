package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// testTime is a limit for what is broken.
const testTime = 20 * time.Second

// serveSockets is a server that does with each socket what do says.
func serveSockets(t *testing.T, do func(ctx context.Context, conn *websocket.Conn)) (address string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		do(r.Context(), conn)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TestSocket: messages of all lengths come back whole, fragments and pings between them.
func TestSocket(t *testing.T) {
	pinged := make(chan error, 1)
	address := serveSockets(t, func(ctx context.Context, conn *websocket.Conn) {
		conn.SetReadLimit(1 << 20)
		go func() { pinged <- conn.Ping(ctx) }() // ends with the socket; read below takes the pong
		for {
			kind, data, err := conn.Read(ctx)
			if err != nil {
				return
			}
			w, err := conn.Writer(ctx, kind) // a long message leaves in fragments
			if err != nil {
				return
			}
			w.Write(data)
			w.Close()
		}
	})
	s, err := dial(t.Context(), address, "/", rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.hangUp()
	if _, err := s.next(time.Now().Add(-time.Second)); err != errQuiet {
		t.Errorf("reading in no time gives %v", err)
	}
	for _, size := range []int{1, 125, 126, 4095, 65535, 65536, 300_000, 2} {
		message := bytes.Repeat([]byte("x"), size)
		if err := s.write(opText, message); err != nil {
			t.Fatal(err)
		}
		got, err := s.next(time.Now().Add(testTime))
		if err != nil || !bytes.Equal(got, message) {
			t.Fatalf("of %d bytes %d come back (%v)", size, len(got), err)
		}
	}
	if err := <-pinged; err != nil {
		t.Errorf("the ping was not answered: %v", err)
	}
	if err := s.leave(); err != nil {
		t.Errorf("leaving: %v", err)
	}
}

func TestSocketRefuses(t *testing.T) {
	for raw, want := range map[string]string{
		"\xC1\x00":                 "reserved bits",
		"\x81\x80\x00\x00\x00\x00": "a masked frame",
		"\x80\x00":                 "a fragment out of place",
		"\x01\x01a\x81\x01b":       "a fragment out of place",
		"\x89\x7E\x00\x80":         "a control frame that is long",
		"\x09\x00":                 "a control frame that is long or a fragment",
		"\x81\x7F\x00\xFF" + "\x00\x00\x00\x00\x00\x00": "a frame of 71776119061217280 bytes",
		"\x82\x01a":                 "a frame of type 2",
		"\x81\x05hal":               "EOF",
		"\x88\x0B\x0F\xA1keepalive": `closed with 4001 "keepalive"`,
		"\x88\x00":                  `closed with 1005 ""`,
	} {
		ours, theirs := net.Pipe()
		go func() { // ends when the pipe is closed
			theirs.Write([]byte(raw))
			if raw[0] == 0x88 {
				io.CopyN(io.Discard, theirs, 6) // the head of the answer to a close
			}
			theirs.Close()
		}()
		s := &socket{conn: ours, rng: rand.New(rand.NewPCG(1, 1))}
		_, err := s.next(time.Now().Add(testTime))
		s.hangUp()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v, want %q", raw, err, want)
		}
	}
}

// TestClientFindsFaults: a server that does one thing wrong is found out.
func TestClientFindsFaults(t *testing.T) {
	say := func(text string) func(context.Context, *websocket.Conn) {
		return func(ctx context.Context, conn *websocket.Conn) {
			for {
				if _, _, err := conn.Read(ctx); err != nil {
					return
				}
				if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
					return
				}
			}
		}
	}
	for name, c := range map[string]struct {
		do    func(context.Context, *websocket.Conn)
		fault string // empty: there is none
	}{
		"a row that is none": {say(`{"sync":true,"channel":"todos","payload":[7]}`), "a row that is no array"},
		"no JSON":            {say(`hello`), "no message"},
		"a reply to nothing": {say(`{"type":"success","rpc":true,"channel":"todos","id":"77","result":[]}`), "waits for none"},
		"the socket is lost": {func(_ context.Context, conn *websocket.Conn) { conn.CloseNow() }, "the connection is lost"},
		"the socket is closed": {func(_ context.Context, conn *websocket.Conn) { conn.Close(4001, "keepalive_timeout") },
			"closed with 4001"},
		"a coded refusal": {say(`{"error":{"code":"room_unavailable","message":"Later."}}`), ""},
	} {
		tally := new(tally)
		client := newClient(config{stay: time.Hour, speak: time.Hour, seed: 1}, 0, serveSockets(t, c.do), []*todos{new(todos)}, tally)
		ctx, cancel := context.WithTimeout(t.Context(), testTime)
		err := client.visit(ctx)
		cancel()
		if c.fault == "" && (err != nil || tally.refused != 1) || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%s: the visit ends with %v, %d refusals", name, err, tally.refused)
		}
	}
}

func TestTodosStayFew(t *testing.T) {
	var room todos
	rng := rand.New(rand.NewPCG(1, 1))
	exists := make(map[string]bool)
	for i := range 10_000 {
		a, ok := room.claim(rng)
		if !ok {
			t.Fatalf("step %d: nothing can be done with %d todos", i, len(exists))
		}
		if exists[a.id] != (a.verb != "create") {
			t.Fatalf("step %d: %s of the todo %s, which exists: %v", i, a.verb, a.id, exists[a.id])
		}
		if rng.IntN(5) == 0 {
			room.refused(a)
			continue
		}
		room.settle(a)
		exists[a.id] = true
		if a.verb == "delete" {
			delete(exists, a.id)
		}
		if len(exists) > manyTodos || i > 100 && len(exists) == 0 {
			t.Fatalf("step %d: %d todos", i, len(exists))
		}
	}
}
