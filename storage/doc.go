// Package storage is the database of a room: one SQLite file. It captures, numbers and logs every change of the room's
// synced tables, and makes transactions durable.
//
// # What must hold
//
//   - An action's writes (Batch.Do) all happen or none do, after an error, a panic, a lost batch or a fence.
//   - The rows of a Commit lead from the old content of the synced tables to the new content, whatever SQL the action ran:
//     UPSERT, REPLACE, triggers, cascades, DELETE without WHERE, a statement that failed half-way. The same is true of
//     Since(seq), as far back as the change log goes. Since returns ErrForgotten for an older seq.
//   - A tombstone that leaves the package has an id and stamps, and no content.
//   - Seq is 1, 2, 3 …, one for each action that changed a row of a table other than Den's own. An action that is rolled back
//     uses no seq. A row that an action inserts and deletes again has not changed.
//   - A file of another room, or of a newer version of Den, is refused and stays unchanged.
//   - After DB.Fence has returned, the life that it ended can change nothing.
//   - With a commit log (Options.Log), a transaction that Commit has acknowledged is durable in the log. After the next Open
//     at the latest, it is in the file, exactly as it was. If a file and a log contradict each other, both are refused and stay
//     unchanged.
//
// A batch of actions is one transaction, and each action runs in a savepoint. Package changes records the changed rows with SQLite's
// pre-update hook and keeps the change log.
//
// # The commit log
//
// Without a log, each file is made durable by SQLite, at Options.Synchronous. With a log, many rooms' transactions become durable
// with one sync of the disk. The files run at Normal: a power cut leaves them whole, at an earlier transaction.
//
// An entry of the log contains the changes that a transaction makes to the file's pages (package pagelog), taken where SQLite
// writes its WAL (storage/internal/walfile). Pages are logged, and not rows, because then schema changes, full-text indexes and
// counters need no rules of their own, each page's checksum proves that a replayed file is right, and entries can be taken back
// (CopyAt). It costs about 1 µs for each changed page, and a few hundred bytes for an action of one row.
//
//   - The entry becomes durable, then Commit returns, and then the frames are written to the WAL, several transactions at a time.
//     So the file is never ahead of the log. If the append fails, the COMMIT fails and SQLite rolls back.
//   - Transactions are numbered 1, 2, 3 …. Each leaves a row with its number in _den_changes. Open replays the entries with
//     higher numbers (storage/internal/history), through sqlite_dbpage, and checkpoints.
//   - A file that was closed in good order says so, with the generation of the log. Open does not ask the log about such a
//     file, unless that generation has crashed since.
//   - The WAL is checkpointed when it is larger than 4 MiB, by Checkpoint and by Close. The log need not keep the transactions
//     that a checkpoint has synced.
//   - After a failed sync of the file, or after a page was read that did not have its checksum, the file is marked as suspect. The
//     next Open writes its content to a new file, which is synced and checked (package roomfile). If a page is still damaged then,
//     the room is refused, and its log entries are moved to a file beside its own (moved.go).
//
// Opening and closing a file writes nothing and syncs nothing. The first transaction that changes something notes that the file is
// in use. The note is in the file after AfterCommit, even if the process dies then.
//
// # New rooms
//
// With a Log and a Pool, a new room has no file. Its database is in memory, and the log entry of its first transaction contains all
// pages (logonly.go): 44 KB of pages become 3 KB. The file is made, whole and synced, by Close, by Checkpoint, by AfterCommit when the
// database is larger than 128 KiB or about 165 KB were written, and by a transaction that is too large to wait. If the disk is full or
// fails, the room stays in the log and nothing acknowledged is lost. Close leaves nothing of a room without a transaction that nobody
// has seen (KeepIfEmpty). Transactions before that wait in memory, up to 1 MB (Withhold).
//
// Open finds a room without a file by asking the log for its name. If a part of the log is missing after a crash, a room without a
// file is refused, because its entries may be in that part. If the log is removed before new rooms had files, those rooms are lost,
// and nothing can detect it. If a room's file is removed after a crash, the room may come back from the log.
//
// # Files and connections
//
// Package roomfile has the names of the files beside a room's file, and replaces a file by another one. docs/STORAGE.md says what may be
// on the disk after each step of each operation, why a power cut there is harmless, and what happens after each kind of fault.
//
// Most of the cost of opening a file is opening a connection, parsing the schema and compiling statements. So with a Pool and a Log,
// Close gives its connection, without files, to the Pool. The next room of the Pool takes it if its schema is the same, byte for byte,
// and its file was closed in good order. AfterCommit also prepares two connections in the background when rooms begin and none goes to
// sleep. A Pool has 32 connections at most, each with 100 to 300 KB, and two after 10 s without an Open.
//
// A statement copies its arguments to C memory, so SQLite never holds Go memory. Next copies a row out of SQLite, so the row can be read
// without a lock, and after another goroutine has fenced the DB.
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
// One goroutine uses a DB, its Batches and its Rows. Each call takes the DB's mutex. DB.Interrupt, Fence, Seq and Epoch may be called
// from any goroutine. No call takes a context, because a write that a context ends would roll the whole batch back. Interrupt or
// Fence ends a statement that hangs.
//
// # The file, schema versions 2 and 3
//
// An SQLite database in WAL mode, 4096-byte pages, locked EXCLUSIVE while open.
//
//	byte 20  reserved bytes  8 at the end of each page in version 3, none in version 2
//	byte 60  user_version    the version of what follows; one above 3 is refused
//	byte 68  application_id  0x44656E52, "DenR"
//
// The two versions differ in the checksums of the pages alone, which the reserved bytes of version 3 have (package dbfile). Every file
// that is made has version 3. One of version 2 keeps it until it is written again as a whole: by Compact, or by a restore. A file whose
// version and reserved bytes do not fit together is refused (package roomfile). A connection of the Pool serves files of one version.
//
//	_den_meta (name TEXT PRIMARY KEY, value)
//	  namespace   text     of the room; compared on open
//	  room        text     its name, as it was given; compared on open
//	  epoch       text     32 hex digits: random, or see New rooms
//	  epoch_sum   integer  CRC-32C of the epoch's text; missing in older files
//	  floor       integer  the change log begins after this seq
//	  created_at  integer  Unix milliseconds
//	  log         text     Log.ID of the commit log that the file's transactions went to;
//	                       empty: none so far, the file is complete
//	  clean       integer  Log.Generation in which the file was closed with all of its
//	                       transactions; while it is in use, minus the Log.Generation in
//	                       which its use began, or 0 without a log
//	  prepared    text     DB.Prepare's: SQLite's schema_version of then, and a fingerprint
//	  tables      text     schema_version, and a digest of the synced tables' definitions
//	  tended      integer  DB.NoteMaintenance's: Unix milliseconds
//	  alarm       integer  DB.NoteAlarm's: Unix milliseconds
//	  layout      integer  the number of the transaction after which the file was compacted
//	The last five may be missing. A change of the schema invalidates prepared and tables. A program
//	other than Den that changes a room's alarms must remove alarm.
//
//	_den_tables, _den_changes: see package changes
//
// Other tables named _den_… belong to Den's other packages, see DB.Internal. Handlers can read all of these and write none.
//
// A file is written under another name, synced and renamed. So a file under the room's name is always whole. A new file is a copy of the
// first file of its Pool (package template), or has only Den's tables (plain.go), with a _den_meta of its own.
//
// # Where ideas come from
//
// bbolt's Update commits if the function returns nil and rolls back after an error or a panic; bbolt also checks consistency after
// every test. A type for positions comes from litestream's ltx, and a log of pages from litestream and LiteFS.
package storage
