package table

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/denrooms/den/storage"
)

// The tables of the handler's struct are compared with those of the file when a room wakes. What is unambiguous is
// done: a column is added, checks and defaults follow the struct, indexes come and go. Anything else is an error that
// says what a programmer has to do.
//
// A column is added at the place of its field, and never after the stamps, so the table is rebuilt: its rows are in
// another table meanwhile. SQLite sees a DROP TABLE, and checks the references of other tables afterwards, because
// the references that Den makes are deferred.

// A storedTable is a table as the file has it.
type storedTable struct {
	name    string
	sql     string
	columns []storedColumn
}

type storedColumn struct {
	name     string
	kind     string
	required bool
	key      bool
	hidden   bool // generated
	fallback bool // it has a default
}

func (c *storedColumn) String() string {
	if c.required {
		return c.name + " " + c.kind + " NOT NULL"
	}
	return c.name + " " + c.kind
}

// Prepare makes the table if it does not exist, and changes it to be the struct's.
func (p *Plan) Prepare(db *storage.DB, log *slog.Logger) error {
	if err := p.unbury(db); err != nil {
		return fmt.Errorf("room: the table %s of %s: %w", p.name, p.row, err)
	}
	kept, err := p.prepareTable(db, log)
	if err != nil {
		return fmt.Errorf("room: the table %s of %s: %w", p.name, p.row, err)
	}
	if err := p.prepareIndexes(db, kept); err != nil {
		return fmt.Errorf("room: the table %s of %s: %w", p.name, p.row, err)
	}
	return nil
}

// prepareTable also returns the indexes on columns that the struct has no field for.
func (p *Plan) prepareTable(db *storage.DB, log *slog.Logger) (kept []index, err error) {
	stored, err := p.stored(db)
	if err != nil {
		return nil, err
	}
	if stored == nil {
		_, err := db.Exec(p.create)
		return nil, err
	}
	if stored.sql == p.create {
		return nil, nil
	}
	if err := stored.read(db); err != nil {
		return nil, err
	}
	added, extra, err := p.compare(stored)
	if err != nil {
		return nil, err
	}
	if kept, err = p.keptIndexes(db, extra); err != nil {
		return nil, err
	}
	if strings.Contains(stored.sql, madeByDen) {
		create, err := p.widened(stored, extra)
		if err == nil && create != stored.sql {
			err = p.remake(db, log, remaking{create, added, extra, kept})
		}
		return kept, err
	}
	if len(added) > 0 {
		return nil, fmt.Errorf("there is no column for the field %s; a migration has made this table, so a migration must add the column %s, where the field stands",
			added[0].goSide(), added[0].sqlSide())
	}
	return kept, stored.sameOrder(p, extra)
}

// stored returns the table's definition, nil if there is none.
func (p *Plan) stored(db *storage.DB) (*storedTable, error) {
	var t storedTable
	var kind string
	found, err := first(db, `SELECT type, name, coalesce(sql, '') FROM sqlite_schema WHERE name = ? COLLATE NOCASE AND type IN ('table', 'view')`,
		[]any{p.name}, &kind, &t.name, &t.sql)
	switch {
	case err != nil || !found:
		return nil, err
	case kind != "table":
		return nil, fmt.Errorf("there is a %s of the name %s; give the field another name with a tag", kind, t.name)
	case t.name != p.name:
		return nil, fmt.Errorf("the file has the table %s, whose name differs by case only, and SQL does not tell them apart; rename one of them", t.name)
	}
	return &t, nil
}

// read reads the columns. Most tables need no more.
func (t *storedTable) read(db *storage.DB) error {
	rows, err := db.Query(`SELECT name, type, "notnull", pk > 0, hidden <> 0, dflt_value IS NOT NULL FROM pragma_table_xinfo(?) ORDER BY cid`, t.name)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var col storedColumn
		if err := rows.Scan(&col.name, &col.kind, &col.required, &col.key, &col.hidden, &col.fallback); err != nil {
			return err
		}
		t.columns = append(t.columns, col)
	}
	return rows.Err()
}

