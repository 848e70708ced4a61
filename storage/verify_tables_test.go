package storage

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/sqlite"
)

// logged is an entry of the change log, or a maximum: what follows the table's id.
func logged(id uint64, parts ...any) []byte {
	b := binary.AppendUvarint(nil, id)
	for _, p := range parts {
		switch p := p.(type) {
		case step:
			b = binary.AppendUvarint(b, uint64(p))
		case raw:
			b = append(b, p...)
		default:
			b = sqlite.AppendValue(b, p)
		}
	}
	return b
}

type (
	step uint64
	raw  string
)

// newLogged opens a room with two synced tables, whose change log has six rows: two that made the tables known, actions 1, 2, and
// 3 to 5, of which the last deletes, and one of a change that is in no synced table.
func newLogged(t *testing.T) *DB {
	t.Helper()
	d := openTodos(t, todosTable, `CREATE TABLE notes (id INTEGER PRIMARY KEY, created_at, updated_at, deleted_at)`)
	if err := d.Sync("notes"); err != nil {
		t.Fatal(err)
	}
	actSQL(t, d, clock, `INSERT INTO todos (id, updated_at) VALUES ('a', 10)`)
	actSQL(t, d, clock, `INSERT INTO notes (id, updated_at) VALUES (1, 10)`)
	b, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{`INSERT INTO todos (id, updated_at) VALUES ('b', 20)`, `INSERT INTO notes (id, updated_at) VALUES (2, 'x')`, `DELETE FROM todos WHERE id = 'a'`} {
		if _, err := b.Do(clock, func() error { _, err := d.Exec(sql); return err }); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	actSQL(t, d, clock, `CREATE TABLE more (x)`)
	return d
}

// Each value of Den's own tables that Den never writes is complained of, once, and the last one that it may write is not.
func TestVerifyTables(t *testing.T) {
	d := newLogged(t)
	rows := ownQuery(t, d, `SELECT id, number, first, last FROM _den_changes ORDER BY id`)
	n := len(rows)
	if n < 4 || d.Seq() != 5 || rows[n-2][3].(int64)-rows[n-2][2].(int64) != 2 || rows[n-1][3].(int64) != rows[n-1][2].(int64)-1 {
		t.Fatalf("seq %d with the change log %v", d.Seq(), rows)
	}
	none, three, two := rows[n-1][0], rows[n-2][0], rows[n-3][0] // rows of so many actions, but two, which is of one
	number := d.store.number
	type spoiled struct {
		sql  string
		args []any
	}
	set := func(row any, what string, v any) spoiled {
		return spoiled{`UPDATE _den_changes SET ` + what + ` = ?1 WHERE id = ?2`, []any{v, row}}
	}
	meta := func(name string, v any) spoiled {
		return spoiled{`INSERT OR REPLACE INTO _den_meta (name, value) VALUES (?1, ?2)`, []any{name, v}}
	}
	ofTable := func(what string, v any) spoiled {
		return spoiled{`UPDATE _den_tables SET ` + what + ` = ?1 WHERE id = 2`, []any{v}}
	}
	const unreadable, unknown = "the entries of row 6 cannot be read", "an entry of table"
	for _, c := range []struct {
		name string
		spoiled
		want []string // a part of each complaint
	}{
		{"untouched", spoiled{`SELECT 1`, nil}, nil},
		{"a fourth thing", meta("nothing", 1), []string{`has a row "nothing"`}},
		{"a floor that is a text", meta("floor", "x"), []string{"floor is text", "has no floor"}},
		{"a floor below 0", meta("floor", -1), []string{"the floor is -1", "begins with action 1, the floor is -1"}},
		{"a floor above the seq", meta("floor", 6), []string{"the floor is 6, the room's seq is 5", "begins with action 1, the floor is 6"}},
		{"a floor at the seq", meta("floor", 5), []string{"begins with action 1, the floor is 5"}},
		{"a time that is a float", meta("created_at", 1.5), []string{"created_at is float", "has no created_at"}},
		{"a note that may be missing", meta(noteTended, "x"), []string{"tended is text"}},
		{"this generation", meta("clean", 1), nil},
		{"used in this generation", meta("clean", -1), nil},
		{"a generation that is to come", meta("clean", 2), []string{"used in generation 2 of the log, which has come to 1"}},
		{"used in one that is to come", meta("clean", -2), []string{"used in generation 2 of the log, which has come to 1"}},
		{"another log's generation", spoiled{`UPDATE _den_meta SET value = CASE name WHEN 'log' THEN 'another' ELSE 2 END WHERE name IN ('log', 'clean')`, nil}, nil},

		{"stale", ofTable("stale", 1), nil},
		{"stale twice", ofTable("stale", 2), []string{"stale of"}},
		{"a table's floor below 0", ofTable("floor", -1), []string{"the floor of"}},
		{"a table's floor at the seq", ofTable("floor", 5), nil},
		{"a table's floor above it", ofTable("floor", 6), []string{"the floor of"}},
		{"a table's floor that is a text", ofTable("floor", "x"), []string{"_den_tables, row 2", unknown, "a maximum of table 2", "a maximum of table 2", unknown, "a maximum of table 2"}},

		{"a text for a number", set(two, "at", "x"), []string{"_den_changes, row"}},
		{"a text for a number at the end", set(none, "at", "x"), []string{"_den_changes, row"}},
		{"transaction 0", set(two, "number", 0), []string{"is transaction 0", "is transaction 0, the one before", "the one before 0"}},
		{"the first is transaction 1", spoiled{`UPDATE _den_changes SET number = number - ?1`, []any{rows[0][1].(int64) - 1}}, nil},
		{"action 0", spoiled{`UPDATE _den_changes SET first = 0, last = 0 WHERE id = (SELECT min(id) FROM _den_changes)`, nil}, []string{"begins with action 0, the floor is 0", "actions 0 to 0"}},
		{"two actions too few", set(none, "last", 4), []string{"actions 6 to 4", "ends with seq 4"}},
		{"a gap in the ids", spoiled{`UPDATE _den_changes SET id = id + 1 WHERE id = ?1`, []any{none}}, []string{"follows row"}},
		{"a gap in the actions", spoiled{`UPDATE _den_changes SET first = 7, last = 6 WHERE id = ?1`, []any{none}}, []string{"begins with action 7, the one before ends with 5", "ends with seq 6"}},
		{"rows of the same transaction", set(none, "number", rows[n-2][1]), []string{"the room is at"}},
		{"a gap in the transactions", set(none, "number", int64(number)+1), []string{"the one before", "the room is at"}},
		{"a seq that the room has not", spoiled{`UPDATE _den_changes SET last = 6 WHERE id = ?1`, []any{none}}, []string{"the room is at"}},

		{"no entry", set(two, "entries", []byte{}), nil},
		{"an entry", set(three, "entries", logged(1, step(0), "k", nil)), nil},
		{"an entry of the last action", set(three, "entries", logged(1, step(2), "k", int64(5))), nil},
		{"an entry of the one behind it", set(three, "entries", logged(1, step(3), "k", "stamp")), []string{"has an entry of action 3+3"}},
		{"entries of the same action", set(three, "entries", slices.Concat(logged(1, step(1), "k", nil), logged(2, step(1), int64(1), nil))), nil},
		{"entries that go back", set(three, "entries", slices.Concat(logged(1, step(1), "k", nil), logged(2, step(0), int64(1), nil))), []string{"has an entry of action 3+0"}},
		{"an entry where no action is", set(none, "entries", logged(1, step(0), "k", nil)), nil},
		{"an entry of no table", set(three, "entries", logged(9, step(0), "k", nil)), []string{"an entry of table 9"}},
		{"an entry of a table above all", set(three, "entries", logged(math.MaxInt64+1, step(0), "k", nil)), []string{unknown}},
		{"a stamp that is a float", set(three, "entries", logged(1, step(0), "k", 1.5)), []string{"a tombstone whose stamp is of type 2"}},
		{"a stamp that is a blob", set(three, "entries", logged(1, step(0), "k", []byte("x"))), []string{"a tombstone whose stamp is of type 4"}},
		{"half an id", set(three, "entries", []byte{0x80}), []string{unreadable}},
		{"an id alone", set(three, "entries", []byte{1}), []string{unreadable}},
		{"an id and half a step", set(three, "entries", []byte{1, 0x80}), []string{unreadable}},
		{"no key", set(three, "entries", logged(1, step(0))), []string{unreadable}},
		{"a key alone", set(three, "entries", logged(1, step(0), "k")), []string{unreadable}},
		{"a key of no type", set(three, "entries", logged(1, step(0), raw("\x05\x00\x00\x00\x00\x00\x00\x00\x00"))), []string{unreadable}},
		{"half a text's length", set(three, "entries", logged(1, step(0), raw("\x03\x00\x00\x00"))), []string{unreadable}},
		{"half a blob's length", set(three, "entries", logged(1, step(0), raw("\x04\x00\x00\x00"))), []string{unreadable}},
		{"an empty text", set(three, "entries", logged(1, step(0), raw("\x03\x00\x00\x00\x00\x00"))), nil},
		{"half a text", set(three, "entries", logged(1, step(0), raw("\x03\x02\x00\x00\x00a"))), []string{unreadable}},
		{"half a stamp", set(three, "entries", logged(1, step(0), "k", raw("\x01\x00\x00"))), []string{unreadable}},
		{"another entry that is cut", set(three, "entries", append(logged(1, step(0), "k", nil), 1)), []string{unreadable}},

		{"no maxima", set(none, "highs", []byte{}), nil},
		{"the same maximum", set(none, "highs", logged(1, clock)), nil},
		{"a lower one", set(none, "highs", logged(1, clock-1)), []string{"the maximum of table 1 falls"}},
		{"a number below a text", set(none, "highs", logged(2, int64(math.MaxInt64))), []string{"the maximum of table 2 falls"}},
		{"two maxima", set(none, "highs", slices.Concat(logged(1, clock+1), logged(2, "y"))), nil},
		{"a maximum that falls after it had been missing", spoiled{`UPDATE _den_changes SET highs = CASE id WHEN ?1 THEN x'' ELSE ?3 END WHERE id IN (?1, ?2)`, []any{three, none, logged(1, int64(1))}}, nil},
		{"a maximum of no table", set(none, "highs", logged(9, int64(1))), []string{"a maximum of table 9"}},
		{"a maximum of a table above all", set(none, "highs", logged(math.MaxInt64+1, int64(1))), []string{"the maxima of row"}},
		{"half an id of a maximum", set(none, "highs", []byte{0x80}), []string{"the maxima of row"}},
		{"an id without a maximum", set(none, "highs", []byte{1}), []string{"the maxima of row"}},
		{"half a maximum", set(none, "highs", logged(1, raw("\x01\x00\x00"))), []string{"the maxima of row"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d.sql.Mu.Lock()
			defer d.sql.Mu.Unlock()
			if _, err := d.sql.Exec(session.Own, "BEGIN", nil); err != nil {
				t.Fatal(err)
			}
			if _, err := d.sql.Exec(session.Own, c.sql, c.args); err != nil {
				t.Fatal(err)
			}
			var got []string
			v := &Verifier{o: VerifyOptions{Report: func(f Finding) { got = append(got, f.Err.Error()) }}}
			err := v.tables(d, Finding{Check: "tables"})
			if _, e := d.sql.Exec(session.Own, "ROLLBACK", nil); err != nil || e != nil {
				t.Fatal(err, e)
			}
			if len(got) != len(c.want) {
				t.Fatalf("complaints:\n%s\nwant %q", strings.Join(got, "\n"), c.want)
			}
			slices.Sort(got)
			for _, want := range c.want {
				if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) }) {
					t.Errorf("complaints:\n%s\nwant one of %q", strings.Join(got, "\n"), want)
				}
			}
		})
	}
}
