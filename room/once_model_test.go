package room_test

// The rules of PROTOCOL.md's "Exactly once", as a model that knows nothing of Den, held against a
// room: every outcome of an action, then retried, lost, reordered and forgotten.

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage/faultdisk"
)

// A faulty is a room whose actions end in every way there is. An entry of its log is an action that was applied.
type faulty struct {
	room.Base
	Log room.Table[entry]

	rig *faultyRig
}

type entry struct {
	ID string
	room.Stamps
}

// faultyRig is how the test decides what becomes of the room and its actions.
type faultyRig struct {
	refuse  error         // of OnStart
	release chan struct{} // what hooks that hang wait for
	entered chan string   // told which action waits for time to pass
}

func (f *faulty) OnStart(c *room.Context) error {
	if f.rig.refuse != nil {
		return f.rig.refuse
	}
	_, err := c.Exec(`CREATE TABLE IF NOT EXISTS big (x BLOB); CREATE TABLE IF NOT EXISTS trap (x);
		CREATE TRIGGER IF NOT EXISTS sprung AFTER INSERT ON trap BEGIN SELECT RAISE(ROLLBACK, 'no'); END`)
	return err
}

func (f *faulty) OnAction(c *room.Context, _ string, a room.ActionRequest) (any, error) {
	var id string
	if err := a.Decode(&id); err != nil {
		return nil, err
	}
	if err := f.Log.Insert(c, entry{ID: id}); err != nil {
		return nil, err
	}
	switch a.Type {
	case "apply":
		return nil, nil
	case "abort":
		return nil, c.Abort("not_today", "Not today.")
	case "limit":
		return nil, c.Abort("overloaded", "Slow down.")
	case "fail":
		return nil, errors.New("no reason")
	case "missing":
		return nil, room.ErrNotFound
	case "panic":
		panic("boom")
	case "slow":
		f.rig.entered <- a.Type
		<-c.Done()
		return nil, c.Err()
	case "hang":
		f.rig.entered <- a.Type
		<-f.rig.release
		return nil, nil
	case "trap":
		_, err := c.Exec(`INSERT INTO trap VALUES (1)`)
		return nil, err
	}
	return f.Base.OnAction(c, "", a)
}

// An outcome is one way in which an action ends, and what PROTOCOL.md says of each try of it.
type outcome struct {
	action  string
	payload any      // nil: the entry's id
	tries   []string // the code of each answer, "" for success; the last one is the outcome
}

func outcomes() []outcome {
	return []outcome{
		{action: "apply", tries: []string{""}},
		{action: "abort", tries: []string{"not_today"}},
		{action: "fail", tries: []string{"action_failed"}},
		{action: "missing", tries: []string{"not_found"}},
		{action: "unheard of", tries: []string{"unknown_action"}},
		{action: "apply", payload: 7, tries: []string{"bad_payload"}},
		{action: "trap", tries: []string{"conflict"}},
		{action: "panic", tries: []string{"aborted", "aborted", "poisoned"}},
		{action: "slow", tries: []string{"action_timeout", "action_timeout", "poisoned"}},
		{action: "hang", tries: []string{"room_unavailable", "room_unavailable", "room_unavailable", "poisoned"}},
	}
}

// onceRig is a room under test and one client of it, which sends frames and reads what the room makes of them.
type onceRig struct {
	t    *testing.T
	h    *roomtest.Host
	room *faultyRig
	c    *roomtest.Client
}

func newOnceRig(t *testing.T, opts ...roomtest.Option) *onceRig {
	g := &onceRig{t: t, room: &faultyRig{release: make(chan struct{}), entered: make(chan string, 8)}}
	g.h = roomtest.New(t, func(h *room.Host) error {
		return h.Register("faulty", func() room.Handler { return &faulty{rig: g.room} })
	}, opts...)
	t.Cleanup(func() { close(g.room.release) })
	g.c = g.h.Join("faulty", "r", "")
	return g
}

// send sends a number, and does not wait for the answer.
func (g *onceRig) send(client string, n uint64, o outcome) (id string) {
	g.t.Helper()
	id = fmt.Sprintf("%s/%d", client, n)
	payload := o.payload
	if payload == nil {
		payload = id
	}
	g.c.SendJSON(object{"id": id, "channel": "log", "rpc": true, "client": client, "mutation": n,
		"action": object{"type": o.action, "payload": payload}})
	return id
}

