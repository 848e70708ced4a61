package room_test

// The gate, looked at while it is closed: a disk whose syncs a test holds up, and what may be seen meanwhile, which is nothing.
// A violation fails at once and says what came.

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/vfs"
)

// soon is how long these tests wait for what has to come.
const soon = 10 * time.Second

// A slowDisk is the machine's, whose syncs wait while they are held.
type slowDisk struct {
	storage.FS
	waits chan string // the path of a file whose sync waits

	mu   sync.Mutex
	held chan struct{} // closed when syncs go on; nil: they are not held
}

func (d *slowDisk) hold() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = make(chan struct{})
}

// release lets the syncs go on that wait, and all to come.
func (d *slowDisk) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held != nil {
		close(d.held)
		d.held = nil
	}
}

func (d *slowDisk) pass(path string) {
	d.mu.Lock()
	held := d.held
	d.mu.Unlock()
	if held != nil {
		d.waits <- path
		<-held
	}
}

func (d *slowDisk) Open(path string, flag int) (vfs.File, error) {
	f, err := d.FS.Open(path, flag)
	if err != nil {
		return nil, err
	}
	return slowFile{f, d, path}, nil
}

type slowFile struct {
	vfs.File
	disk *slowDisk
	path string
}

func (f slowFile) Sync() error {
	f.disk.pass(f.path)
	return f.File.Sync()
}

// A gatekeeper's hooks write, and show in every way that there is that they have.
type gatekeeper struct {
	room.Base
	Items   room.Table[item]
	outside chan string // told when work outside has begun
}

func (g *gatekeeper) OnConnect(c *room.Context) error {
	if err := g.Items.Upsert(c, item{ID: "came", Name: c.Conn().ID()}); err != nil {
		return err
	}
	return c.Broadcast(room.Text(`"came"`))
}

func (g *gatekeeper) OnClose(c *room.Context, _ int, _ string) error {
	if err := g.Items.Upsert(c, item{ID: "left", Name: c.Conn().ID()}); err != nil {
		return err
	}
	return c.Broadcast(room.Text(`"left"`))
}

func (g *gatekeeper) OnMessage(c *room.Context, m room.Message) error {
	if err := g.Items.Upsert(c, item{ID: "said", Name: "x"}); err != nil {
		return err
	}
	return c.Conn().Send(room.Text(`"said"`))
}

func (g *gatekeeper) OnRequest(c *room.Context, w http.ResponseWriter, _ *http.Request) error {
	if err := g.Items.Upsert(c, item{ID: "asked", Name: "x"}); err != nil {
		return err
	}
	_, err := fmt.Fprint(w, "done")
	return err
}

func (g *gatekeeper) OnAlarm(c *room.Context, a room.Alarm) error {
	if err := g.Items.Upsert(c, item{ID: "rang", Name: a.Name}); err != nil {
		return err
	}
	return c.Broadcast(room.Text(`"rang"`))
}

func (g *gatekeeper) Put(c *room.Context, in item) error { return g.Items.Upsert(c, in) }

func (g *gatekeeper) Kick(c *room.Context, in item) error {
	if err := g.Items.Upsert(c, in); err != nil {
		return err
	}
	for _, conn := range c.Connections() {
		if conn.ID() == in.Name {
			return conn.Close(4321, "kicked")
		}
	}
	return nil
}

func (g *gatekeeper) Fetch(c *room.Context, in item) error {
	if err := g.Items.Upsert(c, in); err != nil {
		return err
	}
	return c.Go(func(context.Context) error { g.outside <- "work outside"; return nil }, func(*room.Context, error) error { return nil })
}

func (g *gatekeeper) Ring(c *room.Context, in item) error {
	return c.SetAlarm(in.ID, c.Now().Add(time.Second))
}

// A watched host is one whose disk can be held, with some clients in a room whose frames are looked at.
type watched struct {
	t       *testing.T
	h       *roomtest.Host
	disk    *slowDisk
	outside chan string
	taps    map[string]*tap
	clients map[string]*room.Session
}

// gateKey is the room that is watched; besides is one that goes on meanwhile.
var (
	gateKey = room.Key{Namespace: "gate", Room: "r"}
	besides = room.Key{Namespace: "gate", Room: "besides"}
)

func watch(t *testing.T) *watched {
	w := &watched{
		t: t, disk: &slowDisk{FS: storage.HostFS(), waits: make(chan string, 100)}, outside: make(chan string, 10),
		taps: make(map[string]*tap), clients: make(map[string]*room.Session),
	}
	w.h = roomtest.New(t, func(h *room.Host) error {
		return h.Register("gate", func() room.Handler { return &gatekeeper{outside: w.outside} }, room.WakeOnClose(),
			room.Action("put", (*gatekeeper).Put), room.Action("kick", (*gatekeeper).Kick), room.Action("fetch", (*gatekeeper).Fetch),
			room.Action("ring", (*gatekeeper).Ring))
	}, func(o *room.Options) { o.FS = w.disk })
	t.Cleanup(w.disk.release) // in front of the host's end
	for _, id := range []string{"alice", "bob", "carol"} {
		w.join(id)
	}
	w.settle(gateKey)
	w.settle(besides)
	w.drain()
	return w
}

