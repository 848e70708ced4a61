package storage

import (
	"bytes"
	"os"
	"testing"
)

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
	r, err := d.Table("todos").Since(c.Seq - 1)
	wantSet(t, all(t, r, err), []string{`"a" - - 1 1 50`})
	c = actSQL(t, d, 3, `UPDATE todos SET deleted_at = NULL WHERE id = 'a'`)
	wantRows(t, c, `todos: "a" "one" 0 1 1 -`)
}

// What was deleted is overwritten in the pages that stay in use, and so leaves the file with the next checkpoint. What an
// action has replaced does, too.
func TestDeletedContentLeavesTheFile(t *testing.T) {
	o := testOptions(t)
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	actSQL(t, d, 1, `INSERT INTO todos VALUES ('a','deleted secret',0,1,1,NULL), ('b','replaced secret',0,1,1,NULL), ('c','stays',0,1,1,NULL)`)
	actSQL(t, d, 2, `DELETE FROM todos WHERE id = 'a'`, `UPDATE todos SET text = 'b' WHERE id = 'b'`)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(data, []byte("secret")); n != 0 || !bytes.Contains(data, []byte("stays")) {
		t.Errorf("the file has what was deleted or replaced %d times", n)
	}
}
