package room_test

// Actions whose batch was lost have not happened: whoever sends them again has them applied, however many they were
// and whatever was committed in between.

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

const poison = `CREATE TRIGGER poison AFTER INSERT ON private BEGIN SELECT RAISE(ROLLBACK, 'no'); END`

// A doomed batch is one that its last action takes down.
type doomed struct {
	t *testing.T
	h *roomtest.Host
	p *probe
	c *roomtest.Client
}

// lose sends actions that share a batch with one that rolls it back, and gives what each was answered with, by id. A first
// action, which holds the room up until all have come, is in a batch of its own.
func (d doomed) lose(name string, actions ...object) map[string]roomtest.Event {
	d.t.Helper()
	send := func(id, action string, payload any) {
		d.c.SendJSON(object{"id": id, "channel": "items", "rpc": true, "action": object{"type": action, "payload": payload}})
	}
	send("hang "+name, "hang", object{})
	within(d.t, d.p.entered, "the hook to begin")
	for _, action := range actions {
		d.c.SendJSON(action)
	}
	send("poison "+name, "sql", `INSERT INTO private VALUES (1)`)
	d.p.block <- struct{}{}
	answers := make(map[string]roomtest.Event)
	for _, e := range d.c.Received() {
		if e.ID != "" {
			answers[e.ID] = e
		}
	}
	if e := answers["poison "+name]; e.Kind != "error" {
		d.t.Fatalf("the action that takes its batch along was answered with %s", e.Data)
	}
	return answers
}

func byID(id, action string, payload any) object {
	return object{"id": id, "channel": "items", "rpc": true, "action": object{"type": action, "payload": payload}}
}

// TestInvariantExactlyOnceResendOfALostBatch loses batches of one to three actions, with and without replies that wait
// for a turn that writes, commits something else, and sends the lost actions again in the same life and in the next one.
func TestInvariantExactlyOnceResendOfALostBatch(t *testing.T) {
	for _, waiting := range []int{0, 2} {
		for lost := 1; lost <= 3; lost++ {
			for _, death := range []string{"none", "crash", "sleep"} {
				t.Run(fmt.Sprintf("%d lost, %d replies waiting, %s", lost, waiting, death), func(t *testing.T) {
					resendLost(t, waiting, lost, death)
				})
			}
		}
	}
}

func resendLost(t *testing.T, waiting, lost int, death string) {
	h, p := open(t)
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "sql", poison))
	var calls []string
	for i := range waiting {
		calls = append(calls, string(mustSucceed(t, alice.DoAs(fmt.Sprint("call", i), "items", "calls", nil)).Data))
	}
	var actions []object
	for i := range lost {
		actions = append(actions, byID(fmt.Sprint("lost", i), "add", object{"id": fmt.Sprint(i), "name": "x"}))
	}
	for id, e := range (doomed{t, h, p, alice}).lose("a", actions...) {
		if strings.HasPrefix(id, "lost") && e.Code != "aborted" {
			t.Fatalf("%s was answered with %s, although its batch was lost", id, e.Data)
		}
	}
	mustSucceed(t, alice.Do("items", "add", object{"id": "between", "name": "x"}))
	for i, call := range calls { // an earlier turn has answered it
		if got := string(alice.DoAs(fmt.Sprint("call", i), "items", "calls", nil).Data); got != call {
			t.Errorf("the call %d was answered with %s, and before the lost batch with %s", i, got, call)
		}
	}
	switch death {
	case "crash":
		h.CrashRoom("shop", "r")
	case "sleep":
		h.SleepRoom("shop", "r")
	}
	want := ""
	for i := range lost {
		e := mustSucceed(t, alice.DoAs(fmt.Sprint("lost", i), "items", "add", object{"id": fmt.Sprint(i), "name": "x"}))
		if ids(e.Rows) != fmt.Sprint(i) {
			t.Errorf("action %d was answered with %s", i, e.Data)
		}
		want += fmt.Sprint(i, " ")
	}
	if got := ids(alice.Sync("items")); got != want+"between ghost" {
		t.Errorf("the room holds %q, want %q", got, want+"between ghost")
	}
}

