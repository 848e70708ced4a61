package transport

import (
	"crypto/tls"
	"net/http"
	"testing"
)

func TestOrigin(t *testing.T) {
	list := []string{
		"https://app.example.com", "*.trusted.org", "localhost:*", "http://[::1]:5173",
		"https://*.scheme.io", "bare.example", "chrome-extension://abcdef",
	}
	tests := []struct {
		name   string
		host   string
		tls    bool
		origin []string
		want   verdict
	}{
		{"no origin", "den.example", false, nil, originNone},
		{"same host", "den.example", false, []string{"http://den.example"}, originSame},
		{"same host, upper case", "den.example", false, []string{"https://DEN.example"}, originSame},
		{"same host and port", "den.example:8787", false, []string{"http://den.example:8787"}, originSame},
		{"other port", "den.example:8787", false, []string{"http://den.example:80"}, originRefused},
		{"TLS ended in front", "den.example", false, []string{"https://den.example"}, originSame},
		{"plain page, TLS server", "den.example", true, []string{"http://den.example"}, originRefused},
		{"TLS page, TLS server", "den.example", true, []string{"https://den.example"}, originSame},
		{"other scheme, same host", "den.example", false, []string{"ftp://den.example"}, originRefused},
		{"listed", "den.example", false, []string{"https://app.example.com"}, originListed},
		{"listed, upper case", "den.example", false, []string{"https://APP.example.com"}, originListed},
		{"listed under another scheme", "den.example", false, []string{"http://app.example.com"}, originRefused},
		{"listed under another port", "den.example", false, []string{"https://app.example.com:444"}, originRefused},
		{"a longer name", "den.example", false, []string{"https://app.example.com.evil.net"}, originRefused},
		{"pattern", "den.example", false, []string{"https://a.b.trusted.org"}, originListed},
		{"pattern's own domain", "den.example", false, []string{"https://trusted.org"}, originRefused},
		{"pattern as a tail", "den.example", false, []string{"https://eviltrusted.org"}, originRefused},
		{"any port", "den.example", false, []string{"http://localhost:5173"}, originListed},
		{"any port of another", "den.example", false, []string{"http://localhost.evil.net:80"}, originRefused},
		{"IPv6", "den.example", false, []string{"http://[::1]:5173"}, originListed},
		{"scheme and pattern", "den.example", false, []string{"https://x.scheme.io"}, originListed},
		{"pattern, wrong scheme", "den.example", false, []string{"http://x.scheme.io"}, originRefused},
		{"bare host", "den.example", false, []string{"http://bare.example"}, originListed},
		{"bare host of an extension", "den.example", false, []string{"chrome-extension://bare.example"}, originRefused},
		{"extension", "den.example", false, []string{"chrome-extension://abcdef"}, originListed},
		{"null", "den.example", false, []string{"null"}, originRefused},
		{"empty", "den.example", false, []string{""}, originRefused},
		{"two", "den.example", false, []string{"http://den.example", "http://den.example"}, originRefused},
		{"user info", "den.example", false, []string{"http://den.example@evil.net"}, originRefused},
		{"a path", "den.example", false, []string{"http://den.example/x"}, originRefused},
		{"not a URL", "den.example", false, []string{"http://%zz"}, originRefused},
		{"host only", "den.example", false, []string{"den.example"}, originRefused},
	}
	o, err := newOrigins(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Host: tt.host, Header: http.Header{}}
			if tt.origin != nil {
				r.Header["Origin"] = tt.origin
			}
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			if got := o.judge(r); got != tt.want {
				t.Errorf("judge(%q) = %v, want %v", tt.origin, got, tt.want)
			}
		})
	}
}

func TestOriginStar(t *testing.T) {
	for _, list := range [][]string{nil, {"https://a.example"}} {
		o, err := newOrigins(list)
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{Host: "den.example", Header: http.Header{"Origin": {"https://anybody.example"}}}
		if got := o.judge(r); got != originRefused {
			t.Errorf("origins %q: judge = %v: a stranger passed without \"*\"", list, got)
		}
	}
	o, err := newOrigins([]string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	for _, origin := range []string{"https://anybody.example", "null"} {
		r := &http.Request{Host: "den.example", Header: http.Header{"Origin": {origin}}}
		if got := o.judge(r); got != originAny {
			t.Errorf("with \"*\": judge(%q) = %v, want %v", origin, got, originAny)
		}
	}
}

func TestOriginListIsChecked(t *testing.T) {
	for _, entry := range []string{"", "null", "https://", "://host", "https://a.example/path", "https://u@a.example", "a.example?x", "[", "https://[a"} {
		if _, err := newOrigins([]string{entry}); err == nil {
			t.Errorf("newOrigins(%q) took it", entry)
		}
	}
	if _, err := newOrigins([]string{"https://a.example/", " B.example "}); err != nil {
		t.Errorf("a slash at the end and blanks: %v", err)
	}
}
