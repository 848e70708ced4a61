package room_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage/faultdisk"
)

// OnClose runs once for every connection that OnConnect accepted, whatever happens to the room and to the process.

// A hall is a Lobby that writes down what its OnClose was told.
type hall struct {
	Lobby
	desk *desk
}

// A desk is how a test talks to its halls.
type desk struct {
	mu      sync.Mutex
	closes  []string
	quiet   bool // its hooks write nothing
	entered chan struct{}
	block   chan struct{}
}

func (d *desk) note(c *room.Context, code int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closes = append(d.closes, fmt.Sprint(c.Conn().ID(), " ", c.CloseCause(), " ", code))
}

// take gives what OnClose was told since the last call.
func (d *desk) take() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() { d.closes = nil }()
	slices.Sort(d.closes)
	return strings.Join(d.closes, ", ")
}

func (h *hall) OnConnect(c *room.Context) error {
	switch {
	case strings.HasPrefix(c.Conn().ID(), "banned"):
		return c.Abort("banned", "No.")
	case strings.HasPrefix(c.Conn().ID(), "stuck"):
		h.desk.entered <- struct{}{}
		<-h.desk.block
	case strings.HasPrefix(c.Conn().ID(), "breaks"):
		panic("no")
	case h.desk.quiet:
		return nil
	}
	return errors.Join(c.Conn().SetTags("guest"), h.Lobby.OnConnect(c))
}

func (h *hall) OnClose(c *room.Context, code int, reason string) error {
	h.desk.note(c, code)
	switch id := c.Conn().ID(); {
	case strings.HasPrefix(id, "exits"):
		runtime.Goexit()
	case strings.HasPrefix(id, "panics"):
		panic("no")
	case strings.HasPrefix(id, "fails"):
		return errors.New("no")
	case strings.HasPrefix(id, "hangs"):
		h.desk.entered <- struct{}{}
		<-h.desk.block
	case h.desk.quiet:
		return nil
	}
	return h.Lobby.OnClose(c, code, reason)
}

// OnRequest tells who is listed; "/hang" keeps the room until the test lets it go.
func (h *hall) OnRequest(c *room.Context, w http.ResponseWriter, r *http.Request) error {
	switch r.URL.Path {
	case "/hang":
		h.desk.entered <- struct{}{}
		<-h.desk.block
		return nil
	case "/here":
		for _, conn := range c.Connections() {
			fmt.Fprint(w, conn.ID(), " ")
		}
		return nil
	}
	all, err := h.Online.All(c)
	for _, one := range all {
		fmt.Fprint(w, one.ID, " ")
	}
	return err
}

// A house is a host of halls on a disk that may lose power.
type house struct {
	*diskHost
	desk *desk
}

var mainHall = room.Key{Namespace: "hall", Room: "main"}

func newHouse(t *testing.T, opts ...room.Option) *house {
	t.Helper()
	desk := &desk{entered: make(chan struct{}, 100), block: make(chan struct{})}
	h := &house{newDiskHost(t, 1, func(h *room.Host) error {
		return h.Register("hall", func() room.Handler { return &hall{desk: desk} }, opts...)
	}), desk}
	h.start()
	return h
}

// crash cuts the power and begins again.
func (h *house) crash() {
	h.t.Helper()
	h.cutPower()
	h.desk.take()
	h.start()
}

func (h *house) join(id string) *room.Session {
	h.t.Helper()
	s, err := h.Connect(h.t.Context(), mainHall, room.ConnectRequest{ID: id, Link: new(deaf), Identity: room.Identity{Subject: "user " + id, Claims: map[string]any{"a": "b"}}})
	if err != nil {
		h.t.Fatalf("%s: %v", id, err)
	}
	return s
}

// online asks the room who is listed.
func (h *house) online() string { return h.ask("/") }

func (h *house) ask(path string) string {
	h.t.Helper()
	w := httptest.NewRecorder()
	if err := h.ServeRequest(h.t.Context(), mainHall, room.Identity{}, w, httptest.NewRequest("GET", path, nil)); err != nil {
		h.t.Fatal(err)
	}
	all := strings.Fields(w.Body.String())
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (h *house) settle() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	if err := inner.OfHost(h).Quiet(ctx); err != nil {
		h.t.Fatal(err)
	}
}

// advance moves the time in steps that are shorter than a hook may take: a timer may start one, which must not find that
// its time is over.
func (h *house) advance(d time.Duration) {
	for step := min(max(time.Second, d/100), 5*time.Second); d > 0; d -= step {
		h.settle()
		h.clock.Advance(min(step, d))
	}
	h.settle()
}

func (h *house) mustBe(online, closes string) {
	h.t.Helper()
	if got := h.online(); got != online {
		h.t.Errorf("%q are online, want %q", got, online)
	}
	if got := h.desk.take(); got != closes {
		h.t.Errorf("OnClose was told of %q, want %q", got, closes)
	}
}

// A deaf link takes everything.
type deaf struct{}

func (*deaf) Send(...*hibernate.Frame) {}
func (*deaf) Close(int, string)        {}

