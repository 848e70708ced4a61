// Package archive takes backups of rooms and restores them. A backup is a complete room file, which any SQLite tool reads.
// Package dump writes a room as text.
//
// [Begin] copies a room while it goes on:
//
//	b, err := archive.Begin(db, path)
//	defer b.Close()
//	for done := false; !done && err == nil; {
//		done, err = b.Step(256) // between two batches
//	}
//	err = b.Finish() // durable, and under its name
//
// [PrepareRestore] and [PrepareImport] make and check a [Replacement] beside a room's file while the room goes on. Install
// puts it in the room's place while nobody has the room open. A crash leaves the old room or the new one.
//
// A backup and a replacement are histories of their own. They have another epoch, and their change log begins after
// everything that they contain, so a cursor of the room is not valid in them.
package archive
