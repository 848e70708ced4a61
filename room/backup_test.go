package room_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage"
)

var shopKey = room.Key{Namespace: "shop", Room: "r"}

// While a room is copied it serves actions, failing ones too, and the copy is the room at
// one moment.
func TestBackupOfABusyRoom(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "sql", `CREATE TABLE pairs (a INTEGER, b INTEGER, x); INSERT INTO pairs
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i, i, zeroblob(2000) FROM n`))
	path := filepath.Join(t.TempDir(), "copy.db")
	done := make(chan error, 1)
	go func() { done <- h.Backup(context.Background(), shopKey, path) }()
	served, finished := 0, false
	for i := 0; !finished; i++ {
		mustSucceed(t, alice.Do("items", "sql", fmt.Sprintf(`UPDATE pairs SET a = a + 1 WHERE rowid %% 100 = %d; UPDATE pairs SET b = b + 1 WHERE rowid %% 100 = %d`, i%100, i%100)))
		if i%5 == 0 {
			mustRefuse(t, alice.Do("items", "sql", `UPDATE pairs SET a = 0; INSERT INTO nowhere VALUES (1)`), "action_failed")
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			finished = true
		default:
			served++
		}
	}
	if served < 3 {
		t.Errorf("only %d actions were served during the backup", served)
	}
	other := room.Key{Namespace: "shop", Room: "other"}
	if kept, err := h.Restore(t.Context(), other, path); err != nil || kept != "" {
		t.Fatalf("%q, %v", kept, err)
	}
	bob := h.Join("shop", "other", "bob")
	mustSucceed(t, bob.Do("items", "sql", `CREATE TABLE verdict AS SELECT count(*) AS n FROM pairs WHERE a <> b; INSERT INTO items SELECT n || '/' || (SELECT count(*) FROM pairs), '', 1, 1, NULL FROM verdict`))
	if rows := bob.Sync("items"); len(rows) != 1 || rows[0].ID() != "0/5000" {
		t.Errorf("the copy is torn: %v", rows)
	}
	if err := h.Backup(t.Context(), shopKey, path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file that is there: %v", err)
	}
	nobody := room.Key{Namespace: "shop", Room: "nobody"}
	if err := h.Backup(t.Context(), nobody, path+"2"); !errors.Is(err, room.ErrNoRoom) {
		t.Errorf("of a room that is not there: %v", err)
	}
}

// A restore keeps the connections, and everybody comes to what the backup holds: those who
// are in the room, those who come back under their id, and those who come with a cursor.
func TestInvariantResumeRestore(t *testing.T) {
	h, _ := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "milk"}))
	bob.Sync("items") // the backup knows of him
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := h.Backup(t.Context(), shopKey, path); err != nil {
		t.Fatal(err)
	}
	mustSucceed(t, alice.Do("items", "add", object{"id": "2", "name": "eggs"}))
	carol := h.Join("shop", "r", "carol")
	carol.SendJSON(object{"channel": "items", "sync": true, "cursor": nil})
	cursor := carol.Received()[0].Cursor
	carol.Leave()
	alice.Sync("items")
	bob.Sync("items")
	bob.Leave()
	for i := range 5 {
		mustSucceed(t, alice.Do("items", "add", object{"id": fmt.Sprint("more", i), "name": "x"}))
	}
	alice.Received()
	kept, err := h.Restore(t.Context(), shopKey, path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept); err != nil || !strings.Contains(kept, ".before-restore-") {
		t.Errorf("the old file: %q, %v", kept, err)
	}
	want := func(who string, got string) {
		t.Helper()
		if got != "1" {
			t.Errorf("%s has %s", who, got)
		}
	}
	if err := h.Settle(t.Context(), shopKey); err != nil {
		t.Fatal(err)
	}
	for _, e := range alice.Received() {
		if e.Kind == "delete-all" {
			continue
		}
		if e.Channel == "items" && len(e.Rows) > 0 {
			want("alice", ids(e.Rows))
		}
	}
	got := h.Join("shop", "r", "bob").Received()
	if len(got) < 2 || got[0].Kind != "delete-all" || ids(got[1].Rows) != "1" {
		t.Errorf("bob came back to %s", describe(got))
	}
	carol = h.Join("shop", "r", "carol2")
	carol.SendJSON(object{"channel": "items", "sync": true, "cursor": cursor})
	rows, reset := "", ""
	for _, e := range carol.Received() {
		reset += e.Reset
		rows += ids(e.Rows)
	}
	if rows != "1" || reset != "epoch" || cursor == "" {
		t.Errorf("carol came with %q and got %q, reset %q", cursor, rows, reset)
	}
	mustSucceed(t, alice.Do("items", "add", object{"id": "3", "name": "new"}))
	want3 := ids(alice.Sync("items"))
	if want3 != "1 3" {
		t.Errorf("then: %s", want3)
	}
	h.CrashRoom("shop", "r")
	if got := ids(alice.Sync("items")); got != "1 3" {
		t.Errorf("behind a crash: %s", got)
	}
	h.Reopen()
	if got := ids(h.Join("shop", "r", "dave").Sync("items")); got != "1 3" {
		t.Errorf("in another process: %s", got)
	}
}

