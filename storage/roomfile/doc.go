// Package roomfile is a room's file on the disk: its name, the files beside it, and how another file replaces it. Package
// storage has the content of the file.
//
// A [File] is where a room's file is. A power cut may come between any two steps of its methods. They sync, rename and remove
// files, and sync directories, in such an order that a power cut leaves the old state, the new one, or a state from which the
// next call goes on. docs/STORAGE.md says what may be on the disk at each step.
//
//	f := roomfile.File{FS: fs, Path: path, Known: known}
//	err := f.Create(write)      // makes a new room's file, whole or not at all
//	err = f.Replace(temp)       // puts another file in its place: a restore
//	err = f.Mark()              // the disk has failed: the file must be written again before it is used
//	err = f.FinishRewrite(copy) // writes it again
//
// # Files
//
// NAME is a room's file, see [Path]. What may lie beside it:
//
//	NAME-wal                    transactions that are not in NAME yet, also after a crash
//	NAME-journal                not Den's; a file that has one is written again before it is used
//	NAME.new                    a new room's file being made                    publish.go
//	NAME.suspect                the mark: NAME must be written again            suspect.go
//	NAME.fresh                  its new content, being written                  suspect.go, storage/compact.go
//	NAME.whole                  its new content, checked and synced             suspect.go
//	NAME.restore-HEX            a restore or an import being made               publish.go
//	NAME.before-restore-TIME    what a restore has replaced, for a while        replaced.go
//	NAME.entries                log entries of a room that was refused          entries.go
//	NAME.seq                    the seq that the last restore began with        seq.go
//	PATH.part-HEX               a backup to PATH being made                     publish.go
//	PAST/…                      a file that was compacted                       package pagelog
//
// HEX is 16 random digits, so that two operations never write to the same file. NAME, NAME.entries and NAME.seq are written under
// another name, synced and renamed. A directory is synced before a file that was found in it is used for the first time (known.go).
package roomfile
