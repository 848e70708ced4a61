package faults

import (
	"bytes"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // writes what Den never would

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
)

// Values in Den's own tables that have another type than Den writes: SQLite takes them, so a bad sector or a
// careless hand can put them there.

// spoil writes into a room's file as another program.
func (im image) spoil(name, statement string) {
	im.t.Helper()
	db, err := sql.Open("sqlite", path(im.t, im.dir, name))
	if err != nil {
		im.t.Fatal(err)
	}
	defer seal(im.t, path(im.t, im.dir, name))
	defer db.Close()
	db.SetMaxOpenConns(1)
	res, err := db.Exec(statement)
	if err != nil {
		im.t.Fatalf("%s: %v", statement, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		im.t.Fatalf("%s changed %d rows, %v", statement, n, err)
	}
}

// A room's file with such values costs that room: the node starts and stays up, the other rooms take what they lack
// from the log with nobody calling for them, clients get a code, and the operator is told of the room once.
func TestWrongTypesInDensTables(t *testing.T) {
	for _, statement := range []string{
		`UPDATE _den_tables SET stale = 'x'`,
		`UPDATE _den_tables SET name = x'00ff'`,
		`UPDATE _den_tables SET floor = 'far'`,
		`UPDATE _den_changes SET last = 'x'`,
		`UPDATE _den_changes SET at = x'02'`,
		`UPDATE _den_changes SET entries = x'ff'`,
		`UPDATE _den_changes SET number = x'01'`,
		`UPDATE _den_meta SET value = 7 WHERE name = 'epoch'`,
		`UPDATE _den_meta SET value = 'x' WHERE name = 'floor'`,
		`UPDATE _den_replies SET total = 'x'`,
		`UPDATE _den_replies SET replies = x'ff'`,
		`CREATE TABLE _den_alarms (name, due, planned, attempt, cron, zone); INSERT INTO _den_alarms VALUES ('a', 'soon', 1, 1, '', '')`,
		`INSERT INTO _den_peers VALUES ('alice', '', 'todos', 'x', 1, 1)`,
	} {
		t.Run(statement, func(t *testing.T) {
			var said bytes.Buffer
			noHistory := func(o *room.Options) {
				o.TimeTravel = -1
				o.Logger = slog.New(slog.NewTextHandler(&said, nil))
			}
			im := crashed(t, noHistory)
			im.spoil(asleep, statement)
			said.Reset()
			h := im.opened(noHistory)
			h.Advance(time.Minute)
			failures, refused := h.Failures(), 0
			for range 3 {
				if _, err := h.TryJoin(todo.Namespace, asleep, "alice"); err != nil {
					refused++
					mustBeCoded(t, err)
				}
				h.Advance(time.Minute)
			}
			mustHave(t, h, current, 10)
			mustHave(t, h, behind, 10)
			lines := 0
			for line := range strings.Lines(said.String()) {
				if strings.Contains(line, "level=ERROR") && strings.Contains(line, fmt.Sprint("room=", asleep, " ")) {
					lines++
				}
			}
			if want := min(len(failures)+refused, 1); lines != want {
				t.Errorf("%d failures, refused %d times, and the operator is told %d times:\n%s", len(failures), refused, lines, said.String())
			}
			if lines > 0 && !strings.Contains(said.String(), "hint=") {
				t.Errorf("the operator is not told what to do:\n%s", said.String())
			}
		})
	}
}

// mustBeCoded checks what a client is told of a room that does not start.
func mustBeCoded(t *testing.T, err error) {
	t.Helper()
	code, message := room.ErrorCode(err)
	if code != "storage_unavailable" && code != "room_unavailable" {
		t.Errorf("a client is told %s", code)
	}
	for _, secret := range []string{"/", ".db", "SQL", "panic", "_den"} {
		if strings.Contains(message, secret) {
			t.Errorf("a client is told of %q: %s", secret, message)
		}
	}
}
