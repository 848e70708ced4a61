package storage

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver to compare with

	"github.com/denrooms/den/storage/internal/session"
)

const benchTable = `CREATE TABLE todos (id TEXT PRIMARY KEY, text TEXT, completed INTEGER, created_at INTEGER, updated_at INTEGER, deleted_at INTEGER)`

const benchInsert = `INSERT INTO todos (id, text, completed, created_at, updated_at) VALUES (?, ?, ?, ?, ?)`

var benchText = "a todo with a text of about the length that people write into a list, and some more of it to come to 130 bytes with the rest"

func openBench(b *testing.B, sync Synchronous) *DB { return openBenchLog(b, sync, nil) }

func openBenchLog(b *testing.B, sync Synchronous, log Log) *DB {
	o := testOptions(b)
	o.Synchronous, o.Log = sync, log
	d, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { d.Close() })
	mustExec(b, d, benchTable)
	return d
}

// bare inserts n rows without savepoint, capture and index, a batch of them in a
// transaction, through the same statements.
func bare(b *testing.B, d *DB, from, n, batch int) time.Duration {
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	start := time.Now()
	for i := 0; i < n; i += batch {
		if err := d.sql.Do(session.Begin); err != nil {
			b.Fatal(err)
		}
		for j := i; j < min(i+batch, n); j++ {
			if _, err := d.sql.Exec(session.Own, benchInsert, []any{fmt.Sprintf("%016d", from+j), benchText, false, clock, clock}); err != nil {
				b.Fatal(err)
			}
		}
		if err := d.sql.Do(session.Commit); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

func actions(b *testing.B, d *DB, from, n, batch int) time.Duration {
	start := time.Now()
	synced := len(d.Tables()) > 0
	for i := 0; i < n; i += batch {
		tx, err := d.Begin()
		if err != nil {
			b.Fatal(err)
		}
		for j := i; j < min(i+batch, n); j++ {
			c, err := tx.Do(clock, func() error {
				_, err := d.Exec(benchInsert, fmt.Sprintf("%016d", from+j), benchText, false, clock, clock)
				return err
			})
			if err != nil || (synced && len(c.Rows) != 1) {
				b.Fatal(c, err)
			}
		}
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

// noLog takes entries and forgets them: what is left is the cost of making them.
type noLog struct{ *memLog }

type noRoom struct{ RoomLog }

func (l noLog) Room(namespace, room, epoch string) (RoomLog, error) {
	r, err := l.memLog.Room(namespace, room, epoch)
	return noRoom{r}, err
}

func (noRoom) Append(LogEntry, ...[]byte) error { return nil }

// BenchmarkAction is an action of one insert against a bare insert in the same
// transaction; x-bare is the ratio. At Normal the disk's sync is not in it.
func BenchmarkAction(b *testing.B) {
	for _, sync := range []Synchronous{Normal, Full} {
		for _, batch := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/batch=%d", [...]string{"full", "normal", "off"}[sync], batch), func(b *testing.B) {
				raw, plain, d := openBench(b, sync), openBench(b, sync), openBench(b, sync)
				logged := openBenchLog(b, sync, noLog{newMemLog()})
				if err := errors.Join(d.Sync("todos"), logged.Sync("todos")); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				var bareTime, plainTime, took, loggedTime time.Duration
				const round = 1024
				for at := 0; at < b.N; at += round {
					n := min(round, b.N-at)
					bareTime += bare(b, raw, at, n, batch)
					plainTime += actions(b, plain, at, n, batch)
					took += actions(b, d, at, n, batch)
					loggedTime += actions(b, logged, at, n, batch)
				}
				us := func(t time.Duration) float64 { return float64(t.Microseconds()) / float64(b.N) }
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(us(bareTime), "µs/bare")
				b.ReportMetric(us(plainTime), "µs/unsynced")
				b.ReportMetric(us(took), "µs/action")
				b.ReportMetric(us(loggedTime), "µs/logged")
				unit := "x-bare"
				if batch == 16 && sync == Normal {
					unit = "ratio(≤2.6)"
				}
				b.ReportMetric(float64(took)/float64(bareTime), unit)
			})
		}
	}
}

const benchRows = 10_000

const benchSelect = `SELECT id, text, completed, created_at, updated_at, deleted_at FROM todos WHERE deleted_at IS NULL ORDER BY id`

// BenchmarkLive is 10,000 rows through Live against the same SELECT through the
// driver: over its connection, and over database/sql.
func BenchmarkLive(b *testing.B) {
	d := openBench(b, Off)
	if err := d.Sync("todos"); err != nil {
		b.Fatal(err)
	}
	actions(b, d, 0, benchRows, 1000)
	path := filepath.Join(b.TempDir(), "driver.db")
	db, err := sql.Open("sqlite", path+"?_pragma=locking_mode(exclusive)&_pragma=journal_mode(wal)&_pragma=synchronous(off)")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(benchTable); err != nil {
		b.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		b.Fatal(err)
	}
	for i := range benchRows {
		if _, err := tx.Exec(benchInsert, fmt.Sprintf("%016d", i), benchText, false, clock, clock); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	var live, values, viaConn, viaSQL time.Duration
	b.ResetTimer()
	for b.Loop() {
		live += timed(func() { readLive(b, d) })
		values += timed(func() { readValues(b, d) })
		viaSQL += timed(func() { readSQL(b, db) })
		viaConn += timed(func() { readConn(b, db) })
	}
	ms := func(t time.Duration) float64 { return float64(t.Microseconds()) / 1000 / float64(b.N) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(live), "ms/live")
	b.ReportMetric(ms(values), "ms/live-values")
	b.ReportMetric(ms(viaConn), "ms/driver-conn")
	b.ReportMetric(ms(viaSQL), "ms/database-sql")
	b.ReportMetric(float64(live)/float64(viaConn), "x-driver-conn")
	b.ReportMetric(float64(live)/float64(viaSQL), "x-database-sql")
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// readLive touches every column as an encoder does.
func readLive(b *testing.B, d *DB) {
	r, err := d.Table("todos").Live()
	if err != nil {
		b.Fatal(err)
	}
	n, sum := 0, 0
	for r.Next() {
		n++
		for i := range r.Columns() {
			switch r.Type(i) {
			case Integer:
				sum += int(r.Int(i))
			case Text:
				sum += len(r.Bytes(i))
			}
		}
	}
	if n != benchRows || r.Err() != nil || sum == 0 {
		b.Fatal(n, r.Err())
	}
}

func readValues(b *testing.B, d *DB) {
	r, err := d.Table("todos").Live()
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for r.Next() {
		n += len(r.Values())
	}
	if n != 6*benchRows {
		b.Fatal(n, r.Err())
	}
}

func readSQL(b *testing.B, db *sql.DB) {
	rows, err := db.Query(benchSelect)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	n := 0
	var v [6]any
	for rows.Next() {
		if err := rows.Scan(&v[0], &v[1], &v[2], &v[3], &v[4], &v[5]); err != nil {
			b.Fatal(err)
		}
		n++
	}
	if n != benchRows {
		b.Fatal(n)
	}
}

func readConn(b *testing.B, db *sql.DB) {
	c, err := db.Conn(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	err = c.Raw(func(raw any) error {
		rows, err := raw.(driver.QueryerContext).QueryContext(b.Context(), benchSelect, nil)
		if err != nil {
			return err
		}
		defer rows.Close()
		dest := make([]driver.Value, 6)
		n := 0
		for {
			if err := rows.Next(dest); err == io.EOF {
				break
			} else if err != nil {
				return err
			}
			n++
		}
		if n != benchRows {
			return fmt.Errorf("%d rows", n)
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkOpen is a room that is made, one that is opened and closed again, and one that is opened with a connection
// that is there, and read.
func BenchmarkOpen(b *testing.B) {
	b.Run("new", func(b *testing.B) {
		o := testOptions(b)
		dir := filepath.Dir(o.Path)
		for i := 0; b.Loop(); i++ {
			o.Path = filepath.Join(dir, fmt.Sprint(i)+".db")
			d, err := Open(o)
			if err != nil {
				b.Fatal(err)
			}
			d.Close()
		}
	})
	b.Run("pooled", func(b *testing.B) {
		o := testOptions(b)
		o.Log, o.Pool = newMemLog(), new(Pool)
		defer o.Pool.Close()
		for i := 0; b.Loop(); i++ {
			d, err := Open(o)
			if err != nil {
				b.Fatal(err)
			}
			if i == 0 {
				mustExec(b, d, "CREATE TABLE t (x)")
			}
			rows, err := d.Query("SELECT count(*) FROM t")
			if got := all(b, rows, err); got[0][0] != int64(0) || i > 1 && !d.sql.Conn.Files.Moved() {
				b.Fatal(got, d.sql.Conn.Files.Moved())
			}
			if err := d.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		o := testOptions(b)
		for b.Loop() {
			d, err := Open(o)
			if err != nil {
				b.Fatal(err)
			}
			d.Close()
		}
	})
}
