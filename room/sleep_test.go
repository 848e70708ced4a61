package room_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// diary is a room that writes down what its lives are told.
type diary struct {
	room.Base
	Lines room.Table[line]

	book  *book
	drawn int // in memory; OnHibernate writes it
}

type line struct {
	ID   string
	Text string
	room.Stamps
}

type book struct {
	mu     sync.Mutex
	events []string
	end    func(c *room.Context) error // what OnHibernate does besides
	block  chan struct{}
}

func (b *book) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, fmt.Sprintf(format, args...))
}

func (b *book) endWith(end func(*room.Context) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end = end
}

func (b *book) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.events = nil }()
	return strings.Join(b.events, ", ")
}

func (d *diary) OnStart(c *room.Context) error { d.book.note("start %s", c.WakeReason()); return nil }
func (d *diary) OnWake(c *room.Context) error  { d.book.note("wake %s", c.WakeReason()); return nil }
func (d *diary) OnHibernate(c *room.Context) error {
	d.book.note("hibernate")
	if d.drawn > 0 {
		if err := d.Lines.Upsert(c, line{ID: "drawn", Text: fmt.Sprint(d.drawn)}); err != nil {
			return err
		}
	}
	d.book.mu.Lock()
	end := d.book.end
	d.book.mu.Unlock()
	if end != nil {
		return end(c)
	}
	return nil
}

func (d *diary) OnMessage(c *room.Context, m room.Message) error {
	d.drawn++
	return nil
}

func (d *diary) Write(c *room.Context, in line) error { return d.Lines.Upsert(c, in) }
func (d *diary) Strike(c *room.Context, id string) error {
	return d.Lines.Delete(c, id)
}

func (d *diary) Remind(c *room.Context, in line) error {
	after, err := time.ParseDuration(in.Text)
	if err != nil {
		return err
	}
	return c.SetAlarm("remind", c.Now().Add(after))
}

func (d *diary) OnAlarm(*room.Context, room.Alarm) error { d.book.note("alarm"); return nil }

func (d *diary) Wait(c *room.Context, in line) error {
	d.book.note("waiting")
	<-d.book.block
	return nil
}

func (d *diary) Fetch(c *room.Context, in line) error {
	return c.Go(func(context.Context) error { <-d.book.block; return nil },
		func(c *room.Context, _ error) error { return d.Lines.Upsert(c, in) })
}

func keep(t *testing.T, opts ...roomtest.Option) (*roomtest.Host, *book) {
	b := &book{block: make(chan struct{})}
	return roomtest.New(t, func(h *room.Host) error {
		return h.Register("diary", func() room.Handler { return &diary{book: b} }, room.Action("write", (*diary).Write),
			room.Action("strike", (*diary).Strike), room.Action("wait", (*diary).Wait), room.Action("fetch", (*diary).Fetch),
			room.Action("remind", (*diary).Remind))
	}, opts...), b
}

