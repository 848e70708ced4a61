package room

// What reading Den's own tables (_den_…) in a room's file has in common, whichever part of Den the table belongs to.

import "github.com/denrooms/den/storage"

// hasTable reports whether a room's file has a table. One that an earlier version of Den made may lack some.
func hasTable(db *storage.DB, name string) (bool, error) {
	return firstRow(db, nil, `SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?`, name)
}

// firstRow calls read with the first row of a query, and reports whether there is one. The row is valid during the call;
// read may be nil.
func firstRow(db *storage.DB, read func(*storage.Rows), sql string, args ...any) (found bool, err error) {
	rows, err := db.Internal().Query(sql, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if found = rows.Next(); found && read != nil {
		read(rows)
	}
	return found, rows.Err()
}
