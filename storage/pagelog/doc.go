// Package pagelog is what the commit log keeps of a transaction: what it did to the pages of the room's
// database, as differences. So an entry is about as large as what was written, whatever SQL wrote it, and can
// be followed in both directions. The package knows pages and bytes. It knows nothing of SQLite's
// connections, of rooms, and of how the log keeps entries.
//
//	Builder      makes an entry's payload from a transaction's pages as they go into the WAL
//	Transaction  is a payload, parsed; Apply and Revert follow it forwards and backwards
//	FileReplay   applies transactions to a file, one after another
//	Buffer       keeps pages in memory while transactions are applied to what is not a file
//	Rewinder     takes transactions back in a copy of a file: the way to its state at a seq
//	Archive      names and finds the files that a room's history leads through
//
// A payload that cannot be read is refused, and so is one that does not fit the pages that it is applied
// to: each page's checksum tells. Nothing panics on one.
//
// # The payload
//
// All numbers are little endian.
//
//	 0  u8   1, a delta: what the transaction changed; or 2, a snapshot: before that it holds the
//	         database as it was, so that nothing else is needed. An entry that begins a room without a
//	         file is one
//	 1  u24  the layout of the file that it was made for, modulo 2^24, see below
//	 4  u32  pages of the database before the transaction
//	 8  u32  pages after it
//	12  u32  how many pages follow. In a snapshot the first of them are all pages of before, each as its
//	         difference from zeros; what the transaction changed comes after them
//	16  for each page
//	      u32  number, from 1
//	      u32  CRC-32C of its 4096 bytes after the transaction, see below
//	      u32  length of the difference
//	      the difference: the page before XOR the page after, in words of 8 bytes, as pairs of
//	      (uvarint words that are equal, uvarint words that differ, those words); what follows
//	      the last pair is equal
//
// A page that was not there counts as zeros. Of page 1, the bytes 24 to 27 and 92 to 99 are left out, and
// are zeros for its CRC: these are counters that SQLite's pager sets whenever it writes the page, and that
// mean nothing in WAL mode.
//
// # Layouts
//
// When a file is compacted, the same rows are on other pages. A layout is the number of the transaction after
// which that happened; 0 is the file as it was made. A transaction belongs to one layout, and leads
// from pages of that layout to pages of that layout. Who goes back over a change of the layout goes on with the file that
// was replaced then: an Archive has it.
//
// # Where ideas come from
//
// A transaction as the pages that it changed, checked page by page, and snapshots in the same form:
// LTX, the format of litestream and LiteFS (github.com/superfly/ltx). There a page is whole; here it is a difference, because
// most transactions change some hundred bytes of it.
package pagelog
