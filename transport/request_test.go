package transport

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
)

func TestRequest(t *testing.T) {
	s := startServer(t, Options{Authenticate: func(r *http.Request, _ room.Key) (room.Identity, error) {
		return room.Identity{Subject: r.Header.Get("X-User")}, nil
	}})
	resp, body := s.do("GET", "/parties/probe/home/deep/path?on=who", nil, "X-User", "ann", "User-Agent", "tester")
	var who struct {
		Remote               bool
		Agent, Subject, Path string
	}
	if err := json.Unmarshal([]byte(body), &who); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d %q: %v", resp.StatusCode, body, err)
	}
	if !who.Remote || who.Agent != "tester" || who.Subject != "ann" || who.Path != "/parties/probe/home/deep/path" {
		t.Errorf("the room saw %+v", who)
	}
	resp, body = s.do("POST", "/parties/probe/home?on=echo", strings.NewReader("hello"))
	if resp.StatusCode != 200 || body != "hello" {
		t.Errorf("POST: %d %q", resp.StatusCode, body)
	}
	if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("no nosniff")
	}
	if vary := resp.Header.Values("Vary"); !hasToken(resp.Header, "Vary", "Origin") || !hasToken(resp.Header, "Vary", "Accept") {
		t.Errorf("Vary %q: want the room's own and Origin", vary)
	}
	if resp, _ := s.do("GET", "/parties/probe/home?on=status", nil); resp.StatusCode != http.StatusTeapot {
		t.Errorf("the room's status came as %d", resp.StatusCode)
	}
}

func TestInvariantNothingLeaksOverHTTP(t *testing.T) {
	s := startServer(t, Options{MaxBody: 1000})
	tests := []struct {
		method, path string
		body         io.Reader
		status       int
		code         string
	}{
		{"GET", "/parties/base/home", nil, 404, "not_found"},
		{"GET", "/parties/probe/home?on=refuse", nil, 400, "not_today"},
		{"GET", "/parties/probe/home?on=fail", nil, 500, "action_failed"},
		{"POST", "/parties/probe/home?on=echo", strings.NewReader(strings.Repeat("x", 1001)), 413, "too_large"},
		{"POST", "/parties/probe/home?on=echo", io.MultiReader(strings.NewReader(strings.Repeat("x", 1001))), 413, "too_large"}, // chunked
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			resp, body := s.do(tt.method, tt.path, tt.body)
			expectCode(t, resp, body, tt.status, tt.code)
			if strings.Contains(body, "secret") {
				t.Errorf("leaks: %s", body)
			}
		})
	}
	resp, body := s.do("GET", "/parties/probe/home?on=panic", nil)
	if resp.StatusCode < 500 || strings.Contains(body, "secret") || !strings.Contains(body, `"error"`) {
		t.Errorf("panic: %d %s", resp.StatusCode, body)
	}
	if resp, body := s.do("POST", "/parties/probe/home?on=echo", strings.NewReader(strings.Repeat("x", 1000))); resp.StatusCode != 200 || len(body) != 1000 {
		t.Errorf("a body at the limit: %d, %d bytes", resp.StatusCode, len(body))
	}
}

// A refused body, whose rest would have to be read first, ends an HTTP/1 connection. An HTTP/2 connection has other requests, and stays.
func TestRefusedBodyEndsTheConnection(t *testing.T) {
	s := startServer(t, Options{MaxBody: 1000})
	for major, want := range map[int]string{1: "close", 2: ""} {
		r := httptest.NewRequest("POST", "http://den.example/parties/probe/home?on=echo", strings.NewReader(strings.Repeat("x", 1001)))
		r.ProtoMajor = major
		w := httptest.NewRecorder()
		if s.handler.ServeHTTP(w, r); w.Code != http.StatusRequestEntityTooLarge || w.Header().Get("Connection") != want {
			t.Errorf("HTTP/%d: %d, Connection: %q, want %q", major, w.Code, w.Header().Get("Connection"), want)
		}
	}
}

