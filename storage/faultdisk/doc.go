// Package faultdisk is a disk in memory that loses what was not synced. SQLite databases and other files live on it together, power
// is cut at any operation, operations fail, and all of it follows from a seed.
//
//	disk := faultdisk.New(seed)
//	unregister, err := disk.Register("crash-7") // now SQLite's VFS "crash-7"
//	… open databases with that VFS, commit, keep a list of what was acknowledged …
//	disk.CrashAfter(23) // the 23rd change from now meets a power cut
//	… go on until errors come, close everything …
//	err = disk.Restart()
//	… open again, and compare with the list …
//
// # The model
//
// A file is its synced content and, in order, the writes and truncations since. Programs read both, as through a page cache. A
// power cut draws, for each file, what is left of the unsynced part:
//
//	KeepAll       all of it
//	KeepNone      nothing
//	KeepPrefix    the first operations, the last of them torn: at a sector's edge,
//	              now and then inside of a sector
//	KeepSectors   any subset of its 512-byte sectors
//	KeepShuffled  any subset, in any order: an older write may win over a newer one
//	              and a truncation come before what it followed
//
// A lost sector behind the old end of the file reads as zeros, or, now and then
// in the last two, as garbage, if something behind it survived.
//
// A directory's entries (create, mkdir, delete, rename) are another list of unsynced operations: all, none, the first ones or any
// of them survive. So a file that was deleted or replaced comes back under its name, with its content: what was synced of it, and a
// draw of the rest. A file's sync doesn't sync its entry. Disk.SyncDir does, and what SQLite's own unix VFS does: the first sync of
// a journal or WAL, and xDelete where SQLite asks for it. SQLite asks for it with synchronous=EXTRA alone, so a cut may bring back
// a journal or a WAL that SQLite has deleted. A rename from one directory to another is an entry of each of them.
//
// A directory is a name in its parent. A cut that takes the name takes all that lies in the directory, synced or not. "/" and "."
// are always there. Whatever is made in a directory that is missing fails with fs.ErrNotExist. Disk.FS makes directories by the
// steps that vfs.Host takes, each an operation of its own. Disk.Write and Disk.MkdirAll put directories there for good. No
// directory is deleted or renamed.
//
// A cut leaves the disk off and its handles dead: every call gives IOERR (in SQLite) or ErrPowerCut, until Restart; dead handles
// for ever. What a cut leaves is drawn at the cut, so Read shows it before Restart.
//
// Disk.Crash cuts the power at once, Disk.CrashAfter at the n-th change of any
// kind, Disk.CrashAt at the n-th operation of one kind on files of one kind.
//
// # Faults
//
// Disk.Fail makes operations fail with EIO or ENOSPC. Which operations there are,
// what a program calls for them, and what a failure leaves:
//
//	OpOpen      Open, xOpen       nothing was opened or made
//	OpRead      ReadAt, xRead     nothing was read; with Fault.Short, a part
//	OpWrite     WriteAt, xWrite   a first part of it was written, or none
//	OpTruncate  Truncate          the size is as before
//	OpSync      Sync, xSync       see below
//	OpSyncDir   SyncDir           see below
//	OpDelete    Remove, xDelete   the name is there
//	OpRename    Rename            both names are as before
//	OpMkdir     MakeDirs          there is no directory
//	OpStat      Size, MakeDirs,   the answer is an error, not "absent"
//	            xFileSize,
//	            xAccess
//	OpList      Names             the answer is an error, not "empty"
//
// A failed sync leaves the dirty pages as they were or, as Linux does, drops them: programs still read them, later syncs succeed,
// but they never reach the disk, or only some of them have.
//
// A failed sync of a directory leaves each of its entries as it was, pending, or has made it durable, and tells nobody which. A
// later one that succeeds makes all of them durable.
//
// Disk.Corrupt and Disk.FlipBits change bytes at rest.
//
// # Determinism
//
// The same seed and the same calls give the same bytes. SQLite contributes one thing that is not the disk's: its random numbers
// (WAL salts, random(), journals' nonces) come from one generator of the whole process, which asks the process's default VFS for a
// seed once, and never a VFS like this one. See SeedSQLite. SQLite's clock, on this VFS, stands at Epoch and is moved by SQLite's
// own sleeps, which take no real time.
//
// # Limits
//
// One connection to a database: the locks are right for several in one process, but there is no shared memory, so WAL needs PRAGMA
// locking_mode = EXCLUSIVE as the first statement. No memory mapping. Files are as large as memory allows.
//
// # Concurrency
//
// All methods may be called from any goroutine; each takes the disk's mutex.
// Disks share nothing but the tables of package dbfile, in which SQLite's callbacks find them.
//
// # Where ideas come from
//
// SQLite's own crash tests (test_vfs.c, test6.c), pebble's vfs.MemFS with strict syncing, and "Can Applications Recover from fsync
// Failures?" (Rebello et al., USENIX ATC 2020) for what a failed sync leaves.
package faultdisk
