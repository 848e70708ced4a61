package storage

// Synced tables: what makes a table one, and how Den knows of them. A table that
// was synced once is followed from the moment the file is opened, declared or
// not, so that what a migration does to it is not lost on clients that were away.

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrSchema: a table cannot be synced as it is defined.
var ErrSchema = errors.New("table cannot be synced")

type table struct {
	id      int64
	name    string
	columns []string
	virtual []bool // virtual generated columns; nil where there are none
	rowid   string // a name of its rowid that no column has; empty: it has none that can be named
	sql     string // its definition and place, to notice a change
	root    int64  // 0: not known yet

	nullable bool // SQLite lets NULL into its first column

	declared bool // by Sync in this life
	floor    Seq  // its rows are in the log from here on
	stale    bool // its changes were not followed for a while: Sync takes it up anew
	rebased  bool // redefined in this action: every row counts as changed

	// The running maximum of the stamps that were sent, as an image; empty:
	// none. next is what it will be after the action in work.
	high, next []byte
	known      bool // high was read
	raised     bool // next differs from high

	live, row, first, page *statement

	scan, scanOn *statement // see Scan
}

func (t *table) createdAt() int { return len(t.columns) - 3 }
func (t *table) updatedAt() int { return len(t.columns) - 2 }
func (t *table) deletedAt() int { return len(t.columns) - 1 }

// list is the column list of a SELECT.
func (t *table) list(prefix string) string {
	out := make([]string, len(t.columns))
	for i, c := range t.columns {
		out[i] = prefix + quote(c)
	}
	return strings.Join(out, ", ")
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// tracked finds the table that the pre-update hook names; nil: it is not synced.
func (d *DB) tracked(name string) *table {
	if t := d.last; t != nil && t.name == name && !t.stale {
		return t
	}
	t := d.tables[name]
	if t == nil || t.stale {
		return nil
	}
	d.last = t
	return t
}

// Sync declares tables as synced: their changed rows come with each Commit, and
// Live, Since and SeqAt serve them. A table must have a first column that is
// alone the PRIMARY KEY, or UNIQUE and NOT NULL, sorted as BINARY; and the last
// three columns created_at, updated_at, deleted_at. Names are compared exactly.
// The error (ErrSchema) names the table and what is wrong; then none of the
// tables is declared.
//
// A table that is synced for the first time, or again after its definition had
// become unfit, counts as changed as a whole by one commit. Sync may be called
// more than once, but not while a batch is open.
func (d *DB) Sync(names ...string) error {
	if err := d.lock(); err != nil {
		return err
	}
	defer d.mu.Unlock()
	if d.batch != nil {
		return fmt.Errorf("storage: %w: Sync while a batch is open", ErrMisuse)
	}
	var fresh, fit []*table
	for _, name := range names {
		t := d.tables[name]
		if t != nil && !t.stale { // followed since it was found to be fit
			fit = append(fit, t)
		} else {
			var err error
			if t, err = d.describe(name); err != nil {
				return err
			}
			fresh = append(fresh, t)
		}
		if err := d.withoutNulls(t); err != nil {
			return err
		}
	}
	if len(fresh) > 0 {
		if err := d.adopt(fresh); err != nil {
			return err
		}
	}
	for _, t := range slices.Concat(fit, fresh) {
		t.declared = true
	}
	for _, name := range names {
		if !slices.Contains(d.order, name) {
			d.order = append(d.order, name)
		}
	}
	return nil
}

// Tables gives the declared tables, in the order of their declaration.
func (d *DB) Tables() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.order)
}

// Columns gives a declared table's columns, nil where it is none.
func (d *DB) Columns(name string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.tables[name]; t != nil && t.declared {
		return slices.Clone(t.columns)
	}
	return nil
}

