// Package storage keeps a room: one SQLite file, with every change of its synced
// tables captured, numbered and logged. It hides SQLite from the rest of Den.
//
// # What must hold
//
//   - Atomic: an action's writes (Batch.Do) all happen or none do, on an error, a
//     panic, a lost batch, a fence.
//   - What is sent is what happened: whatever SQL an action ran (UPSERT, REPLACE,
//     triggers, cascades, DELETE without WHERE, a statement that failed half-way
//     and was looked over), the rows of its Commit lead from the old content of
//     the synced tables to the new one. Since(seq) does the same from any seq that the
//     change log reaches back to, and says so (ErrForgotten) from an older one.
//   - A tombstone that leaves the package has an id and stamps, and no content.
//   - Seq is 1, 2, 3 … one for each action that changed a row of any table but
//     Den's own. An action that is rolled back uses none. For a synced table a
//     change is a difference in the end: insert and delete again is none.
//   - A file that is not this room's, or from a newer Den, is refused untouched.
//   - When DB.Fence has returned, the life that it ended can change nothing.
//   - With a commit log (Options.Log): a transaction that Commit has acknowledged is in
//     the log, durable, and in the file from the next Open on at the latest, exactly as it
//     was. A file and a log that contradict each other are refused, both untouched.
//
// # How
//
// Each action runs in a savepoint, the actions that had queued up in one
// transaction. Package changes records the rows that an action changes, by SQLite's
// pre-update hook, and keeps the change log.
//
// # The commit log
//
// Without one a file is durable by itself, at Synchronous. With one, rooms share its syncs:
// many rooms' transactions become durable by one sync of the disk, and the files follow at
// Normal, where a power cut leaves them whole but older.
//
// An entry of the log is what a transaction does to the file's pages, caught where
// SQLite writes its WAL (wal.go), as differences (package pagelog). Not the rows that were changed:
// with pages nothing that SQL can do needs a rule of its own, be it a change of the schema, a
// full-text index or a counter; a file that was brought forward is the file that it was, and
// each page's checksum proves it; and the differences can be walked backwards (CopyAt).
// That is litestream's and LiteFS's view of a database. It costs about 1 µs for each page that
// a transaction changes, and some hundred bytes for an action of one row.
//
//   - Order: the entry is durable, then Commit returns, and then the frames go into the WAL,
//     some transactions at a time. So the file is never ahead of the log, and lacks its newest
//     transactions when the process dies. An append that fails is a COMMIT that fails: SQLite
//     rolls back.
//   - Transactions have numbers, 1, 2, 3 …; each leaves a row with its number in
//     _den_changes. Open takes from the log what is above the file's number (replay.go), in
//     one transaction through sqlite_dbpage, and checkpoints.
//   - A file that was closed well says so in itself, with the generation of the log. Then Open
//     asks the log for nothing, unless that generation has crashed since.
//   - The WAL goes into the file when it is larger than 4 MiB, at Checkpoint and at Close; the log
//     need not keep what was synced so.
//   - After a sync of the file that failed, what it says is not believed: it is marked, and
//     the next Open writes its content into a fresh file that is synced and checked
//     (package roomfile).
//   - The entries of a room that is refused are moved out of the log, to a file beside the
//     room's own, so that one room does not keep the log for all (moved.go).
//
// A file that is opened and closed again is not written to, and nothing is synced for it: that
// it is in use is noted with the first transaction that changes something, and stands in the file
// when the actor has called AfterCommit, even if the process dies then. Of the WAL of a
// life SQLite would sync the header, lest frames of an earlier life are taken for its own; a
// WAL that was made new has none, and goes without (wal.go).
//
// # New rooms
//
// With a log, a room that has a Pool begins without a file: what would be its
// content lies in memory, where SQLite has a file open (package dbfile), and the log's entry of its first transaction holds
// all of it (born.go). 44 KB of pages are 3 KB there. It is settled, that is, its file is made, whole and
// synced, at Close, at a Checkpoint, and in AfterCommit, where nobody waits, when it has grown beyond
// 128 KiB or written some 100 KB; until then AfterCommit moves what the WAL has into the database in memory. A transaction that is
// larger than what can wait has it made at once. The log keeps the entries until then. A
// disk that is full, or fails, leaves the room in the log: nothing that was acknowledged is lost.
// Of a room without a transaction that nobody has asked for its epoch (Seen) Close leaves nothing. What a room does
// before anybody gets anything of it waits in memory (deferred.go), up to 1 MB.
//
// Open finds a room that has no file by what the log says of its name (Log.Candidates): the epoch in which
// it was closed and still owed, or those that it would have got in the generations that crashed. So
// the epoch of such a room is not random, but a hash of the log's ID and generation and of the
// room's names. There is no more than one of each: within a generation a room begins once, and if its file is
// taken away while the process runs, the next time with a file and a random epoch. Who takes a
// file away behind a crash may see the room come back from the log; who takes the log away, before the rooms that were
// new had files, loses them, and nothing can refuse it. Where a part of the log is missing that a crash has left, a
// room without a file is refused: it may be in there.
//
// Log is an interface, because a cluster replicates the log. NodeLog is the one for a
// single node: files of its own, package commitlog.
//
// # Files
//
// What lies beside a room's file, and how another file takes its place, is in package roomfile. docs/STORAGE.md says what may be
// on the disk at each step of each operation, why a power cut there is harmless, and what happens on
// each kind of fault.
//
// # Connections
//
// Opening a connection, parsing the schema and compiling statements is most of what opening a
// file would cost. So with a Pool and a commit log Close leaves the connection, without files,
// to the next file of that Pool that has the same schema, byte for byte, and was closed well
// (pool.go, package storage/pool). SQLite reaches its two files through package dbfile, which exchanges
// what is open beneath it, keeps the file's lock, and has the WAL's index in memory. A WAL
// is then made when something is written into it: after the first answer (DB.AfterCommit), because making
// a file can take longer than the transaction. Where rooms begin and none sleeps, AfterCommit has two connections
// prepared in the background.
//
// # Memory
//
// Frames that wait for the WAL take 66 KB at most, those of a new room that nobody has seen 1 MB, and what they did to the pages as much again. A Pool keeps 32 connections at most, each with
// 100 to 300 KB, and two of them when nobody has opened a file for 10 s.
//
// Arguments are copied into C memory that belongs to their statement; SQLite never
// holds Go memory. Rows are copied out of SQLite by Next, so that their accessors
// need no lock and stay safe when another goroutine fences the DB.
//
// # Limits, all in Options
//
//	MaxBytes        10 GiB  the file                         ErrRoomFull
//	MaxValueBytes   16 MiB  a text, a blob, a row            ErrTooLarge
//	MaxChanges      10,000  synced rows that an action changes  ErrTooLarge
//	MaxChangeBytes  64 MiB  those rows in memory, old and new   ErrTooLarge
//	MaxActionBytes  64 MiB  what an action writes to the file   ErrTooLarge
//	History         100,000 actions that the change log reaches back  ErrForgotten
//	Retention       7 days  of time that it reaches back              ErrForgotten
//	StatementCache  128     prepared statements of handlers
//	CacheBytes      2 MiB   pages of the file in memory
//
// # Concurrency
//
// One goroutine uses a DB, its Batches and its Rows; each call takes the DB's
// mutex. DB.Interrupt, Fence, Seq and Epoch may be called from any goroutine.
// There are no contexts: a write that a context could end would roll the whole
// batch back. A hanging statement is ended by Interrupt or Fence.
//
// # The file, schema version 2
//
// An SQLite database in WAL mode, 4096-byte pages, locked EXCLUSIVE while open.
//
//	byte 60  user_version    2: the version of what follows; a higher one is refused
//	byte 68  application_id  0x44656E52, "DenR"
//
//	_den_meta (name TEXT PRIMARY KEY, value)
//	  namespace   text     of the room; compared on open
//	  room        text     its name, as it was given; compared on open
//	  epoch       text     32 hex digits: random, or see New rooms
//	  epoch_sum   integer  CRC-32C of the epoch's text; an older file has none
//	  floor       integer  the change log begins behind this seq
//	  created_at  integer  Unix milliseconds
//	  log         text     Log.ID of the commit log that the file's transactions went to;
//	                       empty: none so far, the file is whole by itself
//	  clean       integer  Log.Generation in which the file was closed with all of its
//	                       transactions in it; or in use, it may need the log: minus the
//	                       Log.Generation in which it came into use, 0 if there was no log
//	  prepared    text     DB.Prepare's: SQLite's schema_version of then, and a fingerprint
//	  tables      text     schema_version, and a digest of the synced tables' definitions
//	  tended      integer  DB.Tend's: Unix milliseconds
//	  alarm       integer  DB.NoteAlarm's: Unix milliseconds
//	  layout      integer  the number of the transaction after which the file was compacted
//	The last five need not be there. Who changes the schema makes the first two of them void by that;
//	who changes a room's alarms by other means than Den has to remove alarm.
//
//	_den_tables, _den_changes: see package changes
//
// Other tables named _den_… belong to Den's other packages, see DB.Internal.
// Handlers can read all of these and write none.
//
// A file is written beside its place, synced and renamed: a file under the
// room's name is always whole. Its content is that of the kind's first room (Pool,
// template.go), or Den's tables alone (plain.go), but for the page of _den_meta.
//
// # Where ideas come from
//
// Savepoints and commit on nil, roll back on error and panic: bbolt's Update. The
// consistency check behind every test too. A position as a type: litestream's ltx. A server's
// pool of connections.
package storage
