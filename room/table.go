package room

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/denrooms/den/room/internal/table"
	"github.com/denrooms/den/storage"
)

// Stamps are the three columns that every synced table ends with, in Unix milliseconds. Embed it as the last field of
// a row's struct. Den sets the values.
type Stamps struct {
	CreatedAt int64
	UpdatedAt int64
	DeletedAt *int64 // nil on a live row; on the wire anything else makes the row a tombstone
}

// A Table is a channel with rows of type T, as a field of a handler's struct. The channel and its SQL table have the
// field's name in snake_case, or the name in a tag `den:"name"`. The SQL table is made from T.
//
// T is a struct whose first field is the id (a string or an integer) and whose last is an embedded [Stamps]. The ids
// "" and 0 are like any other: no method makes an id, see [Context.NewID]. T's other exported fields are columns, in
// the order of the fields, which is also the order on the wire: string, bool (0 or 1), integers (except uint and
// uint64), floats, []byte, json.RawMessage (text), time.Time (Unix milliseconds), and pointers to those, which may be
// NULL. A tag says more:
//
//	Email  string    `den:"mail"`                  the column's name; default: the field's in snake_case
//	Email  string    `den:",unique"`               no two live rows have the same
//	List   string    `den:",index"`                an index
//	List   string    `den:",index=by_list"`        an index of all columns that name it, in their order;
//	Rank   int       `den:",index=by_list"`        unique=name likewise
//	Level  int       `den:",check=level < 10"`     what must hold, in SQL
//	State  string    `den:",default='open'"`       what rows get that are older than the column
//	List   string    `den:",references=lists"`     the id of a row of another table, or lists.column
//	Labels []string  `den:",json"`                 any type, kept as JSON text; on the wire too
//	Memo   chan int  `den:"-"`                     no column
//
// A commit checks references: a row that others refer to can only be deleted together with these, or after them.
// Otherwise the error is storage.ErrConstraint, as for a row that a check, a unique index or NOT NULL refuses. A
// client gets the code conflict and not which rule it was; the log has that at the level debug.
//
// When a room wakes, its table is compared with T. A new field gets a column, in which old rows have the default,
// otherwise NULL (a pointer) or Go's zero value. Indexes, checks, defaults, references and the order of the columns
// follow T as well. For all of these except indexes the table is rebuilt with its rows, and clients get the channel
// from scratch.
//
// A program that goes back to its last version opens rooms that the newer one has extended, if each new field is a
// pointer or has a default in its tag. Such a column without a field is left alone: rows keep its value, new rows get
// the default or NULL, and clients see it as one more column. Any other column without a field, like that of a plain
// int, is an error that keeps the room asleep. So is a field whose SQL type has changed: write a migration
// ([Migrations]). A column without a field is also an error while another field has no column yet, because that may
// be a rename. So is a table that a migration has made, if it is not exactly what T says.
//
// [Table.Delete] removes the row, and clients get a tombstone: the id, updated_at and deleted_at, with null in the
// other columns. A hook may also set deleted_at by its own SQL. Such a row stays in the table with its content until
// the room removes it. Clients get a tombstone, and the Table's methods ignore the row: the same id can be inserted
// again, which replaces what was left.
//
// A Table's methods are for hooks, and run as part of them.
type Table[T any] struct {
	of *table.Plan
}

func (t *Table[T]) plan(name string) (*table.Plan, error) {
	return table.NewPlan(name, reflect.TypeFor[T](), reflect.TypeFor[Stamps]())
}
func (t *Table[T]) bind(p *table.Plan) { t.of = p }

// Insert adds a row. It sets the stamps, whatever they hold. If there is a live row with the id, the error is
// storage.ErrConstraint; a client gets conflict. The id of a deleted row can be used again at once.
func (t *Table[T]) Insert(c *Context, row T) error {
	args, err := t.args(c, &row)
	if err != nil {
		return err
	}
	_, err = c.Exec(t.of.Insert, args...)
	if !errors.Is(err, storage.ErrConstraint) {
		return err
	}
	// The room's own SQL may have left a row there that is marked as deleted.
	revived, failed := c.Exec(t.of.Revive, args...)
	if failed == nil && revived.RowsAffected > 0 {
		return nil
	}
	return err
}

// Upsert adds a row, or replaces the live row with its id, which keeps its created_at.
func (t *Table[T]) Upsert(c *Context, row T) error {
	args, err := t.args(c, &row)
	if err != nil {
		return err
	}
	_, err = c.Exec(t.of.Upsert, args...)
	return err
}

// args returns a new row's columns, including the stamps.
func (t *Table[T]) args(c *Context, row *T) ([]any, error) {
	args, err := t.of.Args(reflect.ValueOf(row).Elem())
	return append(args, stamp(c), stamp(c), nil), err
}

