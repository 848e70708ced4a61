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
// clients stay through that; stock ones are mounted anew, because a backup may not remember an id that is away.
//
// # Sleep
//
// Rooms sleep when they have had nothing to do for ten seconds of the clock's, as they do in a server, and an event puts
// one to sleep at once. TestInvariantSleepIsInvisible plays histories twice besides, in lockstep: once with all rooms asleep
// behind every event, once with none ever. Every client must get the same messages, byte for byte but for the epoch's name.
//
// A failing seed prints itself, a shrunk history that fails too, and the end of what happens in that.
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
//	untold            a room that broke behind a commit does not tell its connections        3
//	born-pages        the entry that begins a room lacks its pages but the first           300
package sim
