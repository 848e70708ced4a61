package room

import (
	"fmt"
	"reflect"
	"strings"
)

// Stamps are the three columns that every synced table ends with. Embed it as the
// last field of a row's struct; Den keeps the values. They are Unix milliseconds.
type Stamps struct {
	CreatedAt int64
	UpdatedAt int64
	DeletedAt *int64 // nil on a live row; anything else makes the row a tombstone
}

// A Table is a channel with rows of type T: a field of a handler's struct. The
// channel and its SQL table have the field's name in snake_case, or that of a tag
// `den:"name"`; the SQL table is made from T.
//
// T is a struct whose first field is the id (a string or an integer) and whose last
// is an embedded [Stamps]. Its other exported fields are columns: string, bool,
// integers, floats, []byte, json.RawMessage (text), time.Time (Unix milliseconds), and
// pointers to those, which may be NULL. A column has the field's name in snake_case,
// or that of a tag `den:"name"`; a field with `den:"-"` is none.
//
// A Table's methods are for hooks, and run as a part of them.
type Table[T any] struct {
	of *tablePlan
}

func (t *Table[T]) plan(name string) (*tablePlan, error) {
	return planTable(name, reflect.TypeFor[T]())
}
func (t *Table[T]) bind(p *tablePlan) { t.of = p }

// Insert adds a row. Its stamps are set, whatever it holds. An id that is there,
// also as a tombstone, is storage.ErrConstraint: to a client, conflict.
func (t *Table[T]) Insert(c *Context, row T) error {
	_, err := c.Exec(t.of.insert, t.of.args(reflect.ValueOf(&row).Elem(), stamp(c), stamp(c), nil)...)
	return err
}

// Upsert adds a row, or replaces the one with its id, live or tombstone. A row that
// is replaced keeps its created_at.
func (t *Table[T]) Upsert(c *Context, row T) error {
	_, err := c.Exec(t.of.upsert, t.of.args(reflect.ValueOf(&row).Elem(), stamp(c), stamp(c), nil)...)
	return err
}

// Update replaces all columns of the live row with row's id but for created_at. If
// there is none it is ErrNotFound.
func (t *Table[T]) Update(c *Context, row T) error {
	v := reflect.ValueOf(&row).Elem()
	values := t.of.args(v)
	args := append(values[1:], stamp(c), values[0])
	return t.one(c, t.of.update, args...)
}

// Delete makes a tombstone of the live row with an id. If there is none it is
// ErrNotFound.
func (t *Table[T]) Delete(c *Context, id any) error {
	return t.one(c, t.of.remove, stamp(c), stamp(c), id)
}

// Get reads the live row with an id. If there is none it is ErrNotFound.
func (t *Table[T]) Get(c *Context, id any) (T, error) {
	rows, err := t.Where(c, t.of.columns[0].quoted+" = ?", id)
	if err != nil || len(rows) == 0 {
		var none T
		if err == nil {
			err = ErrNotFound
		}
		return none, err
	}
	return rows[0], nil
}

// All reads the live rows in the order of their ids.
func (t *Table[T]) All(c *Context) ([]T, error) { return t.Where(c, "TRUE") }

