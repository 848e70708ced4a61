package table

// Tables from before rows were deleted for good. An earlier version of Den kept a row that Table.Delete had deleted,
// with its content and a time in deleted_at, and removed it after Options.Retention. It found such rows with an index
// of its own. If a table has that index, it comes from that version: its deleted rows are removed now, and the index
// too. Clients were told when the rows were deleted, and the change log still has their tombstones.

import (
	"fmt"

	"github.com/denrooms/den/storage"
)

// buriedIndex is the last part of that index's name. No index of a tag may have it.
const buriedIndex = "gone"

// unbury removes the deleted rows of such a table, except those that rows of other tables refer to. These stay,
// because removing them would break the references; clients get them masked.
func (p *Plan) unbury(db *storage.DB) error {
	name := p.indexPrefix() + buriedIndex
	found, err := query[string](db, `SELECT name FROM sqlite_schema WHERE type = 'index' AND name = ? AND tbl_name = ?`, name, p.name)
	if err != nil || len(found) == 0 {
		return err
	}
	type reference struct{ Table, Column, Key string }
	references, err := query[reference](db, `SELECT m.name AS "table", f."from" AS "column", coalesce(f."to", ?2) AS "key"
		FROM sqlite_schema AS m, pragma_foreign_key_list(m.name) AS f WHERE m.type = 'table' AND f."table" = ?1 COLLATE NOCASE`,
		p.name, p.columns[0].name)
	if err != nil {
		return err
	}
	sql := "DELETE FROM " + Quote(p.name) + " WHERE deleted_at IS NOT NULL"
	for _, r := range references {
		sql += fmt.Sprintf(" AND %s NOT IN (SELECT %s FROM %s WHERE %[2]s IS NOT NULL)", Quote(r.Key), Quote(r.Column), Quote(r.Table))
	}
	if _, err := db.Exec(sql); err != nil {
		return err
	}
	_, err = db.Exec("DROP INDEX " + Quote(name))
	return err
}
