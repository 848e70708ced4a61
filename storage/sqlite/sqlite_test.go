package sqlite

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	sqlite3 "modernc.org/sqlite/lib"
)

func open(t *testing.T, script string) *Conn {
	t.Helper()
	c, err := OpenConn("", ":memory:", OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.ExecScript(script); err != nil {
		t.Fatal(err)
	}
	return c
}

func prepare(t *testing.T, c *Conn, sql string) *Stmt {
	t.Helper()
	s, rest, err := c.Prepare(sql, 0)
	if err != nil || !Blank(rest) {
		t.Fatalf("%s: %q is left; %v", sql, rest, err)
	}
	t.Cleanup(s.Finalize)
	return s
}

// all runs a statement and returns its rows.
func all(t *testing.T, s *Stmt, args ...any) (rows [][]Value) {
	t.Helper()
	defer s.Reset()
	if err := s.Bind(args); err != nil {
		t.Fatal(err)
	}
	row := NewRow(s.Columns())
	for {
		there, err := s.Step()
		if err != nil {
			t.Fatal(err)
		}
		if !there {
			return rows
		}
		row.Read(s)
		rows = append(rows, row.Values())
	}
}

func wantCode(t *testing.T, err error, want ResultCode) {
	t.Helper()
	if e, is := errors.AsType[*Error](err); !is || e.Code.Primary() != want {
		t.Errorf("got %v, want the code %d (%s)", err, want, want)
	}
}

func TestBindAndRead(t *testing.T) {
	c := open(t, "CREATE TABLE t (a, b, c, d, e, f)")
	all(t, prepare(t, c, "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)"), nil, 7, 1.5, "a\x00b", []byte{}, strings.Repeat("x", 2*keepArgs))
	s := prepare(t, c, "SELECT * FROM t")
	got := all(t, s)
	if want := []Value{nil, int64(7), 1.5, "a\x00b", []byte{}, strings.Repeat("x", 2*keepArgs)}; len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %.100v", got)
	}
	if !s.ReadOnly() || !reflect.DeepEqual(s.Columns(), []string{"a", "b", "c", "d", "e", "f"}) {
		t.Errorf("read-only %v, columns %q", s.ReadOnly(), s.Columns())
	}
	wantCode(t, s.Bind([]any{1}), ResultMisuse)
	wantCode(t, prepare(t, c, "SELECT ?").Bind([]any{make(chan int)}), ResultMisuse)
	if c.LastInsertRowID() != 1 || c.Changes() != 1 || c.TotalChanges() != 1 || !c.AutocommitEnabled() || c.Writing() {
		t.Error("the connection counts something else")
	}
}

func TestPrepareErrors(t *testing.T) {
	c := open(t, "")
	_, _, err := c.Prepare("SELEC", 0)
	wantCode(t, err, ResultError)
	_, _, err = c.Prepare("SELECT 1\x00", 0)
	wantCode(t, err, ResultMisuse)
	if s, rest, err := c.Prepare("/* none */ ;", 0); s != nil || !Blank(rest) || err != nil {
		t.Errorf("%v, %q, %v", s, rest, err)
	}
	if Blank("-- a\n; /* b */ SELECT") || !Blank(" -- a") || !Blank("/* b") {
		t.Error("Blank takes one for the other")
	}
	_, err = OpenConn("no such VFS", "x", OpenReadWrite)
	wantCode(t, err, ResultError)
}

func TestRowOfAnotherType(t *testing.T) {
	row := NewRow([]string{"n", "s"})
	row.Set(AppendValue(AppendValue(nil, 5), "five"))
	if row.Int(0) != 5 || string(row.Bytes(1)) != "five" || row.Err() != nil {
		t.Errorf("%v; %v", row.Values(), row.Err())
	}
	var n int
	var s string
	if err := row.Scan(&n, &s); err != nil || n != 5 || s != "five" {
		t.Errorf("%d, %q, %v", n, s, err)
	}
	wantCode(t, row.Scan(&n, &n), ResultMisuse)
	if row.Int(1) != 0 {
		t.Error("a text is an integer")
	}
	wantCode(t, row.Err(), ResultMismatch)
}

// changes notes what the pre-update hook sees.
type changes struct {
	c    *Conn
	seen []string
}

func (h *changes) PreUpdate(op OpType, database, table string) {
	side := h.c.AppendPreUpdateOld
	if op == OpInsert {
		side = h.c.AppendPreUpdateNew
	}
	var row []byte
	for i := range h.c.PreUpdateCount() {
		row = side(row, i)
	}
	h.seen = append(h.seen, fmt.Sprintf("%d %s.%s %q", op, database, table, Values(row, h.c.PreUpdateCount())))
}

func TestPreUpdateHook(t *testing.T) {
	c := open(t, "CREATE TABLE t (a PRIMARY KEY, b); INSERT INTO t VALUES (0, 'unseen')")
	h := &changes{c: c}
	c.SetPreUpdateHook(h)
	all(t, prepare(t, c, "INSERT INTO t VALUES (?, ?)"), "k\x00", []byte{})
	all(t, prepare(t, c, "DELETE FROM t"))
	c.SetPreUpdateHook(nil)
	all(t, prepare(t, c, "INSERT INTO t VALUES (2, 2)"))
	want := []string{
		fmt.Sprintf(`%d main.t ["k\x00" ""]`, OpInsert),
		fmt.Sprintf(`%d main.t ['\x00' "unseen"]`, OpDelete),
		fmt.Sprintf(`%d main.t ["k\x00" ""]`, OpDelete),
	}
	if !reflect.DeepEqual(h.seen, want) {
		t.Errorf("the hook saw %q, want %q", h.seen, want)
	}
}

