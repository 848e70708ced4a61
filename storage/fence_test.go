package storage

import (
	"errors"
	"testing"
	"time"
)

const endless = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n`

const endlessWrite = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO todos (id) SELECT 'a' FROM n WHERE i < 0`

// while runs fn and calls stop from another goroutine again and again until fn
// has returned: no test can know when a statement has begun to run.
func while(t *testing.T, fn, stop func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { // ends with fn
		defer close(done)
		fn()
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			stop()
		case <-limit:
			t.Fatal("the statement did not end")
		}
	}
}

func TestInterruptRead(t *testing.T) {
	d := openTodos(t)
	b, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.Do(1, func() error {
		while(t, func() {
			_, err := d.Query(endless)
			wantError(t, err, ErrInterrupted)
		}, d.Interrupt)
		_, err := d.Exec(twoTodos)
		return err
	})
	if err != nil || c.Seq != 1 {
		t.Errorf("commit %+v, %v", c, err)
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestInterruptWriteLosesTheBatch(t *testing.T) {
	d := openTodos(t)
	b, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Do(1, func() error { _, err := d.Exec(twoTodos); return err }); err != nil {
		t.Fatal(err)
	}
	_, err = b.Do(1, func() error {
		var err error
		while(t, func() { _, err = d.Exec(endlessWrite) }, d.Interrupt)
		return err
	})
	wantError(t, err, ErrBatchLost, ErrInterrupted)
	if got := query(t, d, `SELECT * FROM todos`); len(got) != 0 || d.Seq() != 0 {
		t.Errorf("left: %v, seq %d", got, d.Seq())
	}
	d.Interrupt() // nothing runs: nothing happens
	mustExec(t, d, twoTodos)
}

func TestInvariantFencedLifeChangesNothing(t *testing.T) {
	for name, sql := range map[string]string{"read": endless, "write": endlessWrite} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t)
			d := openTest(t, o)
			mustExec(t, d, todosTable)
			if err := d.Sync("todos"); err != nil {
				t.Fatal(err)
			}
			actSQL(t, d, 1, twoTodos)
			b, err := d.Begin()
			if err != nil {
				t.Fatal(err)
			}
			var rows *Rows
			entered := make(chan struct{})
			left := make(chan error)
			go func() { // the hanging actor; ends when it was fenced
				_, err := b.Do(2, func() error {
					if _, err := d.Exec(`DELETE FROM todos WHERE id = 'a'`); err != nil {
						return err
					}
					var err error
					if rows, err = d.Query(`SELECT * FROM todos UNION ALL SELECT * FROM todos`); err != nil || !rows.Next() {
						return errors.Join(err, errors.New("no row"))
					}
					close(entered)
					_, err = d.Exec(sql)
					wantError(t, err, ErrClosed)
					return nil
				})
				left <- err
			}()
			<-entered
			d.Fence()
			// The next life has the file while the old one still hangs.
			next := openTest(t, o)
			if err := next.Sync("todos"); err != nil {
				t.Fatal(err)
			}
			actSQL(t, next, 3, `INSERT INTO todos (id) VALUES ('next')`)
			wantError(t, <-left, ErrClosed)
			fencedAnswers(t, d, b, rows)
			if got := query(t, next, `SELECT id FROM todos`); len(got) != 3 || next.Seq() != 2 {
				t.Errorf("the file holds %v at seq %d", got, next.Seq())
			}
		})
	}
}

// fencedAnswers: every call on what belonged to a fenced life gives ErrClosed.
func fencedAnswers(t *testing.T, d *DB, b *Batch, rows *Rows) {
	t.Helper()
	_, err := d.Exec(`DELETE FROM todos`)
	wantError(t, err, ErrClosed)
	_, err = d.Query(`SELECT 1`)
	wantError(t, err, ErrClosed)
	_, err = d.Table("todos").Live()
	wantError(t, err, ErrClosed)
	_, err = d.Table("todos").Since(0)
	wantError(t, err, ErrClosed)
	_, err = d.Internal().Exec(`DELETE FROM _den_x`)
	wantError(t, err, ErrClosed)
	_, err = d.Internal().Query(`SELECT 1`)
	wantError(t, err, ErrClosed)
	_, err = d.Begin()
	wantError(t, err, ErrClosed)
	_, err = b.Do(1, func() error { t.Error("ran"); return nil })
	wantError(t, err, ErrClosed)
	wantError(t, b.Commit(), ErrClosed)
	wantError(t, d.Sync("todos"), ErrClosed)
	if b.Rollback() != nil || d.Close() != nil || b.Changed() {
		t.Error("ending what is over is no error")
	}
	if id := string(rows.Bytes(0)); id != "b" { // what was fetched stays readable
		t.Errorf("row %q", id)
	}
	if rows.Next() {
		t.Error("rows went on")
	}
	wantError(t, rows.Err(), ErrClosed)
	rows.Close()
	if _, known := d.Table("todos").SeqAt(int64(1)); known {
		t.Error("SeqAt knows")
	}
	d.Interrupt()
	d.Fence()
}

func TestFenceIdle(t *testing.T) {
	d := openTodos(t)
	d.Fence()
	_, err := d.Exec(`SELECT 1`)
	wantError(t, err, ErrClosed)
}