// At a deploy OnClose runs for all of a room that is awake, and of one that sleeps where the namespace wants that.
func TestCloseAtShutdown(t *testing.T) {
	for _, state := range []string{"awake", "asleep"} {
		t.Run(state, func(t *testing.T) {
			h := newHouse(t, room.WakeOnClose())
			h.join("alice")
			h.join("bob")
			h.mustBe("alice bob", "")
			if state == "asleep" {
				h.advance(20 * time.Second)
				if h.Awake() != 0 {
					t.Fatal("the room does not sleep")
				}
			}
			h.stop()
			if got := h.desk.take(); got != "alice shutdown 1001, bob shutdown 1001" {
				t.Errorf("OnClose was told of %q", got)
			}
			h.start()
			h.mustBe("", "")
		})
	}
}

// A Shutdown whose context ends runs no more OnClose: the next process does, a minute after the room's first wake.
func TestCloseAtShutdownIsBounded(t *testing.T) {
	h := newHouse(t)
	h.join("alice")
	h.mustBe("alice", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = h.Shutdown(ctx) // it goes on by itself
	h.stop()
	_ = h.desk.take()
	h.start()
	h.advance(time.Hour) // the room was not called for
	if got := h.online(); got != "alice" && got != "" {
		t.Errorf("%q are online", got)
	}
	h.advance(time.Minute)
	if got := h.online(); got != "" {
		t.Errorf("%q are online", got)
	}
}

// After a crash the clients have a minute to come back, from the room's first wake on; then OnClose runs for the
// others, once, also where the room sleeps by then.
func TestCloseAfterACrash(t *testing.T) {
	h := newHouse(t)
	for _, id := range []string{"alice", "bob", "carol"} {
		h.join(id)
	}
	h.mustBe("alice bob carol", "")
	h.crash()
	h.advance(time.Hour) // nobody has called for the room
	alice := h.join("alice")
	h.advance(59 * time.Second)
	h.mustBe("alice bob carol", "")
	h.advance(time.Second)
	h.mustBe("alice", "bob lost 1006, carol lost 1006")
	h.advance(time.Hour)
	h.mustBe("alice", "") // and the room is awake
	alice.Close(1001, "")
	h.settle()
	h.mustBe("", "alice client 1001")
	h.crash()
	h.advance(time.Hour)
	h.mustBe("", "")
	h.advance(time.Hour)
	h.mustBe("", "")
}

// A client that goes while its room sleeps has its OnClose before anything else when the room wakes.
func TestCloseOfARoomThatSleeps(t *testing.T) {
	h := newHouse(t)
	alice := h.join("alice")
	h.join("bob")
	h.advance(20 * time.Second)
	alice.Close(1000, "")
	h.settle()
	if h.Awake() != 0 || h.Connections() != 1 {
		t.Errorf("%d rooms are awake, with %d connections", h.Awake(), h.Connections())
	}
	h.mustBe("bob", "alice asleep 1006")
	h.advance(time.Hour)
	h.mustBe("bob", "")
}

// What OnClose finds of a connection that no longer exists.
func TestCloseKeepsTheConnection(t *testing.T) {
	var got []string
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("clerk", func() room.Handler { return &clerk{told: &got} })
	})
	alice := h.Join("clerk", "r", "alice", roomtest.As(room.Identity{Subject: "u1", Claims: map[string]any{"role": "admin"}}))
	h.SleepRoom("clerk", "r")
	alice.Leave()
	h.Join("clerk", "r", "bob")
	if want := `alice u1 map[role:admin] [vip] "note" 0`; len(got) != 1 || got[0] != want {
		t.Errorf("OnClose found %q, want %s", got, want)
	}
}

// What OnClose finds of several connections whose attachments changed after they were noted.
func TestCloseKeepsWhatHasChanged(t *testing.T) {
	var got []string
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("clerk", func() room.Handler { return &clerk{told: &got} })
	})
	var clients []*roomtest.Client
	for _, id := range []string{"alice", "bob", "carol"} {
		clients = append(clients, h.Join("clerk", "r", id))
	}
	h.SleepRoom("clerk", "r")
	for _, c := range clients {
		c.SendJSON(object{"note": c.ID()})
		c.Received()
	}
	h.SleepRoom("clerk", "r")
	for _, c := range clients {
		c.Leave()
	}
	h.Join("clerk", "r", "dave")
	for _, id := range []string{"alice", "bob", "carol"} {
		if want := fmt.Sprintf("%s  map[] [vip] %q 0", id, `{"note":"`+id+`"}`); !slices.Contains(got, want) {
			t.Errorf("OnClose found %q, want %s among them", got, want)
		}
	}
}

type clerk struct {
	room.Base
	told *[]string
}

func (*clerk) OnMessage(c *room.Context, m room.Message) error { return c.Conn().SetAttachment(m.Data) }

func (k *clerk) OnConnect(c *room.Context) error {
	return errors.Join(c.Conn().SetTags("vip"), c.Conn().SetAttachment([]byte("note")))
}

