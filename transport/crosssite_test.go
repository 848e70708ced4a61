package transport

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
)

// What a foreign page makes its visitor's browser send does not act in the visitor's name.
func TestCrossSite(t *testing.T) {
	const (
		none    = "" // the room was not reached
		visitor = "cookie [session=1] auth []"
		nobody  = "cookie [] auth []"
		listed  = "https://app.example.com"
	)
	tests := []struct {
		name   string
		any    bool
		method string
		header []string
		want   string
	}{
		{"no browser", false, "GET", nil, visitor},
		{"no browser, POST", false, "POST", nil, visitor},
		{"its own page", false, "POST", []string{"Sec-Fetch-Site", "same-origin"}, visitor},
		{"typed in", false, "GET", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate"}, visitor},
		{"a picture", false, "GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, nobody},
		{"HEAD", false, "HEAD", []string{"Sec-Fetch-Site", "cross-site"}, nobody},
		{"a frame", false, "GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-User", "?1"}, nobody},
		{"a window that a script opens", false, "GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, nobody},
		{"a link", false, "GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-User", "?1"}, visitor},
		{"a form", false, "POST", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-User", "?1"}, none},
		{"a sibling's form", false, "POST", []string{"Sec-Fetch-Site", "same-site"}, none},
		{"a form of an old browser", false, "POST", []string{"Origin", "https://evil.example"}, none},
		{"DELETE", false, "DELETE", []string{"Sec-Fetch-Site", "cross-site"}, none},
		{"an allowed page", false, "POST", []string{"Origin", listed, "Sec-Fetch-Site", "cross-site"}, visitor},
		{"anybody's page", true, "POST", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, nobody},
		{"anybody's page, old browser", true, "GET", []string{"Origin", "https://evil.example"}, nobody},
		{"an allowed page among all", true, "POST", []string{"Origin", listed, "Sec-Fetch-Site", "cross-site"}, visitor},
		{"a remembered password", false, "GET", []string{"Sec-Fetch-Site", "cross-site", "Authorization", "basic YTpi"}, nobody},
		{"a page's token", true, "POST", []string{"Origin", "https://evil.example", "Authorization", "Bearer t"}, "cookie [] auth [Bearer t]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var asked string
			o := Options{Origins: []string{listed}, Authenticate: func(r *http.Request, _ room.Key) (room.Identity, error) {
				asked = credentials(r)
				return room.Identity{}, nil
			}}
			if tt.any {
				o.Origins = append(o.Origins, "*")
			}
			s := startServer(t, o)
			if err := s.host.Register("credentials", func() room.Handler { return &credentialed{} }); err != nil {
				t.Fatal(err)
			}
			resp, body := s.do(tt.method, "/parties/credentials/home", nil, append(tt.header, "Cookie", "session=1")...)
			if tt.want == none {
				if expectCode(t, resp, body, 403, "forbidden_origin"); asked != "" {
					t.Errorf("Authenticate was asked about %q", asked)
				}
				return
			}
			if tt.method == "HEAD" {
				body = resp.Header.Get("X-Credentials")
			}
			if resp.StatusCode != 200 || body != tt.want || asked != tt.want {
				t.Errorf("%d: OnRequest saw %q, Authenticate %q, want %q", resp.StatusCode, body, asked, tt.want)
			}
			if logged := strings.Contains(s.log.String(), "without its visitor's cookies"); logged != (tt.want != visitor) {
				t.Errorf("logged: %v\n%s", logged, s.log)
			}
		})
	}
}

func credentials(r *http.Request) string {
	return fmt.Sprintf("cookie %v auth %v", r.Header["Cookie"], r.Header["Authorization"])
}

// A credentialed room says what its request came with.
type credentialed struct{ room.Base }

func (*credentialed) OnRequest(_ *room.Context, w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("X-Credentials", credentials(r))
	_, err := w.Write([]byte(credentials(r)))
	return err
}