func (w *watched) join(id string) {
	w.t.Helper()
	link := &tap{frames: make(chan string, 1000), over: make(chan struct{})}
	session, err := w.h.Connect(w.t.Context(), gateKey, room.ConnectRequest{ID: id, Link: link})
	if err != nil {
		w.t.Fatal(err)
	}
	w.taps[id], w.clients[id] = link, session
}

func (w *watched) settle(key room.Key) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), soon)
	defer cancel()
	if err := w.h.Settle(ctx, key); err != nil {
		w.t.Fatalf("gate: the room %s does not answer: %v", key, err)
	}
}

// drain takes what has come by now, and says what it was.
func (w *watched) drain() (seen []string) {
	for id, link := range w.taps {
		for more := true; more; {
			select {
			case frame := <-link.frames:
				seen = append(seen, id+" got "+frame)
			default:
				more = false
			}
		}
		select {
		case <-link.over:
			seen = append(seen, id+" was closed")
			delete(w.taps, id)
		default:
		}
	}
	select {
	case what := <-w.outside:
		seen = append(seen, what+" began")
	default:
	}
	return seen
}

func (w *watched) send(id, action string, payload object) {
	w.t.Helper()
	message := fmt.Sprintf(`{"id":"%s","channel":"items","rpc":true,"action":{"type":"%s","payload":{"id":"%v","name":"%v"}}}`,
		action, action, payload["id"], payload["name"])
	if err := w.clients[id].Receive([]byte(message), false); err != nil {
		w.t.Fatal(err)
	}
}

// TestInvariantGateClosed has a room do everything that a client can see of it while the disk syncs nothing. Nobody may see
// anything before the sync, and all of it has to be seen after it.
func TestInvariantGateClosed(t *testing.T) {
	for name, act := range map[string]func(w *watched, answered chan<- string){
		"an action": func(w *watched, _ chan<- string) { w.send("alice", "put", object{"id": "1", "name": "x"}) },
		"a kick":    func(w *watched, _ chan<- string) { w.send("alice", "kick", object{"id": "1", "name": "bob"}) },
		"work":      func(w *watched, _ chan<- string) { w.send("alice", "fetch", object{"id": "1", "name": "x"}) },
		"a message": func(w *watched, _ chan<- string) { w.clients["alice"].Receive([]byte(`{"hello":1}`), false) },
		"a leave":   func(w *watched, _ chan<- string) { w.clients["carol"].Close(1001, "") },
		"a request": func(w *watched, answered chan<- string) {
			go func() { // ends with the host
				err := w.h.ServeRequest(context.Background(), gateKey, room.Identity{}, httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
				answered <- fmt.Sprint("the request was answered: ", err)
			}()
		},
		"a connect": func(w *watched, answered chan<- string) {
			go func() { // ends with the host
				link := &tap{frames: make(chan string, 1000), over: make(chan struct{})}
				_, err := w.h.Connect(context.Background(), gateKey, room.ConnectRequest{ID: "dave", Link: link})
				answered <- fmt.Sprint("the connect was answered: ", err)
			}()
		},
		"an alarm": func(w *watched, answered chan<- string) {
			go func() { // ends with the host
				w.h.Clock.Advance(2 * time.Second)
				answered <- "the clock goes on"
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t)
			if name == "an alarm" {
				w.send("alice", "ring", object{"id": "bell", "name": ""})
				w.settle(gateKey)
				w.drain()
			}
			closedGate(w, act, name == "an alarm")
		})
	}
}

// closedGate does something while no sync ends, and looks what is seen; late is whether its caller is answered in any case.
func closedGate(w *watched, act func(*watched, chan<- string), late bool) {
	t := w.t
	answered := make(chan string, 1)
	w.disk.hold()
	act(w, answered)
	select {
	case <-w.disk.waits:
	case <-time.After(soon):
		t.Fatalf("gate: no sync was asked for, and this was seen: %s", strings.Join(w.drain(), "; "))
	}
	for began := time.Now(); time.Since(began) < 50*time.Millisecond; { // who was answered too early has had the time to say so
		w.settle(besides)
	}
	seen := w.drain()
	if !late {
		select {
		case what := <-answered:
			seen = append(seen, what)
		default:
		}
	}
	if len(seen) > 0 {
		t.Errorf("gate: before the commit was durable %s", strings.Join(seen, "; "))
	}
	w.disk.release()
	w.settle(gateKey)
	if len(seen) == 0 && len(w.drain()) == 0 && len(answered) == 0 {
		t.Error("gate: nothing was seen when the commit was durable")
	}
}
