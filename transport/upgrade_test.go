package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

func TestUpgrade(t *testing.T) {
	s := startServer(t, Options{Authenticate: func(r *http.Request, _ room.Key) (room.Identity, error) {
		return room.Identity{Subject: r.Header.Get("X-User")}, nil
	}})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, "ws://"+s.addr()+"/parties/probe/home/deep?_pk=me&on=hello", &websocket.DialOptions{
		HTTPHeader:      http.Header{"X-User": {"ann"}, "User-Agent": {"tester"}},
		CompressionMode: websocket.CompressionContextTakeover,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if ext := resp.Header.Get("Sec-WebSocket-Extensions"); ext != "" {
		t.Errorf("compression is on: %q", ext)
	}
	c := &client{t, ws}
	var hello struct {
		Remote                   bool
		Agent, Subject, ID, Path string
	}
	if err := json.Unmarshal([]byte(c.read()), &hello); err != nil {
		t.Fatal(err)
	}
	if !hello.Remote || hello.Agent != "tester" || hello.Subject != "ann" || hello.ID != "me" || hello.Path != "/parties/probe/home/deep" {
		t.Errorf("the room saw %+v", hello)
	}
	c.send(`{"do":"echo"}`)
	c.expect(`{"do":"echo"}`)
	if err := ws.Write(ctx, websocket.MessageBinary, []byte{0, 1, 0xff}); err != nil {
		t.Fatal(err)
	}
	if kind, data, err := ws.Read(ctx); err != nil || kind != websocket.MessageBinary || string(data) != "\x00\x01\xff" {
		t.Errorf("binary came back as %v %x, %v", kind, data, err)
	}
}

func TestSyncOverSocket(t *testing.T) {
	s := startServer(t, Options{})
	a, b := s.dial("/parties/probe/home"), s.dial("/parties/probe/home")
	other := s.dial("/parties/probe/elsewhere")
	joined(t, s, 3)
	b.send(`{"channel":"items","sync":true,"from":null}`)
	if got, want := b.read(), `{"sync":true,"channel":"items","payload":[],"cursor":"`; !strings.HasPrefix(got, want) {
		t.Fatalf("got %q, want %q…", got, want)
	}
	a.send(`{"id":"i1","channel":"items","rpc":true,"action":{"type":"add","payload":{"id":"x","text":"one"}}}`)
	var reply struct {
		Type, ID string
		Result   [][]any
	}
	if err := json.Unmarshal([]byte(a.read()), &reply); err != nil || reply.Type != "success" || reply.ID != "i1" || len(reply.Result) != 1 {
		t.Fatalf("reply %+v, %v", reply, err)
	}
	if update := b.read(); !strings.HasPrefix(update, `{"broadcast":true,"type":"update","channel":"items","payload":[["x","one",`) {
		t.Errorf("the other one got %s", update)
	}
	other.send(`{"do":"echo"}`)
	other.expect(`{"do":"echo"}`)
}

func TestRoomNamesArriveWhole(t *testing.T) {
	s := startServer(t, Options{})
	// The same room by two ways of writing its name: what one adds the other sees.
	c := s.dial("/parties/probe/a%2Fb%20caf%C3%A9")
	c.send(`{"id":"i1","channel":"items","rpc":true,"action":{"type":"add","payload":{"id":"x"}}}`)
	c.read()
	raw := rawDial(t, s.addr())
	raw.upgrade("/parties/probe/a%2fb%20café")
	raw.send(clientFrame(1, []byte(`{"channel":"items","sync":true,"from":null}`)))
	if f := raw.frame(); !strings.Contains(string(f.payload), `"x"`) {
		t.Errorf("the room is another: %s", f.payload)
	}
}

func TestRefusedBeforeAnythingWakes(t *testing.T) {
	s := startServer(t, Options{
		Origins: []string{"https://app.example.com"},
		Authenticate: func(r *http.Request, _ room.Key) (room.Identity, error) {
			switch r.URL.Query().Get("who") {
			case "stranger":
				return room.Identity{}, errors.New("sql: no rows at /etc/secret/path")
			case "banned":
				return room.Identity{}, room.Abort("banned", "You are banned.")
			case "expired":
				return room.Identity{}, &room.Error{Code: syncproto.CodeUnauthorized, Message: "The session has expired."}
			case "busy":
				return room.Identity{}, &room.Error{Code: syncproto.CodeOverloaded, Message: "Later."}
			case "panic":
				panic("/etc/secret/path")
			}
			return room.Identity{}, nil
		},
	})
	tests := []struct {
		name   string
		path   string
		header []string
		status int
		code   string
	}{
		{"namespace", "/parties/nowhere/home", nil, 400, "unknown_namespace"},
		{"namespace before room", "/parties/nowhere/", nil, 400, "unknown_namespace"},
		{"empty room", "/parties/probe/", nil, 400, "bad_room_name"},
		{"long room", "/parties/probe/" + strings.Repeat("x", 257), nil, 400, "bad_room_name"},
		{"broken room", "/parties/probe/%ff", nil, 400, "bad_room_name"},
		{"no room", "/parties/probe", nil, 404, "not_found"},
		{"other prefix", "/rooms/probe/home", nil, 404, "not_found"},
		{"origin", "/parties/probe/home", []string{"Origin", "https://evil.example"}, 403, "forbidden_origin"},
		{"null origin", "/parties/probe/home", []string{"Origin", "null"}, 403, "forbidden_origin"},
		{"stranger", "/parties/probe/home?who=stranger", nil, 401, "unauthorized"},
		{"expired", "/parties/probe/home?who=expired", nil, 401, "unauthorized"},
		{"banned", "/parties/probe/home?who=banned", nil, 403, "banned"},
		{"busy", "/parties/probe/home?who=busy", nil, 503, "overloaded"},
		{"panic", "/parties/probe/home?who=panic", nil, 500, "action_failed"},
	}
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", handshakeKey}
	for _, tt := range tests {
		for kind, header := range map[string][]string{"plain": tt.header, "upgrade": append(tt.header[:len(tt.header):len(tt.header)], upgrade...)} {
			t.Run(tt.name+" "+kind, func(t *testing.T) {
				resp, body := s.do("GET", tt.path, nil, header...)
				expectCode(t, resp, body, tt.status, tt.code)
				if strings.Contains(body, "secret") {
					t.Errorf("leaks: %s", body)
				}
				if tt.status != 404 && !hasToken(resp.Header, "Vary", "Origin") {
					t.Errorf("Vary %q", resp.Header["Vary"])
				}
			})
		}
	}
	if said := strings.Count(s.log.String(), "level=INFO msg=\"authentication failed"); said != 1 { // of two strangers
		t.Errorf("failed authentication was logged %d times in a minute", said)
	}
	resp, body := s.do("GET", "/parties/probe/home?_pk=a%00b", nil, upgrade...)
	expectCode(t, resp, body, 400, "bad_message")
	if n := s.host.Awake(); n != 0 {
		t.Errorf("%d rooms were woken", n)
	}
	if n := s.handler.Connections(); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
	for _, origin := range []string{"https://app.example.com", "http://den.example"} {
		raw := rawDial(t, s.addr())
		raw.upgrade("/parties/probe/home", "Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Version: 13",
			"Sec-WebSocket-Key: "+handshakeKey, "Origin: "+origin)
		raw.Close()
	}
}

func TestBadHandshake(t *testing.T) {
	s := startServer(t, Options{})
	good := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + handshakeKey}
	tests := []struct {
		name   string
		drop   int
		add    []string
		status int
	}{
		{"no connection", 0, nil, 426},
		{"no version", 2, nil, 400},
		{"old version", 2, []string{"Sec-WebSocket-Version: 8"}, 400},
		{"no key", 3, nil, 400},
		{"short key", 3, []string{"Sec-WebSocket-Key: c2hvcnQ="}, 400},
		{"two keys", -1, []string{"Sec-WebSocket-Key: " + handshakeKey}, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var lines []string
			for i, line := range good {
				if i != tt.drop {
					lines = append(lines, line)
				}
			}
			raw := rawDial(t, s.addr())
			resp := raw.handshake("/parties/probe/home", append(lines, tt.add...)...)
			body := make([]byte, 1000)
			n, _ := resp.Body.Read(body)
			expectCode(t, resp, string(body[:n]), tt.status, "bad_handshake")
			if strings.Contains(tt.name, "version") && resp.Header.Get("Sec-WebSocket-Version") != "13" {
				t.Error("it is not told which version is served")
			}
		})
	}
	if s.host.Awake() != 0 || s.handler.Connections() != 0 {
		t.Errorf("%d rooms awake, %d places taken", s.host.Awake(), s.handler.Connections())
	}
}

