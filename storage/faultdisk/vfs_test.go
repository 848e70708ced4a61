package faultdisk

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
	"github.com/denrooms/den/storage/sqlite"
)

const (
	inWAL = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; PRAGMA journal_mode = WAL;"
	// The journal is deleted only by a connection that doesn't keep its lock.
	inJournal = "PRAGMA journal_mode = DELETE; PRAGMA locking_mode = NORMAL; SELECT * FROM t;"
)

// rawFile is an open file of a VFS, without a database around it.
type rawFile struct {
	tls *libc.TLS
	vfs uintptr
	p   uintptr // sqlite3_file
	out uintptr // 64 bytes for arguments and results
	io  *sqlite3.Tsqlite3_io_methods
}

func openVFS(t testing.TB, vfs, name string) *rawFile {
	t.Helper()
	return openVFSFlags(t, vfs, name, sqlite3.SQLITE_OPEN_MAIN_DB)
}

func openVFSFlags(t testing.TB, vfs, name string, flags int32) *rawFile {
	t.Helper()
	f := &rawFile{tls: libc.NewTLS()}
	v := cmem.CString(f.tls, vfs)
	defer sqlite3.Xsqlite3_free(f.tls, v)
	found := sqlite3.Xsqlite3_vfs_find(f.tls, v)
	f.vfs = found
	n := cmem.CString(f.tls, name)
	defer sqlite3.Xsqlite3_free(f.tls, n)
	methods := (*sqlite3.Tsqlite3_vfs)(cmem.Pointer(found))
	f.p = sqlite3.Xsqlite3_malloc64(f.tls, uint64(methods.FszOsFile)+64)
	f.out = f.p + uintptr(methods.FszOsFile)
	xOpen := cmem.Method[func(tls *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32](methods.FxOpen)
	if rc := xOpen(f.tls, found, n, f.p, sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_CREATE|flags, 0); rc != 0 {
		t.Fatal(rc)
	}
	f.io = (*sqlite3.Tsqlite3_io_methods)(cmem.Pointer((*sqlite3.Tsqlite3_file)(cmem.Pointer(f.p)).FpMethods))
	return f
}

func (f *rawFile) write(b []byte, off int64) int32 {
	p := sqlite3.Xsqlite3_malloc64(f.tls, uint64(len(b)))
	defer sqlite3.Xsqlite3_free(f.tls, p)
	copy(cmem.Bytes(p, len(b)), b)
	return cmem.Method[func(tls *libc.TLS, file, p uintptr, n int32, off int64) int32](f.io.FxWrite)(f.tls, f.p, p, int32(len(b)), off)
}

// remove deletes a name.
func (f *rawFile) remove(name string, syncDir int32) int32 {
	n := cmem.CString(f.tls, name)
	defer sqlite3.Xsqlite3_free(f.tls, n)
	methods := (*sqlite3.Tsqlite3_vfs)(cmem.Pointer(f.vfs))
	return cmem.Method[func(tls *libc.TLS, vfs, name uintptr, syncDir int32) int32](methods.FxDelete)(f.tls, f.vfs, n, syncDir)
}

// ask calls a method that takes the file and no more.
func (f *rawFile) ask(method uintptr) int32 {
	return cmem.Method[func(tls *libc.TLS, file uintptr) int32](method)(f.tls, f.p)
}

// level calls a method that takes a lock's level.
func (f *rawFile) level(method uintptr, level int32) int32 {
	return cmem.Method[func(tls *libc.TLS, file uintptr, level int32) int32](method)(f.tls, f.p, level)
}

func (f *rawFile) lock(level int32) int32   { return f.level(f.io.FxLock, level) }
func (f *rawFile) unlock(level int32) int32 { return f.level(f.io.FxUnlock, level) }

func (f *rawFile) reserved() int32 {
	cmem.Method[func(tls *libc.TLS, file, out uintptr) int32](f.io.FxCheckReservedLock)(f.tls, f.p, f.out)
	return *(*int32)(cmem.Pointer(f.out))
}

func (f *rawFile) control(op int32) (rc, out int32) {
	rc = cmem.Method[func(tls *libc.TLS, file uintptr, op int32, out uintptr) int32](f.io.FxFileControl)(f.tls, f.p, op, f.out)
	return rc, *(*int32)(cmem.Pointer(f.out))
}

func (f *rawFile) close() int32 {
	rc := f.ask(f.io.FxClose)
	sqlite3.Xsqlite3_free(f.tls, f.p)
	f.tls.Close()
	return rc
}

func TestLocks(t *testing.T) {
	const ok, busy = sqlite3.SQLITE_OK, sqlite3.SQLITE_BUSY
	const none, shared, reserved, pending, exclusive = 0, 1, 2, 3, 4
	vfs := register(t, New(1))
	a, b := openVFS(t, vfs, "db"), openVFS(t, vfs, "db")
	defer a.close()
	defer b.close()
	for i, step := range []struct{ got, want int32 }{
		{a.lock(shared), ok}, {b.lock(shared), ok}, {a.reserved(), 0},
		{a.lock(reserved), ok}, {b.lock(reserved), busy}, {b.reserved(), 1}, {a.reserved(), 1},
		{a.lock(exclusive), busy}, // b reads
		{state(a), pending},
		{b.unlock(none), ok}, {b.lock(shared), busy}, // a waits
		{a.lock(exclusive), ok}, {b.lock(shared), busy}, {state(a), exclusive},
		{a.unlock(shared), ok}, {b.lock(shared), ok}, {b.reserved(), 0}, {state(a), shared},
		{a.unlock(none), ok}, {b.lock(exclusive), ok}, {b.unlock(none), ok},
	} {
		if step.got != step.want {
			t.Errorf("step %d: %d, want %d", i, step.got, step.want)
		}
	}
}

func state(f *rawFile) int32 {
	_, level := f.control(sqlite3.SQLITE_FCNTL_LOCKSTATE)
	return level
}

func TestProperties(t *testing.T) {
	d := New(1)
	vfs := register(t, d)
	f := openVFS(t, vfs, "db")
	defer f.close()
	if got := f.ask(f.io.FxSectorSize); got != 512 {
		t.Errorf("sector size %d", got)
	}
	if got := f.ask(f.io.FxDeviceCharacteristics); got != 0 {
		t.Errorf("characteristics %x", got)
	}
	if f.io.FiVersion != 1 {
		t.Errorf("version %d", f.io.FiVersion)
	}
	if rc, _ := f.control(sqlite3.SQLITE_FCNTL_SIZE_HINT); rc != sqlite3.SQLITE_NOTFOUND {
		t.Errorf("size hint: %d", rc)
	}
	if rc, moved := f.control(sqlite3.SQLITE_FCNTL_HAS_MOVED); rc != 0 || moved != 0 {
		t.Error(rc, moved)
	}
	must(t, d.Rename("db", "other"))
	if rc, moved := f.control(sqlite3.SQLITE_FCNTL_HAS_MOVED); rc != 0 || moved != 1 {
		t.Error(rc, moved)
	}
	g := openVFS(t, register(t, New(1, PowersafeOverwrite)), "db")
	defer g.close()
	if got := g.ask(g.io.FxDeviceCharacteristics); got != sqlite3.SQLITE_IOCAP_POWERSAFE_OVERWRITE {
		t.Errorf("characteristics %x", got)
	}
}

// TestCodes: each fault gives the result code that SQLite's own VFS would give.
func TestCodes(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault Fault
		sql   string
		want  sqlite.ResultCode
	}{
		{"write", Fault{Op: OpWrite}, "INSERT INTO t VALUES (2)", sqlite3.SQLITE_IOERR_WRITE},
		{"disk full", Fault{Op: OpWrite, Err: syscall.ENOSPC}, "INSERT INTO t VALUES (2)", sqlite3.SQLITE_FULL},
		{"sync", Fault{Op: OpSync, Suffix: "-wal"}, "INSERT INTO t VALUES (2)", sqlite3.SQLITE_IOERR_FSYNC},
		{"sync, no space", Fault{Op: OpSync, Err: syscall.ENOSPC}, "INSERT INTO t VALUES (2)", sqlite3.SQLITE_IOERR_FSYNC},
		{"read", Fault{Op: OpRead}, "SELECT * FROM big", sqlite3.SQLITE_IOERR_READ},
		{"short read", Fault{Op: OpRead, Short: true}, "SELECT * FROM big", sqlite3.SQLITE_IOERR_READ},
		{"short read with EIO", Fault{Op: OpRead, Short: true, Err: syscall.EIO}, "SELECT * FROM big", sqlite3.SQLITE_IOERR_READ},
		{"size", Fault{Op: OpStat, Suffix: ".db"}, "PRAGMA wal_checkpoint(TRUNCATE)", sqlite3.SQLITE_IOERR_FSTAT},
		{"truncate", Fault{Op: OpTruncate, Suffix: ".db"}, "DELETE FROM big; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)", sqlite3.SQLITE_IOERR_TRUNCATE},
		{"sync of the database", Fault{Op: OpSync, Suffix: ".db"}, "PRAGMA wal_checkpoint(TRUNCATE)", sqlite3.SQLITE_IOERR_FSYNC},
		{"open", Fault{Op: OpOpen, Suffix: "-journal"}, "PRAGMA journal_mode = DELETE; INSERT INTO t VALUES (2)", sqlite3.SQLITE_CANTOPEN},
		{"is it there", Fault{Op: OpStat, Suffix: "-journal"}, "PRAGMA journal_mode = DELETE; PRAGMA locking_mode = NORMAL; SELECT * FROM t; SELECT * FROM t",
			sqlite3.SQLITE_IOERR_ACCESS},
		{"delete", Fault{Op: OpDelete, Suffix: "-journal", Times: -1}, inJournal + "INSERT INTO t VALUES (2)", sqlite3.SQLITE_IOERR_DELETE},
		{"sync of the directory", Fault{Op: OpSyncDir, Times: -1},
			inJournal + "PRAGMA synchronous = EXTRA; INSERT INTO t VALUES (2)", sqlite3.SQLITE_IOERR_DIR_FSYNC},
		{"sync of the directory, looked over", Fault{Op: OpSyncDir, Times: -1}, inJournal + "INSERT INTO t VALUES (2)", sqlite3.SQLITE_OK},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := New(7)
			db := mustDial(t, register(t, d), "room.db")
			mustExec(t, db, inWAL+"PRAGMA cache_size = 1; CREATE TABLE t (a); INSERT INTO t VALUES (1); CREATE TABLE big (b);"+
				"INSERT INTO big VALUES (randomblob(200000))")
			d.Fail(c.fault)
			wantCode(t, c.sql, db.exec(c.sql), c.want)
			if d.Stats().Faults == 0 {
				t.Errorf("%d faults", d.Stats().Faults)
			}
			d.Heal()
			mustExec(t, db, "INSERT INTO t VALUES (3)")
			rows, err := db.query("SELECT max(a), (SELECT * FROM pragma_integrity_check) FROM t")
			if err != nil || rows[0][0] != "3" || rows[0][1] != "ok" {
				t.Error(rows, err)
			}
		})
	}
}

