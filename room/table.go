package room

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/denrooms/den/storage"
)

// Stamps are the three columns that every synced table ends with. Embed it as the
// last field of a row's struct; Den keeps the values. They are Unix milliseconds.
type Stamps struct {
	CreatedAt int64
	UpdatedAt int64
	DeletedAt *int64 // nil on a live row; on the wire anything else makes the row a tombstone
}

// A Table is a channel with rows of type T: a field of a handler's struct. The
// channel and its SQL table have the field's name in snake_case, or that of a tag
// `den:"name"`; the SQL table is made from T.
//
// T is a struct whose first field is the id (a string or an integer) and whose last
// is an embedded [Stamps]. Of ids, "" and 0 are like any other: no method makes one, see [Context.NewID].
// T's other exported fields are columns, in the order of the
// fields, which is the order on the wire too: string, bool (0 or 1), integers (but for
// uint and uint64), floats, []byte, json.RawMessage (text), time.Time (Unix
// milliseconds), and pointers to those, which may be NULL. A tag says more:
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
// A commit checks references: a row that others refer to can be deleted only together with these, or after them.
// Otherwise it is storage.ErrConstraint, as with a row that a check, a unique index or NOT NULL refuses. A client reads conflict and not
// which rule it was; the log has that at the level debug.
//
// When a room wakes its table is compared with T. A field that is new gets a column, in
// which old rows have the default, else NULL (a pointer) or Go's zero value. Indexes,
// checks, defaults, references and the order of the columns follow T as well. For all
// but the indexes the table is made again with its rows, and clients get the channel from scratch.
//
// A program that is taken back to its last version opens rooms that the newer one has widened, if each new field is
// a pointer or has a default in its tag. Such a column without a field is left alone: rows keep what they have
// in it, new rows get the default or NULL, and clients see it as one more column. Any other column without a field, like that of
// a plain int, is an error that keeps the room asleep, and so is a field that has become of another SQL type: write a migration ([Migrations]).
// A column without a field is an error, too, while another field has no column yet, because that may be a rename.
// So is a table that a migration has made by itself, if it is not exactly what T says.
//
// [Table.Delete] removes the row, and clients get a tombstone: the id, updated_at and deleted_at, with null in
// the other columns. A hook may also set deleted_at by SQL of its own. Such a row stays in the table with its content,
// until the room removes it. Clients get a tombstone, and the methods of the Table treat the row as one that
// is not there: the same id can be inserted again, which replaces what was left.
//
// A Table's methods are for hooks, and run as a part of them.
type Table[T any] struct {
	of *tablePlan
}

func (t *Table[T]) plan(name string) (*tablePlan, error) {
	return planTable(name, reflect.TypeFor[T]())
}
func (t *Table[T]) bind(p *tablePlan) { t.of = p }

// Insert adds a row. Its stamps are set, whatever it holds. The id of a live row is
// storage.ErrConstraint: to a client, conflict. The id of a row that was deleted is free at once.
func (t *Table[T]) Insert(c *Context, row T) error {
	args, err := t.args(c, &row)
	if err != nil {
		return err
	}
	_, err = c.Exec(t.of.insert, args...)
	if !errors.Is(err, storage.ErrConstraint) {
		return err
	}
	// The room's own SQL may have left a row there that is marked as deleted.
	revived, failed := c.Exec(t.of.revive, args...)
	if failed == nil && revived.RowsAffected > 0 {
		return nil
	}
	return err
}

// Upsert adds a row, or replaces the one with its id. A live row that is replaced keeps its
// created_at.
func (t *Table[T]) Upsert(c *Context, row T) error {
	args, err := t.args(c, &row)
	if err != nil {
		return err
	}
	_, err = c.Exec(t.of.upsert, args...)
	return err
}

// args are a new row's columns, stamps included.
func (t *Table[T]) args(c *Context, row *T) ([]any, error) {
	args, err := t.of.args(reflect.ValueOf(row).Elem())
	return append(args, stamp(c), stamp(c), nil), err
}

// Update replaces all columns of the live row with row's id but for created_at. If
// there is none it is ErrNotFound.
func (t *Table[T]) Update(c *Context, row T) error {
	values, err := t.of.args(reflect.ValueOf(&row).Elem())
	if err != nil {
		return err
	}
	args := append(values[1:], stamp(c), values[0])
	return t.one(c, t.of.update, args...)
}