// answer lets time pass where the action needs it, and gives the reply.
func (g *onceRig) answer(id string, o outcome) roomtest.Event {
	g.t.Helper()
	switch o.action {
	case "slow":
		within(g.t, g.room.entered, "the hook to begin")
		g.h.Clock.Advance(5 * time.Second)
	case "hang":
		within(g.t, g.room.entered, "the hook to begin")
		g.h.Clock.Advance(5 * time.Second)
		g.h.Clock.Advance(5 * time.Second)
	}
	return g.reply(id)
}

func (g *onceRig) reply(id string) roomtest.Event {
	g.t.Helper()
	for {
		if e := g.c.Next(); e.ID == id {
			return e
		}
	}
}

// try does the try of an outcome that is given, from 0, and holds its answer against the rules.
func (g *onceRig) try(client string, n uint64, o outcome, at int) roomtest.Event {
	g.t.Helper()
	last := at == len(o.tries)-1
	id := g.send(client, n, o)
	if waits := o; waits.action != "hang" || !last {
		return g.want(g.answer(id, waits), o.tries[at], last)
	}
	return g.want(g.reply(id), o.tries[at], last) // a poison is not run once more
}

// want holds an answer against the code and the fate of its number.
func (g *onceRig) want(e roomtest.Event, code string, used bool) roomtest.Event {
	g.t.Helper()
	number := map[bool]string{true: "used", false: "kept"}[used]
	if e.Code != code || (e.Kind == "success") != (code == "") || e.Number != number {
		g.t.Fatalf("got %s, want the code %q and the number %s", e.Data, code, number)
	}
	return e
}

// settle tries an action until it has its outcome.
func (g *onceRig) settle(client string, n uint64, o outcome) (last roomtest.Event) {
	g.t.Helper()
	for at := range o.tries {
		last = g.try(client, n, o, at)
		g.h.Advance(time.Minute) // a room that failed has backed off
	}
	return last
}

// log holds what was applied against what should have been.
func (g *onceRig) log(want string) {
	g.t.Helper()
	if got := ids(g.c.Sync("log")); got != want {
		g.t.Errorf("applied were %q, want %q", got, want)
	}
}

var ok = outcome{action: "apply", tries: []string{""}}

// Each outcome uses its number up, after the tries that it has; until then no other number runs, then
// the next one does; and retried over a crash and with its answer lost it is the same one.
func TestExactlyOnceOutcomes(t *testing.T) {
	for i, o := range outcomes() {
		t.Run(fmt.Sprint(i, " ", o.action), func(t *testing.T) {
			g := newOnceRig(t)
			for at := range o.tries {
				if at > 0 { // kept: what follows does not run, and is told what to wait for
					if e := g.want(g.reply(g.send("c", 2, ok)), "mutation_gap", false); e.Next != 1 {
						t.Fatalf("the room waits for %d", e.Next)
					}
					g.h.CrashRoom("faulty", "r") // tries count over lives
				}
				g.try("c", 1, o, at)
				g.h.Advance(time.Minute)
			}
			first := g.send("c", 1, o)
			again := g.reply(first)
			g.h.Reopen()
			g.c = g.h.Join("faulty", "r", "")
			g.want(again, o.tries[len(o.tries)-1], true)
			if durable := g.reply(g.send("c", 1, o)); string(durable.Data) != string(again.Data) {
				t.Errorf("after a restart the answer is %s, and was %s", durable.Data, again.Data)
			}
			g.settle("c", 2, ok)
			want := "c/2"
			if o.tries[0] == "" {
				want = "c/1 c/2"
			}
			g.log(want)
		})
	}
}

