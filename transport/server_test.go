package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/denrooms/den/room"
)

// A server with a room that does what a test asks for.

const patience = 20 * time.Second

type server struct {
	*httptest.Server
	t       testing.TB
	host    *room.Host
	handler *Handler
	control *control
	log     *lockedBuffer
}

// A control is how a test reaches into the probe rooms.
type control struct {
	entered chan struct{} // a hook is blocked
	release chan struct{} // closed or sent to, it goes on
	closed  chan closing  // OnClose was called
}

type closing struct {
	ID     string
	Code   int
	Reason string
}

// startServer serves namespaces "probe" and "base" until the test ends.
func startServer(t testing.TB, o Options, ho ...func(*room.Options)) *server {
	t.Helper()
	s := &server{t: t, log: &lockedBuffer{}, control: &control{
		entered: make(chan struct{}, 1000),
		release: make(chan struct{}),
		closed:  make(chan closing, 10_000),
	}}
	logger := slog.New(slog.NewTextHandler(s.log, nil))
	hostOptions := room.Options{Dir: t.TempDir(), Logger: logger, ActionTimeout: 4 * patience} // a test may block a room for as long as it needs
	for _, f := range ho {
		f(&hostOptions)
	}
	var err error
	if s.host, err = room.Open(hostOptions); err != nil {
		t.Fatal(err)
	}
	register := func(name string, create func() room.Handler, opts ...room.Option) {
		if err := s.host.Register(name, create, opts...); err != nil {
			t.Fatal(err)
		}
	}
	register("probe", func() room.Handler { return &probe{control: s.control} }, room.Synced("items"), room.WakeOnClose(), room.AutoAnswer(autoRequest, autoResponse))
	register("base", func() room.Handler { return &bare{} })
	register("shown", func() room.Handler { return &bare{} }, room.Presence())
	o.Logger = logger
	o.Hosts = append(o.Hosts, "den.example", "h") // what the raw clients say
	if o.ParkAfter == 0 {
		o.ParkAfter = time.Duration(parkAfter)
	}
	if s.handler, err = NewHandler(s.host, o); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", s.handler)
	s.Server = httptest.NewServer(mux)
	s.Config.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelInfo)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.handler.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		} else if left := s.host.MemoryUsed(); left != 0 {
			t.Errorf("%d bytes of messages and frames still count after shutdown", left)
		}
		s.Server.Close()
		if t.Failed() {
			t.Logf("log:\n%s", s.log)
		}
	})
	return s
}

func (s *server) addr() string { return s.Listener.Addr().String() }

// dial opens a socket that ends with the test.
func (s *server) dial(path string) *client {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+s.addr()+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	ws.SetReadLimit(1 << 30)
	s.t.Cleanup(func() { ws.CloseNow() })
	return &client{s.t, ws}
}

// do makes a plain request and reads the answer.
func (s *server) do(method, path string, body io.Reader, header ...string) (*http.Response, string) {
	s.t.Helper()
	r, err := http.NewRequest(method, s.URL+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, string(data)
}

type client struct {
	t  testing.TB
	ws *websocket.Conn
}

func (c *client) send(message string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read() string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, data, err := c.ws.Read(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(data)
}

func (c *client) expect(want string) {
	c.t.Helper()
	if got := c.read(); got != want {
		c.t.Fatalf("got %.300q, want %.300q", got, want)
	}
}

// expectClose reads on until the server closes.
func (c *client) expectClose(code int, reason string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, _, err := c.ws.Read(ctx)
		if err == nil {
			continue
		}
		var ce websocket.CloseError
		if !errors.As(err, &ce) || int(ce.Code) != code || ce.Reason != reason {
			c.t.Fatalf("ended with %v, want %d %q", err, code, reason)
		}
		return
	}
}

// expectCode wants a coded refusal in an HTTP answer.
func expectCode(t *testing.T, resp *http.Response, body string, status int, code string) {
	t.Helper()
	var answer struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("status %d, body %q: %v", resp.StatusCode, body, err)
	}
	if resp.StatusCode != status || answer.Error.Code != code || answer.Error.Message == "" {
		t.Fatalf("status %d, %+v, want %d %s", resp.StatusCode, answer.Error, status, code)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
}

// within waits for a channel of a test's.
func within[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain: %s", what)
		panic("unreachable")
	}
}

