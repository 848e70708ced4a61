package faultdisk

// A connection by the disk's VFS, as little of one as the tests need.

import (
	"errors"
	"fmt"
	"testing"

	"github.com/denrooms/den/storage/sqlite"
)

type conn struct{ *sqlite.Conn }

func dial(vfs, path string) (*conn, error) {
	c, err := sqlite.OpenConn(vfs, path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	return &conn{c}, err
}

func (c *conn) close() { c.Close() }

// query runs statements and returns the rows of all of them, as texts.
func (c *conn) query(sql string) (rows [][]string, err error) {
	for !sqlite.Blank(sql) && err == nil {
		var s *sqlite.Stmt
		if s, sql, err = c.Prepare(sql, 0); err == nil {
			rows, err = appendRows(rows, s)
			s.Finalize()
		}
	}
	return rows, err
}

func appendRows(rows [][]string, s *sqlite.Stmt) ([][]string, error) {
	row := sqlite.NewRow(s.Columns())
	for {
		there, err := s.Step()
		if !there || err != nil {
			return rows, err
		}
		row.Read(s)
		texts := make([]string, len(s.Columns()))
		for i, v := range row.Values() {
			if v != nil {
				texts[i] = fmt.Sprint(v)
			}
		}
		rows = append(rows, texts)
	}
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

// mustDial opens a connection that is closed after the test.
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

// wantCode compares an error with an extended result code.
func wantCode(t testing.TB, what string, err error, code sqlite.ResultCode) {
	t.Helper()
	got := sqlite.ResultOK
	if e, is := errors.AsType[*sqlite.Error](err); is {
		got = e.Code
	}
	if got != code {
		t.Errorf("%s: got %v, want code %d", what, err, code)
	}
}
