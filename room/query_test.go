package room_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
)

// Selections of a table: which rows, in which order, from where on and how many.
func TestSelect(t *testing.T) {
	v := newVersions(t)
	c, err := become(v, func(c *room.Context, tasks *room.Table[task]) (any, error) {
		for _, s := range []struct {
			s    room.Selection
			want string
		}{
			{room.Selection{}, "a b c d"},
			{room.Selection{Limit: 2}, "a b"},
			{room.Selection{Limit: 1, Offset: 1}, "b"},
			{room.Selection{Offset: 1}, "b c d"},
			{room.Selection{Offset: 3}, "d"},
			{room.Selection{Offset: 4}, ""},
			{room.Selection{OrderBy: "text DESC, id", Limit: 3}, "a d b"},
			{room.Selection{OrderBy: "id DESC", Offset: 2}, "b a"},
			{room.Selection{Where: "text = ? OR id = ?", Args: []any{"x", "c"}}, "b c"},
			{room.Selection{Where: "FALSE"}, ""},
		} {
			rows, err := tasks.Select(c, s.s)
			if err != nil {
				return nil, err
			}
			var ids []string
			for _, r := range rows {
				ids = append(ids, r.ID)
			}
			if got := strings.Join(ids, " "); got != s.want {
				return nil, fmt.Errorf("%+v: %q, want %q", s.s, got, s.want)
			}
		}
		for _, s := range []room.Selection{{Limit: -1}, {Offset: -1}, {Where: "nothing = 1"}, {Where: "abs(-9223372036854775808) > 0"}} {
			if _, err := tasks.Select(c, s); err == nil {
				return nil, fmt.Errorf("%+v: no error", s)
			}
		}
		if first, err := tasks.First(c, "id > ?", "a"); err != nil || first.ID != "b" {
			return nil, fmt.Errorf("the first: %v, %w", first, err)
		}
		if _, err := tasks.First(c, "id > 'z'"); !errors.Is(err, room.ErrNotFound) {
			return nil, fmt.Errorf("the first of none: %w", err)
		}
		if _, err := tasks.First(c, "nothing"); err == nil || errors.Is(err, room.ErrNotFound) {
			return nil, fmt.Errorf("the first of what SQL does not know: %w", err)
		}
		all, err := tasks.Count(c, "")
		some, err2 := tasks.Count(c, "text = ?", "x")
		if err = errors.Join(err, err2); err != nil || all != 4 || some != 1 {
			return nil, fmt.Errorf("%d and %d rows, %w", all, some, err)
		}
		return nil, nil
	})
	must(t, c, err)
	mustSucceed(t, c.Do("tasks", "sql", `INSERT INTO tasks VALUES ('d', 'y', 1, 2, NULL), ('b', 'x', 1, 2, NULL), ('e', 'gone', 1, 2, 3), ('a', 'z', 1, 2, NULL), ('c', 'w', 1, 2, NULL)`))
	mustSucceed(t, c.Do("tasks", "hook", nil))
}

type (
	nested  struct{ Number int }
	pointed struct{ Hidden int }
	result  struct {
		nested
		*pointed
		Name    string
		Skipped string `den:"-"`
		Other   string `den:"another"`
		private int
	}
	twofold struct {
		A int `den:"x"`
		B int `den:"X"`
	}
	unfit struct{ C chan int }
)

// Which columns go into which fields, and what has no place.
func TestQueryResults(t *testing.T) {
	v := newVersions(t)
	c, err := become(v, func(c *room.Context, _ *room.Table[task]) (any, error) {
		got, err := room.Query[result](c, `SELECT 1 AS number, 'n' AS NAME, 'o' AS another UNION ALL SELECT 2, 'm', 'p' ORDER BY 1`)
		if err != nil || len(got) != 2 || got[0].Number != 1 || got[0].Name != "n" || got[1].Other != "p" || got[0].private != 0 {
			return nil, fmt.Errorf("got %+v, %w", got, err)
		}
		if n, err := room.Query[int](c, `SELECT 7 WHERE ? = 1`, 1); err != nil || len(n) != 1 || n[0] != 7 {
			return nil, fmt.Errorf("a number: %v, %w", n, err)
		}
		if n, err := room.Query[*string](c, `SELECT NULL UNION ALL SELECT 'x'`); err != nil || len(n) != 2 || n[0] != nil || *n[1] != "x" {
			return nil, fmt.Errorf("texts: %v, %w", n, err)
		}
		for what, query := range map[string]func() error{
			"no SQL":                    func() error { _, err := room.Query[int](c, `SELEKT`); return err },
			"two columns into one":      func() error { _, err := room.Query[int](c, `SELECT 1, 2`); return err },
			"a column without a field":  func() error { _, err := room.Query[result](c, `SELECT 1 AS nothing`); return err },
			"a field that is left out":  func() error { _, err := room.Query[result](c, `SELECT 'x' AS skipped`); return err },
			"a field that is private":   func() error { _, err := room.Query[result](c, `SELECT 1 AS private`); return err },
			"a field behind a pointer":  func() error { _, err := room.Query[result](c, `SELECT 1 AS hidden`); return err },
			"a column that comes twice": func() error { _, err := room.Query[result](c, `SELECT 'a' AS name, 'b' AS name`); return err },
			"a column for two fields":   func() error { _, err := room.Query[twofold](c, `SELECT 1 AS x`); return err },
			"a struct with a channel":   func() error { _, err := room.Query[unfit](c, `SELECT 1 AS c`); return err },
			"a text for a number":       func() error { _, err := room.Query[int](c, `SELECT 'x'`); return err },
			"NULL for a number":         func() error { _, err := room.Query[int](c, `SELECT NULL`); return err },
			"a failure behind some rows": func() error {
				_, err := room.Query[int](c, `SELECT 1 UNION ALL SELECT abs(-9223372036854775808)`)
				return err
			},
		} {
			if query() == nil {
				return nil, fmt.Errorf("%s: no error", what)
			}
		}
		return nil, nil
	})
	must(t, c, err)
	mustSucceed(t, c.Do("tasks", "hook", nil))
}

// What an action returns goes to its client as JSON that says it in as few bytes as it can.
func TestResultOfMarkup(t *testing.T) {
	v := newVersions(t)
	c, err := become(v, func(*room.Context, *room.Table[task]) (any, error) { return "<b>&</b>", nil })
	must(t, c, err)
	if e := mustSucceed(t, c.Do("tasks", "hook", nil)); !strings.Contains(string(e.Data), `"<b>&</b>"`) {
		t.Errorf("sent %s", e.Data)
	}
}
