package room_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

func TestInvariantSocketsOutliveRooms(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	mustSucceed(t, alice.Do("items", "attach", object{"name": "kept"}))
	h.SleepRoom("shop", "r")
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
