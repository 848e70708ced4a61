// Package changes records which rows of an SQLite database's tables change, and keeps a log of them in the database.
//
// It is for clients that hold a copy of the tables. After each action a client is sent the rows that the action changed; after
// a time away it asks for those that changed after the last action that it has seen. SQLite's session extension is the model
// for the first half, CouchDB's _changes feed for the second.
//
// # What is recorded
//
// A table that is declared has an id in its first column, and created_at, updated_at and deleted_at in its last three
// (Recorder.Check). Once it was declared a table is tracked: its changes are recorded whenever the database is open, declared
// again or not. SQLite's pre-update hook reports each of its rows before the row changes, whatever SQL does it: UPSERT, REPLACE,
// triggers, cascades, DELETE without WHERE. The reports are coalesced as they come, to one change for each row of an action
// (capture.go):
//
//	before the action   after it     what clients are told
//	no row              no row       nothing
//	no row              a row        the row
//	a row               the same     nothing
//	a row               another      the row
//	a row               no row       a tombstone
//	a tombstone         no row       nothing: they have it
//
// A tombstone is a row whose deleted_at is set; it says nothing but the id and the stamps. After a statement that failed, the
// reports are not enough, because what stays of its changes depends on the kind of failure: the rows that it touched are read
// again. A virtual generated column is not in the reports either.
//
// An action that changes a row has a number, its Seq: 1, 2, 3 …. If the row's table is not tracked it is enough that the hook
// reports the row. A change of the schema that redefines a declared table counts as a change of all its rows.
//
// # How it is used
//
// A Recorder belongs to a connection. Its caller runs the transactions, one savepoint for each action, and tells the Recorder:
//
//	Begin
//	    Spill, BeginAction, BeginStatement for each statement, FinishAction, EndAction
//	    Spill, BeginAction, BeginStatement for each statement, UndoAction, EndAction    if the savepoint was rolled back
//	    ...
//	Finish
//	Commit or Rollback, after the transaction
//
// The Recorder runs statements of its own on the connection. The caller's authorizer has to allow them.
//
// # The change log
//
// Schema makes two tables:
//
//	_den_tables (id INTEGER PRIMARY KEY, name TEXT, stale, floor)
//	  every table that was ever declared. stale is 1 if its changes were not recorded because its definition was unfit: when it is
//	  declared again, the whole table counts as changed. floor is the seq of the last action that changed its definition, 0 for
//	  none: what was before is forgotten for this table.
//
//	_den_changes (id INTEGER PRIMARY KEY, number, at, first, last, highs, entries)
//	  a row for each transaction, several for a large one; the oldest are forgotten (Recorder.Finish). The newest is always there.
//	  id       1, 2, 3 …
//	  number   of the transaction: 1, 2, 3 …; several rows may have the same one
//	  at       its time, Unix milliseconds
//	  first    the first action of the row
//	  last     the last one: the newest seq at the row's end. first - 1 if there was none
//	  highs    for each table that has one: uvarint id in _den_tables, and the highest updated_at or deleted_at of the table
//	           that was sent up to the row's end, numbers before texts; it never falls
//	  entries  for each changed row of each action, in their order: uvarint id in _den_tables; uvarint, the action's seq - first;
//	           the row's first column; NULL if the row was written, or its tombstone's stamp if it was deleted (Unix milliseconds,
//	           or 'YYYY-MM-DD HH:MM:SS' in UTC if the table's stamps are texts)
//
// Values in highs and entries have the form of package sqlite.
package changes

// Schema makes the tables of the change log.
const Schema = `
	CREATE TABLE _den_tables (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, stale INTEGER NOT NULL, floor INTEGER NOT NULL);
	CREATE TABLE _den_changes (id INTEGER PRIMARY KEY, number INTEGER NOT NULL, at INTEGER NOT NULL,
		first INTEGER NOT NULL, last INTEGER NOT NULL, highs BLOB NOT NULL, entries BLOB NOT NULL);`
