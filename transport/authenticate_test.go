package transport

import (
	"net/http"
	"testing"

	"github.com/denrooms/den/room"
)

// Authenticate is told of the very room that the request comes to, however its name is written.
func TestAuthenticateGetsTheKey(t *testing.T) {
	asked := make(chan room.Key, 1)
	s := startServer(t, Options{Prefix: "api/rooms", Authenticate: func(_ *http.Request, key room.Key) (room.Identity, error) {
		asked <- key
		if key.Room == "cellar" {
			return room.Identity{}, room.Abort("not_yours", "The cellar is Bob's.")
		}
		return room.Identity{}, nil
	}})
	for path, want := range map[string]room.Key{
		"/api/rooms/probe/home?on=status":           {Namespace: "probe", Room: "home"},
		"/api/rooms/probe/a%2Fb%20caf%C3%A9/deeper": {Namespace: "probe", Room: "a/b café"},
		"/api/rooms/base/home":                      {Namespace: "base", Room: "home"},
	} {
		s.do("GET", path, nil)
		if got := within(t, asked, "Authenticate"); got != want {
			t.Errorf("%s: asked for %v, want %v", path, got, want)
		}
		raw := rawDial(t, s.addr())
		raw.upgrade(path)
		if got := within(t, asked, "Authenticate"); got != want {
			t.Errorf("upgrade of %s: asked for %v, want %v", path, got, want)
		}
		raw.Close()
	}
	joined(t, s, 0)
	resp, body := s.do("GET", "/api/rooms/probe/cell%61r", nil)
	if expectCode(t, resp, body, 403, "not_yours"); within(t, asked, "Authenticate").Room != "cellar" {
		t.Error("asked for another room")
	}
}