func (k *clerk) OnClose(c *room.Context, _ int, _ string) error {
	conn := c.Conn()
	if err := conn.Send(room.Text(`"nobody hears it"`)); err != nil {
		return err
	}
	*k.told = append(*k.told, fmt.Sprintf("%s %s %v %v %q %d", conn.ID(), conn.Identity().Subject, conn.Identity().Claims, conn.Tags(), conn.Attachment(), len(c.Connections())))
	return nil
}

// An OnClose whose commit fails on a full disk runs again, and leaves its mark once.
func TestCloseOnAFullDisk(t *testing.T) {
	h := newHouse(t)
	alice := h.join("alice")
	h.join("bob")
	h.disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, Suffix: ".log", Times: -1})
	alice.Close(1000, "")
	h.settle()
	h.disk.Heal()
	h.advance(5 * time.Second)
	if got := h.online(); got != "bob" {
		t.Errorf("%q are online", got)
	}
	h.crash()
	h.online()
	h.advance(time.Minute)
	h.mustBe("", "bob lost 1006") // and alice no more
}

// An OnClose that fails, in whatever way, is not run again, and costs no other connection its own.
func TestCloseThatFails(t *testing.T) {
	for _, way := range []string{"fails", "panics", "exits", "hangs"} {
		for _, asleep := range []bool{false, true} {
			t.Run(fmt.Sprint(way, " ", asleep), func(t *testing.T) {
				h := newHouse(t)
				defer close(h.desk.block)
				bad, alice := h.join(way), h.join("alice")
				if asleep {
					h.advance(20 * time.Second)
					bad.Close(1000, "")
					alice.Close(1000, "")
					go h.ServeRequest(t.Context(), mainHall, room.Identity{}, httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)) // ends with the host; it may be refused
				} else {
					bad.Close(1000, "")
					alice.Close(1000, "")
				}
				if way == "hangs" {
					<-h.desk.entered
					for range 3 {
						h.clock.Advance(5 * time.Second)
					}
				}
				h.advance(time.Minute) // a room that has failed may back off
				_ = h.ServeRequest(t.Context(), mainHall, room.Identity{}, httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
				h.advance(time.Minute)
				if got := h.online(); got != way {
					t.Errorf("%q are online", got)
				}
				got := h.desk.take()
				if strings.Count(got, way) != 1 || strings.Count(got, "alice") != 1 {
					t.Errorf("OnClose was told of %q", got)
				}
				h.crash()
				h.online()
				h.advance(time.Hour)
				h.mustBe(way, "")
			})
		}
	}
}

// The end of a connection that waits behind a hook that hangs, or shares a batch with one, is not lost with that life.
func TestCloseBesideAHookThatHangs(t *testing.T) {
	h := newHouse(t)
	defer close(h.desk.block)
	alice, bob := h.join("alice"), h.join("bob")
	hang := func() {
		_ = h.ServeRequest(t.Context(), mainHall, room.Identity{}, httptest.NewRecorder(), httptest.NewRequest("GET", "/hang", nil))
	}
	go hang() // it ends when the life is given up
	<-h.desk.entered
	alice.Close(1000, "") // the next batch begins with it
	go hang()
	bob.Close(1000, "")
	for range 12 {
		h.clock.Advance(time.Second)
	}
	<-h.desk.entered // of the next life
	for range 12 {
		h.clock.Advance(time.Second)
	}
	h.advance(time.Minute)
	_ = h.ServeRequest(t.Context(), mainHall, room.Identity{}, httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	h.advance(time.Minute)
	h.mustBe("", "alice client 1000, bob client 1000")
	if n := h.Connections(); n != 0 {
		t.Errorf("there are %d connections", n)
	}
}

// To accept a client, and to see it go, costs no sync where the hooks write nothing; the note follows in a quiet
// second.
func TestCloseNotesCostNoSync(t *testing.T) {
	h := newHouse(t)
	h.desk.quiet = true
	first := h.join("")
	h.advance(2 * time.Second)
	before := h.disk.Stats().Ops[faultdisk.OpSync]
	for range 20 {
		h.join("")
	}
	h.settle()
	if n := h.disk.Stats().Ops[faultdisk.OpSync] - before; n != 0 {
		t.Errorf("20 clients cost %d syncs", n)
	}
	h.advance(2 * time.Second)
	if n := h.disk.Stats().Ops[faultdisk.OpSync] - before; n == 0 || n > 4 {
		t.Errorf("their notes cost %d syncs", n)
	}
	first.Close(1000, "")
	h.settle()
	h.desk.take()
	h.crash()
	h.online()
	h.advance(time.Minute)
	if n := strings.Count(h.desk.take(), " lost 1006"); n < 20 || n > 21 { // the first one wrote nothing in its OnClose
		t.Errorf("%d are told of as lost", n)
	}
}

// A handler's OnClose that nobody would call is refused.
func TestCloseHandlerOfAnotherForm(t *testing.T) {
	h := roomtest.New(t, func(*room.Host) error { return nil })
	if err := h.Register("odd", func() room.Handler { return new(oddClose) }); err == nil {
		t.Error("it was registered")
	}
}

type oddClose struct{ room.Base }

func (*oddClose) OnClose(*room.Context) error { return nil }
