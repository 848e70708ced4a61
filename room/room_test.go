package room_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

type object = map[string]any

type item struct {
	ID   string
	Name string
	room.Stamps
}

type mark struct {
	ID   int
	Item string
	room.Stamps
}

// shop is a room with everything in it that the tests want.
type shop struct {
	room.Base
	Items room.Table[item]
	Marks room.Table[mark]

	probe *probe
	calls int // in memory: gone with the life
}

// probe is how a test talks to its room's handler.
type probe struct {
	starts  atomic.Int32
	errors  atomic.Int32
	closes  atomic.Int32
	failing atomic.Bool   // OnStart fails
	hanging atomic.Bool   // OnStart does not return
	block   chan struct{} // what "hang" waits for
	entered chan struct{} // told when "hang" has begun
}

func (s *shop) OnStart(c *room.Context) error {
	s.probe.starts.Add(1)
	if s.probe.hanging.Load() {
		s.probe.entered <- struct{}{}
		<-s.probe.block
	}
	if s.probe.failing.Load() {
		return errors.New("cannot find /etc/shop.conf")
	}
	_, err := c.Exec(`CREATE TABLE IF NOT EXISTS private (n INTEGER)`)
	return err
}

func (s *shop) OnConnect(c *room.Context) error {
	if strings.HasPrefix(c.Conn().ID(), "banned") {
		return c.Abort("banned", "You are not welcome here.")
	}
	if c.Request() != nil {
		return c.Conn().SetTags(c.Request().URL.Query()["tag"]...)
	}
	return nil
}

func (s *shop) OnClose(c *room.Context, code int, reason string) error {
	s.probe.closes.Add(1)
	return c.Broadcast(room.JSON(object{"left": c.Conn().ID()}))
}

func (s *shop) OnError(c *room.Context, _ error) {
	_, wrote := c.Exec(`DELETE FROM items`)
	if sent := c.Broadcast(room.Text(`"oh"`)); wrote == nil || sent == nil {
		panic("OnError could write or send")
	}
	s.probe.errors.Add(1)
}

func (s *shop) OnMessage(c *room.Context, m room.Message) error {
	if m.Binary {
		return s.Base.OnMessage(c, m)
	}
	return c.Broadcast(room.Text(string(m.Data)), c.Conn().ID())
}

func (s *shop) OnRequest(c *room.Context, w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPost {
		body, _ := io.ReadAll(r.Body)
		if err := s.Items.Insert(c, item{ID: c.NewID(), Name: string(body)}); err != nil {
			return err
		}
		w.WriteHeader(http.StatusCreated)
	}
	items, err := s.Items.All(c)
	if err != nil {
		return err
	}
	w.Header().Set("X-Items", fmt.Sprint(len(items)))
	_, err = fmt.Fprintf(w, "%d items", len(items))
	return err
}

func (s *shop) Add(c *room.Context, in item) error {
	s.calls++
	return s.Items.Insert(c, in)
}

func (s *shop) Put(c *room.Context, in item) error    { return s.Items.Upsert(c, in) }
func (s *shop) Change(c *room.Context, in item) error { return s.Items.Update(c, in) }
func (s *shop) Remove(c *room.Context, in item) error { return s.Items.Delete(c, in.ID) }

// Tag writes into two tables.
func (s *shop) Tag(c *room.Context, in mark) error {
	if err := s.Marks.Insert(c, in); err != nil {
		return err
	}
	return s.Items.Update(c, item{ID: in.Item, Name: "tagged"})
}

func (s *shop) Calls(*room.Context, struct{}) (int, error) { return s.calls, nil }

func (s *shop) Find(c *room.Context, in item) (item, error) { return s.Items.Get(c, in.ID) }

func (s *shop) Panic(c *room.Context, in item) error {
	if err := s.Items.Insert(c, in); err != nil {
		return err
	}
	panic("password=hunter2")
}