// joined waits until n clients are in their rooms. A handshake's answer comes
// before the room has heard of the client.
func joined(t testing.TB, s *server, n int) {
	t.Helper()
	eventually(t, "all clients to be in their rooms", func() bool { return s.host.Connections() == n })
}

// eventually waits for what another goroutine is about to do.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// A bare room takes the hooks of room.Base.
type bare struct{ room.Base }

type probe struct {
	room.Base
	control *control
}

func (p *probe) OnStart(c *room.Context) error {
	_, err := c.Exec(`CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, text TEXT, created_at INTEGER, updated_at INTEGER, deleted_at INTEGER)`)
	return err
}

// OnConnect does what the query's "on" says.
func (p *probe) OnConnect(c *room.Context) error {
	r := c.Request()
	switch r.URL.Query().Get("on") {
	case "hello":
		return c.Conn().Send(room.JSON(map[string]any{
			"remote": r.RemoteAddr != "", "agent": r.UserAgent(), "subject": c.Identity().Subject, "id": c.Conn().ID(), "path": r.URL.Path,
		}))
	case "refuse":
		return room.Abort("not_welcome", "You are not welcome here.")
	case "fail":
		return errors.New("open /etc/secret/path: no such file")
	case "panic":
		panic("/etc/secret/path")
	case "hang":
		<-c.Done()
		return c.Err()
	case "close":
		return c.Conn().Close(4600, "at once")
	}
	return nil
}

func (p *probe) OnAction(c *room.Context, channel string, a room.ActionRequest) (any, error) {
	switch a.Type {
	case "add":
		var in struct{ ID, Text string }
		if err := a.Decode(&in); err != nil {
			return nil, err
		}
		_, err := c.Exec(`INSERT INTO items VALUES (?, ?, ?, ?, NULL)`, in.ID, in.Text, c.Now(), c.Now())
		return nil, err
	case "block":
		p.control.entered <- struct{}{}
		<-p.control.release
		return "released", nil
	}
	return p.Base.OnAction(c, channel, a)
}

// OnMessage does what the message's "do" says.
func (p *probe) OnMessage(c *room.Context, m room.Message) error {
	if m.Binary {
		return c.Conn().Send(room.Binary(m.Data))
	}
	var in struct {
		Do     string
		N, Len int
		To     string
	}
	if err := json.Unmarshal(m.Data, &in); err != nil {
		return err
	}
	switch in.Do {
	case "echo":
		return c.Conn().Send(room.Text(string(m.Data)))
	case "close":
		return c.Conn().Close(4700, "as you wish")
	case "block":
		p.control.entered <- struct{}{}
		<-p.control.release
		return c.Conn().Send(room.Text(`"released"`))
	case "burst":
		for i := range in.N {
			if err := c.Broadcast(room.Text(fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, strings.Repeat("x", in.Len)))); err != nil {
				return err
			}
		}
		return nil
	}
	return p.Base.OnMessage(c, m)
}

func (p *probe) OnClose(c *room.Context, code int, reason string) error {
	p.control.closed <- closing{c.Conn().ID(), code, reason}
	return nil
}

// OnRequest does what the query's "on" says.
func (p *probe) OnRequest(c *room.Context, w http.ResponseWriter, r *http.Request) error {
	switch r.URL.Query().Get("on") {
	case "echo":
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Vary", "Accept")
		_, err := io.Copy(w, r.Body)
		return err
	case "who":
		return json.NewEncoder(w).Encode(map[string]any{"remote": r.RemoteAddr != "", "agent": r.UserAgent(), "subject": c.Identity().Subject, "path": r.URL.Path})
	case "refuse":
		return room.Abort("not_today", "Not today.")
	case "fail":
		return errors.New("open /etc/secret/path: no such file")
	case "panic":
		panic("/etc/secret/path")
	case "block":
		p.control.entered <- struct{}{}
		<-p.control.release
		_, err := io.WriteString(w, "released")
		return err
	case "status":
		w.WriteHeader(http.StatusTeapot)
		return nil
	}
	return p.Base.OnRequest(c, w, r)
}

// A lockedBuffer is a log that a test can read.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