// A room sleeps when it has had nothing to do for the idle time, tells its handler, and wakes
// for whatever comes; who is connected stays so, and a broadcast reaches exactly those.
func TestRoomSleeps(t *testing.T) {
	h, b := keep(t)
	alice, bob, carol := h.Join("diary", "r", "alice"), h.Join("diary", "r", "bob"), h.Join("diary", "r", "carol")
	mustSucceed(t, alice.Do("lines", "write", object{"id": "1", "text": "x"}))
	h.Advance(9 * time.Second)
	if got := b.take(); h.Awake() != 1 || got != "start connect" {
		t.Fatalf("%d rooms are awake after 9 s: %s", h.Awake(), got)
	}
	if err := alice.Send([]byte(`{"draw":1}`)); err != nil { // the idle time begins again
		t.Fatal(err)
	}
	if err := h.Quiet(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.Advance(9 * time.Second)
	if h.Awake() != 1 {
		t.Fatal("it sleeps too early")
	}
	h.Advance(2 * time.Second)
	if got := b.take(); h.Awake() != 0 || got != "hibernate" || h.Connections() != 3 {
		t.Fatalf("%d rooms are awake, with %d connections: %s", h.Awake(), h.Connections(), got)
	}
	carol.Leave()
	for _, c := range []*roomtest.Client{alice, bob, carol} {
		c.Received()
	}
	h.SleepRoom("diary", "r")
	b.take()
	mustSucceed(t, alice.Do("lines", "write", object{"id": "2", "text": "x"}))
	if got := b.take(); got != "start message, wake message" {
		t.Errorf("it woke with: %s", got)
	}
	if got := bob.Received(); len(got) != 1 || got[0].Kind != "update" || ids(got[0].Rows) != "2" {
		t.Errorf("bob got %s", describe(got))
	}
	if got := carol.Received(); len(got) != 0 {
		t.Errorf("carol, who left, got %s", describe(got))
	}
	if rows := alice.Sync("lines"); ids(rows) != "1 2 drawn" && ids(rows) != "1 drawn 2" {
		t.Errorf("what OnHibernate wrote is not there: %s", ids(rows))
	}
	h.CrashRoom("diary", "r")
	h.Join("diary", "r", "dave")
	if got := b.take(); got != "start connect, wake connect" { // a crash does without OnHibernate
		t.Errorf("behind the crash: %s", got)
	}
	h.Reopen()
	if got := b.take(); got != "hibernate" {
		t.Errorf("the host's end: %s", got)
	}
}

// A room that never sleeps does not.
func TestRoomThatNeverSleeps(t *testing.T) {
	h, _ := keep(t, func(o *room.Options) { o.IdleAfter = -1 })
	h.Join("diary", "r", "alice")
	h.Advance(24 * time.Hour)
	if h.Awake() != 1 {
		t.Error("it sleeps")
	}
}

// A room with work under way outside stays awake until its result has come.
func TestSleepWaitsForWork(t *testing.T) {
	h, b := keep(t)
	alice := h.Join("diary", "r", "alice")
	mustSucceed(t, alice.Do("lines", "fetch", object{"id": "1", "text": "fetched"}))
	h.Advance(time.Minute)
	if h.Awake() != 1 {
		t.Fatal("it sleeps while work is under way")
	}
	close(b.block)
	if e := alice.Next(); e.Kind != "update" || ids(e.Rows) != "1" {
		t.Errorf("got %s", e.Data)
	}
	h.Advance(time.Minute)
	if h.Awake() != 0 {
		t.Error("it does not sleep")
	}
}

// However OnHibernate fails, the room sleeps, nothing of what it wrote is there, and the next
// life begins at once.
func TestHibernateFails(t *testing.T) {
	block := make(chan struct{})
	defer close(block)
	for name, end := range map[string]func(*room.Context) error{
		"error":  func(*room.Context) error { return errors.New("no") },
		"panic":  func(*room.Context) error { panic("no") },
		"work":   func(c *room.Context) error { return c.Go(func(context.Context) error { return nil }, nil) },
		"hanger": func(*room.Context) error { <-block; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			h, b := keep(t)
			alice := h.Join("diary", "r", "alice")
			b.endWith(end)
			if err := alice.Send([]byte(`{"draw":1}`)); err != nil {
				t.Fatal(err)
			}
			mustSucceed(t, alice.Do("lines", "write", object{"id": "1", "text": "x"}))
			asleep := make(chan struct{})
			go func() { h.SleepRoom("diary", "r"); close(asleep) }() // ends when the room sleeps
			for over := false; !over; {
				select {
				case <-asleep:
					over = true
				case <-time.After(time.Millisecond): // the hook may hang by now: real time, for its life is another goroutine
					if name == "hanger" {
						h.Clock.Advance(time.Second)
					}
				}
			}
			b.endWith(nil)
			if name == "hanger" { // a life that hung is a fault: the room may be tried again at once, the first time
				h.Clock.Advance(time.Second)
			}
			if rows := alice.Sync("lines"); ids(rows) != "1" {
				t.Errorf("the rows are %s", ids(rows))
			}
		})
	}
}

