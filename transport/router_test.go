package transport

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

func TestRoute(t *testing.T) {
	long := strings.Repeat("x", maxRoom)
	tests := []struct {
		path string
		want room.Key
		ok   bool
		code syncproto.Code
	}{
		{path: "/parties/todos/home", want: room.Key{Namespace: "todos", Room: "home"}, ok: true},
		{path: "/parties/todos/home/", want: room.Key{Namespace: "todos", Room: "home"}, ok: true},
		{path: "/parties/todos/home/deep/path", want: room.Key{Namespace: "todos", Room: "home"}, ok: true},
		{path: "/parties/todos/a%20b", want: room.Key{Namespace: "todos", Room: "a b"}, ok: true},
		{path: "/parties/todos/a%2Fb", want: room.Key{Namespace: "todos", Room: "a/b"}, ok: true},
		{path: "/parties/todos/a%2fb/c", want: room.Key{Namespace: "todos", Room: "a/b"}, ok: true},
		{path: "/parties/todos/100%25", want: room.Key{Namespace: "todos", Room: "100%"}, ok: true},
		{path: "/parties/todos/%2e%2e", want: room.Key{Namespace: "todos", Room: ".."}, ok: true},
		{path: "/parties/todos/caf%C3%A9", want: room.Key{Namespace: "todos", Room: "café"}, ok: true},
		{path: "/parties/todos/café", want: room.Key{Namespace: "todos", Room: "café"}, ok: true},
		{path: "/parties/todos/a%2fb%20café", want: room.Key{Namespace: "todos", Room: "a/b café"}, ok: true},
		{path: "/parties/todos/a|b\"c<d>", want: room.Key{Namespace: "todos", Room: "a|b\"c<d>"}, ok: true},
		{path: "/parties/todos/a+b", want: room.Key{Namespace: "todos", Room: "a+b"}, ok: true},
		{path: "/parties/todos/a%00b", want: room.Key{Namespace: "todos", Room: "a\x00b"}, ok: true},
		{path: "/parties/todos/" + long, want: room.Key{Namespace: "todos", Room: long}, ok: true},
		{path: "/parties/to%64os/home", want: room.Key{Namespace: "todos", Room: "home"}, ok: true},

		{path: "/parties/todos/", ok: true, code: syncproto.CodeBadRoomName},
		{path: "/parties/todos//x", ok: true, code: syncproto.CodeBadRoomName},
		{path: "/parties/todos/" + long + "x", ok: true, code: syncproto.CodeBadRoomName},
		{path: "/parties/todos/" + strings.Repeat("%C3%A9", 129), ok: true, code: syncproto.CodeBadRoomName},
		{path: "/parties/todos/%ff", ok: true, code: syncproto.CodeBadRoomName},

		{path: "/parties/todos"},
		{path: "/parties/"},
		{path: "/parties"},
		{path: "/partiesx/todos/home"},
		{path: "/x/parties/todos/home"},
		{path: "/"},
		{path: ""},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			u, err := url.ParseRequestURI("http://h" + tt.path)
			if err != nil {
				t.Fatal(err)
			}
			key, ok, bad := route("parties", u)
			if ok != tt.ok {
				t.Fatalf("matched: %v, want %v", ok, tt.ok)
			}
			if tt.code != "" {
				if bad == nil || bad.code != tt.code || bad.status != 400 {
					t.Fatalf("refusal %+v, want %s", bad, tt.code)
				}
				return
			}
			if bad != nil {
				t.Fatalf("refusal %+v", bad)
			}
			if key != tt.want {
				t.Errorf("key %+v, want %+v", key, tt.want)
			}
		})
	}
}

func TestRouteLongPrefix(t *testing.T) {
	u, _ := url.Parse("/api/v1/rooms/todos/home")
	key, ok, bad := route("api/v1/rooms", u)
	if want := (room.Key{Namespace: "todos", Room: "home"}); !ok || bad != nil || key != want {
		t.Errorf("route = %+v, %v, %+v", key, ok, bad)
	}
}

