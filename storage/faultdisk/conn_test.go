package faultdisk

// A connection to the translated SQLite, as little of one as the tests need.

import (
	"fmt"
	"testing"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/denrooms/den/storage/internal/cmem"
)

type conn struct {
	tls *libc.TLS
	db  uintptr
	out uintptr
}

// sqliteError is a result code with SQLite's words for it.
type sqliteError struct {
	code int32
	text string
}

func (e *sqliteError) Error() string { return fmt.Sprintf("SQLite %d: %s", e.code, e.text) }

func (c *conn) cstring(s string) uintptr {
	p := sqlite3.Xsqlite3_malloc64(c.tls, uint64(len(s)+1))
	cmem.PutString(p, len(s)+1, s)
	return p
}

func (c *conn) check(rc int32) error {
	if rc == sqlite3.SQLITE_OK {
		return nil
	}
	return &sqliteError{rc, cmem.String(sqlite3.Xsqlite3_errmsg(c.tls, c.db))}
}

func dial(vfs, path string) (*conn, error) {
	c := &conn{tls: libc.NewTLS()}
	c.out = sqlite3.Xsqlite3_malloc64(c.tls, 16)
	name, v := c.cstring(path), c.cstring(vfs)
	defer func() { sqlite3.Xsqlite3_free(c.tls, name); sqlite3.Xsqlite3_free(c.tls, v) }()
	rc := sqlite3.Xsqlite3_open_v2(c.tls, name, c.out, sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_CREATE|
		sqlite3.SQLITE_OPEN_NOMUTEX|sqlite3.SQLITE_OPEN_EXRESCODE, v)
	c.db = *(*uintptr)(cmem.Pointer(c.out))
	if err := c.check(rc); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *conn) close() {
	if c.db != 0 {
		sqlite3.Xsqlite3_close_v2(c.tls, c.db)
	}
	sqlite3.Xsqlite3_free(c.tls, c.out)
	c.tls.Close()
}

// query runs statements and returns the rows of all of them, as texts.
func (c *conn) query(sql string) ([][]string, error) {
	p := c.cstring(sql)
	defer sqlite3.Xsqlite3_free(c.tls, p)
	var rows [][]string
	for next := p; *(*byte)(cmem.Pointer(next)) != 0; {
		if err := c.check(sqlite3.Xsqlite3_prepare_v2(c.tls, c.db, next, -1, c.out, c.out+8)); err != nil {
			return rows, err
		}
		stmt := *(*uintptr)(cmem.Pointer(c.out))
		next = *(*uintptr)(cmem.Pointer(c.out + 8))
		if stmt == 0 {
			continue
		}
		for sqlite3.Xsqlite3_step(c.tls, stmt) == sqlite3.SQLITE_ROW {
			var row []string
			for i := range sqlite3.Xsqlite3_column_count(c.tls, stmt) {
				row = append(row, cmem.String(sqlite3.Xsqlite3_column_text(c.tls, stmt, i)))
			}
			rows = append(rows, row)
		}
		if err := c.check(sqlite3.Xsqlite3_finalize(c.tls, stmt)); err != nil {
			return rows, err
		}
	}
	return rows, nil
}

func (c *conn) exec(sql string) error {
	_, err := c.query(sql)
	return err
}

// register makes the disk a VFS for the test's time.
func register(t testing.TB, d *Disk) (vfs string) {
	t.Helper()
	vfs = fmt.Sprintf("%s %p", t.Name(), d)
	unregister, err := d.Register(vfs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unregister(); err != nil {
			t.Error(err)
		}
	})
	return vfs
}

// mustDial opens a connection that is closed behind the test.
func mustDial(t testing.TB, vfs, path string) *conn {
	t.Helper()
	c, err := dial(vfs, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

func mustExec(t testing.TB, c *conn, sql string) {
	t.Helper()
	if err := c.exec(sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func mustRestart(t testing.TB, d *Disk) {
	t.Helper()
	if err := d.Restart(); err != nil {
		t.Fatal(err)
	}
}

// wantCode compares an error with a result code.
func wantCode(t testing.TB, what string, err error, code int32) {
	t.Helper()
	got := int32(sqlite3.SQLITE_OK)
	if e, ok := err.(*sqliteError); ok {
		got = e.code
	}
	if got != code {
		t.Errorf("%s: got %v, want code %d", what, err, code)
	}
}
