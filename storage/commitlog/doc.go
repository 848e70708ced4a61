// Package commitlog is the commit log of a node: what its rooms have committed goes here, in
// one file for all of them, and is durable when Append returns.
//
//	l, err := commitlog.Open(commitlog.Options{Dir: "data/_log"})
//	r, err := l.Room("party", "lobby", epoch)
//	err = r.Replay(file's number, apply)        // what the room's file lacks
//	r.Release(number)                           // the file has all up to here, and was synced
//	err = r.Append(commitlog.Entry{Number: number + 1, …})
//
// A room's entries are numbered without gaps. Until it releases them they stay, over crashes
// and restarts; then for Options.History, for Backward; then their segment is deleted, the
// oldest first, by whoever releases or appends. A room that never releases keeps all segments
// from its oldest entry on: Options.Pressure is for that.
//
// # Turns
//
// There is no goroutine: who appends first leads, writes and syncs, and those that come
// meanwhile are written together by the one of them that came first. So a group is what has
// queued up during the last sync, and nobody waits for a timer. One appender alone costs one
// write and one sync, without a channel or an allocation.
//
// # Files
//
// The directory has CURRENT and segments, whose names are 16 hex digits and ".log", numbered
// without holes. Little endian throughout; a checksum is CRC-32C, and of what is in a segment
// begins with the segment's salt, so that no part of one segment passes for one of another, or
// of another log. Older versions of both were never released; they are refused.
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
//	20  u32  0
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
//	    of unknown rooms, 0: there are none; u32 salt; u32 k, how many indexes it has; u32 0;
//	    k times, oldest first: u32 offset; u32 rooms in it
//	    m times: u64 segment of the oldest unreleased entry of a closed room; u64 number of
//	    the newest; u32 length; names (only with flag 1: after a crash all count as unreleased).
//	    Those of one room follow each other in the order in which they were closed
//	    u32  checksum of all before, salt 0
//
// Segment, version 3: a header, two hints, records one after the other, and, when it is
// sealed, an index. While it is written, zeros follow: they were written ahead, so that a sync
// has only data to write. Up to 64 KiB of them, and after a crash up to 1 MiB, stay when it is
// sealed, because some file systems take milliseconds to free them.
//
//	 0  "DenLog\0\0"
//	 8  u32  3, the version
//	12  u32  flags; 2: the generation is Relaxed
//	16  16   the log's ID
//	32  u64  the segment's number
//	40  u64  generation
//	48  i64  Unix ms when it was begun
//	56  u64  number of the log's first segment then
//	64  u32  0
//	68  u32  checksum of 0 to 67, salt 0. This is the segment's salt
//	72  zeros up to 1536, where the first record is, but for
//	512, 1024: the hints: u32 offset of the record of an index; u32 checksum of that
//
// Record: aligned to 8 bytes.
//
//	 0  u32  checksum of 4 to 71
//	 4  u32  length of the payload
//	 8  u32  the checksum that ends the record before this one; the first: the salt
//	12  u32  offset of the room's record before this one in this segment, 0: none
//	16  u32  the checksum that ends the room's entry before this one, wherever it is
//	20  u32  how much of the segment was durable when this was written
//	24  u64  number
//	32  u64  seq
//	40  i64  Unix ms
//	48  u16  length of the names
//	50  u8   flags; 1: the room's first record of the segment, or one that starts a chain: the
//	         names follow; 2: the room's chain starts here, what is at 16 says nothing;
//	         4: it is an index
//	51  u8   0
//	52  u32  offset of the room's newest record with flag 1 in this segment; 0: this one
//	56  16   key: the first bytes of SHA-256 of the names
//	72  names: namespace, zero byte, room, zero byte, epoch
//	    payload
//	    zeros up to the next multiple of 8
//	    u32  checksum of all before
//	    u32  CRC-32 (IEEE) of all before, begun with the salt
//
// Index: blocks of up to 128 rooms, sorted by key, all but the last full; then a filter
// (filter.go), which tells of most rooms that they are not in the blocks.
//
//	 0  u32  checksum of the block from 4 on
//	 4  u32  the block's number
//	 8  u32  n, how many rooms
//	12  n times: key; u64 number of the newest entry; u32 its offset; u32 the checksum that
//	    ends it; u32 offset of the room's newest record with flag 1
//	    u32  checksum of the filter
//	    filter: 32 bytes for each 16 rooms or a part of 16; in the block that the first 8 bytes
//	    of a key choose (big endian, times blocks, divided by 2^64) a bit of each of eight u32,
//	    by 5 bits each of the next 8 bytes, the lowest first
//
// About every Options.IndexBytes a group of records begins with the index of the rooms that
// have entries behind the index before. It is the payload of a record with flag 4 and no key,
// whose number is how many rooms it has; at 12 is the offset of the index's record before it,
// 0 for none, and at 20 its own offset: all before it is durable when it is written. The hints
// say where the two newest are. When the segment is sealed in good order, an index of all of
// it, at its end, takes the place of these.
//
// # What a crash leaves
//
// Open reads the last part of the segment that was written: from the newest index on that a
// hint leads to, that is whole, and whose forerunners' headers are good. What is behind it
// gets an index of its own at the end, and the segment stays with several. If there is no such
// index all of the segment is read. See part.go for why none is believed that is stale.
//
// The records end where one is not good or does not name the checksum of the one before it: so
// what a failed write has left behind a shorter one is not taken for records. That what is not
// good was never acknowledged is not taken for granted. If it would be good with one bit changed, it
// is read so, and put right. If a good record after it says that it was durable, it is damaged: one
// whose header is good costs its room alone; where the header is not, nobody can say whose it was, and
// each room is refused that may have had its newest entry there. Open goes on in any case. (One case
// stays open: a sector of the last group, or the end of its last record, in which a single bit was
// set, and is not. It counts as one that never came.) What lies before the newest index is known by
// it: damage there is found by the rooms that have it. An entry that was refused, because its write or sync failed, may be there behind a crash if
// nothing was written after it.
//
// After a failed sync the acknowledged part of the segment is read again, checked and put
// into a fresh file in its place, and a new segment is begun. Until that has succeeded, and
// whoever comes tries it, the log gives ErrIO.
//
// A segment that is done and missing stops the rooms that need it. Where a room has no newer
// entry, that is each of which an entry was not released; and behind a crash, for a segment that it has
// left, all: what was in it is known by nobody. The crash is not settled then, and nothing newer is
// deleted, until the file is back.
//
// # Limits
//
// Damage of several bits in the last group, and a cut of the end of the segment that was
// written, look like a power cut during a write: the group is dropped. Memory is about 100
// bytes for a sealed segment, 110 for each room in the active segment, about 400 for each that is
// open and 300 for each that is pinned, one group, and at Open the part that is read. Filters, two bytes for each sealed
// segment and room in it, come in with the first search for a room, and are 32 MiB at most
// (Stats.Filters); rooms are looked for on the disk in segments, the oldest, that have none then.
//
// # Where ideas come from
//
// The chain of checksums is that of SQLite's WAL, salts included; the leader is LevelDB's
// writer queue; a failed fsync is handled as "Can Applications Recover from fsync Failures?"
// (Rebello et al., USENIX ATC 2020) asks for; CURRENT is LevelDB's MANIFEST made small; an index
// in the stream, found by a pointer in the header, is ARIES' checkpoint.
package commitlog