// TestPowerOff: a connection of before gets errors and can touch nothing.
func TestPowerOff(t *testing.T) {
	d := New(5)
	vfs := register(t, d)
	c, err := dial(vfs, "room.db")
	must(t, err)
	mustExec(t, c, inWAL+"CREATE TABLE t (a)")
	d.CrashAfter(1)
	wantCode(t, "in the cut", c.exec("INSERT INTO t VALUES (1)"), sqlite3.SQLITE_IOERR_WRITE)
	if err := c.exec("INSERT INTO t VALUES (1)"); err == nil {
		t.Error("a write succeeded without power")
	}
	if _, err := dial(vfs, "new.db"); err == nil {
		t.Error("a database was opened without power")
	}
	if err := d.Restart(); !errors.Is(err, ErrInUse) {
		t.Errorf("restart with connections of before: %v", err)
	}
	before := fmt.Sprint(d.Files())
	c.close()
	if after := fmt.Sprint(d.Files()); before != after {
		t.Errorf("closing changed %s to %s", before, after)
	}
	mustRestart(t, d)
	mustExec(t, mustDial(t, vfs, "room.db"), inWAL+"SELECT * FROM t")
}

func TestRegister(t *testing.T) {
	d := New(1)
	unregister, err := d.Register("faultdisk-register")
	must(t, err)
	if _, err := New(2).Register("faultdisk-register"); err == nil {
		t.Error("a name was registered twice")
	}
	for _, name := range []string{"", strings.Repeat("x", 300)} {
		if _, err := d.Register(name); err == nil {
			t.Errorf("registered %q", name)
		}
	}
	c, err := dial("faultdisk-register", "a.db")
	must(t, err)
	if err := unregister(); !errors.Is(err, ErrInUse) {
		t.Errorf("unregister in use: %v", err)
	}
	c.close()
	must(t, unregister())
	if _, err := dial("faultdisk-register", "a.db"); err == nil {
		t.Error("an unregistered VFS opens files")
	}
}

