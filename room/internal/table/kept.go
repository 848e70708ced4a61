package table

// Columns that the struct has no field for. A program that goes back to its last version finds tables that the newer
// one has extended. A column that can be left out of an INSERT, because it may be NULL or has a default, is left
// alone: Den neither reads nor writes it, and a newer program finds its values again. Any other column is an error.
// So is a column besides a field that has no column yet, because that may be a rename.

import (
	"fmt"
	"slices"
	"strings"

	"github.com/denrooms/den/storage"
)

// optional reports whether rows can be written without the column.
func (c *storedColumn) optional() bool {
	return !c.key && !c.hidden && (!c.required || c.fallback)
}

// widened returns the table's definition with the columns that the struct has no field for, each at its place in the
// file.
func (p *Plan) widened(t *storedTable, kept []string) (create string, err error) {
	stored := columnDefinitions(t.sql)
	var all []string
	follow := func(name string) { // appends the kept columns that follow a column
		at := slices.IndexFunc(stored, func(d columnDefinition) bool { return d.name == name })
		for at++; at > 0 && at < len(stored) && slices.Contains(kept, stored[at].name); at++ {
			all = append(all, stored[at].sql)
		}
	}
	for i, def := range p.definitions {
		all = append(all, def)
		if i < len(p.columns) {
			follow(p.columns[i].name)
		}
	}
	if len(all) != len(p.definitions)+len(kept) {
		return "", fmt.Errorf("the columns %s have no fields, and the table's definition cannot be read: %s; write a migration",
			strings.Join(kept, ", "), t.sql)
	}
	return p.definition(all), nil
}

type columnDefinition struct{ name, sql string }

// columnDefinitions splits the definition of a table that Den has made into those of its columns.
func columnDefinitions(sql string) (all []columnDefinition) {
	_, list, _ := strings.Cut(sql, madeByDen)
	start, depth, quoted := 0, 0, byte(0)
	end := func(at int) {
		def := strings.TrimSpace(list[start:at])
		name, _, _ := strings.Cut(def, " ")
		if strings.HasPrefix(def, `"`) {
			name = strings.ReplaceAll(def[1:closing(def)], `""`, `"`)
		}
		all, start = append(all, columnDefinition{name, def}), at+1
	}
	for i := range len(list) {
		switch c := list[i]; {
		case quoted != 0:
			if c == quoted {
				quoted = 0
			}
		case c == '\'' || c == '"' || c == '`':
			quoted = c
		case c == '(':
			depth++
		case c == ')' && depth == 0:
			end(i)
			return all
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			end(i)
		}
	}
	return all
}

// closing returns where the name ends that begins with def's first double quote.
func closing(def string) int {
	for i := 1; i < len(def); i++ {
		switch {
		case def[i] != '"':
		case i+1 < len(def) && def[i+1] == '"':
			i++
		default:
			return i
		}
	}
	return len(def)
}

// keptIndexes returns the indexes that a newer program's tags have put on columns that the struct has no field for.
func (p *Plan) keptIndexes(db *storage.DB, kept []string) (indexes []index, err error) {
	if len(kept) == 0 {
		return nil, nil
	}
	found, err := query[struct{ Name, SQL, Column string }](db, `SELECT m.name, m.sql AS "sql", coalesce(i.name, '') AS "column"
		FROM sqlite_schema AS m, pragma_index_info(m.name) AS i
		WHERE m.type = 'index' AND m.tbl_name = ?1 AND substr(m.name, 1, length(?2)) = ?2`, p.name, p.indexPrefix())
	for _, f := range found {
		has := func(i index) bool { return strings.EqualFold(i.Name, f.Name) }
		if slices.Contains(kept, f.Column) && !slices.ContainsFunc(p.indexes, has) && !slices.ContainsFunc(indexes, has) {
			indexes = append(indexes, index{f.Name, f.SQL})
		}
	}
	return indexes, err
}
