// Package sim runs whole systems from a seed, on a machine that is not there: a server with rooms, its disk in memory
// that forgets what was not synced, a clock that stands still until it is told to go on, clients that write the protocol's
// frames, and links that break. Everything happens in one goroutine, one thing after another in an order drawn from the
// seed; a seed that fails once fails again.
//
//	go test ./test/sim                      some thousand seeds
//	go test ./test/sim -sim.seed 42 -v      one, with all that happens in it
//	go test ./test/sim -sim.for 10m         as many as fit, of the clock's choosing
//
// # A run
//
// A seed draws one or two rooms, two to four clients, limits of the server, a climate (how often what happens) and a
// history: a list of some dozen events. Clients act, connect, leave, reload; links break with everything on its way lost;
// rooms' lives end in order or not; the power goes, at once or in the middle of a write; the process is killed; the disk
// fails or is full; the server is shut down and started again; milliseconds pass or days; the machine's clock is set.
// Between the events some of the moves happen that may happen next: an actor runs, a frame arrives, the server notices
// that a link is gone.
//
// Clients are of two kinds. One is what PROTOCOL.md says that a client does who resumes by cursors and retries numbered
// actions, written from that page alone. The other is the published client of partysync: it asks for its channels once,
// and relies on the room for the rest. Actions insert, update, delete (hard, soft, many), change keys, count, change the
// schema, conflict, fail half-way, panic, take too long, and never return.
//
// The room under test keeps a journal: each action that changes something takes the next number, and all rows that it
// writes carry this number and its name. So each row that anybody was ever shown can be followed to its action.
//
// # What must hold
//
// Actions set alarms, which enter the journal when they run, and fail or panic now and then the first time. At the end each
// alarm whose action is there has run once.
//
// While it runs: a row that a client holds never steps back, none that was deleted comes back, no number is shown as two
// actions'; one that resumes by a cursor gets no row of the journal twice, and is never told to send again what was answered.
//
// At the end all is healed, everybody comes back, and then: the files are whole; the journal has no gaps, and its length
// is the room's seq; every client holds exactly what the room does; what anybody was ever shown, by a reply, a broadcast
// or a snapshot, is in the journal; what was acknowledged is there once, what was refused is not, the rest once at the
// most; the counters are the sum of their increments.
//
// A backup of a room is taken now and then, and restored over it later: what it held is there then, and nothing else of before. Cursor
// clients stay through that; stock ones are mounted again, because a backup may not remember an id that is away.
//
// # Sleep
//
// Rooms sleep when they have had nothing to do for ten seconds of the clock's, as they do in a server, and an event puts
// one to sleep at once. TestInvariantSleepIsInvisible plays histories twice besides, in lockstep: once with all rooms asleep
// after every event, once with none ever. Every client must get the same messages, byte for byte but for the epoch's name.
//
// A failing seed prints itself, a shrunk history that fails too, and the end of what happens in that.
//
// # Torture
//
// TestTorture makes the same runs in a harsher world, in which the storage is to break. One to four rooms share a log whose
// segments are small; actions are larger than a segment, now and then larger than what is written in one piece.
//
//	go test ./test/sim -run TestTorture                       500 seeds
//	go test ./test/sim -run TestTorture -sim.torture 10000    as many as one likes
//	go test ./test/sim -run TestTorture -sim.seed 42 -v       one, with all that happens in it
//	go test ./test/sim -run TestTorture -sim.without "flip,lose log"   kinds of events that do not come
//
// The climates of the torture (tortures) are these. One in eight of the events of a history begins a script, a short sequence of
// events in an order that does harm and that chance draws too seldom; in the three climates about one subject it is one in three:
//
//	cuts         power cuts at operations of each kind, kills, a few restores
//	failures     calls that fail or are cut short, and disks that are full, then healed
//	the past     copies of rooms as they were, clocks that are set, restores
//	restores     backups, restores and imports with power cuts and failures around them
//	operators    files deleted and copied into place, imports, migrations
//	rot          flipped bits, overwritten files, damage in the log and in CURRENT
//	names        directories, renames and deletes that fail, then a power cut (one subject)
//	rewrites     failed syncs of rooms' files, which are written again (one subject)
//	full         disks that are full (one subject)
//	everything   all of that
//
// Events that come besides those of other runs:
//
//	cut at           a power cut at the n-th operation of one kind on files of one kind: write, sync, sync of a
//	                 directory, rename, delete, mkdir, truncate, open, read
//	at rename        when a file takes the place of a room's, the sync of the directory fails, or the power goes
//	harm             calls of one kind fail with EIO or ENOSPC, once or until the disk is well; reads are short
//	harm sync        a sync of a room's file or WAL fails
//	harm names       a sync of a room's directory, a rename or a delete fails
//	full             no space for WALs, for the log, for rooms' files or for anything
//	big, burst       a large action; many actions
//	state at         a copy of a room as it was, at a seq or a time
//	import           a room is replaced by an export of one of its copies
//	migrate          the server is started again with one more migration
//	delete, put      an operator deletes a room's files, or copies a backup to where they are
//	flip, wreck      bits of a room's files flip; the beginning of its file is overwritten
//	flip log         one bit of the commit log flips
//	flip current     bits of CURRENT flip, all of it is overwritten, or it is gone
//	lose log         some bytes of a segment are overwritten, or a segment is gone
//
// What must hold besides:
//
//   - Of each power cut three outcomes that did not come are looked at too: den verify finds nothing, the log and all rooms
//     open, and hold what was acknowledged and shown until then.
//   - A copy of a room as it was is exactly that: each copy that is taken is remembered by its seq, and whoever asks for that
//     seq gets the same, for as long as history is kept, the state that a restore left included. At the end all of them
//     are asked for, so that each page is compared with its checksums on the way back.
//   - The first seq of a new epoch is above all that the room has ever told.
//   - Whoever was told that nothing was changed finds that nothing was.
//   - A large action is there whole or not at all, and so is each migration.
//   - A room is refused only where its own bytes were damaged. What a damaged room says is believed no more, until it is
//     restored; nothing else is different. A flipped bit of the log or of CURRENT damages nobody.
//   - A room whose files an operator has deleted is new, or is there whole because the log has it.
//   - den verify finds nothing at the end but damage, and does find that of a wrecked file.
//   - The scrub calls no file damaged that is whole. After its period each file with a damaged page is marked.
//   - No file stays open.
//
// # That it finds something
//
// With the build tag denbugs the server has deliberate bugs, each switched on by its name (package internal/bug), and
// TestBugs shows that each is caught.
//
//	go test -tags denbugs ./test/sim -run TestBugs -v
//
//	bug               what is wrong                                                      seeds until it is caught
//	gate              frames leave before the commit                                        22
//	lost-batch        what a batch wanted to send is sent though it was rolled back         80
//	mark-outside      mutation numbers and replies have a transaction of their own           6
//	cursor-high       cursors name the commit after the right one                            2
//	reset-flag        an answer that is to replace does not say so                           5
//	floor             changes are given from before what is remembered                       3
//	tombstones        deletions do not get into the change index                            15
//	peer-high         a partysync client counts as having what was only sent to it          15
//	ack-before-sync   the commit log acknowledges before its sync                           16
//	replay-last       a replay leaves the last entry out                                    10
//	replay-none       a file is not brought forward                                         10
//	release-early     log entries are let go before the file's checkpoint                  202
//	untold            a room that broke after a commit does not tell its connections        3
//	log-only-pages    the entry that begins a room lacks its pages but the first           300
//
// And these, by seeds of TestTorture:
//
//	wal-header        the header of a restarted WAL is not synced                          225
//	rollback-mode     a restored file is switched to WAL mode by SQLite                      6
//	dir-sync          a name is used that is not known to be durable                        74
//	suspect-order     a rewritten file takes its place before the old WAL is gone          139
//	full              storage is said to be full for what is in the log                     47
//	seq-back          a restore of an unreadable room begins below what it has told        148
//	scrub-blind       the scrub takes each page for whole                                  105
package sim
