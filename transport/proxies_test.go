package transport

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestForwardedHost(t *testing.T) {
	const page = "https://app.example.com"
	trusted := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	elsewhere := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	tests := []struct {
		name    string
		proxies []netip.Prefix
		header  []string
		status  int
	}{
		{"nobody is trusted", nil, []string{"Origin", page, "X-Forwarded-Host", "app.example.com"}, 403},
		{"another is trusted", elsewhere, []string{"Origin", page, "X-Forwarded-Host", "app.example.com"}, 403},
		{"the page's own name", trusted, []string{"Origin", page, "X-Forwarded-Host", "app.example.com"}, 200},
		{"with its scheme", trusted, []string{"Origin", page, "X-Forwarded-Host", "app.example.com", "X-Forwarded-Proto", "https"}, 200},
		{"a plain page, the proxy has TLS", trusted, []string{"Origin", "http://app.example.com", "X-Forwarded-Host", "app.example.com", "X-Forwarded-Proto", "https"}, 403},
		{"another page", trusted, []string{"Origin", "https://evil.example", "X-Forwarded-Host", "app.example.com"}, 403},
		{"what the client had sent comes first", trusted, []string{"Origin", "https://evil.example", "X-Forwarded-Host", "evil.example, app.example.com"}, 403},
		{"the same in two lines", trusted, []string{"Origin", "https://evil.example", "X-Forwarded-Host", "evil.example", "X-Forwarded-Host", "app.example.com"}, 403},
		{"after what the client had sent", trusted, []string{"Origin", page, "X-Forwarded-Host", "evil.example, app.example.com"}, 200},
		{"a name that is not listed", trusted, []string{"Origin", "https://evil.example", "X-Forwarded-Host", "evil.example"}, 421},
		{"no page", trusted, []string{"X-Forwarded-Host", "app.example.com"}, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := startServer(t, Options{TrustedProxies: tt.proxies, Hosts: []string{"app.example.com"}})
			if resp, body := s.do("GET", "/parties/probe/home?on=who", nil, tt.header...); resp.StatusCode != tt.status {
				t.Errorf("%d %s, want %d", resp.StatusCode, body, tt.status)
			}
		})
	}
}

// A page on this machine reaches the server from a trusted address, and can send the header: the Host header is asked nevertheless.
func TestForwardedHostDoesNotStandForHost(t *testing.T) {
	s := startServer(t, Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	raw := rawDial(t, s.addr())
	raw.send([]byte("GET /parties/probe/home?on=who HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: den.example\r\n\r\n"))
	resp, err := http.ReadResponse(raw.r, nil)
	if err != nil || resp.StatusCode != 421 {
		t.Errorf("%v, %v, want 421", resp, err)
	}
}

// With a list of one name as with one of several, what the proxy was called by must be on it.
func TestForwardedHostIsOnTheList(t *testing.T) {
	s := startServer(t, Options{})
	proxies := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, hosts := range [][]string{{"rooms.example.com"}, {"other.example.com", "rooms.example.com"}} {
		h, err := NewHandler(s.host, Options{Hosts: hosts, TrustedProxies: proxies, Logger: s.handler.opts.Logger})
		if err != nil {
			t.Fatal(err)
		}
		for name, status := range map[string]int{"rooms.example.com": http.StatusOK, "evil.example": http.StatusMisdirectedRequest} {
			r := httptest.NewRequest("GET", "http://rooms.example.com/parties/probe/home?on=who", nil)
			r.RemoteAddr = "192.0.2.1:1234"
			r.Header.Set("X-Forwarded-Host", name)
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != status {
				t.Errorf("%d names: asked for %s it answers %d, want %d", len(hosts), name, w.Code, status)
			}
		}
	}
}

func TestRefusedOriginIsLogged(t *testing.T) {
	s := startServer(t, Options{})
	const page = "https://app.example.com"
	for range 3 {
		resp, body := s.do("GET", "/parties/probe/home", nil, "Origin", page, "X-Forwarded-Host", "app.example.com")
		expectCode(t, resp, body, 403, "forbidden_origin")
		s.do("GET", "/parties/probe/home", nil, "Origin", "https://other.example")
	}
	log := s.log.String()
	for _, origin := range []string{page, "https://other.example"} {
		if n := strings.Count(log, "origin="+origin); n != 1 {
			t.Errorf("%d lines for %s, want one", n, origin)
		}
	}
	for _, want := range []string{"den -origins", "transport.Options.Origins", "forwarded_host=app.example.com", "den -trusted-proxies"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
}
