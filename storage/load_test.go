package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
)

// What a Loader writes is a new room's content after Install, and none of it an action.
func TestLoader(t *testing.T) {
	o := testOptions(t)
	r, err := archived.load(o, func(l *Loader) error {
		return errors.Join(
			execOne(l.Exec, `CREATE TABLE todos (id INTEGER PRIMARY KEY, text TEXT, parent REFERENCES todos (id))`),
			execOne(l.Exec, ` -- nothing`),
			execOne(l.Exec, `INSERT INTO todos VALUES (?, ?, ?)`, 1, "one", 2), // its parent comes later
			execOne(l.Exec, `INSERT INTO todos VALUES (?, ?, ?)`, 2, "two", nil),
			execOne(l.ExecInternal, `CREATE TABLE _den_peers (name TEXT)`),
			execOne(l.ExecInternal, `INSERT INTO _den_peers VALUES (?)`, "x"))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Discard()
	if err := r.InstallNew(); err != nil {
		t.Fatal(err)
	}
	d := openTest(t, o)
	got := fmt.Sprint(query(t, d, `SELECT * FROM todos`), query(t, d, `SELECT * FROM _den_peers`), d.Seq())
	if got != "[[1 one 2] [2 two <nil>]] [[x]] 1" {
		t.Error(got)
	}
}

func execOne(exec func(string, ...any) (string, error), sql string, args ...any) error {
	rest, err := exec(sql, args...)
	if err == nil && rest != "" {
		err = fmt.Errorf("%s: left: %q", sql, rest)
	}
	return err
}

func TestLoaderRefuses(t *testing.T) {
	own := errors.New("load's own")
	for name, tc := range map[string]struct {
		load func(*Loader) error
		want error
	}{
		"load's error": {func(*Loader) error { return own }, own},
		"Den's table":  {func(l *Loader) error { return execOne(l.Exec, `CREATE TABLE _den_peers (x)`) }, ErrForbidden},
		"storage's table, internally": {func(l *Loader) error {
			return execOne(l.ExecInternal, `UPDATE _den_meta SET value = 'x'`)
		}, ErrForbidden},
		"a room's table, internally": {func(l *Loader) error { return execOne(l.ExecInternal, `CREATE TABLE t (x)`) }, ErrForbidden},
		"a transaction":              {func(l *Loader) error { return execOne(l.Exec, `COMMIT`) }, ErrForbidden},
		"no parent row": {func(l *Loader) error {
			return errors.Join(execOne(l.Exec, `CREATE TABLE t (id PRIMARY KEY, p REFERENCES t)`), execOne(l.Exec, `INSERT INTO t VALUES (1, 2)`))
		}, ErrConstraint},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t)
			_, err := archived.load(o, tc.load)
			wantError(t, err, tc.want)
			if left := dirNames(t, filepath.Dir(o.Path)); left != "" {
				t.Errorf("left: %s", left)
			}
		})
	}
}

// Of several statements a Loader runs none, and after load has returned it runs nothing.
func TestLoaderOneStatement(t *testing.T) {
	o := testOptions(t)
	var late *Loader
	r, err := archived.load(o, func(l *Loader) error {
		late = l
		for _, args := range [][]any{nil, {1}} {
			rest, err := l.Exec(`CREATE TABLE t (x); CREATE TABLE u (x)`, args...)
			if err != nil || rest != " CREATE TABLE u (x)" {
				t.Errorf("%v: %v, left %q", args, err, rest)
			}
		}
		return execOne(l.Exec, `CREATE TABLE t (x)`)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Discard()
	_, err = late.Exec(`CREATE TABLE u (x)`)
	wantError(t, err, ErrClosed)
}

// OpenBackup shows all that a file has, and changes none of it.
func TestOpenBackup(t *testing.T) {
	d := openTest(t, testOptions(t))
	mustExec(t, d, `CREATE TABLE todos (id INTEGER PRIMARY KEY)`)
	mustExec(t, d, `INSERT INTO todos VALUES (7)`)
	path := filepath.Join(t.TempDir(), "copy")
	if err := archived.write(d, path); err != nil {
		t.Fatal(err)
	}
	before := fileContent(t, path)
	file, closeFile, err := OpenBackup(HostFS(), path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a refusal leaves the file usable
		for _, sql := range []string{`CREATE TABLE _den_peers (x)`, `DELETE FROM todos`} {
			_, err = file.Exec(sql)
			wantError(t, err, ErrReadOnly)
		}
		r, err := file.Query(`SELECT todos.id, m.value FROM todos, _den_meta AS m WHERE m.name = 'room'`)
		if got := fmt.Sprint(all(t, r, err)); got != "[[7 TestOpenBackup]]" {
			t.Error(got)
		}
	}
	if err := closeFile(); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Query(`SELECT 1`); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
	if fileContent(t, path) != before {
		t.Error("the file is another one")
	}
	_, _, err = OpenBackup(HostFS(), path+"2")
	wantError(t, err, ErrNotDatabase)
}