// Where reads the live rows for which a condition holds, in the order of their ids.
// The condition is SQL, with ? for each argument; it must not be made of what a
// client sent.
func (t *Table[T]) Where(c *Context, condition string, args ...any) ([]T, error) {
	rows, err := c.Query(t.of.choose+"("+condition+") ORDER BY 1", args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var row T
		if err := rows.Scan(t.of.pointers(reflect.ValueOf(&row).Elem())...); err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

func (t *Table[T]) one(c *Context, sql string, args ...any) error {
	result, err := c.Exec(sql, args...)
	if err == nil && result.RowsAffected == 0 {
		err = ErrNotFound
	}
	return err
}

func stamp(c *Context) int64 { return c.now.UnixMilli() }

// A tablePlan is the SQL of a Table, made once for a namespace. It is immutable.
type tablePlan struct {
	name    string
	row     reflect.Type
	columns []column // the stamps not among them

	create, insert, upsert, update, remove, choose string
}

type column struct {
	name   string
	quoted string
	kind   string // SQLite's, with NOT NULL where it holds
	index  []int
}

func planTable(name string, row reflect.Type) (*tablePlan, error) {
	if row.Kind() != reflect.Struct {
		return nil, fmt.Errorf("a row is a struct, not %s", row)
	}
	p := &tablePlan{name: name, row: row}
	stamps := false
	for i := range row.NumField() {
		f := row.Field(i)
		switch {
		case f.Type == reflect.TypeFor[Stamps]() && f.Anonymous:
			stamps = i == row.NumField()-1
		case !f.IsExported() || f.Tag.Get("den") == "-":
		default:
			c, err := planColumn(f)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", row, err)
			}
			p.columns = append(p.columns, c)
		}
	}
	if !stamps {
		return nil, fmt.Errorf("%s must embed room.Stamps as its last field", row)
	}
	if err := p.checkColumns(); err != nil {
		return nil, fmt.Errorf("%s: %w", row, err)
	}
	p.write()
	return p, nil
}

func planColumn(f reflect.StructField) (column, error) {
	name := f.Tag.Get("den")
	if name == "" {
		name = snake(f.Name)
	}
	if !channelForm.MatchString(name) {
		return column{}, fmt.Errorf("the column %q of field %s: want letters, digits and '_'", name, f.Name)
	}
	kind := sqlKind(f.Type)
	if kind == "" {
		return column{}, fmt.Errorf("the field %s is a %s, which no column can hold", f.Name, f.Type)
	}
	return column{name: name, quoted: `"` + name + `"`, kind: kind, index: f.Index}, nil
}

func (p *tablePlan) checkColumns() error {
	if len(p.columns) == 0 {
		return fmt.Errorf("there is no field for the id")
	}
	if id := p.columns[0]; id.kind != "TEXT NOT NULL" && id.kind != "INTEGER NOT NULL" {
		return fmt.Errorf("the first field is the id, a string or an integer, not %s", id.kind)
	}
	seen := map[string]bool{"created_at": true, "updated_at": true, "deleted_at": true}
	for _, c := range p.columns {
		if lower := strings.ToLower(c.name); seen[lower] {
			return fmt.Errorf("the column %s is there twice", c.name)
		} else {
			seen[lower] = true
		}
	}
	return nil
}

// write makes the plan's SQL.
func (p *tablePlan) write() {
	table := `"` + p.name + `"`
	id := p.columns[0].quoted
	var defs, names, sets, replaced []string
	for i, c := range p.columns {
		def := c.quoted + " " + c.kind
		if i == 0 {
			def += " PRIMARY KEY"
		} else {
			sets = append(sets, c.quoted+" = ?")
			replaced = append(replaced, c.quoted+" = excluded."+c.quoted)
		}
		defs, names = append(defs, def), append(names, c.quoted)
	}
	names = append(names, "created_at", "updated_at", "deleted_at")
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(names)), ", ")
	replaced = append(replaced, "updated_at = excluded.updated_at", "deleted_at = NULL")
	sets = append(sets, "updated_at = ?")

	p.create = "CREATE TABLE IF NOT EXISTS " + table + " (" + strings.Join(defs, ", ") +
		", created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, deleted_at INTEGER) STRICT"
	if p.columns[0].kind != "INTEGER NOT NULL" {
		p.create += ", WITHOUT ROWID" // one tree, in the order of the ids, instead of a table and an index
	}
	p.insert = "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") VALUES (" + marks + ")"
	p.upsert = p.insert + " ON CONFLICT (" + id + ") DO UPDATE SET " + strings.Join(replaced, ", ")
	p.update = "UPDATE " + table + " SET " + strings.Join(sets, ", ") + " WHERE " + id + " = ? AND deleted_at IS NULL"
	p.remove = "UPDATE " + table + " SET deleted_at = ?, updated_at = ? WHERE " + id + " = ? AND deleted_at IS NULL"
	p.choose = "SELECT " + strings.Join(names, ", ") + " FROM " + table + " WHERE deleted_at IS NULL AND "
}

// prepare makes the table if it is not there, and checks that it is the struct's.
func (p *tablePlan) prepare(c *Context) error {
	if _, err := c.Exec(p.create); err != nil {
		return fmt.Errorf("table %s: %w", p.name, err)
	}
	rows, err := c.Query(`SELECT name, type, "notnull" FROM pragma_table_info(?)`, p.name)
	if err != nil {
		return fmt.Errorf("table %s: %w", p.name, err)
	}
	defer rows.Close()
	var there []string
	for rows.Next() {
		var name, kind string
		var required bool
		if err := rows.Scan(&name, &kind, &required); err != nil {
			return err
		}
		if required {
			kind += " NOT NULL"
		}
		there = append(there, name+" "+kind)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	var want []string
	for _, col := range p.columns {
		want = append(want, col.name+" "+col.kind)
	}
	want = append(want, "created_at INTEGER NOT NULL", "updated_at INTEGER NOT NULL", "deleted_at INTEGER")
	if strings.Join(there, ", ") != strings.Join(want, ", ") {
		return fmt.Errorf("room: the table %s has the columns (%s), but the struct %s wants (%s)",
			p.name, strings.Join(there, ", "), p.row, strings.Join(want, ", "))
	}
	return nil
}

// args are the values of a row's columns, and then more.
func (p *tablePlan) args(row reflect.Value, more ...any) []any {
	args := make([]any, 0, len(p.columns)+len(more)+2)
	for _, c := range p.columns {
		args = append(args, columnValue(row.FieldByIndex(c.index)))
	}
	return append(args, more...)
}

// pointers are where a row's columns and stamps are read into.
func (p *tablePlan) pointers(row reflect.Value) []any {
	into := make([]any, 0, len(p.columns)+3)
	for _, c := range p.columns {
		into = append(into, row.FieldByIndex(c.index).Addr().Interface())
	}
	s := row.Field(row.NumField() - 1).Addr().Interface().(*Stamps)
	return append(into, &s.CreatedAt, &s.UpdatedAt, &s.DeletedAt)
}