func TestCannotUpgrade(t *testing.T) {
	s := startServer(t, Options{})
	tests := []struct {
		name   string
		method string
		major  int
		status int
	}{
		{"a writer that cannot hijack", "GET", 1, 501},
		{"HTTP/2", "GET", 2, 505},
		{"HTTP/2 extended CONNECT", "CONNECT", 2, 505},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, "http://den.example/parties/probe/home", nil)
			r.Host = "den.example"
			r.URL.Path, r.ProtoMajor = "/parties/probe/home", tt.major
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, r)
			expectCode(t, w.Result(), w.Body.String(), tt.status, "bad_handshake")
		})
	}
	if s.host.Awake() != 0 || s.handler.Connections() != 0 {
		t.Errorf("%d rooms awake, %d places taken", s.host.Awake(), s.handler.Connections())
	}
}

// TestMiddleware: a ResponseWriter that only unwraps is good enough.
func TestMiddleware(t *testing.T) {
	s := startServer(t, Options{})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.handler.ServeHTTP(unwrapper{w}, r)
	}))
	defer front.Close()
	raw := rawDial(t, front.Listener.Addr().String())
	raw.upgrade("/parties/probe/home")
	raw.send(clientFrame(1, []byte(`{"do":"echo"}`)))
	if f := raw.frame(); string(f.payload) != `{"do":"echo"}` {
		t.Errorf("got %q", f.payload)
	}
	raw.Close()
}

