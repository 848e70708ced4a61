package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSincePartWhole: a part that is read to its end gives what Since gives, in the same order.
func TestSincePartWhole(t *testing.T) {
	d := openTodos(t)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 300 {
		changeSomething(t, d, r, i)
	}
	for _, seq := range []Seq{0, 1, 17, d.Seq() - 1, d.Seq()} {
		rows, err := d.Table("todos").Since(seq)
		want := shown(all(t, rows, err))
		rows, err = d.Table("todos").SincePart(ChangePlace{Seq: seq}, d.Seq())
		if got := shown(all(t, rows, err)); !slices.Equal(got, want) {
			t.Errorf("after %d: %v, want %v", seq, got, want)
		}
		if !rows.AtEnd() || rows.Place() != (ChangePlace{Seq: d.Seq()}) {
			t.Errorf("after %d: at %+v, at its end: %v", seq, rows.Place(), rows.AtEnd())
		}
	}
	_, err := d.Table("nothing").SincePart(ChangePlace{}, 0)
	wantError(t, err, ErrMisuse)
	actSQL(t, d, 1, `ALTER TABLE todos RENAME TO others; ALTER TABLE others RENAME TO todos; ALTER TABLE todos DROP COLUMN done`)
	_, err = d.Table("todos").SincePart(ChangePlace{Seq: 3}, 5)
	wantError(t, err, ErrForgotten)
}

// TestSincePartEndsAnywhere reads the changes in parts that end after any number of rows, while others write and the
// batch is committed or not: with the changes since the reading began, it has the table as it is.
func TestSincePartEndsAnywhere(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		d := openTodos(t)
		for i := range 200 {
			changeSomething(t, d, r, i)
		}
		from := Seq(r.IntN(100))
		has := make(map[Value]string)
		apply := func(rows [][]Value) {
			for _, row := range rows {
				if has[row[0]] = fmt.Sprint(row); row[len(row)-1] != nil {
					delete(has, row[0])
				}
			}
		}
		for _, row := range asItWas(t, d, from, seed) {
			has[row[0]] = fmt.Sprint(row)
		}
		began, parts, told := d.Seq(), 0, make(map[string]bool)
		for place := (ChangePlace{Seq: from}); ; parts++ {
			rows, err := d.Table("todos").SincePart(place, began)
			if err != nil {
				t.Fatal(err)
			}
			var some [][]Value
			for n := 1 + r.IntN(6); n > 0 && rows.Next(); n-- {
				some = append(some, rows.Values())
				if told[fmt.Sprint(rows.Values())] {
					t.Errorf("seed %d: %v was told before", seed, rows.Values())
				}
			}
			done := rows.AtEnd()
			place = rows.Place()
			rows.Close()
			apply(some)
			if done || parts > 10_000 {
				break
			}
			if r.IntN(3) == 0 && d.Seq() < began+60 {
				before := d.Seq()
				changeSomething(t, d, r, 1000+parts)
				later, err := d.Table("todos").Since(before)
				changed := all(t, later, err)
				for _, row := range changed {
					told[fmt.Sprint(row)] = true
				}
				apply(changed)
			}
		}
		want := make(map[Value]string)
		for _, row := range query(t, d, "SELECT * FROM todos WHERE deleted_at IS NULL") {
			want[row[0]] = fmt.Sprint(row)
		}
		if len(has) != len(want) || parts < 3 {
			t.Errorf("seed %d: %d rows in %d parts, want %d", seed, len(has), parts, len(want))
		}
		for id, row := range want {
			if has[id] != row {
				t.Errorf("seed %d: %v is %q, want %q", seed, id, has[id], row)
			}
		}
	}
}

// asItWas is the table as it was after an action of changeSomething's with a seed.
func asItWas(t *testing.T, d *DB, seq Seq, seed uint64) [][]Value {
	t.Helper()
	r, other := rand.New(rand.NewPCG(seed, 2)), openTodos(t)
	for i := 0; other.Seq() < seq; i++ {
		changeSomething(t, other, r, i)
	}
	return query(t, other, "SELECT * FROM todos WHERE deleted_at IS NULL")
}

