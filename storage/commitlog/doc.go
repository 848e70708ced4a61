// Package commitlog is the commit log of a node: what its rooms have committed goes here, in
// one file for all of them, and is durable when Append returns.
//
//	l, err := commitlog.Open(commitlog.Options{Dir: "data/_log"})
//	r, err := l.Room("party", "lobby", epoch)
//	err = r.Replay(file's number, apply)        // what the room's file lacks
//	r.Release(number)                           // the file has all up to here, and was synced
//	err = r.Append(commitlog.Entry{Number: number + 1, …})
//
// A room's entries are numbered without gaps. Until the room releases them they stay, over crashes
// and restarts; after that they stay for Options.History, for Backward; then their segment is deleted,
// the oldest first, by whoever releases or appends. A room that never releases keeps all segments
// from its oldest entry on: Options.RequestCheckpoint asks it to release, and Forget gives up a room that
// cannot.
//
// Only the oldest segments are deleted, and never one in the middle, although an old one may be kept
// by a single room. So whatever the log has of a room are its newest entries. Storage relies on that:
// it compares a file with the newest entry of its room, and refuses the file if it has more. Were a
// segment in the middle deleted, the log would show an older entry as the newest one.
//
// # Turns
//
// There is no goroutine: who appends first leads, writes and syncs, and those that come
// meanwhile are written together by the one of them that came first. So a group is what has
// queued up during the last sync, and nobody waits for a timer. One appender alone costs one
// write and one sync, without a channel or an allocation. Records above 1 MiB are written from where
// their payload lies: the log adds 1 MiB to the memory of a transaction of any size.
//
// # Files
//
// The directory has CURRENT and segments, whose names are 16 hex digits and ".log", numbered
// without holes. All numbers are little endian. A checksum is CRC-32C. Older versions of both files were
// never released; they are refused.
//
// CURRENT, version 3, is replaced as a whole (temporary file, sync, rename, sync of the directory)
// when a log is opened, a segment begun or deleted, and at a good end. The file holds the following
// twice; the second copy begins at the next multiple of 4096. Magic, version, length and checksum
// are at the same places in all versions from 3 on.
//
//	 0  "DenCurr\0"
//	 8  u32  3, the version
//	12  u32  length, to the end of the checksum
//	16  u32  flags; 1: the generation ended well, there is no active segment; 2: it is Relaxed
//	20  u32  r, how many rooms there are whose names cannot be read
//	24  16   the log's ID
//	40  u64  generation
//	48  u64  number of the first segment
//	56  u64  number of the active segment, 0: none
//	64  u64  newest generation that crashed and is not recovered, 0: none
//	72  u64  first and
//	80  u64  last segment with what it and those before it have left
//	88  u64  segments below this one have only released entries
//	96  u64  newest generation that was Relaxed and crashed, 0: none
//	104 u64  ms that have passed since the log was made, by its own clock (clock.go)
//	112 i64  Unix ms then
//	120 u32  n, how many segments are sealed: they follow each other from the first
//	124 u32  m, how many pins there are
//	128 n times: u64 generation; i64 ms, by the log's clock, of the sealing; u32 size; u32 where the records
//	    end, 0: it was never read; u32 where they go on behind the last ones that are damaged and
//	    of unknown rooms, 0: there are none; u32 salt; u32 k, how many indexes it has; u32 flags,
//	    1: what is missing or damaged was given up;
//	    k times, oldest first: u32 offset; u32 rooms in it
//	    m times: u64 segment of the oldest unreleased entry of a closed room; u64 number of
//	    the newest; u32 length; names (only with flag 1: after a crash all count as unreleased).
//	    Those of one room follow each other in the order in which they were closed
//	    r times: key; u64 number of the newest entry of a room that is refused for it
//	    u32  checksum of all before, salt 0
//
// Of a segment, with its records and indexes, package commitlog/segment has the tables. About every
// Options.IndexBytes a group of records begins with the index of the rooms that have entries after the
// index before. When the segment is sealed in good order, an index of all of it, at its end, takes the
// place of these. While a segment is written zeros follow its records: they were written ahead, so that
// a sync has only data to write. Up to 64 KiB of them, and after a crash up to 1 MiB, stay when it is
// sealed, because some file systems take milliseconds to free them.
//
// # What a crash leaves
//
// Open reads the last part of the segment that was written: from the newest index on that a
// hint leads to, that is whole, and whose forerunners' headers are good. What comes after that index
// gets an index of its own at the end, and the segment stays with several. If there is no such
// index all of the segment is read. See part.go for why no index is believed that is stale.
//
// The records end where one is not good or does not name the checksum of the one before it. So
// what a failed write has left after a shorter one is not taken for records. That a record which
// is not good was never acknowledged is not taken for granted: if a good record after it says that
// it was durable, or if it is good but for one bit, it is damaged. (One case stays open: a sector
// of the last group, or the end of its last record, in which a single bit was set, and is not. It
// counts as one that never came.)
//
// A write that fails is taken back: what it has left is overwritten with zeros, or cut off, and
// that is synced before anybody is told. Then the error matches ErrUnwritten, and the entries do not
// come back after a crash. If that fails too, or a sync has failed, nobody knows what is on the
// disk: the error is ErrIO, and before anything else is written the acknowledged part of the segment
// is read again, checked and put into a fresh file in its place, and a new segment is begun. Until
// that has succeeded, and whoever comes tries it, the log gives ErrIO.
//
// # What damage costs
//
// The two checksums of a record tell which single bit of it has flipped: the record is read as it
// was written. The same holds for the header of a segment.
//
// A record with more damage costs the room that it belongs to: Replay and Backward give ErrCorrupt
// where they need it. If its header is damaged too nobody knows whose it was. Then a room that has a
// later entry lacks nothing if its entries follow each other; a room that has none, and may have had
// unreleased entries there, gets ErrLost, as for a segment that is missing: the room has
// unreleased entries that are not found elsewhere, or the segment was left by a crash and the room
// was not recovered since. The crash is not settled then, and nothing newer is deleted, until the
// file is back or the operator gives it up with Abandon.
//
// A damaged index, filter or hint costs nobody anything: the segment's records are read for what is
// in it. The salt of a segment whose header is damaged is found in its first record.
//
// CURRENT holds everything twice, so that a flipped bit or a bad sector changes nothing. Both copies
// are in one file, because a second file would cost two more syncs for each segment begun. If the
// file is missing, empty or damaged in both copies, or older than the segments, Open makes it again
// from the segments: their headers say which log and generation they are of and what had been
// released when they were begun, and their records what is in them. The segments alone would be
// enough, without a second copy. But then all of the log has to be read and every room looked at,
// because what was released since the newest segment was begun is not known. So there are both. One
// case is not told apart: segments that were deleted just before a power cut and are in part there
// again, while CURRENT is lost too. Those in between count as missing then.
//
// The segment that was being written is the one file that Open does not do without: if it is
// missing Open gives ErrLost.
//
// # Limits
//
// Damage of several bits in the last group, and a cut of the end of the segment that was
// written, look like a power cut during a write: the group is dropped. Memory is about 100
// bytes for a sealed segment, 110 for each room in the active segment, about 400 for each that is
// open and 300 for each that is pinned, and 2 MiB for what is written. Replay has one entry in memory,
// Open a window of 256 KiB. Filters, two bytes for each sealed segment and room in it, come in with
// the first search for a room, and are 32 MiB at most (Stats.Filters); rooms are looked for on the
// disk in segments, the oldest, that have none then. A segment of which an index is damaged takes
// the memory of an active one once a room was looked for in it.
//
// History is measured by time that has passed while the log was used, not by the wall clock, see
// clock.go.
//
// # Where ideas come from
//
// The chain of checksums is that of SQLite's WAL, salts included; the leader is LevelDB's
// writer queue; a failed fsync is handled as "Can Applications Recover from fsync Failures?"
// (Rebello et al., USENIX ATC 2020) asks for; CURRENT is LevelDB's MANIFEST made small, with the two
// copies of LMDB's meta pages; an index in the stream, found by a pointer in the header, is ARIES'
// checkpoint.
package commitlog