// Whatever becomes of the first number, a client that sends its whole queue at once, loses all the
// answers and sends it again and again, as PROTOCOL.md has it, gets through, and each is applied once.
func TestExactlyOnceQueue(t *testing.T) {
	for i, o := range outcomes() {
		t.Run(fmt.Sprint(i, " ", o.action), func(t *testing.T) {
			g := newOnceRig(t)
			queue := []outcome{o, ok, o, ok}
			next := uint64(1) // the first that has no outcome
			for round := 0; next <= 4; round++ {
				if round == 20 {
					t.Fatalf("number %d does not get through", next)
				}
				var sent []string
				for n := next; n <= 4; n++ {
					sent = append(sent, g.send("c", n, queue[n-1]))
				}
				before := next
				for n := before; n <= 4; n++ {
					e := g.pass(sent[n-before])
					switch {
					case e.Number == "used" && n == next:
						next++
					case e.Number == "used":
						t.Fatalf("number %d has its outcome before %d: %s", n, next, e.Data)
					case e.Code == "unknown_client" && e.Next != 1:
						t.Fatalf("the client is to give up its name: %s", e.Data)
					}
				}
				g.h.Advance(time.Minute)
			}
			want := "c/2 c/4"
			if o.tries[0] == "" {
				want = "c/1 c/2 c/3 c/4"
			}
			g.log(want)
		})
	}
}

// pass waits for a reply, while time passes for hooks that wait for it.
func (g *onceRig) pass(id string) roomtest.Event {
	g.t.Helper()
	got := make(chan roomtest.Event, 1)
	go func() { got <- g.reply(id) }()
	for {
		select {
		case e := <-got:
			return e
		case action := <-g.room.entered:
			g.h.Clock.Advance(5 * time.Second)
			if action == "hang" {
				g.h.Clock.Advance(5 * time.Second)
			}
		}
	}
}

// What is not the action's own doing never uses its number, whatever code it has.
func TestExactlyOnceKept(t *testing.T) {
	refusals := map[string]error{
		"not found": room.ErrNotFound, "abort": room.Abort("closed", "This room is closed."), "fault": errors.New("no"),
		"final code": room.Abort("already_applied", "No."),
	}
	for name, refuse := range refusals {
		t.Run("start: "+name, func(t *testing.T) {
			g := newOnceRig(t)
			g.settle("c", 1, ok)
			g.h.SleepRoom("faulty", "r")
			g.room.refuse = refuse
			g.want(g.reply(g.send("c", 2, ok)), "room_unavailable", false)
			g.h.Advance(time.Minute)
			_, err := g.h.TryJoin("faulty", "r", "") // who connects is told the room's own code
			if code, _ := room.ErrorCode(err); name == "abort" && code != "closed" || name == "not found" && code != "not_found" {
				t.Errorf("who connects is told %s", code)
			}
			g.room.refuse = nil
			g.h.Advance(time.Minute)
			g.settle("c", 2, ok)
			g.log("c/1 c/2")
		})
	}
	t.Run("the room's own limit", func(t *testing.T) {
		g := newOnceRig(t)
		for range 5 {
			g.want(g.reply(g.send("c", 1, outcome{action: "limit"})), "overloaded", false)
		}
		g.settle("c", 1, ok)
		g.log("c/1")
	})
	t.Run("a full inbox", func(t *testing.T) {
		g := newOnceRig(t, func(o *room.Options) { o.MailboxSize = 1 })
		hung := g.send("other", 1, outcome{action: "slow"})
		within(g.t, g.room.entered, "the hook to begin")
		first, sent := g.send("c", 1, ok), make(chan string)
		go func() { sent <- g.send("c", 2, ok) }() // waits for room in the inbox
		g.h.Clock.Advance(5 * time.Second)
		g.want(g.reply(hung), "action_timeout", false)
		g.want(g.reply(first), "", true)
		g.want(g.reply(within(g.t, sent, "the answer")), "", true)
		g.log("c/1 c/2")
	})
	t.Run("another action took it down", func(t *testing.T) {
		g := newOnceRig(t)
		hung := g.send("other", 1, outcome{action: "slow"})
		within(g.t, g.room.entered, "the hook to begin")
		first, trap := g.send("c", 1, ok), g.send("trapper", 1, outcome{action: "trap"})
		g.h.Clock.Advance(5 * time.Second)
		g.want(g.reply(hung), "action_timeout", false)
		g.want(g.reply(trap), "conflict", true)
		g.want(g.reply(first), "aborted", false)
		g.settle("c", 1, ok)
		g.log("c/1")
	})
	t.Run("a full disk", func(t *testing.T) {
		disk, with := onDisk(t, 1)
		g := newOnceRig(t, with)
		g.settle("c", 1, ok)
		disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, Suffix: ".log", Times: -1})
		for _, o := range []outcome{ok, {action: "abort"}, {action: "panic"}} {
			e := g.reply(g.send("c", 2, o))
			if e.Number != "kept" || e.Code != "storage_unavailable" && e.Code != "room_unavailable" && e.Code != "aborted" {
				t.Errorf("%s on a full disk: %s", o.action, e.Data)
			}
			g.h.Advance(time.Minute)
		}
		disk.Heal()
		g.h.Advance(time.Minute)
		g.settle("c", 2, ok)
		g.log("c/1 c/2")
	})
}

