package storage

import (
	"fmt"
	"slices"
	"testing"
)

// TestScanTable reads tables in parts, in the order in which they keep their rows: by rowid,
// under whatever name it can be reached, or by id.
func TestScanTable(t *testing.T) {
	for name, tc := range map[string]struct {
		table string
		rowid bool
		want  []string
	}{
		"rowid":         {`CREATE TABLE todos (id TEXT PRIMARY KEY, text, created_at, updated_at, deleted_at)`, true, []string{"c", "a", "d", "b"}},
		"its name used": {`CREATE TABLE todos (id TEXT PRIMARY KEY, RowID, _rowid_, created_at, updated_at, deleted_at)`, true, []string{"c", "a", "d", "b"}},
		"all used":      {`CREATE TABLE todos (id TEXT PRIMARY KEY, rowid, _rowid_, oid, created_at, updated_at, deleted_at)`, false, []string{"a", "b", "c", "d"}},
		"without":       {`CREATE TABLE todos (id TEXT PRIMARY KEY, text, created_at, updated_at, deleted_at) WITHOUT ROWID`, false, []string{"a", "b", "c", "d"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := openTodos(t, tc.table)
			for i, id := range []string{"c", "a", "d", "b"} {
				actSQL(t, d, 1, fmt.Sprintf(`INSERT INTO todos (id, created_at, deleted_at) VALUES ('%s', %d, CASE WHEN '%[1]s' = 'd' THEN 1 END)`, id, i))
			}
			if d.Table("todos").ScansByRowid() != tc.rowid {
				t.Errorf("by rowid: %v", !tc.rowid)
			}
			var got []string
			var place Value
			for range 5 {
				r, err := d.Table("todos").Scan(place, 1)
				for _, row := range all(t, r, err) {
					got, place = append(got, fmt.Sprint(row[0])), row[len(row)-1]
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("rows %v, want %v", got, tc.want)
			}
		})
	}
}

// TestPick reads chosen rows as they are, and leaves out what is not there.
func TestPick(t *testing.T) {
	d := openTodos(t)
	actSQL(t, d, 1, `INSERT INTO todos (id, updated_at) VALUES ('a', 1), ('b', 2), ('c', 3)`)
	actSQL(t, d, 1, `DELETE FROM todos WHERE id = 'b'`)
	r, err := d.Table("todos").Pick([]Value{"c", "b", "nothing", "a", int64(7)})
	var got []string
	for _, row := range all(t, r, err) {
		got = append(got, fmt.Sprint(row[0]))
	}
	if !slices.Equal(got, []string{"c", "a"}) {
		t.Errorf("rows %v", got)
	}
	_, err = d.Table("nothing").Pick(nil)
	wantError(t, err, ErrMisuse)
}