type unwrapper struct{ w http.ResponseWriter }

func (u unwrapper) Header() http.Header         { return u.w.Header() }
func (u unwrapper) Write(p []byte) (int, error) { return u.w.Write(p) }
func (u unwrapper) WriteHeader(status int)      { u.w.WriteHeader(status) }
func (u unwrapper) Unwrap() http.ResponseWriter { return u.w }

func TestInvariantNothingLeaksInSetup(t *testing.T) {
	s := startServer(t, Options{}, func(o *room.Options) { o.ActionTimeout = 100 * time.Millisecond })
	tests := []struct {
		on     string
		frame  string
		code   int
		reason string
	}{
		{"refuse", `{"error":{"code":"not_welcome","message":"You are not welcome here."}}`, 4500, "not_welcome"},
		{"fail", `{"error":{"code":"action_failed",`, 1011, "action_failed"},
		{"panic", `{"error":{"code":"`, 1011, ""},
		{"hang", `{"error":{"code":"action_timeout",`, 1011, "action_timeout"},
	}
	for _, tt := range tests {
		t.Run(tt.on, func(t *testing.T) {
			raw := rawDial(t, s.addr())
			raw.upgrade("/parties/probe/home?on=" + tt.on)
			f := raw.frame()
			if !strings.HasPrefix(string(f.payload), tt.frame) || strings.Contains(string(f.payload), "secret") {
				t.Fatalf("got %s", f.payload)
			}
			f = raw.frame()
			code, reason := f.close()
			if f.op != opClose || code != tt.code || tt.reason != "" && reason != tt.reason {
				t.Errorf("closed with %d %q, want %d %q", code, reason, tt.code, tt.reason)
			}
			raw.send(clientFrame(opClose, f.payload))
			if _, err := raw.r.ReadByte(); err == nil {
				t.Error("something came behind the close frame")
			}
		})
	}
}

func TestRoomClosesInOnConnect(t *testing.T) {
	s := startServer(t, Options{})
	s.dial("/parties/probe/home?on=close").expectClose(4600, "at once")
}

func TestInvariantBoundedConnections(t *testing.T) {
	s := startServer(t, Options{MaxConnections: 2})
	a := s.dial("/parties/probe/home")
	s.dial("/parties/probe/home")
	raw := rawDial(t, s.addr())
	resp := raw.handshake("/parties/probe/home")
	body := make([]byte, 1000)
	n, _ := resp.Body.Read(body)
	expectCode(t, resp, string(body[:n]), 503, "overloaded")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if resp, _ := s.do("GET", "/parties/probe/home?on=who", nil); resp.StatusCode != 200 {
		t.Errorf("a plain request got %d", resp.StatusCode)
	}
	a.ws.Close(1000, "")
	eventually(t, "the place is free", func() bool { return s.handler.Connections() == 1 })
	s.dial("/parties/probe/home")
}

// TestEarlyFrames: frames that come in the same packet as the handshake.
func TestEarlyFrames(t *testing.T) {
	s := startServer(t, Options{})
	raw := rawDial(t, s.addr())
	all := []byte(handshakeText("/parties/probe/home"))
	for range 50 {
		all = append(all, clientFrame(1, []byte(`{"do":"echo","pad":"`+strings.Repeat("x", 200)+`"}`))...)
	}
	raw.send(all)
	resp, err := http.ReadResponse(raw.r, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v %v", resp, err)
	}
	for i := range 50 {
		if f := raw.frame(); len(f.payload) != 222 {
			t.Fatalf("frame %d: %q", i, f.payload)
		}
	}
}

// TestTLS: a socket over TLS, and over HTTP/2 what HTTP/2 can do.
func TestTLS(t *testing.T) {
	s := startServer(t, Options{})
	front := httptest.NewUnstartedServer(s.handler)
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()

	conn, err := tls.Dial("tcp", front.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	raw := &rawClient{conn, t, bufio.NewReader(conn)}
	raw.upgrade("/parties/probe/home")
	big := `{"do":"echo","pad":"` + strings.Repeat("x", 100_000) + `"}`
	for range 10 {
		raw.send(clientFrame(1, []byte(`{"do":"echo"}`)), clientFrame(1, []byte(big)))
	}
	for range 10 {
		if f := raw.frame(); string(f.payload) != `{"do":"echo"}` {
			t.Fatalf("got %.40q", f.payload)
		}
		if f := raw.frame(); string(f.payload) != big {
			t.Fatalf("got %.40q", f.payload)
		}
	}
	raw.send([]byte{0x81, 0}) // unmasked
	f := raw.frame()
	if code, _ := f.close(); code != closeProtocol {
		t.Errorf("closed with %d", code)
	}
	if rest, err := io.ReadAll(raw.r); err != nil || len(rest) > 0 {
		t.Errorf("behind the close frame: %q, %v", rest, err)
	}

	resp, err := front.Client().Get(front.URL + "/parties/probe/home?on=who")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 {
		t.Errorf("over HTTP/%d: %d", resp.ProtoMajor, resp.StatusCode)
	}
	front.Client().CloseIdleConnections()
}