// TestClock: it stands, until SQLite sleeps.
func TestClock(t *testing.T) {
	vfs := register(t, New(1))
	c := mustDial(t, vfs, "a.db")
	now := func() string {
		rows, err := c.query("SELECT datetime('now')")
		must(t, err)
		return rows[0][0]
	}
	if got := now(); got != "2026-01-01 00:00:00" {
		t.Error(got)
	}
	mustExec(t, c, "BEGIN IMMEDIATE")
	other := mustDial(t, vfs, "a.db")
	mustExec(t, other, "PRAGMA busy_timeout = 60000")
	wantCode(t, "a lock that is taken", other.exec("BEGIN IMMEDIATE"), sqlite3.SQLITE_BUSY)
	if got := now(); got < "2026-01-01 00:00:50" {
		t.Errorf("a minute's wait ended at %s", got)
	}
}

// TestSameSeedSameDatabase: two runs, with power cuts, leave the same bytes; the
// WAL's salts too.
func TestSameSeedSameDatabase(t *testing.T) {
	run := func(seed uint64) string {
		defer SeedSQLite(uint32(seed) + 1)()
		d, _, err := walNormal.live(t, seed)
		must(t, err)
		out := fmt.Sprintf("%+v\n", d.Stats())
		for _, name := range d.Files() {
			out += name + content(t, d, name)
		}
		return out
	}
	for seed := range uint64(10) {
		if one, two := run(seed), run(seed); one != two {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}

// TestSaltsAreTheProcess: without SeedSQLite the same run leaves other bytes, so
// the test above sees something.
func TestSaltsAreTheProcess(t *testing.T) {
	salt := func() string {
		d := New(1)
		c := mustDial(t, register(t, d), "a.db")
		mustExec(t, c, inWAL+"CREATE TABLE t (a)")
		return content(t, d, "a.db-wal")[16:24]
	}
	if one, two := salt(), salt(); one == two {
		t.Error("the salts are the same without a seed")
	}
}

// TestFailedSyncInFull: after a failed sync the connection goes on, and what was
// acknowledged before and after it survives a power cut. That holds with
// PowersafeOverwrite, as on the host's files.
func TestFailedSyncInFull(t *testing.T) {
	if behind, malformed := failedSyncs(t, PowersafeOverwrite); behind+malformed > 0 {
		t.Errorf("%d cuts took acknowledged commits, %d left a malformed database", behind, malformed)
	}
}

// TestFailedSyncLosesPadding: without PowersafeOverwrite it does not hold. SQLite
// pads a synced commit with a copy of its last frame and leaves the copy's end to
// the next sync. If that one fails and drops the pages, nobody writes them again:
// recovery ends at the hole, though a checkpoint may have used what is behind it.
func TestFailedSyncLosesPadding(t *testing.T) {
	if behind, malformed := failedSyncs(t); behind+malformed == 0 && rare() {
		t.Errorf("lost %d, malformed %d: SQLite has become better, or the disk too kind", behind, malformed)
	}
}

func failedSyncs(t *testing.T, traits ...Trait) (behind, malformed int) {
	failed, dropped := 0, 0
	seeds(t, func(seed uint64) {
		d := New(seed, traits...)
		vfs := register(t, d)
		r := rand.New(rand.NewPCG(seed, 4))
		c, _, err := walFull.look(vfs)
		must(t, err)
		_, err = walFull.run(c, 0, 1, 0) // a failure in the change to WAL is another matter
		must(t, err)
		d.Fail(Fault{Op: OpSync, After: r.IntN(60), Times: 1 + r.IntN(3)})
		acked, err := walFull.run(c, 1, 200, 0)
		if err != nil {
			failed++
			acked, _ = walFull.run(c, acked, 1+r.IntN(3), 1)
		}
		d.Crash()
		c.close()
		must(t, d.Restart())
		dropped += d.Stats().Dropped
		d.Heal()
		c, k, err := walFull.look(vfs)
		if err != nil {
			malformed++
			return
		}
		c.close()
		if k > acked+1 {
			t.Fatalf("seed %d: acknowledged %d, found %d", seed, acked, k)
		}
		if k < acked {
			behind++
		}
	})
	t.Logf("%d connections met a failed sync, %d syncs dropped pages; %d lost acknowledged commits, %d became malformed",
		failed, dropped, behind, malformed)
	if failed == 0 || dropped == 0 {
		t.Error("nothing was tried")
	}
	return behind, malformed
}

// TestFailedChangeToWAL: after a failed sync in PRAGMA journal_mode = WAL, SQLite
// says that the database is in WAL mode and goes on with a rollback journal. Such a
// connection must be closed.
func TestFailedChangeToWAL(t *testing.T) {
	d := New(1)
	c := mustDial(t, register(t, d), "room.db")
	mustExec(t, c, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA user_version = 1")
	d.Fail(Fault{Op: OpSync, Suffix: ".db"})
	wantCode(t, "the change", c.exec("PRAGMA journal_mode = WAL"), sqlite3.SQLITE_IOERR_FSYNC)
	rows, err := c.query("PRAGMA journal_mode = WAL")
	must(t, err)
	mustExec(t, c, "CREATE TABLE t (a)")
	if got := fmt.Sprint(d.Files()); rows[0][0] != "wal" || strings.Contains(got, "wal") {
		t.Errorf("mode %s, files %s: SQLite has become better", rows[0][0], got)
	}
}

// TestOtherFilesOnTheDisk: one cut hits SQLite and a plain log beside it.
func TestOtherFilesOnTheDisk(t *testing.T) {
	d := New(3)
	d.MkdirAll("dir")
	c := mustDial(t, register(t, d), "dir/room.db")
	log := create(t, d, "dir/log")
	mustExec(t, c, inWAL+"CREATE TABLE t (a)") // syncs the directory
	write(t, log, []byte("entry"))
	must(t, log.Sync())
	d.CrashAfter(3)
	var cut error
	for cut == nil {
		if _, cut = log.Write([]byte("x")); cut == nil {
			cut = c.exec("INSERT INTO t VALUES (1)")
		}
	}
	if _, err := log.Write([]byte("x")); !errors.Is(err, ErrPowerCut) {
		t.Error(err)
	}
	wantCode(t, "behind the cut", c.exec("INSERT INTO t VALUES (1)"), sqlite3.SQLITE_IOERR_READ)
	if got := content(t, d, "dir/log"); !strings.HasPrefix(got, "entry") {
		t.Errorf("%q", got)
	}
	if _, err := d.Read("dir/other"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// BenchmarkCrash is a life of eight power cuts with reopening and checking.
func BenchmarkCrash(b *testing.B) {
	crashes := 0
	for i := 0; b.Loop(); i++ {
		_, total, err := walFull.live(b, uint64(i))
		if err != nil {
			b.Fatal(err)
		}
		crashes += total.crashes
	}
	b.ReportMetric(float64(crashes)/b.Elapsed().Seconds(), "crashes/s")
}

// BenchmarkCommit is one transaction at FULL, with its syncs.
func BenchmarkCommit(b *testing.B) {
	c := mustDial(b, register(b, New(1)), "room.db")
	mustExec(b, c, inWAL+"CREATE TABLE t (a)")
	for b.Loop() {
		mustExec(b, c, "INSERT INTO t VALUES (1)")
	}
}
