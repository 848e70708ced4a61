// Package archive takes backups of rooms and brings them back. A backup is a whole room's file that any tool reads which reads
// SQLite's; a room as text is package dump's.
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
// [PrepareRestore] and [PrepareImport] make a [Replacement] beside a room's file, whole and checked, while the room goes on.
// Its Install puts it in the room's place when nobody has the room open: a crash leaves the old room or the new one.
//
// A backup and a replacement are histories of their own: they have another epoch, and their change log begins
// after everything that they hold, so that no cursor of the room leads into them.
package archive
