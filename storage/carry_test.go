package storage

import (
	"fmt"
	"path/filepath"
	"testing"
)

// A table that is carried over a restore is as the room had it, whatever the backup had of it; only where the backup defines it otherwise
// the backup's stays. Other tables are the backup's.
func TestCarry(t *testing.T) {
	const one, wide = `CREATE TABLE _den_peers (name TEXT PRIMARY KEY, n)`, `CREATE TABLE _den_peers (name TEXT PRIMARY KEY, n, more)`
	for name, tc := range map[string]struct {
		backup, room []string // what Den's own statements do before the backup and after it
		want         string
	}{
		"both have it": {[]string{one, `INSERT INTO _den_peers VALUES ('a', 1), ('b', 2)`},
			[]string{`UPDATE _den_peers SET n = 3 WHERE name = 'a'; DELETE FROM _den_peers WHERE name = 'b'; INSERT INTO _den_peers VALUES ('c', x'00ff'), ('d', NULL)`},
			"[[a 3] [c [0 255]] [d <nil>]]"},
		"the room alone":           {nil, []string{one, `INSERT INTO _den_peers VALUES ('a', 1)`}, "[[a 1]]"},
		"the room has no row":      {[]string{one, `INSERT INTO _den_peers VALUES ('a', 1)`}, []string{`DELETE FROM _den_peers`}, "[]"},
		"the backup alone":         {[]string{one, `INSERT INTO _den_peers VALUES ('a', 1)`}, []string{`DROP TABLE _den_peers`}, "[[a 1]]"},
		"it was defined otherwise": {[]string{one, `INSERT INTO _den_peers VALUES ('a', 1)`}, []string{`DROP TABLE _den_peers`, wide, `INSERT INTO _den_peers VALUES ('a', 2, 2)`}, "[[a 1]]"},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t)
			d, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			mustExec(t, d, todosTable)
			run := func(scripts []string) {
				for _, sql := range scripts {
					if _, err := d.Internal().Exec(sql); err != nil {
						t.Fatalf("%s: %v", sql, err)
					}
				}
			}
			run(tc.backup)
			actSQL(t, d, clock, `INSERT INTO todos (id, text) VALUES ('1', 'copied')`)
			path := filepath.Join(t.TempDir(), "copy")
			if err := archived.write(d, path); err != nil {
				t.Fatal(err)
			}
			run(tc.room)
			actSQL(t, d, clock, `UPDATE todos SET text = 'newer'`)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			r, err := archived.restore(o, path)
			if err != nil {
				t.Fatal(err)
			}
			r.Carry("_den_nothing")
			r.Carry("_den_peers")
			if _, err := r.Install(); err != nil {
				t.Fatal(err)
			}
			d = openTest(t, o)
			if got := fmt.Sprint(ownQuery(t, d, `SELECT * FROM _den_peers ORDER BY name`)); got != tc.want {
				t.Errorf("carried %s, want %s", got, tc.want)
			}
			if got := fmt.Sprint(query(t, d, `SELECT text FROM todos`)); got != "[[copied]]" {
				t.Errorf("restored %s", got)
			}
			if got := ownQuery(t, d, `SELECT name FROM sqlite_schema WHERE name = '_den_nothing'`); len(got) != 0 {
				t.Error("a table that nobody had is there")
			}
		})
	}
}
