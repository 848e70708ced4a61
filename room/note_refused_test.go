package room_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
)

// alter runs SQL over Den's own tables in the file of a room that sleeps.
func alter(t *testing.T, dir string, key room.Key, sql string) {
	t.Helper()
	path, err := roomfile.Path(dir, key.Namespace, key.Room)
	if err != nil {
		t.Fatal(err)
	}
	db, err := storage.Open(storage.Options{Path: path, Namespace: key.Namespace, Room: key.Room})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	batch, err := db.Begin()
	if err == nil {
		_, err = batch.DoUnbounded(0, func() error {
			_, err := db.Internal().Exec(sql + "; UPDATE _den_peers SET here = here")
			return err
		})
	}
	if err == nil {
		err = batch.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A note on a client that cannot be written is logged, and keeps nobody from acting. The client gets everything again when it
// comes back, and nothing is missing.
func TestNoteOnAClientThatCannotBeWritten(t *testing.T) {
	var log recorder
	dir := t.TempDir()
	h, _ := open(t, func(o *room.Options) {
		o.Dir, o.Logger, o.Durability = dir, slog.New(slog.NewTextHandler(&log, nil)), room.DurableFiles
	})
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", published)
	ask(bob, nil)
	expect(t, "at first", bob, "sync")
	mustSucceed(t, alice.Do("items", "add", object{"id": "1"}))
	expect(t, "a row", bob, "update 1")
	h.SleepRoom("shop", "r")
	alter(t, dir, shopKey, `CREATE TRIGGER no BEFORE UPDATE OF seq ON _den_peers BEGIN SELECT RAISE(ABORT, 'no note today'); END`)
	bob.Confirm()
	mustSucceed(t, alice.Do("items", "add", object{"id": "2"}))
	if got := log.all(); !strings.Contains(got, "a note on a client was not written") || !strings.Contains(got, "no note today") {
		t.Errorf("the log has %s", got)
	}
	expect(t, "a row after that", bob, "update 2")
	bob.Leave()
	bob = h.Join("shop", "r", "bob", published)
	var back []string
	for _, e := range bob.Received() {
		if e.Kind == "update" || e.Kind == "sync" {
			back = append(back, ids(e.Rows))
		}
	}
	if got := strings.Join(back, " "); !strings.Contains(got, "2") {
		t.Errorf("when it came back it got %q", got)
	}
}