// A client that the room has forgotten is told so before anything of it is applied: at every number if
// its id has its time, above 1 if it is bare.
func TestExactlyOnceForgotten(t *testing.T) {
	const day = 24 * time.Hour
	at := func(made time.Time) string { return fmt.Sprintf("%d.0123456789abcdef", made.UnixMilli()) }
	born := roomtest.Start
	for _, c := range []struct {
		name, client string
		forgotten    string // what number 1 is answered with after it was forgotten
	}{
		{"dated", at(born), "unknown_client"},
		{"made before it was used", at(born.Add(-20 * day)), "unknown_client"},
		{"a clock that is ahead", at(born.Add(20 * time.Hour)), "unknown_client"},
		{"a clock that is far ahead", at(born.Add(40 * day)), "conflict"}, // as a bare one
		{"bare", "c", "conflict"},                                         // the limit that PROTOCOL.md has: it is run again
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newOnceRig(t)
			first := g.settle(c.client, 1, ok)
			g.h.Advance(29 * day)
			// After a day the reply has no content: it says the outcome.
			again := g.reply(g.send(c.client, 1, ok))
			if again.Code != "already_applied" && (again.Kind != "success" || again.Number != "used" || again.Cursor != first.Cursor || len(again.Rows) != 0) {
				t.Errorf("after 29 days: %s", again.Data)
			}
			g.h.Advance(3 * day) // no action of it in between
			for range 2 {        // one that wakes the room, and lets it forget
				g.h.SleepRoom("faulty", "r")
				g.c.Do("log", "apply", "other")
			}
			if e := g.want(g.reply(g.send(c.client, 2, ok)), "unknown_client", false); e.Now != g.h.Clock.Now().UnixMilli() || (e.Next == 1) != (c.forgotten == "conflict") {
				t.Errorf("number 2 of a client that was forgotten: %s", e.Data)
			}
			g.want(g.reply(g.send(c.client, 1, ok)), c.forgotten, c.forgotten == "conflict")
			g.settle(at(g.h.Clock.Now()), 1, outcome{action: "abort", tries: []string{"not_today"}})
		})
	}
	t.Run("a clock that is behind", func(t *testing.T) { // it takes the time from the answer
		g := newOnceRig(t)
		e := g.want(g.reply(g.send(at(born.Add(-31*day)), 1, ok)), "unknown_client", false)
		g.settle(at(time.UnixMilli(e.Now)), 1, ok)
		g.log(fmt.Sprint(at(time.UnixMilli(e.Now)), "/1"))
	})
}

// A numbered action whose frame cannot be read has its number used up where the frame shows it.
func TestExactlyOnceUnreadable(t *testing.T) {
	g := newOnceRig(t)
	for n, action := range []string{`"x"`, `{"payload":1}`, `{"type":""}`, `{"type":"apply","payload":nan}`, "{\"type\":\"apply\",\"payload\":\"\x01\"}"} {
		frame := fmt.Sprintf(`{"id":"bad","channel":"log","rpc":true,"client":"c","mutation":%d,"action":%s}`, n+1, action)
		if err := g.c.Send([]byte(frame)); err != nil {
			t.Fatal(err)
		}
		first := g.want(g.reply("bad"), "bad_message", true)
		if err := g.c.Send([]byte(frame)); err != nil {
			t.Fatal(err)
		}
		if again := g.reply("bad"); string(again.Data) != string(first.Data) {
			t.Errorf("%s again: %s, first %s", action, again.Data, first.Data)
		}
	}
	g.settle("c", 6, ok)
	g.log("c/6")
}
