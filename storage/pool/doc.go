// Package pool keeps SQLite connections that have no database for the moment. Opening a connection, parsing the schema and
// compiling statements costs much more than opening a file. So a connection whose database is closed stays, and serves the next
// database that has the same schema: Files of package dbfile exchanges the files beneath SQLite.
//
//	conn := p.Get(key)               // one that was put with an equal key; nil: none waits
//	conn.Files.Swap(file)            // it has a database now
//	…
//	p.Put(key, conn, wal)            // its database is closed, and conn waits
//
// What makes connections interchangeable is the key: the owner puts into it all that SQLite keeps of a database
// beyond its content, and all that the owner has configured.
//
// A pool keeps 32 connections at most, and two of those that nobody has wanted for 10 s. Warm prepares two for a
// key in the background, when nobody waits.
//
// # WAL files
//
// A connection may take the file of its WAL along, open as it is: some file systems take milliseconds to free a
// file's blocks, and longer to make a file than to sync one. The file is moved to Options.WALs and moved back when
// the connection's next database needs a WAL.
//
// # Where ideas come from
//
// The pool of connections of database/sql, for connections that belong to a file.
package pool
