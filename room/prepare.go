package room

import "slices"

// What a room's file must have before its handler starts: Den's own tables, the namespace's
// migrations, the tables of the handler's struct. A file notes that it was found to have
// them, and for which program: then nothing of it is looked at when the room wakes.

// ownTables are the tables that this package keeps in each room's file; what they hold
// stands where they are used.
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

// ownTables are those that a namespace's rooms have.
func (ns *namespace) ownTables() string {
	if ns.closes {
		return ownTables + ";" + rosterTable
	}
	return ownTables
}

// prepare takes the file to where the program is.
func (l *life) prepare() error {
	if l.db.Prepared(l.ns.fingerprint) {
		return nil
	}
	if err := l.migrate(); err != nil {
		return err
	}
	if err := l.prepareTables(); err != nil {
		return err
	}
	l.db.Prepare(l.ns.fingerprint)
	if !l.ns.alike() {
		return nil
	}
	return l.db.MakeTemplate(l.ns.tables()...)
}

// alike tells whether preparing a new room's file comes to the same in each room: a
// migration's function may do something else in another one.
func (ns *namespace) alike() bool {
	return !slices.ContainsFunc(ns.migrations, func(m Migration) bool { return !m.plain })
}

// tables are the names of the typed tables.
func (ns *namespace) tables() []string {
	var names []string
	for _, f := range ns.plans {
		names = append(names, f.plan.Name())
	}
	return names
}

// prepareTables makes Den's own tables, and compares the handler's with their structs.
func (l *life) prepareTables() error {
	return l.upgrade(&turn{life: l}, "tables", func(c *Context) error {
		if _, err := l.db.Internal().Exec(l.ns.ownTables()); err != nil {
			return err
		}
		for _, f := range l.ns.plans {
			if err := f.plan.Prepare(l.db, l.log); err != nil {
				return err
			}
		}
		return nil
	})
}