// readers may read and do nothing else.
type readers struct{ asked int }

func (r *readers) Authorize(a Action) AuthResult {
	r.asked++
	if a.Op == OpDelete {
		return AuthDeny
	}
	return AuthOK
}

func TestAuthorizer(t *testing.T) {
	c := open(t, "CREATE TABLE t (a)")
	first, second := new(readers), new(readers)
	if err := c.SetAuthorizer(first); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Prepare("DELETE FROM t", 0)
	wantCode(t, err, ResultAuth)
	s := prepare(t, c, "SELECT * FROM t")
	if err := errors.Join(c.SetAuthorizer(nil), c.SetAuthorizer(second)); err != nil {
		t.Fatal(err)
	}
	all(t, s)
	if n := sqlite3.Xsqlite3_stmt_status(c.tls, s.p, sqlite3.SQLITE_STMTSTATUS_REPREPARE, 0); n != 0 || second.asked != 0 {
		t.Errorf("another authorizer had the statement compiled again: %d times, and was asked %d times", n, second.asked)
	}
	if prepare(t, c, "SELECT a FROM t"); first.asked == 0 || second.asked == 0 {
		t.Errorf("asked %d and %d times", first.asked, second.asked)
	}
}

func TestProgressHandler(t *testing.T) {
	c := open(t, "")
	calls := 0
	c.SetProgressHandler(100, func() bool { calls++; return calls == 3 })
	s := prepare(t, c, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
	_, err := s.Step()
	wantCode(t, err, ResultInterrupt)
	if calls != 3 {
		t.Errorf("asked %d times", calls)
	}
}

func TestCache(t *testing.T) {
	c := open(t, "")
	cache := NewCache[int](2)
	add := func(sql string, info int) *CachedStmt[int] {
		p, _, err := c.Prepare(sql, PreparePersistent)
		if err != nil {
			t.Fatal(err)
		}
		s := &CachedStmt[int]{Stmt: p, Info: info}
		s.Use()
		cache.Put(sql, s)
		return s
	}
	one, two := add("SELECT 1", 1), add("SELECT 2", 2)
	if cache.Get("SELECT 1") != nil {
		t.Error("a statement is given twice")
	}
	twin := add("SELECT 1", 3)
	twin.Release()
	if twin.p != 0 || cache.Len() != 2 {
		t.Errorf("a second statement of the same text stays; there are %d", cache.Len())
	}
	one.Release()
	if cache.Get("SELECT 1") != one || one.Info != 1 {
		t.Error("a released statement is not given again")
	}
	one.Release()
	add("SELECT 3", 3).Release() // pushes out the one that was used longest ago, which is in use
	if two.p == 0 || cache.Get("SELECT 2") != nil {
		t.Error("a statement in use was finalized, or is still in the cache")
	}
	if two.Release(); two.p != 0 {
		t.Error("a statement that was pushed out is not finalized after its use")
	}
	var order []int
	for s := range cache.All() {
		order = append(order, s.Info)
	}
	if !reflect.DeepEqual(order, []int{1, 3}) {
		t.Errorf("the cache has %v", order)
	}
	if taken := cache.Take("SELECT 3"); taken.p == 0 || cache.Len() != 1 {
		t.Error("a statement that was taken out is lost")
	} else {
		taken.Drop()
	}
	if cache.Clear(); one.p != 0 || cache.Len() != 0 {
		t.Error("a cleared cache has statements")
	}
}

func TestBackupAndSerialize(t *testing.T) {
	src, dest := open(t, "CREATE TABLE t (a); INSERT INTO t VALUES ('x')"), open(t, "")
	b, err := NewBackup(dest, src)
	if err != nil {
		t.Fatal(err)
	}
	more, err := b.Step(1)
	if err != nil || !more || b.Remaining() != b.PageCount()-1 {
		t.Errorf("after one page there are %d of %d left; %v", b.Remaining(), b.PageCount(), err)
	}
	if more, err = b.Step(-1); err != nil || more {
		t.Errorf("there is more: %v, %v", more, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if got := all(t, prepare(t, dest, "SELECT a FROM t")); len(got) != 1 || got[0][0] != "x" {
		t.Errorf("the copy has %v", got)
	}
	if file, err := src.Serialize(); err != nil || !strings.HasPrefix(string(file), "SQLite format 3\x00") {
		t.Errorf("serialized: %.20q, %v", file, err)
	}
}

func TestFileControl(t *testing.T) {
	c := open(t, "CREATE TABLE t (a COLLATE NOCASE)")
	for _, op := range []FileControl{FileControlFile, FileControlJournal} {
		if p, err := c.FileControl(op); p == 0 || err != nil {
			t.Errorf("file control %d: %d, %v", op, p, err)
		}
	}
	if got := c.Collation("t", "a"); got != "NOCASE" {
		t.Errorf("the collation is %q", got)
	}
	if got := c.Collation("t", "b"); got != "" {
		t.Errorf("a column that is not there has the collation %q", got)
	}
}