// TestSlowBody: a body that does not come keeps nobody waiting.
func TestSlowBody(t *testing.T) {
	s := startServer(t, Options{ReadTimeout: 50 * time.Millisecond})
	raw := rawDial(t, s.addr())
	raw.send([]byte("POST /parties/probe/home?on=echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf"))
	resp, err := http.ReadResponse(bufio.NewReader(raw), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 400 || !strings.Contains(string(body), "bad_message") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if s.host.Awake() != 0 {
		t.Error("a room was woken for it")
	}
}

func TestCORS(t *testing.T) {
	const page = "https://app.example.com"
	s := startServer(t, Options{Origins: []string{page}, CORS: CORS{
		Headers: []string{"X-Mine"}, ExposeHeaders: []string{"X-Yours"}, Credentials: true, MaxAge: time.Hour,
	}})
	resp, body := s.do("GET", "/parties/probe/home?on=who", nil, "Origin", page)
	want := map[string]string{
		"Access-Control-Allow-Origin":      page,
		"Access-Control-Allow-Credentials": "true",
		"Access-Control-Expose-Headers":    "X-Yours",
	}
	for name, value := range want {
		if got := resp.Header.Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	if resp.StatusCode != 200 || !hasToken(resp.Header, "Vary", "Origin") {
		t.Errorf("%d %s, Vary %q", resp.StatusCode, body, resp.Header["Vary"])
	}
	resp, body = s.do("GET", "/parties/nowhere/home", nil, "Origin", page)
	if expectCode(t, resp, body, 400, "unknown_namespace"); resp.Header.Get("Access-Control-Allow-Origin") != page {
		t.Error("the page cannot read why it was refused")
	}
	resp, body = s.do("POST", "/parties/probe/home?on=echo", strings.NewReader("x"), "Origin", "https://evil.example")
	if expectCode(t, resp, body, 403, "forbidden_origin"); resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("a page that may not can read the answer")
	}
	if resp, _ := s.do("GET", "/parties/probe/home?on=who", nil); resp.Header.Get("Access-Control-Allow-Origin") != "" || resp.StatusCode != 200 {
		t.Errorf("without an Origin: %d, allowed %q", resp.StatusCode, resp.Header.Get("Access-Control-Allow-Origin"))
	}
}

func TestPreflight(t *testing.T) {
	const page = "https://app.example.com"
	s := startServer(t, Options{Origins: []string{page}, CORS: CORS{Headers: []string{"X-Mine"}}, Authenticate: func(*http.Request, room.Key) (room.Identity, error) {
		return room.Identity{}, room.Abort("banned", "A preflight carries no credentials, so it is not to be asked for them.")
	}})
	resp, _ := s.do("OPTIONS", "/parties/probe/home", nil, "Origin", page, "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "x-mine")
	if resp.StatusCode != 204 {
		t.Errorf("status %d", resp.StatusCode)
	}
	want := map[string]string{
		"Access-Control-Allow-Origin":      page,
		"Access-Control-Allow-Methods":     "GET, HEAD, POST, PUT, PATCH, DELETE",
		"Access-Control-Allow-Headers":     "X-Mine",
		"Access-Control-Max-Age":           "600",
		"Access-Control-Allow-Credentials": "",
	}
	for name, value := range want {
		if got := resp.Header.Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	resp, body := s.do("OPTIONS", "/parties/probe/home", nil, "Origin", "https://evil.example", "Access-Control-Request-Method", "PUT")
	if expectCode(t, resp, body, 403, "forbidden_origin"); resp.Header.Get("Access-Control-Allow-Methods") != "" {
		t.Error("a page that may not is told what it may do")
	}
	if resp, _ := s.do("OPTIONS", "/parties/probe/home", nil); resp.StatusCode != 204 || resp.Header.Get("Allow") == "" {
		t.Errorf("plain OPTIONS: %d, Allow %q", resp.StatusCode, resp.Header.Get("Allow"))
	}
	if s.host.Awake() != 0 {
		t.Error("a room was woken for it")
	}
}

func TestCORSAnyOrigin(t *testing.T) {
	s := startServer(t, Options{Origins: []string{"*"}, CORS: CORS{Credentials: true}})
	resp, _ := s.do("GET", "/parties/probe/home?on=who", nil, "Origin", "https://anybody.example")
	if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != 200 || got != "*" {
		t.Errorf("%d, allowed %q", resp.StatusCode, got)
	}
	if resp.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Error("any page of the world may use the visitor's cookies")
	}
}

func TestNext(t *testing.T) {
	s := startServer(t, Options{Prefix: "/api/rooms/", Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "next "+r.URL.Path)
	})})
	for path, want := range map[string]string{
		"/":                            "next /",
		"/parties/probe/home":          "next /parties/probe/home",
		"/api/rooms/probe":             "next /api/rooms/probe",
		"/api/rooms/base/home":         "",
		"/api/rooms/probe/home?on=who": "",
	} {
		if _, body := s.do("GET", path, nil); want != "" && body != want || want == "" && strings.HasPrefix(body, "next") {
			t.Errorf("%s: %q", path, body)
		}
	}
}
