package session

// What handlers' SQL may do. SQLite asks while it compiles a statement, so a check costs nothing at run time.

import (
	"fmt"
	"strings"

	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// reserved starts the names of the tables that are Den's.
const reserved = changes.Reserved

// Install registers the session's callbacks. The pre-update hook is the Recorder's.
func (ses *Session) Install() error {
	ses.Conn.SetProgressHandler(progressSteps, func() bool { return ses.Fenced.Load() || ses.Owner.Overwritten() })
	return roomfile.Failed(ses.Conn.SetAuthorizer((*authorizer)(ses)))
}

// progressSteps is how often a running statement looks whether it was fenced, or has written too much, in steps of SQLite's
// machine: about every 100 µs.
const progressSteps = 10_000

// authorizer is a session as its connection calls it.
type authorizer Session

// Authorize says what a statement may do.
func (a *authorizer) Authorize(what sqlite.Action) sqlite.AuthResult {
	return (*Session)(a).authorize(what)
}

// authorize answers SQLite's authorizer.
func (ses *Session) authorize(a sqlite.Action) sqlite.AuthResult {
	if ses.auth == Own {
		return sqlite.AuthOK
	}
	if why := ses.refusal(a.Op, a.Arg1, a.Arg2); why != "" {
		ses.denied = why
		return sqlite.AuthDeny
	}
	ses.noteSchema(a.Op, a.Arg1, a.Arg2)
	return sqlite.AuthOK
}

// refusal returns why an operation is not allowed, or "" if it is.
func (ses *Session) refusal(op sqlite.OpType, a, b string) string {
	switch op {
	case sqlite.OpTransaction, sqlite.OpSavepoint:
		return "an action is a transaction already: BEGIN, COMMIT, ROLLBACK and SAVEPOINT are not for handlers"
	case sqlite.OpAttach, sqlite.OpDetach:
		return "a room has one database: no ATTACH and DETACH"
	case sqlite.OpPragma:
		if !readsOnly(a, b) {
			return fmt.Sprintf("PRAGMA %s is not for handlers", a)
		}
	case sqlite.OpCreateTempTable, sqlite.OpCreateTempIndex, sqlite.OpCreateTempTrigger, sqlite.OpCreateTempView:
		return "temporary objects would be gone after a sleep"
	case sqlite.OpFunction:
		if strings.EqualFold(b, "load_extension") {
			return "load_extension"
		}
	case sqlite.OpInsert, sqlite.OpUpdate, sqlite.OpDelete,
		sqlite.OpCreateTable, sqlite.OpDropTable,
		sqlite.OpCreateVTable, sqlite.OpDropVTable,
		sqlite.OpCreateView, sqlite.OpDropView:
		return ses.refuseTable(op, a)
	case sqlite.OpAlterTable, sqlite.OpCreateIndex, sqlite.OpDropIndex,
		sqlite.OpCreateTrigger, sqlite.OpDropTrigger:
		return ses.refuseTable(op, b)
	}
	return ""
}

// refuseTable keeps handlers away from Den's tables, and Den's other packages from the room's tables and this package's.
func (ses *Session) refuseTable(op sqlite.OpType, name string) string {
	isReserved := len(name) >= len(reserved) && strings.EqualFold(name[:len(reserved)], reserved)
	if ses.auth == Handler {
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

// readsOnly reports whether a PRAGMA only reads. SQLite's own ALTER TABLE and FTS5 run some of these.
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
func (ses *Session) noteSchema(op sqlite.OpType, a, b string) {
	switch op {
	case sqlite.OpUpdate:
		ses.sawGone = ses.sawGone || strings.EqualFold(b, "deleted_at")
	case sqlite.OpDropTable:
		ses.redefine(a)
	case sqlite.OpAlterTable:
		ses.redefine(b)
	case sqlite.OpCreateTable, sqlite.OpCreateVTable, sqlite.OpDropVTable, sqlite.OpCreateIndex, sqlite.OpDropIndex, sqlite.OpCreateTrigger, sqlite.OpDropTrigger,
		sqlite.OpCreateView, sqlite.OpDropView, sqlite.OpReindex:
		ses.sawSchema = true
	}
}

func (ses *Session) redefine(table string) {
	ses.sawSchema = true
	ses.Changes.Redefining(table)
}
