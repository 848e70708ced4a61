package storage

// What handlers' SQL may do. SQLite asks while it compiles a statement, so a
// refusal costs nothing at run time.

import (
	"fmt"
	"strings"

	sqlite3 "modernc.org/sqlite/lib"
)

// authority is whose statement is compiled or run.
type authority uint8

const (
	own     authority = iota // this package's: everything
	peer                     // DB.Internal: tables named _den_…, but not this package's
	handler                  // a room's own SQL
)

// reserved starts the names of the tables that are Den's.
const reserved = "_den_"

// authorize answers SQLite's authorizer. The strings are C memory.
func (d *DB) authorize(op int32, a, b string) int32 {
	if d.auth == own {
		return sqlite3.SQLITE_OK
	}
	if why := d.refusal(op, a, b); why != "" {
		d.denied = why
		return sqlite3.SQLITE_DENY
	}
	d.noteSchema(op, a, b)
	return sqlite3.SQLITE_OK
}

// refusal says why an operation is not allowed, "" where it is.
func (d *DB) refusal(op int32, a, b string) string {
	switch op {
	case sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT:
		return "an action is a transaction already: BEGIN, COMMIT, ROLLBACK and SAVEPOINT are not for handlers"
	case sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH:
		return "a room has one database: no ATTACH and DETACH"
	case sqlite3.SQLITE_PRAGMA:
		if !readsOnly(a, b) {
			return fmt.Sprintf("PRAGMA %s is not for handlers", a)
		}
	case sqlite3.SQLITE_CREATE_TEMP_TABLE, sqlite3.SQLITE_CREATE_TEMP_INDEX, sqlite3.SQLITE_CREATE_TEMP_TRIGGER, sqlite3.SQLITE_CREATE_TEMP_VIEW:
		return "temporary objects would be gone after a sleep"
	case sqlite3.SQLITE_FUNCTION:
		if strings.EqualFold(b, "load_extension") {
			return "load_extension"
		}
	case sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE,
		sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_DROP_TABLE,
		sqlite3.SQLITE_CREATE_VTABLE, sqlite3.SQLITE_DROP_VTABLE,
		sqlite3.SQLITE_CREATE_VIEW, sqlite3.SQLITE_DROP_VIEW:
		return d.refuseTable(op, a)
	case sqlite3.SQLITE_ALTER_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_DROP_INDEX,
		sqlite3.SQLITE_CREATE_TRIGGER, sqlite3.SQLITE_DROP_TRIGGER:
		return d.refuseTable(op, b)
	}
	return ""
}

// refuseTable keeps handlers off Den's tables, and Den's other packages off the
// room's tables and this package's.
func (d *DB) refuseTable(op int32, name string) string {
	isReserved := len(name) >= len(reserved) && strings.EqualFold(name[:len(reserved)], reserved)
	if d.auth == handler {
		if isReserved {
			return fmt.Sprintf("table %s is Den's own", name)
		}
		return ""
	}
	switch {
	case strings.EqualFold(name, "_den_meta"), strings.EqualFold(name, "_den_tables"), strings.EqualFold(name, "_den_changes"):
		return fmt.Sprintf("table %s belongs to storage", name)
	case !isReserved && !strings.HasPrefix(name, "sqlite_"):
		return fmt.Sprintf("internal statements are for tables named %s…, not %s", reserved, name)
	}
	return ""
}

// readsOnly tells the PRAGMAs that only look, some of which SQLite's own
// ALTER TABLE and FTS5 run.
func readsOnly(name, arg string) bool {
	switch strings.ToLower(name) {
	case "table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo",
		"foreign_key_list", "foreign_key_check", "collation_list", "function_list", "compile_options",
		"quick_check", "integrity_check", "data_version":
		return true
	case "page_count", "freelist_count", "page_size", "schema_version", "user_version", "encoding":
		return arg == ""
	}
	return false
}

// noteSchema remembers that the statement changes the schema, and of which table; and that it sets deleted_at.
func (d *DB) noteSchema(op int32, a, b string) {
	switch op {
	case sqlite3.SQLITE_UPDATE:
		d.sawGone = d.sawGone || strings.EqualFold(b, "deleted_at")
	case sqlite3.SQLITE_DROP_TABLE:
		d.redefine(a)
	case sqlite3.SQLITE_ALTER_TABLE:
		d.redefine(b)
	case sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_VTABLE, sqlite3.SQLITE_DROP_VTABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_DROP_INDEX, sqlite3.SQLITE_CREATE_TRIGGER, sqlite3.SQLITE_DROP_TRIGGER,
		sqlite3.SQLITE_CREATE_VIEW, sqlite3.SQLITE_DROP_VIEW, sqlite3.SQLITE_REINDEX:
		d.sawSchema = true
	}
}

func (d *DB) redefine(table string) {
	d.sawSchema = true
	d.redefining = append(d.redefining, strings.Clone(table))
}
