// Package commitlog is the commit log of a node. It holds what all rooms of the node have committed, in one
// sequence of files. An entry is durable when Append returns.
//
//	l, err := commitlog.Open(commitlog.Options{Dir: "data/_log"})
//	r, err := l.Room("party", "lobby", epoch)
//	err = r.Replay(number in the room's file, apply) // the entries that the file lacks
//	r.Release(number)                                // the file has all entries up to here, and was synced
//	err = r.Append(commitlog.Entry{Number: number + 1, …})
//
// The entries of a room are numbered without gaps. An entry stays in the log, across crashes and restarts, until its
// room releases it, and after that for Options.History, so that Backward can read it. Then its segment is deleted by
// the next goroutine that releases or appends. A room that never releases keeps every segment from its oldest entry on.
// Options.RequestCheckpoint asks such a room to release, and Log.Forget gives up a room that cannot.
//
// Segments are deleted from the oldest on, never from the middle, even if a single room keeps an old one. So what
// the log has of a room are always the room's newest entries. Storage relies on that: it refuses a file that has
// more than the newest entry in the log.
//
// # Terms
//
//   - A room is here a room in one epoch: namespace, name and epoch together. A record names it by its key, a hash.
//   - A segment is a file of the log. The active segment is the one that is written; the others are sealed.
//   - A record is an entry, or an index, as it lies in a segment. Each one holds the checksum of the record before
//     it: that is the chain. The records of each room have a chain of their own, across segments.
//   - An index lists the rooms that have records in a segment, or in a part of it.
//   - A generation is the time from one Open to the next. It ends well with Close, else it has crashed.
//   - A room is unrecovered if a crashed generation has left entries that the room's file may lack. Release or
//     Forget makes the room recovered.
//   - A room that was closed with unreleased entries is pinned. A pin says which segment has the oldest of them.
//   - A hole is a range of a segment that is damaged so that nobody can tell which rooms had entries there.
//   - A segment is lost if its file is missing, until an operator gives it up with Abandon.
//   - Obsolete segments are those that may be deleted.
//
// # Group commit
//
// The log has no goroutine. The first goroutine that appends leads: it writes and syncs. The appends that are queued meanwhile are
// written together by the one of them that came first. So a group is what was queued during the last sync, and no append waits for
// a timer. A single appender costs one write and one sync, without a channel or an allocation. A payload above 1 MiB is written
// from the caller's memory, so the log adds at most 1 MiB to the memory that a transaction takes.
//
// # Files
//
// The directory has CURRENT and the segments. The name of a segment is 16 hex digits and ".log"; the numbers have no
// holes. All numbers in the files are little endian. A checksum is CRC-32C. Older versions of both formats were never
// released, and are refused.
//
// CURRENT, version 3, says which segments there are and how the last generation ended. It is replaced as a whole
// (temporary file, sync, rename, sync of the directory) when the log is opened or closed and when a segment is begun
// or deleted. The file has the following content twice; the second copy begins at the next multiple of 4096.
// Magic, version, length and checksum are at the same places in all versions from 3 on.
//
//	 0  "DenCurr\0"
//	 8  u32  3, the version
//	12  u32  length, to the end of the checksum
//	16  u32  flags; 1: the generation ended well, there is no active segment; 2: it is Relaxed
//	20  u32  r, how many refused rooms with unreadable names there are
//	24  16   the log's ID
//	40  u64  generation
//	48  u64  number of the first segment
//	56  u64  number of the active segment, 0: none
//	64  u64  newest generation that crashed and is not recovered, 0: none
//	72  u64  first and
//	80  u64  last segment that may have entries of it and of crashed generations before it
//	88  u64  segments below this one have only released entries
//	96  u64  newest generation that was Relaxed and crashed, 0: none
//	104 u64  ms that have passed since the log was made, by its own clock (clock.go)
//	112 i64  Unix ms at that moment
//	120 u32  n, how many segments are sealed: they follow each other from the first
//	124 u32  m, how many pins there are
//	128 n times: u64 generation; i64 ms, by the log's clock, when it was sealed; u32 size; u32 where the records
//	    end, 0: the segment was never read; u32 end of the last hole, 0: there is none; u32 salt; u32 k, how many
//	    indexes the segment has; u32 flags, 1: what is lost or in a hole was abandoned;
//	    k times, oldest first: u32 offset; u32 rooms in it
//	    m times: u64 segment of the oldest unreleased entry of a closed room; u64 number of
//	    the newest; u32 length; names (only with flag 1: after a crash all count as unreleased).
//	    Those of one room follow each other in the order in which they were closed
//	    r times: key; u64 number of the newest entry of a room that is refused because its names cannot be read
//	    u32  checksum of all before, salt 0
//
// Package commitlog/segment has the byte tables of a segment. While a segment is written, an index of the rooms that
// have records since the index before it is written about every Options.IndexBytes, at the beginning of a group. When the
// segment is sealed, an index of the whole segment at its end replaces these indexes. The active segment is preallocated:
// zeros follow its records, so that a sync has only data to write and no metadata of the file. Up to 64 KiB of zeros
// stay in a sealed segment, and up to 1 MiB after a crash, because some file systems take milliseconds to free them.
//
// # After a crash
//
// Open reads the end of the segment that was active, from the newest index on that a hint leads to. The index must be whole, and
// the headers of the indexes before it good. What follows that index gets an index of its own at the end, so that the segment has
// several. Without such an index, Open reads the whole segment. See active.go for why Open never believes a stale index.
//
// The records end at the first one that is not good, or that does not hold the checksum of the one before it. So what a
// failed write has left after a shorter one is not taken for records. A record that is not good may have been
// acknowledged, though. If a later good record says that it was durable, or if only one bit of it is wrong, it is
// damaged, and does not end the log. One case cannot be told apart: a sector of the last group, or the end of its
// last record, in which only one bit was set and that bit is lost. It counts as never written.
//
// A write that fails is undone before any caller learns of it: what it has left is overwritten with zeros or cut
// off, and that is synced. Then the error matches ErrUnwritten, and the entries do not appear after a crash. If
// undoing fails too, or a sync fails, the content of the disk is unknown, and the error is ErrIO. Before anything else is
// written, the acknowledged part of the segment is read, checked and written into a new file in its place, and a
// new segment is begun. Each call tries that first. Until it succeeds, the log returns ErrIO.
//
// # Damage
//
// The two checksums of a record tell which single bit of it has flipped, and the record is read as it was written.
// The same holds for the header of a segment.
//
// A record with more damage costs its own room: Replay and Backward return ErrCorrupt if they need the record. If the
// record's header is damaged too, there is a hole. A room that has a later entry needs nothing from the hole if
// its entries follow each other. A room without a later entry, that may have had unreleased entries in the hole, gets ErrLost;
// so does a room that needs a lost segment. It may have had some if it is pinned and the newest unreleased entry is not found
// elsewhere, or if the segment was left by a crash and the room is unrecovered. Nothing newer than the hole or the lost
// segment of a crash is deleted until the file is back or an operator calls Abandon.
//
// A damaged index, filter or hint costs no room anything: the records of the segment are read instead. If the
// header of a segment is damaged, its salt is found in the first record.
//
// CURRENT holds its content twice, so that a flipped bit or a bad sector changes nothing. Both copies are in one file
// because a second file would cost two more syncs for each segment begun. If CURRENT is missing, empty, damaged in both
// copies, or older than the segments, Open makes it again from the segments. Their headers tell the log, the generation
// and what had been released when they were begun, and their records tell the rest. Open then reads the whole log, and
// every room counts as unrecovered, because nobody knows what was released since the newest segment was begun. That is why
// there is a second copy at all. One case cannot be told apart: segments that were deleted just before a power cut, of which some are
// back, while CURRENT is gone too. The segments between them then count as lost.
//
// Open needs the active segment. If that file is missing, Open returns ErrLost.
//
// # Limits
//
// Several damaged bits in the last group, and an active segment that was cut short, look like a power cut during
// a write: the group is dropped. Memory is about 100 bytes for a sealed segment, 110 for each room in the active segment,
// 400 for each open room, 300 for each pinned room, and 2 MiB for what is written. Replay holds one entry in
// memory, Open a window of 256 KiB. The filters, two bytes for each sealed segment and room in it, are read with the first search for a
// room, and are 32 MiB at most (Stats.Filters); the filters of the oldest segments are left on the disk. A
// segment with a damaged index takes the memory of an active one once a room was looked for in it.
//
// # Sources
//
// The chain of checksums, and the salts, are those of SQLite's WAL. Group commit is LevelDB's writer queue. A failed fsync
// is handled as "Can Applications Recover from fsync Failures?" (Rebello et al., USENIX ATC 2020) asks for. CURRENT is a small
// LevelDB MANIFEST with the two copies of LMDB's meta pages. An index in the stream, found by a pointer in the
// header, is ARIES' checkpoint.
package commitlog