// TestRoutePathRewritten: a path that something in front changed counts, not what
// the client had sent.
func TestRoutePathRewritten(t *testing.T) {
	u := &url.URL{Path: "/parties/todos/a b", RawPath: "/x/parties/todos/a%20b"}
	if key, ok, _ := route("parties", u); !ok || key.Room != "a b" {
		t.Errorf("route = %+v, %v", key, ok)
	}
}

func TestConnectionID(t *testing.T) {
	tests := []struct {
		query string
		want  string
		bad   bool
	}{
		{query: "", want: ""},
		{query: "_pk=", want: ""},
		{query: "_pk=abc", want: "abc"},
		{query: "_pk=a%20b", want: "a b"},
		{query: "_pk=caf%C3%A9", want: "café"},
		{query: "_pk=one&_pk=two", want: "one"},
		{query: "_pk=" + strings.Repeat("x", maxID), want: strings.Repeat("x", maxID)},
		{query: "_pk=" + strings.Repeat("x", maxID+1), bad: true},
		{query: "_pk=a%00b", bad: true},
		{query: "_pk=a%0Ab", bad: true},
		{query: "_pk=%FF", bad: true},
		{query: "_pk=%E2%80%AE", bad: true}, // turns the direction of text around
	}
	for _, tt := range tests {
		id, bad := connectionID(&url.URL{RawQuery: tt.query})
		if (bad != nil) != tt.bad || bad == nil && id != tt.want {
			t.Errorf("connectionID(%q) = %q, %+v", tt.query, id, bad)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, prefix := range []string{"/", "a//b", "a?b", "a#b", "a%20b"} {
		if _, err := (Options{Prefix: prefix}).withDefaults(); err == nil {
			t.Errorf("prefix %q was taken", prefix)
		}
	}
	for _, cors := range []CORS{{Methods: []string{""}}, {Headers: []string{"A, B"}}, {ExposeHeaders: []string{"A\r\nB"}}} {
		if _, err := (Options{CORS: cors}).withDefaults(); err == nil {
			t.Errorf("CORS %+v was taken", cors)
		}
	}
	o, err := Options{Prefix: "/api/rooms/"}.withDefaults()
	if err != nil || o.Prefix != "api/rooms" {
		t.Errorf("prefix %q, %v", o.Prefix, err)
	}
}

// A field that is zero or negative has the default that its comment names.
func TestOptionsDefaults(t *testing.T) {
	const senseless = -1
	for name, given := range map[string]Options{"zero": {}, "negative": {
		ReadLimit: senseless, ReadTimeout: senseless, SetupTimeout: senseless, SendQueueBytes: senseless, SendQueueFrames: senseless,
		WriteTimeout: senseless, PingInterval: senseless, PongTimeout: senseless, MaxBody: senseless, CORS: CORS{MaxAge: senseless},
	}} {
		o, err := given.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		for field, pair := range map[string][2]any{
			"Prefix":          {o.Prefix, "parties"},
			"ReadLimit":       {o.ReadLimit, int64(1 << 20)},
			"ReadTimeout":     {o.ReadTimeout, 60 * time.Second},
			"SetupTimeout":    {o.SetupTimeout, 15 * time.Second},
			"SendQueueBytes":  {o.SendQueueBytes, 8 << 20},
			"SendQueueFrames": {o.SendQueueFrames, 4096},
			"WriteTimeout":    {o.WriteTimeout, 20 * time.Second},
			"PingInterval":    {o.PingInterval, 30 * time.Second},
			"PongTimeout":     {o.PongTimeout, 10 * time.Second},
			"ParkAfter":       {o.ParkAfter, time.Second},
			"MaxBody":         {o.MaxBody, int64(1 << 20)},
			"CORS.Methods":    {strings.Join(o.CORS.Methods, " "), "GET HEAD POST PUT PATCH DELETE"},
			"CORS.Headers":    {strings.Join(o.CORS.Headers, " "), "Authorization Content-Type"},
			"CORS.MaxAge":     {o.CORS.MaxAge, 10 * time.Minute},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s: %s is %v, want %v", name, field, pair[0], pair[1])
			}
		}
	}
	if o, err := (Options{ParkAfter: senseless}).withDefaults(); err != nil || o.ParkAfter >= 0 {
		t.Errorf("no socket is to be parked: ParkAfter %v, %v", o.ParkAfter, err)
	}
}
