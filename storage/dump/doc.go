// Package dump exports the content of a room's file as text, and imports such a text as a room. The text is an SQL script
// that any SQLite can run, or lines of JSON. SQLite's shell calls the former a dump. A copy of the file itself is a backup: see
// package archive.
//
// Both formats begin with a header (version, room, seq, time). The tables and views follow, then the rows, then the indexes
// and triggers, which are created after the rows. Den's own tables are left out, except the record of the migrations: without
// it the room's program would run them again.
//
// # SQL
//
// A script in one transaction, for the sqlite3 shell or for PrepareImport. The header is the comment in its first line. A
// text with a NUL or another control character is written as CAST(x'…' AS TEXT).
//
// # Lines
//
// Each line is a JSON object: the header, which has the schema; {"table":…,"row":{column: value}} for each row; {"end":{"rows":n}}.
// An export without an end line is cut off, and is refused. Numbers with a point or an exponent are floats. A blob is {"$blob":
// base64}, an integer beyond ±2^53 {"$int":"…"}, an infinity {"$float":"inf"} or {"$float":"-inf"}, a text that is not UTF-8
// {"$text": base64}. "rowid" stands beside "row" if no column of the table holds the rowid.
//
// # Virtual tables
//
// A full-text index (FTS5) with its own content is exported as its rows. One whose content is another table or a view is built
// again after that table. Other virtual tables are exported as the rows of their shadow tables, which the sqlite3 shell writes
// only with ".dbconfig defensive off".
package dump