// Update replaces all columns of the live row with row's id, except created_at. If there is none, it returns
// ErrNotFound.
func (t *Table[T]) Update(c *Context, row T) error {
	values, err := t.of.Args(reflect.ValueOf(&row).Elem())
	if err != nil {
		return err
	}
	args := append(values[1:], stamp(c), values[0])
	return t.one(c, t.of.Update, args...)
}

// Patch replaces some columns of the live row with an id: those whose SQL names are in set, with values of their
// fields' types. If there is no such row, it returns ErrNotFound. The names must not come from a client.
func (t *Table[T]) Patch(c *Context, id any, set map[string]any) error {
	sql, args, err := t.of.Patch(set)
	if err != nil {
		return err
	}
	return t.one(c, sql, append(args, stamp(c), id)...)
}

// Delete removes the live row with an id. If there is none, it returns ErrNotFound. Clients get a tombstone. Those
// that are away get it when they come back, as long as the room remembers changes (Options.Retention).
// docs/STORAGE.md says how long the row's content stays on the disk.
func (t *Table[T]) Delete(c *Context, id any) error {
	return t.one(c, t.of.Delete, id)
}

// Get reads the live row with an id. If there is none, it returns ErrNotFound.
func (t *Table[T]) Get(c *Context, id any) (T, error) {
	return t.First(c, t.of.ByID, id)
}

func (t *Table[T]) one(c *Context, sql string, args ...any) error {
	result, err := c.Exec(sql, args...)
	if err == nil && result.RowsAffected == 0 {
		err = ErrNotFound
	}
	return err
}

func stamp(c *Context) int64 { return c.now.UnixMilli() }

// All reads the live rows in the order of their ids.
func (t *Table[T]) All(c *Context) ([]T, error) { return t.Select(c, Selection{}) }

// Where reads the live rows for which a condition holds, in the order of their ids. The condition is SQL, with ? for
// each argument. It must not contain text from a client.
func (t *Table[T]) Where(c *Context, condition string, args ...any) ([]T, error) {
	return t.Select(c, Selection{Where: condition, Args: args})
}

// First returns the first of the rows that Where reads. If there is none, it returns ErrNotFound.
func (t *Table[T]) First(c *Context, condition string, args ...any) (T, error) {
	var none T
	rows, err := t.Select(c, Selection{Where: condition, Args: args, Limit: 1})
	if err != nil {
		return none, err
	}
	if len(rows) == 0 {
		return none, ErrNotFound
	}
	return rows[0], nil
}

// Count returns how many live rows a condition holds for; with an empty condition, how many live rows there are.
func (t *Table[T]) Count(c *Context, condition string, args ...any) (int64, error) {
	if condition == "" {
		condition = "TRUE"
	}
	var n int64
	err := c.QueryRow("SELECT count(*) FROM "+table.Quote(t.of.Name())+" WHERE deleted_at IS NULL AND ("+condition+")", args, &n)
	return n, err
}

// A Selection says which live rows of a table are read. Where and OrderBy are SQL, and must not contain text from a
// client.
type Selection struct {
	Where   string // a condition, with ? for each of Args; empty: all
	Args    []any
	OrderBy string // like "position, created_at DESC"; empty: by id
	Limit   int    // at most this many rows; 0: all
	Offset  int    // skips this many rows; for rows far down the list a Where is faster
}

// Select reads live rows.
func (t *Table[T]) Select(c *Context, s Selection) ([]T, error) {
	if s.Limit < 0 || s.Offset < 0 {
		return nil, fmt.Errorf("room: table %s: a Selection with a Limit of %d and an Offset of %d", t.of.Name(), s.Limit, s.Offset)
	}
	rows, err := c.Query(t.of.Select(s.Where, s.OrderBy, s.Limit, s.Offset), s.Args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var row T
		if err := rows.Scan(t.of.Pointers(reflect.ValueOf(&row).Elem())...); err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// Query reads the result of any SQL, such as a join, into values of type T. T is a struct whose exported fields,
// including those of embedded structs, take the columns with their names: as with a [Table] in snake_case, or by the
// tag `den:"name"`, with the option json for a column that holds JSON. If T is not a struct (or is time.Time), it
// takes the only column.
//
// A column without a field is an error, and so are two columns with one name: name them with AS. A field without a
// column keeps its zero value. NULL needs a pointer. Unlike a Table's methods, Query also returns rows that are
// marked as deleted: add deleted_at IS NULL to leave them out.
func Query[T any](c *Context, sql string, args ...any) ([]T, error) {
	rows, err := c.Query(sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return table.Scan[T](rows)
}
