package transport

import "testing"

// The name in a Host header, as it is compared with the server's: only what is a name loses brackets, a port and the last dot.
func TestHostnameOfAHeader(t *testing.T) {
	for header, want := range map[string]string{
		"example.com": "example.com", "Example.COM:8080": "example.com", "example.com.": "example.com", "example.com:": "example.com",
		"[::1]": "::1", "[::1]:8080": "::1", "[::1": "[::1", "::1]": "::1]", "xlocalhost]": "xlocalhost]", "[localhostx": "[localhostx",
		"example.com:http": "example.com:http", "example.com:70000": "example.com:70000", "": "",
	} {
		if got := hostname(header); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}