// compare finds the columns that the file does not have yet, those without a field that can be left alone, and all
// contradictions.
func (p *Plan) compare(t *storedTable) (added []*column, kept []string, err error) {
	var wrong []error
	there := make(map[string]*storedColumn)
	for i := range t.columns {
		there[t.columns[i].name] = &t.columns[i]
	}
	for i := range p.columns {
		c := &p.columns[i]
		s := there[c.name]
		delete(there, c.name)
		switch {
		case s == nil && i == 0:
			wrong = append(wrong, fmt.Errorf("the file has no column for the id, which is the field %s; the file's first column is %s; write a migration that renames it", c.goSide(), &t.columns[0]))
		case s == nil:
			added = append(added, c)
		default:
			wrong = append(wrong, c.compare(s, i == 0))
		}
	}
	wrong = append(wrong, p.compareStamps(there))
	for _, s := range t.columns {
		switch {
		case there[s.name] == nil:
		case s.optional() && len(added) == 0 && p.otherCase(&s) == nil:
			kept = append(kept, s.name)
		default:
			wrong = append(wrong, p.orphan(&s))
		}
	}
	return added, kept, errors.Join(wrong...)
}

// compare compares one column of the struct with the file's.
func (c *column) compare(s *storedColumn, key bool) error {
	const todo = "; write a migration that turns the column into the field's type, or give the field a column of its own by another name"
	switch {
	case s.hidden:
		return fmt.Errorf("the field %s wants the column %s, but the file's is generated", c.goSide(), c.sqlSide())
	case s.kind != c.kind:
		return fmt.Errorf("the field %s wants the column %s, but the file has %s%s", c.goSide(), c.sqlSide(), s, todo)
	case s.required && c.null:
		return fmt.Errorf("the field %s may be nil and wants the column %s, but the file has %s%s", c.goSide(), c.sqlSide(), s, todo)
	case !s.required && !c.null && !s.key:
		return fmt.Errorf("the field %s wants the column %s, but the file has %s, where NULL may stand; make the field a pointer, or write a migration", c.goSide(), c.sqlSide(), s)
	case s.key != key && key:
		return fmt.Errorf("the field %s is the id, but the file's column %s is not the key; write a migration", c.goSide(), s)
	case s.key != key:
		return fmt.Errorf("the field %s is not the id, but the file's column %s is in the key; write a migration", c.goSide(), s)
	}
	return nil
}

func (p *Plan) compareStamps(there map[string]*storedColumn) error {
	var wrong []error
	for _, want := range []string{"created_at INTEGER NOT NULL", "updated_at INTEGER NOT NULL", "deleted_at INTEGER"} {
		name, _, _ := strings.Cut(want, " ")
		s := there[name]
		delete(there, name)
		switch {
		case s == nil:
			wrong = append(wrong, fmt.Errorf("room.Stamps wants the column %s, but the file has none; write a migration that adds it", want))
		case s.String() != want:
			wrong = append(wrong, fmt.Errorf("room.Stamps wants the column %s, but the file has %s; write a migration", want, s))
		}
	}
	return errors.Join(wrong...)
}

// orphan returns the error for a column that has no field and cannot be left alone.
func (p *Plan) orphan(s *storedColumn) error {
	if c := p.otherCase(s); c != nil {
		return fmt.Errorf("the file has the column %s, and the field %s wants %s: they differ by case only; name the column in the field's tag", s, c.goSide(), c.sqlSide())
	}
	return fmt.Errorf("the file has the column %s, for which the struct has no field; give it one, or write a migration that renames or drops the column", s)
}

// otherCase returns the column of a field whose name differs from that of the file's column by case only, nil if
// there is none.
func (p *Plan) otherCase(s *storedColumn) *column {
	for i := range p.columns {
		if c := &p.columns[i]; strings.EqualFold(c.name, s.name) {
			return c
		}
	}
	return nil
}

