package faultdisk

// What the package has beneath SQLite that is not inside of a Disk.

import (
	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
)

// registered finds the disk of a VFS and the handle of an open file. It is the one table that is
// not inside of a Disk, because a C callback carries a number and no Go pointer.
var registered struct {
	disks   cmem.Handles[Disk]   // of registered VFSes
	handles cmem.Handles[handle] // of SQLite's open files
}

// SeedSQLite sets the generator from which SQLite takes its random numbers, until
// restore is called. A run repeats byte by byte when it begins with the same seed,
// which must not be 0.
//
// The generator belongs to the process, and SQLite sets it without a lock: no
// other goroutine may use SQLite while SeedSQLite or restore runs, and any that
// uses it in between takes numbers away.
func SeedSQLite(seed uint32) (restore func()) {
	setSeed(seed)
	return func() { setSeed(0) }
}

func setSeed(seed uint32) {
	tls := libc.NewTLS()
	defer tls.Close()
	va := sqlite3.Xsqlite3_malloc64(tls, 16)
	if va == 0 {
		panic("faultdisk: out of memory")
	}
	defer sqlite3.Xsqlite3_free(tls, va)
	sqlite3.Xsqlite3_test_control(tls, sqlite3.SQLITE_TESTCTRL_PRNG_SEED, libc.VaList(va, int32(seed), uintptr(0)))
}
