// Package segment is the format of a segment, the file of a commit log. It says how entries lie in it as records, how a
// room's newest entry is found, and what can be read of a file that is damaged or was cut short. It knows one file and its
// bytes. Package commitlog decides which files there are, when they are synced and when they are deleted.
//
// Nothing here syncs or locks: a Reader, a Writer, a Scan and Places belong to one goroutine at a time. A File, an
// Index and a Filter are only read.
//
// # Format
//
// All numbers are little endian. A checksum is CRC-32C, and begins with the segment's salt, so that no part of
// one segment passes for a part of another, or of another log. Older versions were never released; they are refused.
//
// Segment, version 3: a header, two hints, the records one after the other, and, when the segment is sealed, an index.
// Zeros may follow.
//
//	 0  "DenLog\0\0"
//	 8  u32  3, the version
//	12  u32  flags; 2: the generation is Relaxed
//	16  16   the log's ID
//	32  u64  the segment's number
//	40  u64  generation
//	48  i64  Unix ms when it was begun
//	56  u64  number of the log's first segment then
//	64  u64  segments below this one had only released entries then
//	72  u64  newest generation then that was Relaxed and had crashed, 0: none
//	80  u32  0
//	84  u32  checksum of 0 to 83, salt 0. This is the segment's salt
//	88  zeros up to 1536, where the first record is, except
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
// (filter.go), which excludes most rooms that are not in the blocks.
//
//	 0  u32  checksum of the block from 4 on
//	 4  u32  the block's number, and 1<<31 in the index at the end of a segment
//	 8  u32  n, how many rooms
//	12  n times: key; u64 number of the newest entry; u32 its offset; u32 the checksum that
//	    ends it; u32 offset of the room's newest record with flag 1
//	    u32  checksum of the filter
//	    filter: 32 bytes for each 16 rooms or a part of 16; in the block that the first 8 bytes
//	    of a key choose (big endian, times blocks, divided by 2^64) a bit of each of eight u32,
//	    by 5 bits each of the next 8 bytes, the lowest first
//
// A part of a segment has an index of its own, of the rooms that have entries after the index before. It is the payload
// of a record with flag 4 and no key, whose number is how many rooms it has; at 12 is the offset of the index's record
// before it, 0 for none, and at 20 its own offset: all before it is durable when it is written. The hints say where the
// two newest are. An index of all of a segment is no record: it lies at the end.
package segment