// Where as many rooms are awake as may be, the one sleeps that was used the longest ago; one in
// work never does, and where all are, the next is refused.
func TestInvariantBoundedAwake(t *testing.T) {
	h, b := keep(t, func(o *room.Options) { o.MaxAwake = 3 })
	clients := make(map[string]*roomtest.Client)
	use := func(name string) {
		t.Helper()
		h.Clock.Advance(time.Millisecond)
		if clients[name] == nil {
			clients[name] = h.Join("diary", name, "alice")
		}
		mustSucceed(t, clients[name].Do("lines", "write", object{"id": "1", "text": "x"}))
		if err := h.Quiet(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h.Awake() > 3 {
			t.Fatalf("%d rooms are awake", h.Awake())
		}
	}
	awake := func(want ...string) {
		t.Helper()
		b.take()
		for _, name := range want {
			h.Clock.Advance(time.Millisecond)
			mustSucceed(t, clients[name].Do("lines", "write", object{"id": "1", "text": "x"}))
		}
		if got := b.take(); got != "" {
			t.Errorf("of %v some were asleep: %s", want, got)
		}
	}
	for _, name := range []string{"a", "b", "c", "a", "d"} {
		use(name)
	}
	awake("c", "a", "d") // b was used the longest ago
	use("b")
	awake("a", "d", "b")

	for _, name := range []string{"a", "d", "b"} {
		clients[name].SendJSON(object{"id": "w", "channel": "lines", "rpc": true, "action": object{"type": "wait", "payload": object{}}})
	}
	refused := make(chan error, 1)
	go func() { _, err := h.TryJoin("diary", "e", "alice"); refused <- err }() // ends with its answer
	var err error
	for answered := false; !answered; {
		select {
		case err = <-refused:
			answered = true
		case <-time.After(time.Millisecond): // until it waits; its ticks are virtual
			h.Clock.Advance(50 * time.Millisecond)
		}
	}
	var refusal *room.Error
	if !errors.As(err, &refusal) || refusal.Code != "overloaded" {
		t.Errorf("got %v", err)
	}
	close(b.block)
	h.Advance(time.Second)
	use("e")
}

// More rooms than descriptors is told at the start.
func TestInvariantBoundedDescriptors(t *testing.T) {
	h, err := room.Open(room.Options{Dir: t.TempDir(), MaxAwake: 1 << 30})
	if err == nil {
		h.Shutdown(t.Context())
		t.Skip("this system has no limit")
	}
	if !strings.Contains(err.Error(), "MaxAwake") || !strings.Contains(err.Error(), "ulimit") {
		t.Errorf("got %v", err)
	}
}

var epochs = regexp.MustCompile(`"(cursor|at)":"[^".]+\.`)

// A history with a sleep after every event equals the same history without, in what clients see.
func TestInvariantSleepIsInvisible(t *testing.T) {
	for seed := range uint64(4) {
		always, never := sleepHistory(t, seed, true), sleepHistory(t, seed, false)
		for name, want := range never {
			if got := always[name]; !slices.Equal(got, want) {
				t.Errorf("seed %d: %s got\n%s\ninstead of\n%s", seed, name, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		if len(never["alice"]) < 20 {
			t.Errorf("seed %d: alice got %d messages only", seed, len(never["alice"]))
		}
	}
}

// sleepHistory is what each client got in a history made from a seed.
func sleepHistory(t *testing.T, seed uint64, sleep bool) map[string][]string {
	r := rand.New(rand.NewPCG(seed, 8))
	h, p := open(t, func(o *room.Options) { o.IdleAfter = -1 })
	clients := make(map[string]*roomtest.Client)
	got := make(map[string][]string)
	collect := func(name string) {
		if c := clients[name]; c != nil {
			for _, e := range c.Received() {
				got[name] = append(got[name], epochs.ReplaceAllString(string(e.Data), `"$1":"E.`))
			}
		}
	}
	names := []string{"alice", "bob", "carol"}
	for step := range 100 {
		h.Clock.Advance(time.Duration(r.IntN(2000)) * time.Millisecond)
		if err := h.Quiet(t.Context()); err != nil { // what is due comes before the step, not beside it
			t.Fatal(err)
		}
		name := names[r.IntN(len(names))]
		sleepStep(h, r, clients, name, step)
		if err := h.Quiet(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			collect(name)
		}
		if sleep {
			h.SleepRoom("shop", "r")
		}
	}
	if sleep && p.starts.Load() < 80 {
		t.Errorf("the room woke only %d times", p.starts.Load())
	}
	return got
}

func sleepStep(h *roomtest.Host, r *rand.Rand, clients map[string]*roomtest.Client, name string, step int) {
	c := clients[name]
	if c == nil {
		clients[name] = h.Join("shop", "r", name)
		return
	}
	id := fmt.Sprint(r.IntN(6))
	act := func(id, action string, payload object) {
		c.SendJSON(object{"id": id, "channel": "items", "rpc": true, "action": object{"type": action, "payload": payload}})
	}
	switch n := r.IntN(20); n {
	case 0:
		c.Leave()
		clients[name] = nil
	case 1, 2:
		c.SendJSON(object{"channel": "items", "sync": true, "from": nil})
	case 3:
		c.SendJSON(object{"channel": "items", "sync": true, "cursor": nil})
	case 4:
		c.Confirm()
	case 5:
		act("same", "put", object{"id": "s", "name": "once"}) // a repeat: the stored reply
	case 6:
		act("noop", "change", object{"id": "nobody", "name": "x"})
	case 7:
		c.SendJSON(object{"raw": step})
	case 8:
		act(fmt.Sprint("a", step), "attach", object{"name": fmt.Sprint(step)})
	case 9, 10:
		act(fmt.Sprint("q", step), "attached", nil)
	case 11, 12, 13:
		act(fmt.Sprint("r", step), "remove", object{"id": id})
	case 14:
		act(fmt.Sprint("e", step), "add", object{"id": id, "name": "may conflict"})
	case 15:
		act(fmt.Sprint("f", step), "attach", object{"id": "fail", "name": "not kept"})
	default:
		act(fmt.Sprint("p", step), "put", object{"id": id, "name": fmt.Sprint(step)})
	}
}

// An action that changed nothing has its reply in memory only, for there was nothing to commit;
// a room writes it down before it sleeps.
func TestInvariantExactlyOnceOverSleep(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "milk"}))
	if e := mustSucceed(t, alice.DoAs("same", "items", "calls", nil)); string(e.Value) != "1" {
		t.Fatalf("got %s", e.Data)
	}
	h.SleepRoom("shop", "r")
	if e := mustSucceed(t, alice.DoAs("same", "items", "calls", nil)); string(e.Value) != "1" {
		t.Errorf("behind the sleep it was applied again: %s", e.Data)
	}
	if e := mustSucceed(t, alice.DoAs("other", "items", "calls", nil)); string(e.Value) != "0" {
		t.Errorf("the room did not sleep: %s", e.Data)
	}
}

// A room with an alarm that is due at once stays awake for it. The files are in memory: Advance waits for a room's end
// for some seconds of real time only, and a disk that others use may take longer to close a file.
func TestSleepWaitsForAlarm(t *testing.T) {
	_, with := onDisk(t, 1)
	h, b := keep(t, with)
	alice := h.Join("diary", "r", "alice")
	mustSucceed(t, alice.Do("lines", "remind", object{"text": "10.5s"}))
	h.Advance(10*time.Second + 100*time.Millisecond)
	if h.Awake() != 1 {
		t.Error("it sleeps though an alarm is due at once")
	}
	h.Advance(400 * time.Millisecond)
	if got := b.take(); got != "start connect, alarm" {
		t.Errorf("got %s", got)
	}
	mustSucceed(t, alice.Do("lines", "remind", object{"text": "1h"}))
	h.Advance(11 * time.Second)
	if got := b.take(); got != "hibernate" || h.Awake() != 0 {
		t.Errorf("it does not sleep for an alarm of an hour: %s", got)
	}
	h.Advance(time.Hour)
	if got := b.take(); got != "start alarm, wake alarm, alarm, hibernate" {
		t.Errorf("got %s", got)
	}
}
