package table

// Where the columns of a result go in a Go value.

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/denrooms/den/storage"
)

// Scan reads the rest of a result into values of type T; see room.Query.
func Scan[T any](rows *storage.Rows) ([]T, error) {
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

// query is Scan for the result of some SQL.
func query[T any](db *storage.DB, sql string, args ...any) ([]T, error) {
	rows, err := db.Query(sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return Scan[T](rows)
}

// first reads the first row of some SQL's result into dest, and reports whether there is one.
func first(db *storage.DB, sql string, args []any, dest ...any) (found bool, err error) {
	rows, err := db.Query(sql, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if !rows.Next() {
		return false, rows.Err()
	}
	return true, rows.Scan(dest...)
}

// planResult finds where in a T the columns of a result go.
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

// resultFields returns a struct's fields by the names of their columns in lower case; nil if two have the same.
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

// reachable reports whether no pointer is on the way to a field.
func reachable(t reflect.Type, index []int) bool {
	for _, i := range index[:len(index)-1] {
		t = t.Field(i).Type
		if t.Kind() != reflect.Struct {
			return false
		}
	}
	return true
}
