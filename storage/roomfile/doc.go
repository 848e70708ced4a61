// Package roomfile is a room's file on the disk: what it is called, how its name comes to lead to another file, and what lies beside
// it. What is in the file is package storage's.
//
// A [File] is where a room's file is. Its methods have steps that a power cut may come between: files are synced, renamed and
// removed, and directories synced, in an order after which each cut leaves the old state or the new one, or a state that the next
// call goes on from. docs/STORAGE.md says what may be on the disk at each step.
//
//	f := roomfile.File{FS: fs, Path: path, Known: known}
//	err := f.Create(write)      // a new room's file, whole or not at all
//	err = f.Replace(temp)       // another file in its place: a restore
//	err = f.Mark()              // the disk has failed: it is to be written again before it is used,
//	err = f.FinishRewrite(copy) // by this
//
// # Files
//
// NAME is a room's file, see [Path]. What may lie beside it:
//
//	NAME-wal                    transactions that are not in NAME yet, also after a crash
//	NAME-journal                none of Den's; a file that has one is written again before its use
//	NAME.new                    a new room's file being made                    publish.go
//	NAME.suspect                the mark: NAME is to be written again           suspect.go
//	NAME.fresh                  its new content, being written                  suspect.go
//	NAME.whole                  its new content, checked and synced             suspect.go
//	NAME.restore-HEX            a restore or an import being made               publish.go
//	NAME.before-restore-TIME    what a restore has replaced, for a while        replaced.go
//	NAME.entries                log entries of a room that was refused          entries.go
//	NAME.seq                    the seq that the last restore began with        seq.go
//	PATH.part-HEX               a backup to PATH being made                     publish.go
//	PAST/…                      a file that was compacted                       package pagelog
//
// HEX is 16 random digits, so that two operations never write to the same file. What becomes NAME,
// NAME.entries or NAME.seq is written under another name, synced and renamed. A directory is synced
// before the first use of a file that was found in it (known.go).
package roomfile