func (s *shop) Unmarshalable(c *room.Context, in item) (any, error) {
	return func() {}, s.Items.Insert(c, in)
}

// Hang never returns until the test lets it, and then tries to do harm.
func (s *shop) Hang(c *room.Context, in item) error {
	if in.Name != "" {
		if err := c.Conn().SetAttachment([]byte(in.Name)); err != nil {
			return err
		}
	}
	s.probe.entered <- struct{}{}
	<-s.probe.block
	s.Items.Insert(c, item{ID: "ghost"})
	c.Broadcast(room.Text(`"boo"`))
	if in.Name != "" {
		c.Conn().SetAttachment([]byte("woken"))
	}
	return nil
}

// Slow takes its context's word for when to give up.
func (s *shop) Slow(c *room.Context, in item) error {
	s.Items.Insert(c, in)
	s.probe.entered <- struct{}{}
	<-c.Done()
	return c.Err()
}

// Spin keeps SQLite busy for ever.
func (s *shop) Spin(c *room.Context, in item) error {
	s.probe.entered <- struct{}{}
	var n int
	return c.QueryRow(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n`, nil, &n)
}

// Fetch does something slow outside.
func (s *shop) Fetch(c *room.Context, in item) error {
	var name string
	return c.Go(func(context.Context) error {
		if in.Name == "bad" {
			return errors.New("no answer")
		}
		name = "fetched " + in.Name
		return nil
	}, func(c *room.Context, err error) error {
		if err != nil {
			name = "failed"
		}
		return s.Items.Upsert(c, item{ID: in.ID, Name: name})
	})
}

// Attach keeps a state with the connection, and then may fail.
func (s *shop) Attach(c *room.Context, in item) error {
	if err := c.Conn().SetAttachment([]byte(in.Name)); err != nil {
		return err
	}
	if in.ID == "fail" {
		return c.Abort("no", "No.")
	}
	return nil
}

func (s *shop) Attached(c *room.Context, _ struct{}) (string, error) {
	return string(c.Conn().Attachment()), nil
}

// Kick closes the connections that have a tag.
func (s *shop) Kick(c *room.Context, in item) error {
	for _, conn := range c.Connections(in.Name) {
		if err := conn.Send(room.Text(`"bye"`)); err != nil {
			return err
		}
		if err := conn.Close(4321, "kicked"); err != nil {
			return err
		}
	}
	return nil
}

func (s *shop) OnAction(c *room.Context, channel string, a room.ActionRequest) (any, error) {
	if a.Type == "sql" {
		var script string
		if err := a.Decode(&script); err != nil {
			return nil, err
		}
		_, err := c.Exec(script)
		return nil, err
	}
	return s.Base.OnAction(c, channel, a)
}

func open(t *testing.T, opts ...roomtest.Option) (*roomtest.Host, *probe) {
	p := &probe{block: make(chan struct{}), entered: make(chan struct{}, 8)}
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("shop", func() room.Handler { return &shop{probe: p} },
			room.Action("add", (*shop).Add), room.Action("put", (*shop).Put), room.Action("change", (*shop).Change),
			room.Action("remove", (*shop).Remove), room.Action("tag", (*shop).Tag), room.Call("calls", (*shop).Calls),
			room.Call("find", (*shop).Find), room.Action("panic", (*shop).Panic), room.Call("unmarshalable", (*shop).Unmarshalable),
			room.Action("hang", (*shop).Hang), room.Action("slow", (*shop).Slow), room.Action("spin", (*shop).Spin),
			room.Action("fetch", (*shop).Fetch), room.Action("attach", (*shop).Attach), room.Call("attached", (*shop).Attached),
			room.Action("kick", (*shop).Kick))
	}, opts...)
	return h, p
}

func mustSucceed(t *testing.T, e roomtest.Event) roomtest.Event {
	t.Helper()
	if e.Kind != "success" {
		t.Fatalf("got %s", e.Data)
	}
	return e
}

func mustRefuse(t *testing.T, e roomtest.Event, code string) roomtest.Event {
	t.Helper()
	if e.Kind != "error" || e.Code != code {
		t.Fatalf("got %s, want an error with the code %s", e.Data, code)
	}
	return e
}

func ids(rows []roomtest.Row) string {
	var all []string
	for _, r := range rows {
		all = append(all, fmt.Sprint(r.ID()))
	}
	return strings.Join(all, " ")
}

func describe(events []roomtest.Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%.300s; ", e.Data)
	}
	return b.String()
}

func TestTypedTable(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	e := mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "milk"}))
	stamp := float64(roomtest.Start.UnixMilli())
	if got, want := fmt.Sprint(e.Rows), fmt.Sprint([]roomtest.Row{{"1", "milk", stamp, stamp, nil}}); got != want {
		t.Errorf("the reply's rows are %s, want %s", got, want)
	}
	mustRefuse(t, alice.Do("items", "add", object{"id": "1", "name": "again"}), "conflict")
	h.Advance(time.Second)
	e = mustSucceed(t, alice.Do("items", "change", object{"id": "1", "name": "oat milk"}))
	if got, want := fmt.Sprint(e.Rows), fmt.Sprint([]roomtest.Row{{"1", "oat milk", stamp, stamp + 1000, nil}}); got != want {
		t.Errorf("after a change %s, want %s", got, want)
	}
	if found := mustSucceed(t, alice.Do("items", "find", object{"id": "1"})); !strings.Contains(string(found.Value), `"oat milk"`) || len(found.Rows) != 0 {
		t.Errorf("find gave %s", found.Data)
	}
	mustSucceed(t, alice.Do("items", "remove", object{"id": "1"}))
	for _, action := range []string{"change", "remove", "find"} {
		mustRefuse(t, alice.Do("items", action, object{"id": "1"}), "not_found")
	}
	mustSucceed(t, alice.Do("items", "put", object{"id": "1", "name": "back"}))
	if rows := alice.Sync("items"); len(rows) != 1 || rows[0][1] != "back" || rows[0][2] != stamp {
		t.Errorf("at the end there is %v", rows)
	}
	if got := len(bob.Received()); got != 4 {
		t.Errorf("bob got %d messages, want one for each of the 4 changes", got)
	}
}

// The rows of an action in other channels than its own reach everybody too, the
// sender in front of the reply.
func TestActionOverTwoChannels(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "milk"}))
	bob.Received()
	e := mustSucceed(t, alice.Do("items", "tag", object{"ID": 7, "Item": "1"}))
	if ids(e.Rows) != "1" {
		t.Errorf("the reply has the rows %v", e.Rows)
	}
	if got := alice.Received(); len(got) != 1 || got[0].Channel != "marks" || ids(got[0].Rows) != "7" {
		t.Errorf("the sender got %s besides", describe(got))
	}
	if got := bob.Received(); len(got) != 2 || got[0].Channel != "marks" || got[1].Channel != "items" {
		t.Errorf("the other got %s", describe(got))
	}
}

// An action may touch tables in turns: its reply is one list of rows all the same.
func TestActionThatTouchesChannelsInTurns(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	e := mustSucceed(t, alice.Do("items", "sql", `INSERT INTO items VALUES ('a', 'x', 1, 1, NULL); INSERT INTO marks VALUES (1, 'a', 1, 1, NULL);
		INSERT INTO items VALUES ('b', 'x', 1, 1, NULL)`))
	if ids(e.Rows) != "a b" {
		t.Errorf("the reply was %s", e.Data)
	}
	if got := bob.Received(); len(got) != 2 || ids(got[0].Rows) != "a b" || ids(got[1].Rows) != "1" {
		t.Errorf("the other got %s", describe(got))
	}
}

// An action that changes a synced table's definition gives everybody the channel anew.
func TestSchemaChangeInAnAction(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "milk"}))
	bob.Received()
	mustSucceed(t, alice.Do("items", "sql", `CREATE TABLE new (id TEXT PRIMARY KEY NOT NULL, name TEXT, price INTEGER, created_at INTEGER, updated_at INTEGER, deleted_at INTEGER);
		INSERT INTO new SELECT id, name, 7, created_at, updated_at, deleted_at FROM items; DROP TABLE items; ALTER TABLE new RENAME TO items`))
	for _, c := range []*roomtest.Client{alice, bob} {
		got := c.Received()
		if len(got) != 2 || got[0].Kind != "delete-all" || got[1].Kind != "update" || len(got[1].Rows[0]) != 6 || got[1].Rows[0][2] != 7.0 {
			t.Errorf("%s got %s", c.ID(), describe(got))
		}
	}
}

// A client whose place in the room's history is forgotten gets the channel anew, whether
// the room finds it by its id or it asks by a stamp.
func TestInvariantResumeForgottenHistory(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.History = 10 })
	bob, alice := h.Join("shop", "r", "bob"), h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "add", object{"id": "gone", "name": "x"}))
	stamp := bob.Sync("items")[0][3]
	bob.Leave()
	mustSucceed(t, alice.Do("items", "sql", `DELETE FROM items`))
	for i := range 1100 {
		h.Advance(time.Millisecond)
		mustSucceed(t, alice.Do("items", "put", object{"id": fmt.Sprint(i % 3), "name": fmt.Sprint(i)}))
	}
	got := h.Join("shop", "r", "bob").Received()
	if len(got) != 2 || got[0].Kind != "delete-all" || got[1].Kind != "update" || ids(got[1].Rows) != "0 1 2" {
		t.Errorf("by its id: %s", describe(got))
	}
	carol := h.Join("shop", "r", "carol")
	carol.SendJSON(object{"channel": "items", "sync": true, "from": stamp})
	got = carol.Received()
	if len(got) != 2 || got[0].Kind != "delete-all" || got[1].Kind != "sync" || ids(got[1].Rows) != "0 1 2" {
		t.Errorf("by a stamp: %s", describe(got))
	}
}

// A client that was away while more changed than may be sent at once gets the whole
// channel anew; if even that is too much it is told, and let in all the same.
func TestInvariantResumeTooMuchMissed(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 3000 })
	bob, alice := h.Join("shop", "r", "bob"), h.Join("shop", "r", "alice")
	bob.Sync("items")
	bob.Leave()
	add := func(prefix string) {
		mustSucceed(t, alice.Do("items", "sql", `INSERT INTO items WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 90)
			SELECT '`+prefix+`' || i, '', 1, 1, NULL FROM n`))
	}
	add("gone")
	mustSucceed(t, alice.Do("items", "sql", `DELETE FROM items; INSERT INTO items VALUES ('left', '', 1, 1, NULL)`))
	got := h.Join("shop", "r", "bob").Received()
	if len(got) != 2 || got[0].Kind != "delete-all" || got[1].Kind != "update" || ids(got[1].Rows) != "left" {
		t.Errorf("bob got %s", describe(got))
	}
	add("more")
	add("still")
	got = h.Join("shop", "r", "bob").Received()
	if len(got) != 1 || got[0].Kind != "exception" || got[0].Code != "too_large" || got[0].Channel != "items" {
		t.Errorf("bob got %s", describe(got))
	}
}

func TestPlainSQLIsSynced(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	mustSucceed(t, alice.Do("items", "sql", `INSERT INTO items VALUES ('a', 'x', 1, 1, NULL), ('b', 'y', 1, 1, NULL)`))
	e := mustSucceed(t, alice.Do("items", "sql", `DELETE FROM items`))
	if len(e.Rows) != 2 || !e.Rows[0].Deleted() || !e.Rows[1].Deleted() {
		t.Errorf("DELETE without WHERE gave %v", e.Rows)
	}
	mustSucceed(t, alice.Do("items", "sql", `INSERT INTO private VALUES (1)`))
	if got := bob.Received(); len(got) != 2 || ids(got[0].Rows) != "a b" || ids(got[1].Rows) != "a b" {
		t.Errorf("the other got %s", describe(got))
	}
}

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
	<-p.entered
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
	<-p.entered
	bob.SendJSON(object{"id": "queued", "channel": "items", "rpc": true, "action": object{"type": "add", "payload": object{"id": "queued"}}})
	mustSucceed(t, other.Do("items", "add", object{"id": "1", "name": "another room goes on"}))

	h.Advance(5 * time.Second) // its time is over, and it takes no notice
	h.Advance(5 * time.Second) // the room goes on without it
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
	<-p.entered
	h.Advance(5 * time.Second)
	h.Advance(5 * time.Second)
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
	<-p.entered
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

// fussy panics where its payload is decoded, which is outside of the room.
type fussy struct{}

func (*fussy) UnmarshalJSON([]byte) error { panic("no") }

type fussyRoom struct {
	room.Base
	Items room.Table[item]
}

func (*fussyRoom) Take(*room.Context, fussy) error { return nil }

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
	<-p.entered
	h.Advance(5 * time.Second)
	mustRefuse(t, <-done, "action_timeout")
	if rows := alice.Sync("items"); len(rows) != 0 {
		t.Errorf("it left %v", rows)
	}
}

func TestEndlessSQLIsInterrupted(t *testing.T) {
	h, p := open(t)
	alice := h.Join("shop", "r", "alice")
	done := make(chan roomtest.Event)
	go func() { done <- alice.Do("items", "spin", object{}) }()
	<-p.entered
	for {
		h.Advance(5 * time.Second)
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
	<-p.entered
	h.Advance(5 * time.Second)
	h.Advance(5 * time.Second)
	var refusal *room.Error
	if err := <-refused; !errors.As(err, &refusal) || refusal.Code != "room_unavailable" {
		t.Errorf("joining a room whose start hangs: %v", err)
	}
	p.hanging.Store(false)
	h.Advance(time.Minute)
	mustSucceed(t, h.Join("shop", "r", "alice").Do("items", "add", object{"id": "1", "name": "x"}))
	close(p.block) // the old start wakes up, in a life that is fenced
	mustSucceed(t, h.Join("shop", "r", "bob").Do("items", "add", object{"id": "2", "name": "x"}))
}

func TestInvariantSocketsOutliveRooms(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	mustSucceed(t, alice.Do("items", "attach", object{"name": "kept"}))
	h.RestartRoom("shop", "r")
	mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "x"}))
	h.CrashRoom("shop", "r")
	mustSucceed(t, alice.Do("items", "add", object{"id": "2", "name": "x"}))
	if got := bob.Received(); len(got) != 2 {
		t.Errorf("bob got %s", describe(got))
	}
	if e := alice.Do("items", "attached", nil); string(e.Value) != `"kept"` {
		t.Errorf("the attachment is %s", e.Value)
	}
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

func TestConnectHooks(t *testing.T) {
	h, p := open(t)
	alice := h.Join("shop", "r", "alice")
	var refusal *room.Error
	if _, err := h.TryJoin("shop", "r", "banned-1"); !errors.As(err, &refusal) || refusal.Code != "banned" {
		t.Fatalf("got %v", err)
	}
	mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "x"}))
	if n := h.Connections(); n != 1 {
		t.Errorf("there are %d connections after a refusal", n)
	}
	bob := h.Join("shop", "r", "bob", func(r *room.ConnectRequest) { r.Request = httptest.NewRequest("GET", "/?tag=vip&tag=new", nil) })
	carol := h.Join("shop", "r", "carol")
	mustSucceed(t, alice.Do("items", "kick", object{"name": "vip"}))
	if code, reason, closed := bob.Closed(); !closed || code != 4321 || reason != "kicked" {
		t.Errorf("bob: closed %v with %d %q", closed, code, reason)
	}
	if _, _, closed := carol.Closed(); closed {
		t.Error("carol was closed too")
	}
	carol.Leave()
	if p.closes.Load() != 1 {
		t.Errorf("OnClose was called %d times", p.closes.Load())
	}
	if got := alice.Received(); len(got) != 1 || string(got[0].Data) != `{"left":"carol"}` {
		t.Errorf("alice got %s", describe(got))
	}
}

// Two live sockets may carry one connection id: each is a connection of its own.
func TestTwoSocketsWithOneID(t *testing.T) {
	h, _ := open(t)
	one, two := h.Join("shop", "r", "same"), h.Join("shop", "r", "same")
	mustSucceed(t, one.Do("items", "add", object{"id": "1", "name": "x"}))
	if got := two.Received(); len(got) != 1 || got[0].Kind != "update" {
		t.Errorf("the second socket got %s", describe(got))
	}
	one.Leave()
	mustSucceed(t, two.DoAs("own id", "items", "add", object{"id": "2", "name": "x"}))
}

func TestRawMessages(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	alice.SendJSON(object{"cursor": []int{1, 2}})
	if got := bob.Received(); len(got) != 1 || string(got[0].Data) != `{"cursor":[1,2]}` {
		t.Errorf("bob got %s", describe(got))
	}
	if err := alice.SendBinary([]byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if got := alice.Received(); len(got) != 1 || got[0].Code != "unsupported_data" {
		t.Errorf("a binary message was answered with %s", describe(got))
	}
	for _, bad := range []string{"", "hello", "[1]", `{"rpc":true,"id":1,"channel":"items","action":{"type":"add"}}`,
		`{"rpc":true,"id":"1","channel":"items","action":[]}`, `{"sync":true}`, "{\"sync\":true,\"channel\":\"\xff\"}",
		strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000)} {
		if err := alice.Send([]byte(bad)); err != nil {
			t.Fatal(err)
		}
		if got := alice.Received(); len(got) != 1 || got[0].Code != "bad_message" {
			t.Errorf("%.40q was answered with %s", bad, describe(got))
		}
	}
	mustRefuse(t, alice.Do("items", "dance", nil), "unknown_action")
	mustRefuse(t, alice.Do("items", "add", object{"id": 1}), "bad_payload")
	mustRefuse(t, alice.Do("items", "add", "text"), "bad_payload")
}

func TestPlainRequests(t *testing.T) {
	h, _ := open(t)
	bob := h.Join("shop", "r", "bob")
	res, err := h.Request("shop", "r", httptest.NewRequest("POST", "/", strings.NewReader("milk")))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 201 || string(body) != "1 items" || res.Header.Get("X-Items") != "1" {
		t.Errorf("got %d %q %v", res.StatusCode, body, res.Header)
	}
	if got := bob.Received(); len(got) != 1 || got[0].Rows[0][1] != "milk" {
		t.Errorf("bob got %s", describe(got))
	}
}

func TestGo(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "fetch", object{"id": "1", "name": "it"}))
	if e := alice.Next(); e.Kind != "update" || e.Rows[0][1] != "fetched it" {
		t.Errorf("got %s", e.Data)
	}
	mustSucceed(t, alice.Do("items", "fetch", object{"id": "2", "name": "bad"}))
	if e := alice.Next(); e.Kind != "update" || e.Rows[0][1] != "failed" {
		t.Errorf("got %s", e.Data)
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

func TestInvariantBoundedSnapshot(t *testing.T) {
	h, _ := open(t, func(o *room.Options) { o.MaxSnapshotBytes = 1000 })
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": strings.Repeat("x", 2000)}))
	alice.SendJSON(object{"channel": "items", "sync": true, "from": nil})
	if got := alice.Received(); len(got) != 1 || got[0].Kind != "exception" || got[0].Code != "too_large" {
		t.Errorf("got %s", describe(got))
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
		mustRefuse(t, e, "storage_unavailable")
		break
	}
	if acknowledged == 0 {
		t.Fatal("nothing fitted")
	}
	mustSucceed(t, other.Do("items", "add", object{"id": "1", "name": "goes on"}))
	h.RestartRoom("shop", "r")
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
	<-p.entered
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

func TestRegister(t *testing.T) {
	type bad struct {
		room.Base
		Items room.Table[struct{ ID string }]
	}
	type unexported struct {
		room.Base
		items room.Table[item]
	}
	_ = unexported{}.items
	h := roomtest.New(t, func(*room.Host) error { return nil })
	for name, err := range map[string]error{
		"Shop":    h.Register("Shop", func() room.Handler { return new(shop) }),
		"":        h.Register("", func() room.Handler { return new(shop) }),
		"action":  h.Register("a", func() room.Handler { return new(shop) }, room.Action("x", (*notShop).X)),
		"twice":   h.Register("b", func() room.Handler { return new(shop) }, room.Action("x", (*shop).Add), room.Action("x", (*shop).Add)),
		"channel": h.Register("c", func() room.Handler { return new(shop) }, room.Synced("todos; drop table")),
		"same":    h.Register("d", func() room.Handler { return new(shop) }, room.Synced("items")),
		"stamps":  h.Register("e", func() room.Handler { return new(bad) }),
		"hidden":  h.Register("f", func() room.Handler { return new(unexported) }),
	} {
		if err == nil {
			t.Errorf("%s: was registered", name)
		}
	}
}

type notShop struct{ room.Base }

func (*notShop) X(*room.Context, struct{}) error { return nil }

func TestBadRooms(t *testing.T) {
	h, _ := open(t)
	for _, c := range []struct{ namespace, name, code string }{
		{"nowhere", "r", "unknown_namespace"}, {"shop", "", "bad_room_name"}, {"shop", strings.Repeat("x", 257), "bad_room_name"},
		{"shop", "\xff", "bad_room_name"},
	} {
		_, err := h.TryJoin(c.namespace, c.name, "alice")
		var refusal *room.Error
		if !errors.As(err, &refusal) || string(refusal.Code) != c.code {
			t.Errorf("%s/%.10q: %v, want %s", c.namespace, c.name, err, c.code)
		}
	}
	for _, name := range []string{"..", "../../x", "a/b", "con", "NUL\x00", "Ärger", ".", " ", "%2e%2e"} {
		c := h.Join("shop", name, "alice")
		mustSucceed(t, c.Do("items", "add", object{"id": name, "name": "x"}))
	}
	if rows := h.Join("shop", "..", "bob").Sync("items"); len(rows) != 1 || rows[0].ID() != ".." {
		t.Errorf("the room .. holds %v", rows)
	}
}

func TestShutdown(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	for i := range 100 {
		alice.SendJSON(object{"id": fmt.Sprint(i), "channel": "items", "rpc": true, "action": object{"type": "add", "payload": object{"id": fmt.Sprint(i)}}})
	}
	h.Reopen()
	if code, _, closed := alice.Closed(); !closed || code != 1001 {
		t.Errorf("closed %v with %d", closed, code)
	}
	if rows := h.Join("shop", "r", "bob").Sync("items"); len(rows) != 100 {
		t.Errorf("of 100 actions that were in the mailbox %d were applied", len(rows))
	}
	if err := alice.Send([]byte(`{"sync":true,"channel":"items"}`)); err == nil {
		data, _ := json.Marshal(alice.ID())
		t.Logf("a message after the end went nowhere: %s", data)
	}
}

func TestDirectoryIsLocked(t *testing.T) {
	dir := t.TempDir()
	first, err := room.Open(room.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := room.Open(room.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second host on one directory: %v", err)
	}
	if err := first.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, err := room.Open(room.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}
