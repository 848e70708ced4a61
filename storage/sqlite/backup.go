package sqlite

import (
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
)

// Backup copies a database into another one while its source is in use, as sqlite3_backup does.
type Backup struct {
	dest, src *Conn
	p         uintptr
}

// NewBackup begins to copy src's database main into that of dest, which nobody else may use meanwhile. Close must be called.
func NewBackup(dest, src *Conn) (*Backup, error) {
	main := cmem.CString(src.tls, "main")
	defer cmem.Free(src.tls, main)
	p := sqlite3.Xsqlite3_backup_init(src.tls, dest.db, main, src.db, main)
	if p == 0 {
		return nil, dest.failure(sqlite3.Xsqlite3_errcode(dest.tls, dest.db), "")
	}
	return &Backup{dest, src, p}, nil
}

// Step copies some pages, or all that are left if n is negative, and reports whether there are more.
func (b *Backup) Step(n int) (more bool, err error) {
	switch rc := sqlite3.Xsqlite3_backup_step(b.src.tls, b.p, int32(n)); rc {
	case sqlite3.SQLITE_OK:
		return true, nil
	case sqlite3.SQLITE_DONE:
		return false, nil
	default:
		return false, b.dest.failure(rc, "")
	}
}

// PageCount returns how many pages the source had at the last Step.
func (b *Backup) PageCount() int { return int(sqlite3.Xsqlite3_backup_pagecount(b.src.tls, b.p)) }

// Remaining returns how many of them were left after it.
func (b *Backup) Remaining() int { return int(sqlite3.Xsqlite3_backup_remaining(b.src.tls, b.p)) }

// Close ends the backup, before the connections are closed. It returns the error that ended it early.
func (b *Backup) Close() error { return b.dest.check(sqlite3.Xsqlite3_backup_finish(b.src.tls, b.p)) }