// TestInvariantExactlyOnceResendInALostBatch sends actions again that were applied, in a batch that is lost: each has the
// answer that it had, byte for byte. What is new in the batch is refused, and so is its own resend in that batch.
func TestInvariantExactlyOnceResendInALostBatch(t *testing.T) {
	for _, death := range []string{"none", "crash", "sleep"} {
		t.Run(death, func(t *testing.T) {
			h, p := open(t)
			alice := h.Join("shop", "r", "alice")
			mustSucceed(t, alice.Do("items", "sql", poison))
			plain, silent := byID("plain", "add", object{"id": "1", "name": "x"}), byID("silent", "calls", nil)
			number := byID("number", "add", object{"id": "2", "name": "x"})
			number["client"], number["mutation"] = "c", 1
			first := make(map[string]string)
			for _, action := range []object{plain, number, silent} {
				alice.SendJSON(action)
			}
			for _, e := range alice.Received() {
				first[e.ID] = string(mustSucceed(t, e).Data)
			}
			switch death {
			case "crash":
				h.CrashRoom("shop", "r")
				first["silent"] = "" // it has changed nothing, and its answer was not worth a write
			case "sleep":
				h.SleepRoom("shop", "r")
			}
			other, fresh := byID("other", "add", object{"id": "3", "name": "x"}), byID("fresh", "add", object{"id": "4", "name": "x"})
			other["client"], other["mutation"] = "c", 1
			for id, e := range (doomed{t, h, p, alice}).lose("a", plain, fresh, number, other, silent, fresh) {
				switch {
				case first[id] != "" && string(e.Data) != first[id]:
					t.Errorf("%s was answered with %s, and before with %s", id, e.Data, first[id])
				case id == "other" && (e.Code != "duplicate_id" || e.Number != "used"):
					t.Errorf("another action under a number that is used up was answered with %s", e.Data)
				case id == "fresh" && e.Code != "aborted":
					t.Errorf("what the batch has lost was answered with %s", e.Data)
				}
			}
			mustSucceed(t, alice.DoAs("fresh", "items", "add", object{"id": "4", "name": "x"}))
			if got := ids(alice.Sync("items")); got != "1 2 4 ghost" {
				t.Errorf("the room holds %q", got)
			}
		})
	}
}

// A resender sends actions under ids, and again each that it knows no outcome of. Each action appends its name to a row.
type resender struct {
	t     *testing.T
	h     *roomtest.Host
	p     *probe
	c     *roomtest.Client
	made  int
	open  map[string]bool   // those whose outcome is not known
	first map[string]string // what was first answered to the others
}

func (s *resender) action(id string) object {
	return byID(id, "sql", fmt.Sprintf(`UPDATE items SET name = name || '%s ' WHERE id = 'row'`, id))
}

// settle notes the outcomes among what came; an answer of before has to come again as it was.
func (s *resender) settle(answers map[string]roomtest.Event) {
	s.t.Helper()
	for id, e := range answers {
		switch {
		case !strings.HasPrefix(id, "n"):
		case e.Code == "aborted" && s.first[id] == "": // "Try again"
		case e.Kind != "success":
			s.t.Fatalf("%s was answered with %s", id, e.Data)
		case s.first[id] != "" && s.first[id] != string(e.Data):
			s.t.Errorf("%s was answered with %s, and before with %s", id, e.Data, s.first[id])
		default:
			delete(s.open, id)
			s.first[id] = string(e.Data)
		}
	}
}

// some are up to four actions, new ones and old ones, with and without a known outcome.
func (s *resender) some(r *rand.Rand) (actions []object) {
	used := make(map[string]bool)
	for range 1 + r.IntN(4) {
		id := fmt.Sprint("n", r.IntN(s.made+1))
		if r.IntN(2) == 0 || id == fmt.Sprint("n", s.made) {
			id = fmt.Sprint("n", s.made)
			s.made++
			s.open[id] = true
		}
		if !used[id] {
			actions = append(actions, s.action(id))
		}
		used[id] = true
	}
	return actions
}

