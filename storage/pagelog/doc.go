// Package pagelog is the content of an entry of the commit log: the changes that one transaction made to the pages of a room's
// database, as differences. So an entry is about as large as what was written, whatever SQL wrote it, and it can be applied and
// taken back. The package works on pages and bytes. It does not know SQLite's connections, rooms, or how the log stores entries.
//
//	Builder      makes an entry's payload from a transaction's pages while SQLite writes them to the WAL
//	Transaction  is a parsed payload; Apply applies it to pages, and Revert takes it back
//	FileReplay   applies transactions to a file, one after another
//	Buffer       keeps pages in memory while transactions are applied
//	Rewinder     takes transactions back in a copy of a file, to get its state at an earlier seq
//	Archive      finds the files that were replaced by compaction
//
// A damaged payload is refused. So is a payload that does not fit the pages it is applied to, because each page's
// checksum is compared. No payload makes the package panic.
//
// # The payload
//
// All numbers are little endian.
//
//	 0  u8   1, a delta: the pages that the transaction changed; or 2, a snapshot: all pages of the database
//	         before the transaction, and then those it changed. The first entry of a room without a file is
//	         a snapshot
//	 1  u24  the layout of the file, modulo 2^24, see below
//	 4  u32  pages of the database before the transaction
//	 8  u32  pages after it
//	12  u32  how many pages follow. In a snapshot all pages from before the transaction come first, each as
//	         its difference from zeros
//	16  for each page
//	      u32  number, from 1
//	      u32  CRC-32C of its 4096 bytes after the transaction, see below
//	      u32  length of the difference
//	      the difference: the page before XOR the page after, in words of 8 bytes, as pairs of
//	      (uvarint words that are equal, uvarint words that differ, those words); what follows
//	      the last pair is equal
//
// A file's checksums are no part of its pages here: whoever reads a page for this package has zeros in their place (package dbfile).
//
// A page that does not exist counts as zeros. Bytes 24 to 27 and 92 to 99 of page 1 are left out, and count as zeros in its CRC.
// They are counters that SQLite's pager sets whenever it writes the page, and have no meaning in WAL mode.
//
// # Layouts
//
// Compaction moves rows to other pages. The layout of a file is the number of the transaction after which the file
// was last compacted, or 0. A transaction can only be applied to, and taken back from, a file of its own layout. To
// go back beyond a compaction, a Rewinder continues with the file that was replaced then, which is in an Archive.
//
// # Where ideas come from
//
// LTX, the format of litestream and LiteFS (github.com/superfly/ltx), stores a transaction as the pages that it changed,
// checked page by page, and snapshots in the same form. LTX stores whole pages. Den stores differences, because
// most transactions change a few hundred bytes of a page.
package pagelog
