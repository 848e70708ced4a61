package transport

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/denrooms/den/room"
)

type valueKey struct{}

// A valued room says what a middleware has put into its request's context.
type valued struct {
	room.Base
	started chan struct{} // OnRequest runs
	gone    chan struct{} // closed: the client has gone
	left    chan error    // the request's context's error after that
}

func (v *valued) OnConnect(c *room.Context) error {
	value, _ := c.Request().Context().Value(valueKey{}).(string)
	own, _ := c.Value(valueKey{}).(string)
	return c.Conn().Send(room.Text(value + " " + own))
}

func (v *valued) OnMessage(c *room.Context, m room.Message) error {
	if c.Value(valueKey{}) != nil {
		return c.Conn().Send(room.Text("a message has no request"))
	}
	return c.Conn().Send(room.Text(string(m.Data)))
}

func (v *valued) OnRequest(c *room.Context, w http.ResponseWriter, r *http.Request) error {
	if r.URL.Query().Get("on") == "wait" {
		v.started <- struct{}{}
		<-v.gone
		v.left <- r.Context().Err()
		return nil
	}
	value, _ := r.Context().Value(valueKey{}).(string)
	own, _ := c.Value(valueKey{}).(string)
	_, err := w.Write([]byte(value + " " + own))
	return err
}

// What a middleware puts into a request's context reaches Authenticate and the room, and its end does not.
func TestContextValues(t *testing.T) {
	s := startServer(t, Options{Authenticate: func(r *http.Request, _ room.Key) (room.Identity, error) {
		if r.Context().Value(valueKey{}) != "trace-7" {
			return room.Identity{}, room.Abort("no_value", "The middleware's value is gone.")
		}
		return room.Identity{}, nil
	}})
	v := &valued{started: make(chan struct{}, 1), gone: make(chan struct{}), left: make(chan error, 1)}
	if err := s.host.Register("valued", func() room.Handler { return v }); err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{}, 10)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(context.WithValue(r.Context(), valueKey{}, "trace-7"))
		s.handler.ServeHTTP(w, r.WithContext(ctx))
		cancel()
		served <- struct{}{}
	}))
	defer front.Close()

	s.URL = front.URL
	if resp, body := s.do("GET", "/parties/valued/home", nil); resp.StatusCode != 200 || body != "trace-7 trace-7" {
		t.Errorf("OnRequest: %d %q", resp.StatusCode, body)
	}
	within(t, served, "the request")
	raw := rawDial(t, front.Listener.Addr().String())
	raw.upgrade("/parties/valued/home")
	if f := raw.frame(); string(f.payload) != "trace-7 trace-7" {
		t.Errorf("OnConnect saw %q", f.payload)
	}
	within(t, served, "the upgrade") // its context is cancelled
	raw.send(clientFrame(1, []byte(`{"still":"here"}`)))
	if f := raw.frame(); string(f.payload) != `{"still":"here"}` {
		t.Errorf("after the handshake's context had ended: %q", f.payload)
	}
	raw.Close()

	ctx, hangUp := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", front.URL+"/parties/valued/other?on=wait", nil)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { // ends with the request
		resp, err := s.Client().Do(r)
		if err == nil {
			resp.Body.Close()
		}
		answered <- err
	}()
	within(t, v.started, "OnRequest")
	hangUp()
	if within(t, answered, "the client") == nil {
		t.Error("a client that hung up got an answer")
	}
	within(t, served, "the server to notice")
	close(v.gone)
	if err := within(t, v.left, "OnRequest's end"); err != nil {
		t.Errorf("the request's context ended with the client, while the hook had time: %v", err)
	}
}