// Patch replaces some columns of the live row with an id: those named in set, by their
// names in SQL, with values of their fields' types. If there is no such row it is
// ErrNotFound. The names must not be what a client sent.
func (t *Table[T]) Patch(c *Context, id any, set map[string]any) error {
	sql, args, err := t.of.patch(set)
	if err != nil {
		return err
	}
	return t.one(c, sql, append(args, stamp(c), id)...)
}

// Delete removes the live row with an id. If there is none it is ErrNotFound. Clients get a tombstone,
// and those that are away when they come back, for as long as the room remembers changes
// (Options.Retention). docs/STORAGE.md says how long the row's content stays on the disk.
func (t *Table[T]) Delete(c *Context, id any) error {
	return t.one(c, t.of.remove, id)
}

// Get reads the live row with an id. If there is none it is ErrNotFound.
func (t *Table[T]) Get(c *Context, id any) (T, error) {
	return t.First(c, t.of.columns[0].quoted()+" = ?", id)
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
	indexes []index

	definitions []string // of the columns and the stamps, in SQL

	create, insert, upsert, revive, update, remove, choose string
}

// An index is one that Den keeps for a table: those of a table whose name begins with
// indexPrefix are made and dropped with the struct.
type index struct{ Name, SQL string }

func (p *tablePlan) indexPrefix() string { return "den_" + p.name + "_" }

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
	if err := p.planIndexes(); err != nil {
		return nil, fmt.Errorf("%s: %w", row, err)
	}
	p.write()
	return p, nil
}

func (p *tablePlan) checkColumns() error {
	if len(p.columns) == 0 {
		return fmt.Errorf("there is no field for the id")
	}
	if id := p.columns[0]; id.null || id.json || id.kind != "TEXT" && id.kind != "INTEGER" {
		return fmt.Errorf("the first field is the id, a string or an integer, not %s", id.goSide())
	}
	seen := map[string]string{"created_at": "room.Stamps", "updated_at": "room.Stamps", "deleted_at": "room.Stamps"}
	for _, c := range p.columns {
		lower := strings.ToLower(c.name)
		if other := seen[lower]; other != "" {
			return fmt.Errorf("the column %s of field %s is there already, of %s (SQL does not tell upper case from lower)", c.name, c.field.Name, other)
		}
		seen[lower] = "field " + c.field.Name
	}
	return nil
}

// planIndexes makes the indexes that the tags ask for. Unique ones hold among the live
// rows: a row whose deleted_at is set takes no name away.
func (p *tablePlan) planIndexes() error {
	type group struct {
		name    string
		unique  bool
		columns []string
	}
	var groups []*group
	for i := range p.columns {
		c := &p.columns[i]
		for _, tag := range c.tag.indexes {
			name := tag.name
			if name == "" {
				name = c.name
				if tag.unique {
					name += "_unique"
				}
			}
			at := slices.IndexFunc(groups, func(g *group) bool { return strings.EqualFold(g.name, name) })
			switch {
			case strings.EqualFold(name, buriedIndex):
				return fmt.Errorf("the index %s of field %s has a name that Den needs; give it another with index=", name, c.field.Name)
			case at < 0:
				groups = append(groups, &group{name, tag.unique, []string{c.quoted()}})
			case groups[at].unique != tag.unique || tag.name == "":
				return fmt.Errorf("the index %s of field %s is there already, of another kind", name, c.field.Name)
			default:
				groups[at].columns = append(groups[at].columns, c.quoted())
			}
		}
	}
	for _, g := range groups {
		name := p.indexPrefix() + g.name
		sql := fmt.Sprintf("INDEX %s ON %s (%s)", quote(name), quote(p.name), strings.Join(g.columns, ", "))
		if g.unique {
			sql = "UNIQUE " + sql + " WHERE deleted_at IS NULL"
		}
		p.indexes = append(p.indexes, index{Name: name, SQL: "CREATE " + sql})
	}
	return nil
}

// madeByDen stands in the definition of a table that Den has made, and so may make anew.
const madeByDen = "/* from a struct */"