// What is sent while a room is replaced waits, and is served by the next life.
func TestInvariantSocketsOutliveRoomsRestore(t *testing.T) {
	h, p := open(t)
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "milk"}))
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := h.Backup(t.Context(), shopKey, path); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for range 5 {
			if _, err := h.Restore(context.Background(), shopKey, path); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for i, finished := 0, false; !finished; i++ {
		mustSucceed(t, alice.Do("items", "put", object{"id": "again", "name": fmt.Sprint(i)}))
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			finished = true
		default:
		}
	}
	if _, _, closed := alice.Closed(); closed || p.starts.Load() < 6 {
		t.Errorf("closed: %v, %d lives", closed, p.starts.Load())
	}
}

// A room that does not start can be copied, and be brought back by a restore.
func TestRestoreOfARoomThatDoesNotStart(t *testing.T) {
	h, p := open(t)
	mustSucceed(t, h.Join("shop", "r", "alice").Do("items", "add", object{"id": "1", "name": "milk"}))
	p.failing.Store(true)
	h.CrashRoom("shop", "r")
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := h.Backup(t.Context(), shopKey, path); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Restore(t.Context(), shopKey, path); err != nil {
		t.Fatal(err)
	}
	p.failing.Store(false)
	h.Advance(time.Minute)
	if got := ids(h.Join("shop", "r", "bob").Sync("items")); got != "1" {
		t.Errorf("then: %s", got)
	}
	for name, content := range map[string]string{"garbage": strings.Repeat("garbage", 1000), "empty": ""} {
		bad := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(bad, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Restore(t.Context(), shopKey, bad); err == nil {
			t.Errorf("restored from %s", name)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Restore(ended, shopKey, path); !errors.Is(err, context.Canceled) {
		t.Errorf("for nobody: %v", err)
	}
	if err := h.Backup(ended, shopKey, path+"2"); !errors.Is(err, context.Canceled) {
		t.Errorf("for nobody: %v", err)
	}
	if got := ids(h.Join("shop", "r", "carol").Sync("items")); got != "1" {
		t.Errorf("then: %s", got)
	}
}

func TestHostExportAndImport(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "add", object{"id": "1", "name": "milk"}))
	for _, format := range []room.Format{room.SQLFormat, room.LinesFormat} {
		var text bytes.Buffer
		if err := h.Export(t.Context(), shopKey, &text, format); err != nil {
			t.Fatal(err)
		}
		to := room.Key{Namespace: "shop", Room: "from " + format.String()}
		if err := h.Import(t.Context(), to, bytes.NewReader(text.Bytes())); err != nil {
			t.Fatal(err)
		}
		bob := h.Join("shop", to.Room, "bob")
		if got := ids(bob.Sync("items")); got != "1" {
			t.Errorf("imported: %s", got)
		}
		mustSucceed(t, bob.Do("items", "add", object{"id": "2", "name": "eggs"}))
		if err := h.Import(t.Context(), to, bytes.NewReader(text.Bytes())); !errors.Is(err, room.ErrRoomExists) {
			t.Errorf("over a room that is there: %v", err)
		}
		if kept, err := h.ImportOver(t.Context(), to, bytes.NewReader(text.Bytes())); err != nil || kept == "" {
			t.Fatalf("%q, %v", kept, err)
		}
		if got := ids(bob.Sync("items")); got != "1" {
			t.Errorf("imported over it: %s", got)
		}
	}
}

// A room's earlier states can be had by seq and by time.
func TestStateAt(t *testing.T) {
	h, _ := open(t)
	alice := h.Join("shop", "r", "alice")
	var times []time.Time
	for i := range 5 {
		h.Advance(time.Minute)
		mustSucceed(t, alice.Do("items", "add", object{"id": fmt.Sprint(i), "name": "x"}))
		times = append(times, h.Clock.Now())
	}
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		at   room.Point
		want string
	}{
		"by time":    {room.Point{Time: times[2].Add(time.Second)}, "0 1 2"},
		"by another": {room.Point{Time: times[0].Add(time.Second)}, "0"},
		"now":        {room.Point{Time: times[4]}, "0 1 2 3 4"},
	} {
		path := filepath.Join(dir, name)
		if err := h.StateAt(t.Context(), shopKey, tc.at, path); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		to := room.Key{Namespace: "shop", Room: name}
		if _, err := h.Restore(t.Context(), to, path); err != nil {
			t.Fatal(err)
		}
		if got := ids(h.Join("shop", name, "bob").Sync("items")); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
		if err := h.StateAt(t.Context(), to, room.Point{Time: times[1]}, path+" again"); !errors.Is(err, storage.ErrNoHistory) {
			t.Errorf("%s, before the restore: %v", name, err)
		}
		if err := h.StateAt(t.Context(), to, room.Point{Time: h.Clock.Now()}, path+" now"); err != nil {
			t.Errorf("%s, as it is: %v", name, err)
		}
		if err := h.StateAt(t.Context(), to, room.Point{Time: h.Clock.Now().Add(time.Hour)}, path+" later"); !errors.Is(err, storage.ErrNotYet) {
			t.Errorf("%s, at a time that has not come: %v", name, err)
		}
	}
}