// sameOrder refuses columns in another order than the fields'. Columns without a field may be anywhere.
func (t *storedTable) sameOrder(p *Plan, kept []string) error {
	i := 0
	for at := range t.columns {
		s := &t.columns[at]
		if i == len(p.columns) || slices.Contains(kept, s.name) {
			continue
		}
		if c := &p.columns[i]; s.name != c.name {
			return fmt.Errorf("column %d of the file is %s, but of the struct's fields that is %s; put the fields into the order of the columns", at+1, s, c.goSide())
		}
		i++
	}
	return nil
}

// remaking is what a table becomes.
type remaking struct {
	create string
	added  []*column // columns that the file does not have yet
	kept   []string  // columns that the struct has no field for
	extras []index   // on those
}

// remake rebuilds the table, with its rows, and with the triggers and the indexes that a migration has given it.
func (p *Plan) remake(db *storage.DB, log *slog.Logger, to remaking) error {
	if err := p.mayDrop(db); err != nil {
		return err
	}
	extras, err := query[string](db, `SELECT sql FROM sqlite_schema WHERE tbl_name = ? COLLATE NOCASE AND sql IS NOT NULL
		AND (type = 'trigger' OR type = 'index' AND substr(name, 1, length(?2)) <> ?2) ORDER BY rowid`, p.name, p.indexPrefix())
	if err != nil {
		return err
	}
	for _, i := range to.extras {
		extras = append(extras, i.SQL)
	}
	into, from, err := p.copied(to)
	if err != nil {
		return err
	}
	table, old := Quote(p.name), Quote("den_old_"+p.name)
	for _, sql := range slices.Concat([]string{
		"CREATE TABLE " + old + " AS SELECT * FROM " + table,
		"DROP TABLE " + table,
		to.create,
		"INSERT INTO " + table + " (" + into + ") SELECT " + from + " FROM " + old,
		"DROP TABLE " + old,
	}, extras) {
		if _, err := db.Exec(sql); err != nil {
			return fmt.Errorf("the struct has changed, and the table's rows do not fit it: %w; write a migration that makes them fit", err)
		}
	}
	log.Info("a table was rebuilt because its struct has changed", "table", p.name, "new_columns", len(to.added))
	return nil
}

// mayDrop refuses if dropping the table would change the rows of others.
func (p *Plan) mayDrop(db *storage.DB) error {
	var other, action string
	found, err := first(db, `SELECT m.name, f.on_delete FROM sqlite_schema AS m, pragma_foreign_key_list(m.name) AS f
		WHERE m.type = 'table' AND f."table" = ? COLLATE NOCASE AND f.on_delete <> 'NO ACTION'`, []any{p.name}, &other, &action)
	if err != nil || !found {
		return err
	}
	return fmt.Errorf("the struct has changed, but the table cannot be rebuilt, because the table %s refers to it with ON DELETE %s; write a migration", other, action)
}

// copied returns the new table's columns, and where they come from.
func (p *Plan) copied(r remaking) (to, from string, err error) {
	var names, values []string
	for i := range p.columns {
		c := &p.columns[i]
		value := c.quoted()
		if slices.Contains(r.added, c) {
			if value, err = c.missing(); err != nil {
				return "", "", err
			}
		}
		names, values = append(names, c.quoted()), append(values, value)
	}
	for _, name := range r.kept {
		names, values = append(names, Quote(name)), append(values, Quote(name))
	}
	stamps := ", created_at, updated_at, deleted_at"
	return strings.Join(names, ", ") + stamps, strings.Join(values, ", ") + stamps, nil
}

// prepareIndexes makes Den's indexes of the table equal to those of the tags.
func (p *Plan) prepareIndexes(db *storage.DB, kept []index) error {
	found, err := query[index](db, `SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?1
		AND substr(name, 1, length(?2)) = ?2`, p.name, p.indexPrefix())
	if err != nil {
		return err
	}
	for _, old := range found {
		if !slices.Contains(p.indexes, old) && !slices.Contains(kept, old) {
			if _, err := db.Exec("DROP INDEX " + Quote(old.Name)); err != nil {
				return err
			}
		}
	}
	for _, want := range p.indexes {
		if slices.Contains(found, want) {
			continue
		}
		if _, err := db.Exec(want.SQL); err != nil {
			return fmt.Errorf("the index %s: %w", want.Name, err)
		}
	}
	return nil
}
