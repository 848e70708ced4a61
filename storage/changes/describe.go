package changes

// What a table must be to be declared, and how its definition is read.

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/denrooms/den/storage/sqlite"
)

// ErrSchema: a table cannot be declared as it is defined.
var ErrSchema = errors.New("table cannot be synced")

// describe reads a table's definition and checks that it can be declared.
func (s *statements) describe(name string) (*Table, error) {
	t := &Table{name: name}
	unfit := func(format string, args ...any) error {
		return fmt.Errorf("%w: %q: %s", ErrSchema, name, fmt.Sprintf(format, args...))
	}
	kind, tree := "", false
	err := s.each("SELECT type, wr FROM pragma_table_list(?1) WHERE schema = 'main' AND name = ?1", func(r *sqlite.Row) {
		kind, tree = string(r.Bytes(0)), r.Int(1) != 0
	}, name)
	if err != nil {
		return nil, err
	}
	switch {
	case kind == "":
		return nil, unfit("no such table (names are compared exactly)")
	case kind != "table" || internal(name):
		return nil, unfit("it is a %s, not a table of the room", kind)
	}
	err = s.each("SELECT sql, rootpage FROM sqlite_schema WHERE type = 'table' AND name = ?1", func(r *sqlite.Row) {
		t.sql, t.root = string(r.Bytes(0)), r.Int(1)
	}, name)
	if err != nil {
		return nil, err
	}
	key, err := s.describeColumns(t)
	if err != nil {
		return nil, err
	}
	if !tree {
		t.rowid = t.rowidName()
	}
	if why := t.unfitColumns(); why != "" {
		return nil, unfit("%s", why)
	}
	why, err := s.unfitKey(t, key)
	if err == nil && why != "" {
		err = unfit("%s", why)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// A firstColumn is what makes the first column the row's id, or not.
type firstColumn struct {
	notNull bool
	primary bool // it is in the PRIMARY KEY
	keys    int  // columns of the PRIMARY KEY
}

func (s *statements) describeColumns(t *Table) (firstColumn, error) {
	var first firstColumn
	virtual := false
	err := s.each(`SELECT name, "notnull", pk, hidden FROM pragma_table_xinfo(?1, 'main') WHERE hidden <> 1 ORDER BY cid`, func(r *sqlite.Row) {
		if r.Int(2) > 0 {
			first.keys++
		}
		if len(t.columns) == 0 {
			first.notNull, first.primary = r.Int(1) != 0, r.Int(2) > 0
		}
		t.columns = append(t.columns, string(r.Bytes(0)))
		t.virtual = append(t.virtual, r.Int(3) == 2)
		virtual = virtual || r.Int(3) == 2
	}, t.name)
	if !virtual {
		t.virtual = nil
	}
	return first, err
}

// unfitColumns says what is wrong with the columns, "" if nothing is.
func (d *definition) unfitColumns() string {
	n := len(d.columns)
	if n < 4 || !slices.Equal(d.columns[n-3:], []string{"created_at", "updated_at", "deleted_at"}) {
		return "its last three columns must be created_at, updated_at, deleted_at, after an id"
	}
	for _, i := range []int{0, n - 3, n - 2, n - 1} {
		if d.virtual != nil && d.virtual[i] {
			return fmt.Sprintf("column %s must not be a virtual generated column", d.columns[i])
		}
	}
	return ""
}

// unfitKey says what is wrong with the first column as the row's id, "" if nothing is.
func (s *statements) unfitKey(t *Table, first firstColumn) (string, error) {
	id := t.columns[0]
	if c := s.conn.Collation(t.name, id); !strings.EqualFold(c, "BINARY") {
		return fmt.Sprintf("its first column %s has the collation %s; it must be BINARY", id, c), nil
	}
	unique, primaryIndex := false, false
	err := s.each(`SELECT l.origin, count(*), max(x.cid), max(x.coll <> 'BINARY' COLLATE NOCASE)
		FROM pragma_index_list(?1, 'main') AS l, pragma_index_xinfo(l.name, 'main') AS x
		WHERE l."unique" AND NOT l.partial AND x.key GROUP BY l.seq`, func(r *sqlite.Row) {
		primaryIndex = primaryIndex || string(r.Bytes(0)) == "pk"
		unique = unique || r.Int(1) == 1 && r.Int(2) == 0 && r.Int(3) == 0
	}, t.name)
	if err != nil {
		return "", err
	}
	alone := first.primary && first.keys == 1
	rowid := alone && !primaryIndex // INTEGER PRIMARY KEY needs no index
	t.nullable = !rowid && !first.notNull
	if rowid || unique && (alone || first.notNull) {
		return "", nil
	}
	return fmt.Sprintf("its first column %s must be the only PRIMARY KEY, or UNIQUE and NOT NULL", id), nil
}

// checkNulls refuses a table with NULL for an id, which SQLite allows in keys.
func (s *statements) checkNulls(t *Table) error {
	if !t.nullable {
		return nil
	}
	found := false
	sql := fmt.Sprintf("SELECT 1 FROM %s WHERE %s IS NULL LIMIT 1", sqlite.Quote(t.name), sqlite.Quote(t.columns[0]))
	if err := s.each(sql, func(*sqlite.Row) { found = true }); err != nil {
		return err
	}
	if found {
		return fmt.Errorf("%w: %q: a row has NULL for its %s", ErrSchema, t.name, t.columns[0])
	}
	return nil
}