// changeSomething inserts, changes, deletes or renames some of 40 rows, several in one action at times.
func changeSomething(t *testing.T, d *DB, r *rand.Rand, i int) {
	t.Helper()
	id := r.IntN(40)
	switch r.IntN(6) {
	case 0:
		actSQL(t, d, int64(i), fmt.Sprintf(`DELETE FROM todos WHERE id = '%d'`, id))
	case 1:
		actSQL(t, d, int64(i), fmt.Sprintf(`INSERT OR REPLACE INTO todos (id, text, updated_at) SELECT value, 'many %d', %[1]d FROM json_each('["%d","%d","%d"]')`, i, id, id+1, id+2))
	case 2:
		actSQL(t, d, int64(i), fmt.Sprintf(`DELETE FROM todos WHERE id IN ('%d', '%d'); INSERT INTO todos (id, text, updated_at) VALUES ('%[1]d', 'again %[3]d', %[3]d)`, id, id+1, i))
	default:
		actSQL(t, d, int64(i), fmt.Sprintf(`INSERT OR REPLACE INTO todos (id, text, updated_at) VALUES ('%d', 'one %d', %[2]d)`, id, i))
	}
}

func shown(rows [][]Value) (list []string) {
	for _, row := range rows {
		list = append(list, fmt.Sprint(row))
	}
	return list
}

// TestSincePartOfAnotherTable: a log full of another table's changes is gone through in parts that have no rows.
func TestSincePartOfAnotherTable(t *testing.T) {
	d := openTodos(t, todosTable, `CREATE TABLE others (id TEXT PRIMARY KEY NOT NULL, created_at, updated_at, deleted_at)`)
	if err := d.Sync("todos", "others"); err != nil {
		t.Fatal(err)
	}
	actSQL(t, d, 1, `INSERT INTO todos (id) VALUES ('first')`)
	began := d.Seq()
	for i := range 60 {
		actSQL(t, d, 1, fmt.Sprintf(`INSERT OR REPLACE INTO others (id, updated_at) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
			SELECT 'a rather long key of another table %d ' || i, %d FROM n`, i%3, i))
	}
	actSQL(t, d, 1, `INSERT INTO todos (id) VALUES ('last')`)
	parts, place := 0, ChangePlace{Seq: began}
	var got []Value
	for done := false; !done && parts < 100; parts++ {
		rows, err := d.Table("todos").SincePart(place, d.Seq())
		for _, row := range all(t, rows, err) {
			got = append(got, row[0])
		}
		place, done = rows.Place(), rows.AtEnd()
	}
	if !slices.Equal(got, []Value{"last"}) || parts < 3 || parts > 30 {
		t.Errorf("%v in %d parts", got, parts)
	}
}

// TestSincePartWithinAnAction: a part that ends within an action's rows is followed by the rest of them, each once.
func TestSincePartWithinAnAction(t *testing.T) {
	d := openTodos(t)
	actSQL(t, d, 1, `INSERT INTO todos (id) VALUES ('a'), ('b'), ('c')`)
	actSQL(t, d, 1, `INSERT INTO todos (id) VALUES ('d'), ('e')`)
	actSQL(t, d, 1, `UPDATE todos SET done = 1 WHERE id IN ('b', 'e')`)
	for _, size := range []int{1, 2, 3, 4} {
		var got []Value
		place, parts := ChangePlace{}, 0
		for end := false; !end && parts < 20; parts++ {
			rows, err := d.Table("todos").SincePart(place, 2)
			if err != nil {
				t.Fatal(err)
			}
			for n := 0; n < size && rows.Next(); n++ {
				got = append(got, rows.Values()[0])
			}
			place, end = rows.Place(), rows.AtEnd()
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			rows.Close()
		}
		if want := []Value{"a", "c", "d"}; !slices.Equal(got, want) {
			t.Errorf("%d at a time: %v, want %v: what changed later is not in it", size, got, want)
		}
		if want := 3/size + 1; parts != want {
			t.Errorf("%d at a time: %d parts, want %d", size, parts, want)
		}
	}
}
