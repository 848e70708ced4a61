// Package table makes SQL tables from Go structs: their columns and indexes, the statements for their rows, and the
// change of an earlier program's table into this one's. The doc of room.Table has the rules for a struct and its
// tags.
package table

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// A Plan is the SQL of a table, made once for a namespace. It is immutable.
type Plan struct {
	// SQL, with a ? for each argument. Insert, Upsert and Revive take a row's columns and its stamps, Update those
	// without the id, then the time and the id, Delete the id. ByID is a condition.
	Insert, Upsert, Revive, Update, Delete, ByID string

	name    string
	row     reflect.Type
	columns []column // without the stamps
	indexes []index

	definitions []string // of the columns and the stamps, in SQL

	create, choose string
}

// Name is the table's name.
func (p *Plan) Name() string { return p.name }

// Schema describes the table and its indexes. It is another text if they change.
func (p *Plan) Schema() string { return fmt.Sprintf("table %q %q %q", p.name, p.create, p.indexes) }

// An index is one that Den keeps for a table. The indexes of a table whose names begin with indexPrefix are made and
// dropped with the struct.
type index struct{ Name, SQL string }

func (p *Plan) indexPrefix() string { return "den_" + p.name + "_" }

// NewPlan plans the table of a struct, which ends with the embedded struct stamps.
func NewPlan(name string, row, stamps reflect.Type) (*Plan, error) {
	if row.Kind() != reflect.Struct {
		return nil, fmt.Errorf("a row is a struct, not %s", row)
	}
	p := &Plan{name: name, row: row}
	stamped := false
	for i := range row.NumField() {
		f := row.Field(i)
		switch {
		case f.Type == stamps && f.Anonymous:
			stamped = i == row.NumField()-1
		case !f.IsExported() || f.Tag.Get("den") == "-":
		default:
			c, err := planColumn(f)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", row, err)
			}
			p.columns = append(p.columns, c)
		}
	}
	if !stamped {
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

func (p *Plan) checkColumns() error {
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

// planIndexes plans the indexes of the tags. Unique ones apply to live rows: a row whose deleted_at is set does not
// reserve a name.
func (p *Plan) planIndexes() error {
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
		sql := fmt.Sprintf("INDEX %s ON %s (%s)", Quote(name), Quote(p.name), strings.Join(g.columns, ", "))
		if g.unique {
			sql = "UNIQUE " + sql + " WHERE deleted_at IS NULL"
		}
		p.indexes = append(p.indexes, index{Name: name, SQL: "CREATE " + sql})
	}
	return nil
}

// madeByDen is in the definition of a table that Den has made, and so may rebuild.
const madeByDen = "/* from a struct */"

// write makes the plan's SQL.
func (p *Plan) write() {
	table := Quote(p.name)
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
	p.Insert = "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") VALUES (" + marks + ")"
	p.Upsert = p.Insert + " ON CONFLICT (" + id + ") DO UPDATE SET " + strings.Join(replaced, ", ")
	p.Revive = p.Upsert + " WHERE deleted_at IS NOT NULL"
	p.Update = "UPDATE " + table + " SET " + strings.Join(sets, ", ") + " WHERE " + id + " = ? AND deleted_at IS NULL"
	p.Delete = "DELETE FROM " + table + " WHERE " + id + " = ? AND deleted_at IS NULL"
	p.ByID = id + " = ?"
	p.choose = "SELECT " + strings.Join(names, ", ") + " FROM " + table + " WHERE deleted_at IS NULL AND "
}

// definition returns the table with some columns.
func (p *Plan) definition(columns []string) string {
	sql := "CREATE TABLE " + Quote(p.name) + " (" + madeByDen + " " + strings.Join(columns, ", ") + ") STRICT"
	if p.columns[0].kind != "INTEGER" {
		sql += ", WITHOUT ROWID" // one tree, in the order of the ids, instead of a table and an index
	}
	return sql
}

// Patch returns the SQL that replaces some columns, and its first arguments.
func (p *Plan) Patch(set map[string]any) (sql string, args []any, err error) {
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
	sql = "UPDATE " + Quote(p.name) + " SET " + strings.Join(sets, ", ") + ", updated_at = ? WHERE " +
		p.columns[0].quoted() + " = ? AND deleted_at IS NULL"
	return sql, args, nil
}

// argument returns a value of the field's type as SQL takes it. nil stands for a nil pointer, and a value for a
// pointer to it.
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

// Args returns the values of a row's columns, without the stamps.
func (p *Plan) Args(row reflect.Value) ([]any, error) {
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

// Pointers returns where a row's columns and stamps are read into.
func (p *Plan) Pointers(row reflect.Value) []any {
	into := make([]any, 0, len(p.columns)+3)
	for i := range p.columns {
		into = append(into, p.columns[i].pointer(row))
	}
	stamps := row.Field(row.NumField() - 1)
	for i := range stamps.NumField() {
		into = append(into, stamps.Field(i).Addr().Interface())
	}
	return into
}

// Select returns the SQL that reads live rows: those for which a condition holds, in an order, without the first
// offset ones, at most limit. An empty string or 0 is no restriction.
func (p *Plan) Select(condition, by string, limit, offset int) string {
	where, order, part := cmp.Or(condition, "TRUE"), cmp.Or(by, "1"), ""
	switch {
	case limit > 0:
		part = fmt.Sprintf(" LIMIT %d OFFSET %d", limit, offset)
	case offset > 0:
		part = fmt.Sprintf(" LIMIT -1 OFFSET %d", offset)
	}
	return p.choose + "(" + where + ") ORDER BY " + order + part
}

var nameForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// IsName reports whether name can be a table's or a column's: letters, digits and '_', at most 128, and no digit
// first.
func IsName(name string) bool { return nameForm.MatchString(name) }

// Snake converts a Go name to snake_case: CreatedAt → created_at, HTTPPort → http_port, ID → id.
func Snake(name string) string {
	var b []byte
	for i := 0; i < len(name); i++ {
		c := name[i]
		upper := c >= 'A' && c <= 'Z'
		if upper && i > 0 {
			before := name[i-1]
			lowerBefore := before >= 'a' && before <= 'z' || before >= '0' && before <= '9'
			lowerNext := i+1 < len(name) && name[i+1] >= 'a' && name[i+1] <= 'z'
			if lowerBefore || (lowerNext && before != '_') {
				b = append(b, '_')
			}
		}
		if upper {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return string(b)
}
