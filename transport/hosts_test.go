package transport

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestHosts(t *testing.T) {
	const loop, loop6, lan = "127.0.0.1:8787", "[::1]:8787", "192.168.1.5:8787"
	tests := []struct {
		list  []string
		local string // "" for a connection without an IP address
		host  string
		want  bool
	}{
		{nil, loop, "localhost:8787", true},
		{nil, loop, "LOCALHOST", true},
		{nil, loop, "localhost.:8787", true},
		{nil, loop, "127.0.0.1:8787", true},
		{nil, loop, "127.0.0.1:9999", true}, // through a tunnel
		{nil, loop, "[::1]:8787", true},
		{nil, loop6, "[::1]", true},
		{nil, "[::ffff:127.0.0.1]:8787", "127.0.0.1:8787", true},
		{nil, loop, "", true}, // no browser
		{nil, loop, "evil.example:8787", false},
		{nil, loop6, "evil.example:8787", false},
		{nil, "[::ffff:127.0.0.1]:8787", "evil.example:8787", false},
		{nil, "127.0.0.2:8787", "evil.example", false},
		{nil, loop, "localhost.evil.example:8787", false},
		{nil, loop, "evil.localhost.example", false},
		{nil, loop, "127.0.0.1.evil.example:8787", false},
		{nil, loop, "127.0.0.1:8787@evil.example", false},
		{nil, loop, "192.168.1.5:8787", false},
		{nil, loop, "0.0.0.0:8787", false},
		{nil, lan, "rooms.example.com", true}, // not a loopback
		{nil, "", "rooms.example.com", true},  // a Unix socket
		{[]string{"Rooms.example.com"}, loop, "rooms.example.com", true},
		{[]string{"rooms.example.com"}, loop, "rooms.example.com:443", true},
		{[]string{"rooms.example.com"}, loop, "ROOMS.example.com.", true},
		{[]string{"rooms.example.com"}, loop, "localhost:8787", true},
		{[]string{"rooms.example.com"}, loop, "evil.example", false},
		{[]string{"rooms.example.com"}, loop, "a.rooms.example.com", false},
		{[]string{"rooms.example.com"}, loop, "rooms.example.com.evil.net", false},
		{[]string{"rooms.example.com"}, lan, "evil.example", false},
		{[]string{"rooms.example.com"}, lan, "192.168.1.5:8787", true},
		{[]string{"rooms.example.com"}, lan, "192.168.1.6:8787", false},
		{[]string{"rooms.example.com"}, "", "evil.example", false},
		{[]string{"*.example.com"}, loop, "a.example.com", true},
		{[]string{"*.example.com"}, loop, "example.com", false},
		{[]string{"[2001:db8::1]"}, loop, "[2001:db8::1]:8787", true},
		{[]string{"*"}, loop, "evil.example", true},
	}
	for _, tt := range tests {
		s, err := newHosts(tt.list)
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		if tt.local != "" {
			addr, err := net.ResolveTCPAddr("tcp", tt.local)
			if err != nil {
				t.Fatal(err)
			}
			ctx = context.WithValue(ctx, http.LocalAddrContextKey, net.Addr(addr))
		}
		r := (&http.Request{Host: tt.host}).WithContext(ctx)
		if got := s.serves(r); got != tt.want {
			t.Errorf("list %q, connection to %q: serves(%q) = %v, want %v", tt.list, tt.local, tt.host, got, tt.want)
		}
	}
	for _, entry := range []string{"", " ", "https://a.example", "a.example:80", "a.example/path", "u@a.example", "a b", "a[", "a,b"} {
		if _, err := newHosts([]string{entry}); err == nil {
			t.Errorf("newHosts(%q) took it", entry)
		}
	}
}

// A page whose name points to the loopback address is of the same origin for the browser, and for the check of origins.
func TestRebound(t *testing.T) {
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("Next was reached") })
	s := startServer(t, Options{Next: next})
	for _, path := range []string{"/parties/probe/home", "/", "/other"} {
		for kind, upgrade := range map[string]string{"plain": "", "upgrade": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + handshakeKey + "\r\n"} {
			raw := rawDial(t, s.addr())
			raw.send([]byte("GET " + path + " HTTP/1.1\r\nHost: evil.example:8787\r\nOrigin: http://evil.example:8787\r\nSec-Fetch-Site: same-origin\r\n" + upgrade + "\r\n"))
			resp, err := http.ReadResponse(raw.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			body := make([]byte, 1000)
			n, _ := resp.Body.Read(body)
			expectCode(t, resp, string(body[:n]), 421, "forbidden_host")
			if text := string(body[:n]); !strings.Contains(text, "evil.example") || !strings.Contains(text, "-hosts") {
				t.Errorf("%s %s: neither name nor flag in %s", path, kind, text)
			}
		}
	}
	if n := s.host.Awake(); n != 0 {
		t.Errorf("%d rooms were woken", n)
	}
	if n := strings.Count(s.log.String(), "not one of the server's"); n != 1 || !strings.Contains(s.log.String(), "-hosts") {
		t.Errorf("%d lines in the log, want one with the flag:\n%s", n, s.log)
	}
}
