package transport_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/transport"
)

type greeter struct{ room.Base }

func (*greeter) OnRequest(c *room.Context, w http.ResponseWriter, r *http.Request) error {
	_, err := fmt.Fprintf(w, "Hello from %s, %s.", c.Key().Room, c.Identity().Subject)
	return err
}

// A Handler on a ServeMux, between a program's own pages.
func ExampleHandler() {
	dir, err := os.MkdirTemp("", "den")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	host, err := room.Open(room.Options{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	if err := host.Register("greeters", func() room.Handler { return new(greeter) }); err != nil {
		log.Fatal(err)
	}
	rooms, err := transport.NewHandler(host, transport.Options{
		Origins: []string{"https://app.example.com"},
		Authenticate: func(r *http.Request, key room.Key) (room.Identity, error) {
			user, _, ok := r.BasicAuth()
			if !ok {
				return room.Identity{}, room.Abort("who_are_you", "Say who you are.")
			}
			if key.Room == "cellar" && user != "bob" {
				return room.Identity{}, room.Abort("not_yours", "The cellar is Bob's.")
			}
			return room.Identity{Subject: user}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/parties/", rooms)
	server := httptest.NewServer(mux)
	defer server.Close()
	defer rooms.Shutdown(context.Background())

	for _, visit := range []struct{ user, room string }{{"", "front%20door"}, {"ann", "front%20door"}, {"ann", "cellar"}} {
		user := visit.user
		r, _ := http.NewRequest("GET", server.URL+"/parties/greeters/"+visit.room, nil)
		if user != "" {
			r.SetBasicAuth(user, "")
		}
		resp, err := server.Client().Do(r)
		if err != nil {
			log.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Printf("%d %s\n", resp.StatusCode, body)
	}
	// Output:
	// 403 {"error":{"code":"who_are_you","message":"Say who you are."}}
	//
	// 200 Hello from front door, ann.
	// 403 {"error":{"code":"not_yours","message":"The cellar is Bob's."}}
}