// write makes the plan's SQL.
func (p *tablePlan) write() {
	table := quote(p.name)
	id := p.columns[0].quoted()
	var defs, names, sets, replaced []string
	for i := range p.columns {
		c := &p.columns[i]
		def := c.definition()
		if i == 0 {
			def += " PRIMARY KEY"
		} else {
			sets = append(sets, c.quoted()+" = ?")
			replaced = append(replaced, c.quoted()+" = excluded."+c.quoted())
		}
		defs, names = append(defs, def), append(names, c.quoted())
	}
	names = append(names, "created_at", "updated_at", "deleted_at")
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(names)), ", ")
	replaced = append(replaced, "created_at = iif(deleted_at IS NULL, created_at, excluded.created_at)",
		"updated_at = excluded.updated_at", "deleted_at = NULL")
	sets = append(sets, "updated_at = ?")

	p.definitions = append(defs, "created_at INTEGER NOT NULL", "updated_at INTEGER NOT NULL", "deleted_at INTEGER")
	p.create = p.definition(p.definitions)
	p.insert = "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") VALUES (" + marks + ")"
	p.upsert = p.insert + " ON CONFLICT (" + id + ") DO UPDATE SET " + strings.Join(replaced, ", ")
	p.revive = p.upsert + " WHERE deleted_at IS NOT NULL"
	p.update = "UPDATE " + table + " SET " + strings.Join(sets, ", ") + " WHERE " + id + " = ? AND deleted_at IS NULL"
	p.remove = "DELETE FROM " + table + " WHERE " + id + " = ? AND deleted_at IS NULL"
	p.choose = "SELECT " + strings.Join(names, ", ") + " FROM " + table + " WHERE deleted_at IS NULL AND "
}

// definition is the table with some columns.
func (p *tablePlan) definition(columns []string) string {
	sql := "CREATE TABLE " + quote(p.name) + " (" + madeByDen + " " + strings.Join(columns, ", ") + ") STRICT"
	if p.columns[0].kind != "INTEGER" {
		sql += ", WITHOUT ROWID" // one tree, in the order of the ids, instead of a table and an index
	}
	return sql
}

// patch is the SQL that replaces some columns, and its first arguments.
func (p *tablePlan) patch(set map[string]any) (sql string, args []any, err error) {
	var sets []string
	for i := range p.columns {
		c := &p.columns[i]
		v, there := set[c.name]
		if !there {
			continue
		}
		if i == 0 {
			return "", nil, fmt.Errorf("room: table %s: Patch cannot change the id", p.name)
		}
		arg, err := c.argument(v)
		if err != nil {
			return "", nil, fmt.Errorf("room: table %s: %w", p.name, err)
		}
		sets, args = append(sets, c.quoted()+" = ?"), append(args, arg)
	}
	if len(sets) != len(set) || len(sets) == 0 {
		return "", nil, fmt.Errorf("room: table %s: Patch of %d columns, of which it has %d", p.name, len(set), len(sets))
	}
	sql = "UPDATE " + quote(p.name) + " SET " + strings.Join(sets, ", ") + ", updated_at = ? WHERE " +
		p.columns[0].quoted() + " = ? AND deleted_at IS NULL"
	return sql, args, nil
}

// argument is a value of the field's type as SQL takes it; nil stands for a nil pointer, and
// a value for a pointer to it.
func (c *column) argument(v any) (any, error) {
	to := reflect.New(c.field.Type).Elem()
	from := reflect.ValueOf(v)
	switch {
	case v == nil && c.null:
	case v != nil && from.Type().AssignableTo(c.field.Type):
		to.Set(from)
	case v != nil && c.null && from.Type().AssignableTo(c.goType()):
		to.Set(reflect.New(c.goType()))
		to.Elem().Set(from)
	default:
		return nil, fmt.Errorf("the column %s takes a %s, not a %T", c.name, c.field.Type, v)
	}
	return c.value(to)
}

// args are the values of a row's columns, without the stamps.
func (p *tablePlan) args(row reflect.Value) ([]any, error) {
	args := make([]any, 0, len(p.columns)+3)
	for i := range p.columns {
		v, err := p.columns[i].value(row.FieldByIndex(p.columns[i].field.Index))
		if err != nil {
			return nil, fmt.Errorf("room: table %s: %w", p.name, err)
		}
		args = append(args, v)
	}
	return args, nil
}

// pointers are where a row's columns and stamps are read into.
func (p *tablePlan) pointers(row reflect.Value) []any {
	into := make([]any, 0, len(p.columns)+3)
	for i := range p.columns {
		into = append(into, p.columns[i].pointer(row))
	}
	s := row.Field(row.NumField() - 1).Addr().Interface().(*Stamps)
	return append(into, &s.CreatedAt, &s.UpdatedAt, &s.DeletedAt)
}
