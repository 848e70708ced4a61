// Package dump writes the content of a room's file as text, and makes a room of such a text. The text is an SQL
// script that any SQLite can run, or lines of JSON. SQLite's shell calls the first one a dump; a copy of the file itself
// is a backup, which is package storage's.
//
// Both formats begin with a header (version, room, seq, time). The tables and views follow, then the rows, then what is to
// be created after the rows: indexes and triggers. Den's own tables are left out, except the record of the migrations: without it
// the room's program would run them again.
//
// # SQL
//
// A script in one transaction, for the sqlite3 shell or for PrepareImport. The header is the comment in its first line. A
// text with a NUL or another control character is written as CAST(x'…' AS TEXT).
//
// # Lines
//
// One JSON object a line: the header, which has the schema; {"table":…,"row":{column: value}} for each row;
// {"end":{"rows":n}}. Without an end line an export is cut off, and is refused. Numbers with a point or an exponent are
// floats. A blob is {"$blob": base64}, an integer beyond ±2^53 {"$int":"…"}, an infinity {"$float":"inf"} or
// {"$float":"-inf"}, a text that is not UTF-8 {"$text": base64}. "rowid" stands beside "row" if no column of the table
// holds the rowid.
//
// # Virtual tables
//
// A full-text index (FTS5) with its own content is exported by its rows. One whose content is another table or a view is built again
// after that. Other virtual tables are exported by the rows of their shadow tables: in the sqlite3 shell these can be written
// only with ".dbconfig defensive off".
package dump
