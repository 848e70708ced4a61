package room

import (
	"errors"
	"fmt"
	"slices"

	"github.com/denrooms/den/storage"
)

// The migrations that a namespace's rooms go through. Each is a transaction, which also writes a row in a table of
// Den's own:
//
//	_den_migrations(version INTEGER PRIMARY KEY, name TEXT, applied_at INTEGER)

// A Migration is a change of a room's tables or rows that happens once in each room. Make it with [SQLMigration] or
// [GoMigration].
type Migration struct {
	name  string
	table string // see Altering
	run   func(*Context) error
	plain bool // run executes SQL and does nothing else
}

// SQLMigration returns a migration by SQL, of one or several statements. Its name, like "2026-01 add lists", is for
// people, and is stored in each room's file.
func SQLMigration(name, sql string) Migration {
	return Migration{name: name, plain: true, run: func(c *Context) error {
		_, err := c.Exec(sql)
		return err
	}}
}

// GoMigration returns a migration by a function. Its Context is that of [Base.OnStart]. The room's handler does not
// exist yet, so the function reads and writes by SQL.
func GoMigration(name string, run func(*Context) error) Migration {
	return Migration{name: name, run: run}
}

// Altering says that the migration changes a table that a [Table] makes. In a room without that table (a new one,
// whose tables are made from their structs after its migrations) it counts as done without being run.
func (m Migration) Altering(table string) Migration {
	m.table = table
	return m
}

// Migrations are the changes that a namespace's rooms go through, in this order. The list only grows, at its end.
// What is in it is never changed, moved or removed, because a new room runs all of it, and an old one what it lacks.
//
// They run when a room wakes, each in its own transaction, before the handler's tables are compared with their
// structs and before OnStart. A migration has [Options.MigrationTimeout], and no limit on the rows that it changes
// (the old and the new content of channels' rows is in memory until it ends). If one fails or panics, its writes are
// undone and the room stays asleep and unchanged. It is tried again when the room is next called for. [Host.Failures]
// and the log say why. The same holds for a file that has been through more migrations than the list has, or through
// others: it comes from another version of the program, and is left alone.
//
// If all of them are SQL and leave no rows, a new room does not run them. It gets a copy of what they made in the
// namespace's first new room since the program started.
func Migrations(list ...Migration) Option {
	return func(ns *namespace) error {
		if ns.migrations != nil {
			return errors.New("Migrations is there twice: a namespace has one list")
		}
		names := make(map[string]bool)
		for i, m := range list {
			switch {
			case m.name == "" || len(m.name) > 200:
				return fmt.Errorf("migration %d: a name has 1 to 200 bytes", i+1)
			case m.run == nil:
				return fmt.Errorf("migration %d (%s) has no function", i+1, m.name)
			case names[m.name]:
				return fmt.Errorf("migration %d: the name %q is there twice", i+1, m.name)
			}
			names[m.name] = true
		}
		ns.migrations = list
		return nil
	}
}

// A MigrationError says which migration of a room failed.
type MigrationError struct {
	Version int    // 1 is the first of the list
	Name    string // as the list has it
	Err     error  // what it returned, or its panic as an error
}

func (e *MigrationError) Error() string {
	return fmt.Sprintf("room: migration %d (%s): %v", e.Version, e.Name, e.Err)
}

// Unwrap returns what the migration returned.
func (e *MigrationError) Unwrap() error { return e.Err }

// ErrForeignMigrations: a room's file has been through migrations that the namespace's list does not have. The file
// is unchanged.
var ErrForeignMigrations = errors.New("room: the file has been through other migrations than this program's")

// knows compares what a file has been through with the list.
func (ns *namespace) knows(done []string) error {
	for i, name := range done {
		if i >= len(ns.migrations) {
			return fmt.Errorf("%w: it has been through %d (the last is %q), the list of the namespace %s has %d; run the newer program again, or restore a backup",
				ErrForeignMigrations, len(done), done[len(done)-1], ns.name, len(ns.migrations))
		}
		if want := ns.migrations[i].name; name != want {
			return fmt.Errorf("%w: migration %d of the file is %q, of the namespace %s it is %q; the list must only grow, at its end",
				ErrForeignMigrations, i+1, name, ns.name, want)
		}
	}
	return nil
}

// appliedMigrations returns the names of the migrations that a file has been through, in order.
func appliedMigrations(db *storage.DB) ([]string, error) {
	if there, err := db.Internal().HasTable("_den_migrations"); err != nil || !there {
		return nil, err
	}
	var names []string
	missing := 0
	err := db.Internal().Each(`SELECT version, name FROM _den_migrations ORDER BY version`, func(row *storage.Rows) {
		if names = append(names, string(row.Bytes(1))); missing == 0 && row.Int(0) != int64(len(names)) {
			missing = len(names)
		}
	})
	switch {
	case err != nil:
		return nil, err
	case missing != 0:
		return nil, fmt.Errorf("%w: number %d is missing in the file", ErrForeignMigrations, missing)
	}
	return names, nil
}

// skips reports whether the table that the migration alters does not exist yet.
func (m Migration) skips(c *Context) (bool, error) {
	if m.table == "" {
		return false, nil
	}
	tables, err := Query[string](c, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE`, m.table)
	return len(tables) == 0, err
}

// What a room's file must have before its handler starts: Den's own tables, the namespace's migrations, the tables of
// the handler's struct. When a file has them, it notes that, and for which program, so the next wake checks nothing.

// ownTables are the tables that this package keeps in each room's file. Their contents are documented where they are
// used.
const ownTables = `
	CREATE TABLE IF NOT EXISTS _den_peers (
		id TEXT NOT NULL, subject TEXT NOT NULL, channel TEXT NOT NULL,
		seq INTEGER NOT NULL, seen_at INTEGER NOT NULL, here INTEGER NOT NULL,
		PRIMARY KEY (id, subject, channel)) WITHOUT ROWID;
	CREATE TABLE IF NOT EXISTS _den_replies (
		n INTEGER PRIMARY KEY, at INTEGER NOT NULL, total INTEGER NOT NULL, replies BLOB NOT NULL);
	CREATE TABLE IF NOT EXISTS _den_clients (
		client TEXT NOT NULL, subject TEXT NOT NULL, mutation INTEGER NOT NULL, seen_at INTEGER NOT NULL,
		PRIMARY KEY (client, subject)) WITHOUT ROWID;
	CREATE INDEX IF NOT EXISTS _den_clients_seen ON _den_clients (seen_at);
	CREATE TABLE IF NOT EXISTS _den_tries (
		client TEXT NOT NULL, subject TEXT NOT NULL, mutation INTEGER NOT NULL, digest BLOB NOT NULL,
		tries INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (client, subject)) WITHOUT ROWID`

// ownTables returns the tables that a namespace's rooms have.
func (ns *namespace) ownTables() string {
	if ns.closes {
		return ownTables + ";" + rosterTable
	}
	return ownTables
}

// alike reports whether preparing a new room's file has the same result in each room. A migration's function may do
// something else in each.
func (ns *namespace) alike() bool {
	return !slices.ContainsFunc(ns.migrations, func(m Migration) bool { return !m.plain })
}

// tables returns the names of the typed tables.
func (ns *namespace) tables() []string {
	var names []string
	for _, f := range ns.plans {
		names = append(names, f.plan.Name())
	}
	return names
}
