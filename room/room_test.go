package room_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
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
			room.Action("kick", (*shop).Kick), room.WakeOnClose())
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
	if rows := alice.Sync("items"); len(rows) != 1 || rows[0][1] != "back" || rows[0][2] != stamp+1000 {
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
	if got := bob.Received(); len(got) != 2 || ids(got[0].Rows) != "1" || ids(got[1].Rows) != "a b" {
		t.Errorf("the other got %s", describe(got))
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

// fussy panics where its payload is decoded, which is outside of the room.
type fussy struct{}

func (*fussy) UnmarshalJSON([]byte) error { panic("no") }

type fussyRoom struct {
	room.Base
	Items room.Table[item]
}

func (*fussyRoom) Take(*room.Context, fussy) error { return nil }

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

type notShop struct{ room.Base }

func (*notShop) X(*room.Context, struct{}) error { return nil }
