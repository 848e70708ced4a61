package storage

import "testing"

// A row that the room's own SQL marks as deleted stays in the table as it is: only what clients get is masked.
func TestSoftDeletedRowsKeepTheirContent(t *testing.T) {
	d := openTodos(t)
	actSQL(t, d, 1, twoTodos)
	c := actSQL(t, d, 2, `UPDATE todos SET deleted_at = 50 WHERE id = 'a'`)
	wantRows(t, c, `todos: "a" - - 1 1 50`)
	const stored = `"a" "one" 0 1 1 50`
	if got := query(t, d, `SELECT * FROM todos WHERE id = 'a'`); len(got) != 1 || show(got[0]) != stored {
		t.Errorf("in the table: %v, want %s", got, stored)
	}
	r, err := d.Since("todos", c.Seq-1)
	wantSet(t, all(t, r, err), []string{`"a" - - 1 1 50`})
	c = actSQL(t, d, 3, `UPDATE todos SET deleted_at = NULL WHERE id = 'a'`)
	wantRows(t, c, `todos: "a" "one" 0 1 1 -`)
}
