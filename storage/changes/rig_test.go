package changes

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/sqlite"
)

// A rig is a Recorder on a database in memory, whose transactions it runs as a caller does.
type rig struct {
	*Recorder
	t      *testing.T
	number uint64
}

const todos = `CREATE TABLE todos (id TEXT PRIMARY KEY, text, created_at, updated_at, deleted_at)`

// newRig makes a rig whose tables are declared.
func newRig(t *testing.T, schema string, tables ...string) *rig {
	t.Helper()
	c, err := sqlite.OpenConn("", ":memory:", sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Recorder: New(c), t: t}
	t.Cleanup(func() {
		r.verify()
		r.Close()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.ExecScript(Schema + schema); err != nil {
		t.Fatal(err)
	}
	r.load(0)
	r.declare(tables...)
	return r
}

// load has the Recorder read the database, as at its beginning.
func (r *rig) load(floor Seq) {
	r.t.Helper()
	var err error
	if r.number, err = r.Load(floor); err != nil {
		r.t.Fatal(err)
	}
	if _, _, err := r.LoadTables(nil); err != nil {
		r.t.Fatal(err)
	}
}

// reload is load by another Recorder of the same connection.
func (r *rig) reload() {
	r.t.Helper()
	floor, declared := r.Floor(), r.Declared()
	r.Recorder = r.Renew()
	r.load(floor)
	r.Declare(declared...)
}

func (r *rig) declare(tables ...string) {
	r.t.Helper()
	fresh, err := r.Check(tables...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.transaction(func() { r.must(r.Track(fresh)) })
	r.Declare(tables...)
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) verify() {
	r.t.Helper()
	err := r.Verify(r.number, int64(r.Floor()), func(format string, args ...any) { r.t.Error(fmt.Errorf(format, args...)) })
	if err != nil {
		r.t.Error(err)
	}
}

// sql runs a statement of the transaction's own.
func (r *rig) sql(sql string) {
	r.t.Helper()
	r.must(r.conn.ExecScript(sql))
}

// transaction runs do in a transaction that keeps the log as long as it can.
func (r *rig) transaction(do func()) { r.t.Helper(); r.keeping(1<<40, do) }

// keeping is transaction with a log of so many actions.
func (r *rig) keeping(actions Seq, do func()) {
	r.t.Helper()
	r.sql("BEGIN")
	r.Begin(r.number+1, 1)
	do()
	r.must(r.Finish(actions, 1<<40))
	r.sql("COMMIT")
	r.Commit()
	r.number++
}

// run runs the statements of an action.
func (r *rig) run(sqls ...string) error {
	for _, sql := range sqls {
		for !sqlite.Blank(sql) {
			r.Resume()
			s, rest, err := r.conn.Prepare(sql, 0)
			if err != nil {
				return err
			}
			r.BeginStatement()
			for more := true; more && err == nil; {
				more, err = s.Step()
			}
			s.Finalize()
			if err != nil {
				r.StatementFailed()
				return err
			}
			sql = rest
		}
	}
	return nil
}

// action is an action within a transaction; an error has it undone.
func (r *rig) action(at int64, do func() error) (c Commit, err error) {
	r.t.Helper()
	r.must(r.Spill())
	r.sql("SAVEPOINT action")
	r.BeginAction(at)
	defer r.EndAction()
	if err = errors.Join(do(), r.Refused()); err == nil {
		c, err = r.FinishAction()
	}
	if err != nil {
		r.UndoAction()
		r.sql("ROLLBACK TO action")
	}
	r.sql("RELEASE action")
	return c, err
}

// act is an action that must succeed, in a transaction of its own.
func (r *rig) act(at int64, sqls ...string) (c Commit) {
	r.t.Helper()
	r.transaction(func() {
		var err error
		c, err = r.action(at, func() error { return r.run(sqls...) })
		r.must(err)
	})
	return c
}

// rows reads a Reader to its end.
func (r *rig) rows(reader *Reader, err error) (list []string) {
	r.t.Helper()
	r.must(err)
	row := sqlite.NewRow(reader.Columns())
	for {
		there, err := reader.Next(&row)
		r.must(err)
		if !there {
			return list
		}
		list = append(list, show(row.Values()))
	}
}

func show(values []sqlite.Value) string {
	var parts []string
	for _, v := range values {
		if v == nil {
			v = "-"
		}
		parts = append(parts, fmt.Sprint(v))
	}
	return strings.Join(parts, " ")
}

func shown(rows []Row) (list []string) {
	for _, row := range rows {
		list = append(list, row.Table+": "+show(row.Values()))
	}
	return list
}

func value(v sqlite.Value) []byte { return sqlite.AppendValue(nil, v) }
