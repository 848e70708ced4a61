package storage

import (
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/internal/session"
)

type named string

type valuer struct{ n int64 }

func TestArguments(t *testing.T) {
	d := openTest(t, testOptions(t))
	when := time.UnixMilli(1_700_000_000_123)
	text := "x"
	for _, tc := range []struct{ arg, want any }{
		{nil, nil}, {true, int64(1)}, {false, int64(0)},
		{7, int64(7)}, {int8(-7), int64(-7)}, {int64(math.MinInt64), int64(math.MinInt64)}, {uint64(math.MaxInt64), int64(math.MaxInt64)}, {uint8(3), int64(3)},
		{1.5, 1.5}, {float32(0.5), 0.5}, {math.Inf(1), math.Inf(1)}, {math.NaN(), nil},
		{"", ""}, {"a\x00b", "a\x00b"}, {"ü", "ü"}, {strings.Repeat("long ", 20_000), strings.Repeat("long ", 20_000)}, {named("n"), "n"},
		{[]byte{}, []byte{}}, {[]byte(nil), nil}, {[]byte{0, 1}, []byte{0, 1}},
		{json.RawMessage(`{"a":1}`), `{"a":1}`}, {json.RawMessage(nil), nil},
		{when, when.UnixMilli()}, {sql.NullString{}, nil}, {sql.NullInt64{Int64: 4, Valid: true}, int64(4)}, {sql.NullString{String: "s", Valid: true}, "s"},
		{(*string)(nil), nil},
	} {
		for range 2 { // the statement is reused with what came before
			got := query(t, d, `SELECT ?1, 'after', ?1`, tc.arg)
			if !reflect.DeepEqual(got[0], []Value{tc.want, "after", tc.want}) {
				t.Errorf("%T %v: got %#v", tc.arg, tc.arg, got[0])
			}
		}
	}
	for _, bad := range []any{struct{}{}, &text, uint64(math.MaxUint64), []int{1}, map[string]int{}, valuer{1}, complex(1, 1)} {
		_, err := d.Query(`SELECT ?`, bad)
		wantError(t, err, ErrMisuse)
	}
}

func TestScan(t *testing.T) {
	d := openTest(t, testOptions(t))
	r, err := d.Query(`SELECT 1 AS a, 2.5, 'text', x'0102', NULL`)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if !r.Next() {
		t.Fatal(r.Err())
	}
	var (
		n    int
		u    uint8
		f    float64
		s    named
		b    []byte
		p    *string
		q    *int
		null sql.NullString
		some sql.NullInt64
		v    any
		yes  bool
		when time.Time
		raw  json.RawMessage
	)
	for _, dest := range [][]any{{&n, &f, &s, &b, &p}, {&q, &v, &raw, &raw, &null}, {&some, &f, &s, &b, &v}, {&yes, &f, &s, &s, &b}, {&when, &f, &v, &v, &q}, {&u, &f, &s, &b, &p}} {
		if err := r.Scan(dest...); err != nil {
			t.Errorf("%T: %v", dest, err)
		}
	}
	if n != 1 || u != 1 || f != 2.5 || s != "text" || p != nil || null.Valid || some.Int64 != 1 || !yes || when.UnixMilli() != 1 || string(raw) != "\x01\x02" {
		t.Error(n, u, f, s, p, null, some, yes, when, raw)
	}
	for _, dest := range [][]any{{&s, &f, &s, &b, &p}, {&n, &n, &s, &b, &p}, {&n, &f, &n, &b, &p}, {&n, &f, &s, &b, &n}, {&n}, {n, &f, &s, &b, &p}, {nil, &f, &s, &b, &p}} {
		wantError(t, r.Scan(dest...), ErrMisuse)
	}
	if r.Type(0) != Integer || r.Type(4) != Null || r.Type(3).String() != "blob" || r.Columns()[0] != "a" {
		t.Error(r.Type(0), r.Type(4), r.Type(3), r.Columns())
	}
	var small int8
	r2, err := d.Query(`SELECT 300`)
	if err != nil || !r2.Next() {
		t.Fatal(err)
	}
	wantError(t, r2.Scan(&small), ErrMisuse)
	r2.Close()
}

func TestResult(t *testing.T) {
	d := openTest(t, testOptions(t))
	mustExec(t, d, `CREATE TABLE x (id INTEGER PRIMARY KEY, y)`)
	if got := mustExec(t, d, `INSERT INTO x (y) VALUES (1), (2)`); got != (Result{RowsAffected: 2, LastInsertID: 2}) {
		t.Errorf("%+v", got)
	}
	if got := mustExec(t, d, `DELETE FROM x; INSERT INTO x VALUES (9, 9); -- done`); got.RowsAffected != 3 || got.LastInsertID != 9 {
		t.Errorf("%+v", got)
	}
	if got := mustExec(t, d, `CREATE TABLE z (a)`); got.RowsAffected != 0 {
		t.Errorf("%+v", got)
	}
	if got := mustExec(t, d, ` /* nothing */ -- at all`); got != (Result{}) {
		t.Errorf("%+v", got)
	}
}

func TestErrorTells(t *testing.T) {
	d := openTodos(t)
	_, err := d.Query(`SELEC 1`)
	var e *Error
	if !errors.As(err, &e) || e.Code != 1 || e.SQL != "SELEC 1" || !strings.Contains(e.Message, "syntax") || errors.Unwrap(e) != nil {
		t.Errorf("%#v", err)
	}
	_, err = d.Query(`SELECT "text"  FROM todos WHERE id = "a"`) // "a" is a name
	if err == nil {
		t.Error("a text in double quotes is accepted")
	}
}

func TestStatementCache(t *testing.T) {
	o := testOptions(t)
	o.StatementCache = 4
	d := openTest(t, o)
	for i := range 20 {
		for _, sql := range []string{`SELECT 1`, `SELECT 2`, `SELECT 3`, `SELECT 4`, `SELECT 5`, `SELECT ` + strings.Repeat("1+", i) + `1`} {
			if len(query(t, d, sql)) != 1 {
				t.Errorf("%s", sql)
			}
		}
	}
	if c := d.sql.Caches[session.Handler]; c.Len() != 4 {
		t.Errorf("%d statements kept", c.Len())
	}
	// The same statement twice at once, and evicted while in use.
	a, err := d.Query(`SELECT 1 UNION SELECT 2`)
	if err != nil {
		t.Fatal(err)
	}
	if got := query(t, d, `SELECT 1 UNION SELECT 2`); len(got) != 2 {
		t.Errorf("%v", got)
	}
	for _, sql := range []string{`SELECT 11`, `SELECT 12`, `SELECT 13`, `SELECT 14`} {
		query(t, d, sql)
	}
	if got := all(t, a, nil); len(got) != 2 {
		t.Errorf("%v", got)
	}
}
