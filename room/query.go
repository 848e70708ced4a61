package room

import (
	"fmt"
	"reflect"
	"strings"
)

// All reads the live rows in the order of their ids.
func (t *Table[T]) All(c *Context) ([]T, error) { return t.Select(c, Selection{}) }

// Where reads the live rows for which a condition holds, in the order of their ids.
// The condition is SQL, with ? for each argument; it must not be made of what a
// client sent.
func (t *Table[T]) Where(c *Context, condition string, args ...any) ([]T, error) {
	return t.Select(c, Selection{Where: condition, Args: args})
}

// First is the first of the rows that Where reads. If there is none it is ErrNotFound.
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

// Count is how many live rows there are for which a condition holds; with an empty
// condition all of them.
func (t *Table[T]) Count(c *Context, condition string, args ...any) (int64, error) {
	if condition == "" {
		condition = "TRUE"
	}
	var n int64
	err := c.QueryRow("SELECT count(*) FROM "+quote(t.of.name)+" WHERE deleted_at IS NULL AND ("+condition+")", args, &n)
	return n, err
}

// A Selection says which live rows of a table are read. Where and OrderBy are SQL, and
// must not be made of what a client sent.
type Selection struct {
	Where   string // a condition, with ? for each of Args; empty: all
	Args    []any
	OrderBy string // like "position, created_at DESC"; empty: by id
	Limit   int    // at most so many rows; 0: all
	Offset  int    // without the first so many; for rows far behind, a Where is faster
}

// Select reads live rows.
func (t *Table[T]) Select(c *Context, s Selection) ([]T, error) {
	if s.Limit < 0 || s.Offset < 0 {
		return nil, fmt.Errorf("room: table %s: a Selection with a Limit of %d and an Offset of %d", t.of.name, s.Limit, s.Offset)
	}
	rows, err := c.Query(t.of.selection(s), s.Args...)
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

func (p *tablePlan) selection(s Selection) string {
	where, order, limit := "TRUE", "1", ""
	if s.Where != "" {
		where = s.Where
	}
	if s.OrderBy != "" {
		order = s.OrderBy
	}
	switch {
	case s.Limit > 0:
		limit = fmt.Sprintf(" LIMIT %d OFFSET %d", s.Limit, s.Offset)
	case s.Offset > 0:
		limit = fmt.Sprintf(" LIMIT -1 OFFSET %d", s.Offset)
	}
	return p.choose + "(" + where + ") ORDER BY " + order + limit
}

// Query reads what any SQL gives, such as a join, into values of type T. T is a struct
// whose exported fields, those of embedded structs among them, take the columns of their
// names: as with a [Table] in snake_case, or by the tag `den:"name"`, with the option json
// for a column that holds JSON. Or T is not a struct (or is a time.Time), and takes the one
// column that there is.
//
// A column without a field, or two of one name, are an error: name them with AS. A field
// without a column keeps its zero value. NULL needs a pointer. Unlike a Table's methods it
// gives rows that are marked as deleted, too: say deleted_at IS NULL where they are not wanted.
func Query[T any](c *Context, sql string, args ...any) ([]T, error) {
	rows, err := c.Query(sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	into, err := planResult(reflect.TypeFor[T](), rows.Columns())
	if err != nil {
		return nil, err
	}
	var all []T
	for rows.Next() {
		var value T
		if err := rows.Scan(into(reflect.ValueOf(&value).Elem())...); err != nil {
			return nil, err
		}
		all = append(all, value)
	}
	return all, rows.Err()
}

// planResult finds where in a T the columns of a result belong.
func planResult(t reflect.Type, columns []string) (into func(reflect.Value) []any, err error) {
	if t.Kind() != reflect.Struct || baseKind(t) != "" {
		if len(columns) != 1 {
			return nil, fmt.Errorf("room: a query with %d columns into a %s, which takes one", len(columns), t)
		}
		return func(v reflect.Value) []any { return []any{v.Addr().Interface()} }, nil
	}
	fields, err := resultFields(t)
	if err != nil {
		return nil, err
	}
	plan := make([]*column, len(columns))
	for i, name := range columns {
		name = strings.ToLower(name)
		f, there := fields[name]
		switch {
		case !there:
			return nil, fmt.Errorf("room: a query gives the column %s, for which %s has no field", columns[i], t)
		case f == nil:
			return nil, fmt.Errorf("room: a query gives the column %s twice, or %s has two fields for it; name them with AS", columns[i], t)
		}
		plan[i], fields[name] = f, nil
	}
	return func(v reflect.Value) []any {
		to := make([]any, len(plan))
		for i, f := range plan {
			to[i] = f.pointer(v)
		}
		return to
	}, nil
}

// resultFields are a struct's fields by the names of their columns in lower case; nil
// where two have the same.
func resultFields(t reflect.Type) (map[string]*column, error) {
	fields := make(map[string]*column)
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous && f.Type.Kind() == reflect.Struct || !f.IsExported() || f.Tag.Get("den") == "-" || !reachable(t, f.Index) {
			continue
		}
		c, err := planColumn(f)
		if err != nil {
			return nil, fmt.Errorf("room: a query into %s: %w", t, err)
		}
		name := strings.ToLower(c.name)
		if _, twice := fields[name]; twice {
			fields[name] = nil
			continue
		}
		fields[name] = &c
	}
	return fields, nil
}

// reachable tells whether no pointer is on the way to a field.
func reachable(t reflect.Type, index []int) bool {
	for _, i := range index[:len(index)-1] {
		t = t.Field(i).Type
		if t.Kind() != reflect.Struct {
			return false
		}
	}
	return true
}
