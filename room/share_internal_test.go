package room

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/syncproto"
)

// spender is a room whose clients have it do what costs something.
type spender struct {
	Base
	worked chan struct{}
}

type spend struct {
	Bytes int `json:"bytes"`
}

func registerSpender(t *testing.T, h *Host) *spender {
	t.Helper()
	r := &spender{worked: make(chan struct{}, 100)}
	err := h.Register("spender", func() Handler { return &spender{worked: r.worked} }, Synced("any"),
		Call("shout", func(_ *spender, c *Context, in spend) (any, error) {
			return nil, c.Broadcast(Text(strings.Repeat("s", in.Bytes)))
		}),
		Call("panic", func(*spender, *Context, spend) (any, error) { panic("a client's panic") }),
		Call("later", func(r *spender, c *Context, in spend) (any, error) {
			return nil, c.Go(func(context.Context) error { return nil }, func(c *Context, _ error) error {
				defer func() { r.worked <- struct{}{} }()
				return c.Broadcast(Text(strings.Repeat("l", in.Bytes)))
			})
		}))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (*spender) OnStart(c *Context) error {
	_, err := c.Exec(`CREATE TABLE IF NOT EXISTS "any" (id TEXT PRIMARY KEY, created_at INTEGER, updated_at INTEGER, deleted_at INTEGER)`)
	return err
}

// answered is a link that tells of each reply.
type answered struct{ replies chan string }

func (a answered) Close(int, string) {}
func (a answered) Send(frames ...*hibernate.Frame) {
	for _, f := range frames {
		if text := string(f.Payload()); strings.HasPrefix(text, "{") {
			a.replies <- text
		}
	}
}

// spenders opens a host that is congested, with a room that some clients are in.
func spenders(t *testing.T, delay time.Duration, n int) (*Host, *spender, []*Session, answered) {
	t.Helper()
	h, err := Open(Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	h.node.limits.shares.Fix(delay)
	r := registerSpender(t, h)
	link := answered{make(chan string, 100)}
	var all []*Session
	for i := range n {
		s, err := h.Connect(t.Context(), Key{Namespace: "spender", Room: "home"}, ConnectRequest{ID: fmt.Sprint("client ", i), Link: link})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return h, r, all, link
}

func (a answered) act(t *testing.T, s *Session, kind string, bytes int) {
	t.Helper()
	sent, _ := json.Marshal(map[string]any{
		"id": kind, "rpc": true, "channel": "any", "action": map[string]any{"type": kind, "payload": spend{bytes}},
	})
	if err := s.Receive(sent, false); err != nil {
		t.Fatal(err)
	}
	if reply := <-a.replies; strings.Contains(reply, "success") != (kind != "panic") {
		t.Fatalf("%s: %s", kind, reply)
	}
	s.waitFor(time.Minute, func() bool { return s.working == 0 })
}

// TestShareOfWhatIsSent, of clients that have just come and pay four times: while the node is congested, what a client has a room send to all who are there counts as the client's,
// and so do a panic and what follows work that it has begun.
func TestShareOfWhatIsSent(t *testing.T) {
	const clients, bytes = 8, 10 * hibernate.UnitBytes
	const delay = time.Millisecond
	for _, c := range []struct {
		kind        string
		bytes       int
		least, most int // in messages
	}{
		{"shout", 1, 0, 1},
		{"shout", bytes, clients * 10, clients*10 + 2},
		{"later", bytes, clients * 10, clients*10 + 4},
		{"panic", 0, 32, 34},
	} {
		t.Run(fmt.Sprint(c.kind, c.bytes), func(t *testing.T) {
			h, r, all, link := spenders(t, delay, clients)
			link.act(t, all[0], c.kind, c.bytes)
			if c.kind == "later" {
				<-r.worked
				if err := inner.OfHost(h).Settle(t.Context(), Key{Namespace: "spender", Room: "home"}); err != nil {
					t.Fatal(err)
				}
			}
			wait := h.node.limits.shares.Wait(all[0].Share())
			if units := int((wait+delay-1)/delay) / 4; units < c.least || units > c.most {
				t.Errorf("it costs %d messages, want %d to %d", units, c.least, c.most)
			}
			if other := all[1].Share(); other != nil && h.node.limits.shares.Wait(other) > 0 {
				t.Error("another client pays for it")
			}
		})
	}
}

// visitor is a room that sends much to all who are there, because of those who come and go.
type visitor struct{ Base }

func (*visitor) OnConnect(c *Context) error { return visited(c, "OnConnect") }

func (*visitor) OnClose(c *Context, _ int, _ string) error {
	if strings.HasPrefix(c.Conn().ID(), "shout") {
		return shout(c)
	}
	return nil
}

func (*visitor) OnRequest(c *Context, w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path == "/large" {
		w.Write(make([]byte, 80*hibernate.UnitBytes))
	}
	return visited(c, "OnRequest")
}

func visited(c *Context, hook string) error {
	if c.Request() == nil {
		return nil
	}
	switch c.Request().URL.Path {
	case "/shout":
		return shout(c)
	case "/panic":
		panic("a client's panic in " + hook)
	}
	return nil
}

func shout(c *Context) error { return c.Broadcast(Text(strings.Repeat("v", 10*hibernate.UnitBytes))) }

// TestShareOfVisitors: while the node is congested, the next from the same address pay for what those have the room send who
// connect, leave and ask by plain HTTP, and for their panics.
func TestShareOfVisitors(t *testing.T) {
	const delay = 200 * time.Millisecond // of 25 messages: the longest that somebody new may wait
	const clients, address = 8, "192.0.2.1"
	home := Key{Namespace: "visitor", Room: "home"}
	for _, c := range []struct {
		how, path string
		costs     bool
	}{
		{"request", "/", false},
		{"request", "/large", true},
		{"request", "/shout", true},
		{"request", "/panic", true},
		{"connect", "/", false},
		{"connect", "/shout", true},
		{"connect", "/panic", true},
		{"leave", "/", false},
		{"leave", "/shout", true},
	} {
		t.Run(c.how+c.path, func(t *testing.T) {
			h, _, _, link := spenders(t, delay, 0)
			if err := h.Register("visitor", func() Handler { return new(visitor) }); err != nil {
				t.Fatal(err)
			}
			connect := func(ctx context.Context, id, path string) (*Session, error) {
				r := httptest.NewRequestWithContext(ctx, "GET", path, nil)
				return h.Connect(ctx, home, ConnectRequest{ID: id, Link: link, Request: r})
			}
			for i := range clients {
				if _, err := connect(t.Context(), fmt.Sprint("client ", i), "/"); err != nil {
					t.Fatal(err)
				}
			}
			ctx, err := h.Enter(t.Context(), home, address)
			if err != nil {
				t.Fatal(err)
			}
			switch c.how {
			case "request":
				err = h.ServeRequest(ctx, home, Identity{}, httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", c.path, nil))
			case "connect":
				_, err = connect(ctx, "guest", c.path)
			case "leave":
				s, _ := connect(ctx, c.path[1:], "/")
				s.Close(1000, "")
				h.node.limits.shares.Leave(s.Share(), address)
				err = inner.OfHost(h).Settle(t.Context(), home)
			}
			if (err != nil) != (c.path == "/panic") {
				t.Fatal(err)
			}
			gone, cancel := context.WithCancel(t.Context())
			cancel() // it is refused at once, or would wait
			_, err = h.Enter(gone, home, address)
			if code, _ := ErrorCode(err); (code == syncproto.CodeOverloaded) != c.costs {
				t.Errorf("the next from there: %v", err)
			}
			if _, err := h.Enter(t.Context(), home, "192.0.2.2"); err != nil {
				t.Errorf("one from another address: %v", err)
			}
		})
	}
}

// shown is a room whose clients show themselves.
type shown struct{ Base }

// forgetful is a link that forgets what it is sent.
type forgetful struct{}

func (forgetful) Close(int, string)        {}
func (forgetful) Send(...*hibernate.Frame) {}

// TestShareOfPresence: while the node is congested, what a client shows counts as often as others see it.
func TestShareOfPresence(t *testing.T) {
	const delay, clients = time.Millisecond, 50
	h, _, _, _ := spenders(t, delay, 0)
	if err := h.Register("shown", func() Handler { return new(shown) }, Presence()); err != nil {
		t.Fatal(err)
	}
	var all []*Session
	for i := range clients {
		s, err := h.Connect(t.Context(), Key{Namespace: "shown", Room: "home"}, ConnectRequest{ID: fmt.Sprint("client ", i), Link: forgetful{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Receive([]byte(`{"presence":1}`), false); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	first, last := all[0], all[clients-1]
	quiet := h.node.limits.shares.Wait(last.Share())
	if err := first.Receive([]byte(`{"presence":"`+strings.Repeat("p", hibernate.UnitBytes/2)+`"}`), false); err != nil {
		t.Fatal(err)
	}
	if units := int(h.node.limits.shares.Wait(first.Share())/delay) / 4; units < clients/2-2 || units > clients/2+2 {
		t.Errorf("half a unit that is shown to %d costs %d units", clients, units)
	}
	if wait := h.node.limits.shares.Wait(last.Share()); wait > quiet {
		t.Errorf("another client waits %v, and waited %v before", wait, quiet)
	}
}

// TestShareWhileTheNodeKeepsUp: nothing is counted, and nobody waits.
func TestShareWhileTheNodeKeepsUp(t *testing.T) {
	_, _, all, link := spenders(t, 0, 2)
	link.act(t, all[0], "shout", 100*hibernate.UnitBytes)
	if all[0].Paced(1<<20) || all[0].Share() != nil {
		t.Error("a client's messages are counted although the node keeps up")
	}
}

// TestSharePace: a client waits for its share, and its waiting ends with its session.
func TestSharePace(t *testing.T) {
	const delay = 2 * time.Millisecond
	_, _, all, link := spenders(t, delay, 4)
	s := all[0]
	link.act(t, s, "shout", 10*hibernate.UnitBytes)
	began := time.Now()
	s.Pace()
	if waited := time.Since(began); waited < 35*delay { // what it took to get here is not waited for
		t.Errorf("after what costs 40 messages it waited %v, want %v", waited, 40*delay)
	}
	if !s.Paced(1 << 30) {
		t.Fatal("the node is congested, and nothing is counted")
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Pace()
	}()
	time.AfterFunc(50*time.Millisecond, func() { s.Close(1000, "") })
	select {
	case <-ended:
	case <-time.After(9 * time.Second): // it is to wait 10 s
		t.Error("a client whose session is over still waits for its share")
	}
}

// TestShareIsReadAgain: a client that has something in work for long is read nevertheless.
func TestShareIsReadAgain(t *testing.T) {
	_, _, all, _ := spenders(t, time.Microsecond, 1)
	s := all[0]
	if !s.begin() {
		t.Fatal("the session is over")
	}
	defer s.done()
	paced := make(chan struct{})
	go func() {
		defer close(paced)
		s.Pace()
	}()
	select {
	case <-paced:
	case <-time.After(30 * servedWithin):
		t.Error("it is not read while something of it is in work")
	}
}
