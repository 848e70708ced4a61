package room_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

func TestInvariantAtomicPanicFailsItsActionAlone(t *testing.T) {
	h, p := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	mustSucceed(t, alice.Do("items", "add", object{"id": "before", "name": "x"}))
	e := mustRefuse(t, alice.Do("items", "panic", object{"id": "lost"}), "action_failed")
	if strings.Contains(string(e.Data), "hunter2") {
		t.Errorf("the panic leaks: %s", e.Data)
	}
	mustSucceed(t, bob.Do("items", "add", object{"id": "after", "name": "x"}))
	if got := ids(alice.Sync("items")); got != "after before" {
		t.Errorf("the room holds %s", got)
	}
	if n := p.starts.Load(); n != 2 {
		t.Errorf("the room had %d lives, want 2", n)
	}
	if e := mustSucceed(t, alice.Do("items", "calls", nil)); string(e.Value) != "1" {
		t.Errorf("the handler's memory outlived the panic: calls = %s", e.Value)
	}
	if p.errors.Load() != 1 {
		t.Errorf("OnError was called %d times", p.errors.Load())
	}
}

// Of actions that share a batch with one that panics, those before hold and those
// behind are applied by the next life: nobody but the culprit is refused.
func TestInvariantAtomicPanicInABatch(t *testing.T) {
	h, p := open(t)
	alice := h.Join("shop", "r", "alice")
	send := func(id, action string) {
		alice.SendJSON(object{"id": id, "channel": "items", "rpc": true, "action": object{"type": action, "payload": object{"id": id}}})
	}
	send("0", "hang") // holds the room up while the others queue
	within(t, p.entered, "the hook to begin")
	for i := 1; i <= 9; i++ {
		send(fmt.Sprint(i), map[bool]string{true: "panic", false: "add"}[i == 5])
	}
	close(p.block)
	codes := map[string]string{}
	for _, e := range alice.Received() {
		if e.ID != "" {
			codes[e.ID] = e.Kind + e.Code
		}
	}
	for i := range 10 {
		want := "success"
		if i == 5 {
			want = "erroraction_failed"
		}
		if codes[fmt.Sprint(i)] != want {
			t.Errorf("action %d: %q, want %q", i, codes[fmt.Sprint(i)], want)
		}
	}
	if got := ids(alice.Sync("items")); got != "1 2 3 4 6 7 8 9 ghost" {
		t.Errorf("the room holds %q", got)
	}
}

func TestInvariantAtomicResultThatIsNoJSON(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	mustRefuse(t, alice.Do("items", "unmarshalable", object{"id": "1"}), "action_failed")
	if rows := alice.Sync("items"); len(rows) != 0 {
		t.Errorf("it left %v", rows)
	}
}

func TestInvariantIsolationHandlerThatNeverReturns(t *testing.T) {
	h, p := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	other := h.Join("shop", "elsewhere", "carol")
	mustSucceed(t, alice.Do("items", "add", object{"id": "kept", "name": "x"}))
	alice.SendJSON(object{"id": "h", "channel": "items", "rpc": true, "action": object{"type": "hang", "payload": object{}}})
	within(t, p.entered, "the hook to begin")
	bob.SendJSON(object{"id": "queued", "channel": "items", "rpc": true, "action": object{"type": "add", "payload": object{"id": "queued"}}})
	mustSucceed(t, other.Do("items", "add", object{"id": "1", "name": "another room goes on"}))

	h.Clock.Advance(5 * time.Second) // its time is over, and it takes no notice
	h.Clock.Advance(5 * time.Second) // the room goes on without it
	var refused roomtest.Event
	for refused.ID != "h" {
		refused = alice.Next()
	}
	if refused.Kind != "error" || refused.Code != "room_unavailable" {
		t.Errorf("the action that hangs was answered with %s", refused.Data)
	}
	var queued roomtest.Event
	for queued.ID != "queued" {
		queued = bob.Next()
	}
	if queued.Kind != "success" {
		t.Errorf("the action behind it was answered with %s", queued.Data)
	}
	close(p.block) // the hook wakes up, writes and sends; nothing of it may arrive
	mustSucceed(t, alice.Do("items", "add", object{"id": "new", "name": "x"}))
	if got := ids(alice.Sync("items")); got != "kept new queued" {
		t.Errorf("the room holds %q", got)
	}
	for _, e := range bob.Received() {
		if strings.Contains(string(e.Data), "boo") {
			t.Errorf("a fenced hook's message arrived: %s", e.Data)
		}
	}
}