// describe reads a table's definition and checks that it can be synced.
func (d *DB) describe(name string) (*table, error) {
	t := &table{name: name}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("storage: %w: %q: %s", ErrSchema, name, fmt.Sprintf(format, args...))
	}
	kind, tree := "", false
	err := d.each("SELECT type, wr FROM pragma_table_list(?1) WHERE schema = 'main' AND name = ?1", func(r *Rows) {
		kind, tree = string(r.Bytes(0)), r.Int(1) != 0
	}, name)
	if err != nil {
		return nil, err
	}
	switch {
	case kind == "":
		return nil, bad("no such table (names are compared exactly)")
	case kind != "table" || internalName(name):
		return nil, bad("it is a %s, not a table of the room", kind)
	}
	err = d.each("SELECT sql, rootpage FROM sqlite_schema WHERE type = 'table' AND name = ?1", func(r *Rows) {
		t.sql, t.root = string(r.Bytes(0)), r.Int(1)
	}, name)
	if err != nil {
		return nil, err
	}
	key, err := d.describeColumns(t)
	if err != nil {
		return nil, err
	}
	if !tree {
		t.rowid = t.rowidName()
	}
	if why := t.unfit(); why != "" {
		return nil, bad("%s", why)
	}
	why, err := d.unfitKey(t, key)
	if err == nil && why != "" {
		err = bad("%s", why)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// firstColumn is what the rule on a synced table's key looks at.
type firstColumn struct {
	notNull bool
	primary bool // it is in the PRIMARY KEY
	keys    int  // columns of the PRIMARY KEY
}

// describeColumns fills in the columns.
func (d *DB) describeColumns(t *table) (firstColumn, error) {
	var first firstColumn
	virtual := false
	err := d.each(`SELECT name, "notnull", pk, hidden FROM pragma_table_xinfo(?1, 'main') WHERE hidden <> 1 ORDER BY cid`, func(r *Rows) {
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

// unfit says what is wrong with the columns, "" where nothing is.
func (t *table) unfit() string {
	n := len(t.columns)
	if n < 4 || !slices.Equal(t.columns[n-3:], []string{"created_at", "updated_at", "deleted_at"}) {
		return "its last three columns must be created_at, updated_at, deleted_at, behind an id"
	}
	for _, i := range []int{0, n - 3, n - 2, n - 1} {
		if t.virtual != nil && t.virtual[i] {
			return fmt.Sprintf("column %s must not be a virtual generated column", t.columns[i])
		}
	}
	return ""
}

// unfitKey says what is wrong with the first column as the row's id.
func (d *DB) unfitKey(t *table, first firstColumn) (string, error) {
	id := t.columns[0]
	if c := d.c.Collation(t.name, id); !strings.EqualFold(c, "BINARY") {
		return fmt.Sprintf("its first column %s has the collation %s; it must be BINARY", id, c), nil
	}
	unique, primaryIndex := false, false
	err := d.each(`SELECT l.origin, count(*), max(x.cid), max(x.coll <> 'BINARY' COLLATE NOCASE)
		FROM pragma_index_list(?1, 'main') AS l, pragma_index_xinfo(l.name, 'main') AS x
		WHERE l."unique" AND NOT l.partial AND x.key GROUP BY l.seq`, func(r *Rows) {
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

// withoutNulls refuses a table with NULL for an id, which SQLite allows in keys.
func (d *DB) withoutNulls(t *table) error {
	if !t.nullable {
		return nil
	}
	found := false
	sql := fmt.Sprintf("SELECT 1 FROM %s WHERE %s IS NULL LIMIT 1", quote(t.name), quote(t.columns[0]))
	if err := d.each(sql, func(*Rows) { found = true }); err != nil {
		return err
	}
	if found {
		return fmt.Errorf("storage: %w: %q: a row has NULL for its %s", ErrSchema, t.name, t.columns[0])
	}
	return nil
}

// each calls do for each row of one of Den's own queries. The mutex is held.
func (d *DB) each(sql string, do func(*Rows), args ...any) error {
	rows, err := d.query(own, sql, args)
	if err != nil {
		return err
	}
	for rows.next() {
		do(rows)
	}
	return rows.failure()
}

// tableStatement gives one of a table's kept statements, for use; while it is in
// use already, another one that is dropped after its use.
func (d *DB) tableStatement(slot **statement, sql func() string) (*statement, error) {
	if s := *slot; s != nil && !s.InUse() {
		s.Use()
		return s, nil
	}
	s, err := d.kept(sql())
	if err != nil {
		return nil, err
	}
	if *slot == nil {
		*slot = s
	} else {
		s.Drop()
	}
	return s, nil
}

func (d *DB) rowStatement(t *table) (*statement, error) {
	s, err := d.tableStatement(&t.row, func() string {
		return fmt.Sprintf("SELECT %s FROM %s WHERE %s = ?1", t.list(""), quote(t.name), quote(t.columns[0]))
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// slots are where a table keeps its statements.
func (t *table) slots() []**statement {
	return []**statement{&t.live, &t.row, &t.first, &t.page, &t.scan, &t.scanOn}
}

// forget drops a table's statements.
func (d *DB) forget(t *table) {
	for _, slot := range t.slots() {
		if s := *slot; s != nil {
			s.Drop()
			*slot = nil
		}
	}
}