func (s *resender) do(actions []object) {
	s.t.Helper()
	answers := make(map[string]roomtest.Event)
	for _, action := range actions {
		s.c.SendJSON(action)
	}
	for _, e := range s.c.Received() {
		if e.ID != "" {
			answers[e.ID] = e
		}
	}
	if len(answers) != len(actions) {
		s.t.Fatalf("%d of %d actions were answered", len(answers), len(actions))
	}
	s.settle(answers)
}

// TestInvariantExactlyOnceByIDAtRandom sends actions under ids, once and again, in batches some of which are lost, over lives
// that end in every way: each was applied once in the end, and answered alike each time.
func TestInvariantExactlyOnceByIDAtRandom(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 11))
			h, p := open(t)
			s := &resender{t: t, h: h, p: p, open: make(map[string]bool), first: make(map[string]string)}
			s.c = h.Join("shop", "r", "alice")
			mustSucceed(t, s.c.Do("items", "sql", `INSERT INTO items VALUES ('row', '', 1, 1, NULL); `+poison))
			for step := range 30 {
				switch n := r.IntN(10); {
				case n < 5:
					s.do(s.some(r))
				case n < 8:
					s.settle(doomed{t, h, p, s.c}.lose(fmt.Sprint(step), s.some(r)...))
				case n == 8:
					h.CrashRoom("shop", "r")
				default:
					h.Reopen()
					s.c = h.Join("shop", "r", "alice")
				}
			}
			for id := range s.open {
				s.do([]object{s.action(id)})
			}
			s.check()
		})
	}
}

func (s *resender) check() {
	s.t.Helper()
	for _, row := range s.h.Join("shop", "r", "").Sync("items") {
		if row.ID() != "row" {
			continue
		}
		times := make(map[string]int)
		for _, id := range strings.Fields(row[1].(string)) {
			times[id]++
		}
		for i := range s.made {
			if n := times[fmt.Sprint("n", i)]; n != 1 {
				s.t.Errorf("action %d was applied %d times", i, n)
			}
		}
		return
	}
	s.t.Error("the row is not there")
}

// TestInvariantExactlyOnceNumbersOfALostBatch loses a batch of numbered actions, commits another client's, and sends the
// lost ones again over a crash: each is applied, and its answer is of this application.
func TestInvariantExactlyOnceNumbersOfALostBatch(t *testing.T) {
	h, p := open(t, func(o *room.Options) { o.InFlight = 16 })
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "sql", poison))
	numbered := func(n uint64) object {
		action := byID(fmt.Sprintf("c-%d", n), "add", object{"id": fmt.Sprint(n), "name": "x"})
		action["client"], action["mutation"] = "c", n
		return action
	}
	for id, e := range (doomed{t, h, p, alice}).lose("a", numbered(1), numbered(2), numbered(3)) {
		if strings.HasPrefix(id, "c-") && (e.Kind != "error" || e.Number != "kept") {
			t.Errorf("%s was answered with %s", id, e.Data)
		}
	}
	mustSucceed(t, alice.DoNumbered("d", 1, "items", "add", object{"id": "between", "name": "x"}))
	h.CrashRoom("shop", "r")
	var first []string
	for n := range uint64(3) {
		e := mustSucceed(t, alice.DoNumbered("c", n+1, "items", "add", object{"id": fmt.Sprint(n + 1), "name": "x"}))
		if e.Number != "used" || ids(e.Rows) != fmt.Sprint(n+1) {
			t.Errorf("number %d was answered with %s", n+1, e.Data)
		}
		first = append(first, string(e.Data))
	}
	h.CrashRoom("shop", "r")
	for n := range uint64(3) {
		if again := alice.DoNumbered("c", n+1, "items", "add", object{"id": fmt.Sprint(n + 1), "name": "x"}); string(again.Data) != first[n] {
			t.Errorf("number %d again: %s, first %s", n+1, again.Data, first[n])
		}
	}
	if got := ids(alice.Sync("items")); got != "1 2 3 between ghost" {
		t.Errorf("the room holds %q", got)
	}
}