// What a hook that hangs had set of its connection is not the connection's, then or when
// it wakes up.
func TestInvariantAtomicAttachmentOfAHangingAction(t *testing.T) {
	h, p := open(t)
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "attach", object{"name": "first"}))
	alice.SendJSON(object{"id": "h", "channel": "items", "rpc": true, "action": object{"type": "hang", "payload": object{"name": "set and hang"}}})
	within(t, p.entered, "the hook to begin")
	h.Clock.Advance(5 * time.Second)
	h.Clock.Advance(5 * time.Second)
	if e := alice.Do("items", "attached", nil); string(e.Value) != `"first"` {
		t.Errorf("the attachment is %s", e.Value)
	}
	close(p.block)
	mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "x"}))
	if e := alice.Do("items", "attached", nil); string(e.Value) != `"first"` {
		t.Errorf("when the hook had woken up the attachment was %s", e.Value)
	}
}

// Later actions of a batch see what earlier ones have set, and an action that fails sets
// nothing.
func TestAttachmentsWithinABatch(t *testing.T) {
	h, p := open(t)
	alice := h.Join("shop", "r", "alice")
	send := func(id, action string, payload any) {
		alice.SendJSON(object{"id": id, "channel": "items", "rpc": true, "action": object{"type": action, "payload": payload}})
	}
	send("hang", "hang", object{})
	within(t, p.entered, "the hook to begin")
	send("set", "attach", object{"name": "one"})
	send("fail", "attach", object{"id": "fail", "name": "two"})
	send("get", "attached", nil)
	close(p.block)
	for _, e := range alice.Received() {
		if e.ID == "get" && string(e.Value) != `"one"` {
			t.Errorf("within the batch the attachment is %s", e.Value)
		}
	}
	if e := alice.Do("items", "attached", nil); string(e.Value) != `"one"` {
		t.Errorf("behind it the attachment is %s", e.Value)
	}
}

func TestPayloadThatPanics(t *testing.T) {
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("fussy", func() room.Handler { return new(fussyRoom) }, room.Action("take", (*fussyRoom).Take))
	})
	alice := h.Join("fussy", "r", "alice")
	mustRefuse(t, alice.Do("items", "take", object{}), "action_failed")
	alice.Sync("items")
}

func TestHookThatHeedsItsContext(t *testing.T) {
	h, p := open(t)
	alice := h.Join("shop", "r", "alice")
	done := make(chan roomtest.Event)
	go func() { done <- alice.Do("items", "slow", object{"id": "1"}) }()
	within(t, p.entered, "the hook to begin")
	h.Clock.Advance(5 * time.Second)
	mustRefuse(t, within(t, done, "the answer"), "action_timeout")
	if rows := alice.Sync("items"); len(rows) != 0 {
		t.Errorf("it left %v", rows)
	}
}

func TestEndlessSQLIsInterrupted(t *testing.T) {
	h, p := open(t)
	alice := h.Join("shop", "r", "alice")
	done := make(chan roomtest.Event)
	go func() { done <- alice.Do("items", "spin", object{}) }()
	within(t, p.entered, "the hook to begin")
	for range 2000 {
		h.Clock.Advance(5 * time.Second)
		select {
		case e := <-done:
			if e.Code != "action_timeout" && e.Code != "room_unavailable" {
				t.Errorf("got %s", e.Data)
			}
			mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "goes on"}))
			return
		case <-time.After(10 * time.Millisecond): // SQLite may not have begun yet
		}
	}
	t.Error("the action does not end")
}

func TestRoomThatDoesNotStart(t *testing.T) {
	h, p := open(t)
	p.failing.Store(true)
	_, err := h.TryJoin("shop", "r", "alice")
	var refusal *room.Error
	if !errors.As(err, &refusal) || refusal.Code != "room_unavailable" {
		t.Fatalf("joining a room that does not start: %v", err)
	}
	if strings.Contains(refusal.Message, "shop.conf") {
		t.Errorf("the reason leaks: %q", refusal.Message)
	}
	starts := p.starts.Load()
	if _, err := h.TryJoin("shop", "r", "alice"); err == nil || p.starts.Load() != starts {
		t.Errorf("a second call at once: err = %v, %d new tries", err, p.starts.Load()-starts)
	}
	p.failing.Store(false)
	h.Advance(time.Minute)
	mustSucceed(t, h.Join("shop", "r", "alice").Do("items", "add", object{"id": "1", "name": "x"}))
}

func TestInvariantIsolationStartThatNeverReturns(t *testing.T) {
	h, p := open(t)
	p.hanging.Store(true)
	refused := make(chan error)
	go func() {
		_, err := h.TryJoin("shop", "r", "alice")
		refused <- err
	}()
	within(t, p.entered, "the hook to begin")
	h.Clock.Advance(5 * time.Second)
	h.Clock.Advance(5 * time.Second)
	var refusal *room.Error
	if err := within(t, refused, "the refusal"); !errors.As(err, &refusal) || refusal.Code != "room_unavailable" {
		t.Errorf("joining a room whose start hangs: %v", err)
	}
	p.hanging.Store(false)
	h.Advance(time.Minute)
	mustSucceed(t, h.Join("shop", "r", "alice").Do("items", "add", object{"id": "1", "name": "x"}))
	close(p.block) // the old start wakes up, in a life that is fenced
	mustSucceed(t, h.Join("shop", "r", "bob").Do("items", "add", object{"id": "2", "name": "x"}))
}

func TestAttachmentOfAFailedAction(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "attach", object{"name": "first"}))
	mustRefuse(t, alice.Do("items", "attach", object{"id": "fail", "name": "second"}), "no")
	mustRefuse(t, alice.Do("items", "attach", object{"name": strings.Repeat("x", 17<<10)}), "action_failed")
	if e := alice.Do("items", "attached", nil); string(e.Value) != `"first"` {
		t.Errorf("the attachment is %s", e.Value)
	}
}

func TestInvariantBoundedActionOverTheRowLimit(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.MaxRows = 10 })
	alice := h.Join("shop", "r", "alice")
	mustRefuse(t, alice.Do("items", "sql", `INSERT INTO items WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 11)
		SELECT 'i' || i, '', 1, 1, NULL FROM n`), "too_large")
	if rows := alice.Sync("items"); len(rows) != 0 {
		t.Errorf("it left %d rows", len(rows))
	}
}

func TestInvariantBoundedDatabase(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.MaxRoomBytes = 256 << 10 })
	alice := h.Join("shop", "r", "alice")
	other := h.Join("shop", "elsewhere", "bob")
	acknowledged := 0
	for i := 0; ; i++ {
		e := alice.Do("items", "add", object{"id": fmt.Sprint(i), "name": strings.Repeat("x", 10_000)})
		if e.Kind == "success" {
			acknowledged++
			continue
		}
		mustRefuse(t, e, "room_full")
		break
	}
	if acknowledged == 0 {
		t.Fatal("nothing fitted")
	}
	mustSucceed(t, other.Do("items", "add", object{"id": "1", "name": "goes on"}))
	h.SleepRoom("shop", "r")
	if rows := alice.Sync("items"); len(rows) != acknowledged {
		t.Errorf("%d of %d acknowledged rows are there", len(rows), acknowledged)
	}
}

func TestInvariantNothingLeaksFromStorage(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	for _, script := range []string{
		"PRAGMA journal_mode=DELETE", "ATTACH '/etc/passwd' AS x", "COMMIT", "SAVEPOINT x", "DELETE FROM _den_meta", "SELECT load_extension('x')",
		"DROP TABLE items_that_are_not_there", "garbage",
	} {
		e := mustRefuse(t, alice.Do("items", "sql", script), "action_failed")
		if e.Message != "The action failed." {
			t.Errorf("%s: %s", script, e.Data)
		}
	}
	mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "goes on"}))
}

// RAISE(ROLLBACK) takes the whole transaction down, the other actions of the batch
// with it: they are told so, and nothing of them remains.
func TestInvariantAtomicBatchLost(t *testing.T) {
	h, p := open(t)
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "sql", `CREATE TRIGGER poison AFTER INSERT ON private BEGIN SELECT RAISE(ROLLBACK, 'no'); END`))
	send := func(id, action string, payload any) {
		alice.SendJSON(object{"id": id, "channel": "items", "rpc": true, "action": object{"type": action, "payload": payload}})
	}
	send("hang", "hang", object{})
	within(t, p.entered, "the hook to begin")
	send("before", "add", object{"id": "before"})
	send("poison", "sql", `INSERT INTO private VALUES (1)`)
	send("after", "add", object{"id": "after"})
	close(p.block)
	got := map[string]string{}
	for _, e := range alice.Received() {
		got[e.ID] = e.Kind + " " + e.Code
	}
	want := map[string]string{"before": "error aborted", "after": "success "}
	for id, w := range want {
		if got[id] != w {
			t.Errorf("%s: %q, want %q", id, got[id], w)
		}
	}
	if !strings.HasPrefix(got["poison"], "error") {
		t.Errorf("poison: %q", got["poison"])
	}
	if rows := ids(alice.Sync("items")); rows != "after ghost" {
		t.Errorf("the room holds %q", rows)
	}
}

// A snapshot of a batch that was lost is not given to anybody: its seq is used again, for
// something else.
func TestInvariantAtomicSnapshotOfALostBatch(t *testing.T) {
	h, p := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	mustSucceed(t, alice.Do("items", "sql", `CREATE TRIGGER poison AFTER INSERT ON private BEGIN SELECT RAISE(ROLLBACK, 'no'); END`))
	send := func(id, action string, payload any) {
		alice.SendJSON(object{"id": id, "channel": "items", "rpc": true, "action": object{"type": action, "payload": payload}})
	}
	send("hang", "hang", object{})
	within(t, p.entered, "the hook to begin")
	send("lost", "add", object{"id": "lost"})
	for range 2 { // one alone would come before all that alice has sent
		bob.SendJSON(object{"channel": "items", "sync": true, "from": nil}) // sees "lost", and is answered later
	}
	send("poison", "sql", `INSERT INTO private VALUES (1)`)
	send("kept", "add", object{"id": "kept"}) // has the seq that "lost" had
	close(p.block)
	codes := make(map[string]string)
	for _, e := range alice.Received() {
		codes[e.ID] = e.Kind + e.Code
	}
	if codes["lost"] != "erroraborted" || codes["kept"] != "success" {
		t.Fatalf("the actions were answered with %v: the test shows nothing", codes)
	}
	if got := ids(h.Join("shop", "r", "carol").Sync("items")); got != "ghost kept" {
		t.Errorf("a new client got %q", got)
	}
	h.Advance(time.Second) // bob's sync is tried again
	got := bob.Received()
	if len(got) == 0 || got[len(got)-1].Kind != "sync" || ids(got[len(got)-1].Rows) != "ghost kept" {
		t.Fatalf("bob got %s", describe(got))
	}
	for _, e := range got {
		if strings.Contains(string(e.Data), `"lost"`) {
			t.Errorf("bob got a row that was undone, in %s", e.Data)
		}
	}
}
