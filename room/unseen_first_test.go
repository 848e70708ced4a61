package room_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
)

// A namespace in which a room's first life does more than make the tables of a struct.
type camp struct {
	start      string // OnStart's SQL
	migrations []room.Migration
	fails      bool // it does not start
	stays      bool // it leaves a file although nobody gets anything of it
}

// A camper is the handler of a camp's rooms.
type camper struct {
	ruin
	camp *camp
}

func (c *camper) OnStart(ctx *room.Context) error {
	if c.camp.start == "" {
		return nil
	}
	_, err := ctx.Exec(c.camp.start)
	return err
}

func (*camper) OnAlarm(*room.Context, room.Alarm) error { return nil }

// by is a migration by a function.
func by(script string, alarm time.Duration) room.Migration {
	return room.GoMigration("by a function", func(c *room.Context) error {
		_, err := c.Exec(script)
		if err == nil && alarm > 0 {
			err = c.SetAlarm("later", c.Now().Add(alarm))
		}
		return err
	})
}

// TestUnseenFirstRooms calls for the first rooms of namespaces of each kind, and gets nothing of them: they leave no file, however
// they were prepared, unless they set an alarm.
func TestUnseenFirstRooms(t *testing.T) {
	const table, row = `CREATE TABLE IF NOT EXISTS t (x);`, `INSERT INTO t VALUES (1);`
	fill := func(n int) string {
		return table + fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO t SELECT zeroblob(3000) FROM n;`, n)
	}
	for name, c := range map[string]camp{
		"bare":                 {},
		"a table":              {start: table},
		"a row":                {start: table + row},
		"much, 400 KB":         {start: fill(100)},
		"more than waits":      {start: fill(500), stays: true},
		"sql":                  {migrations: []room.Migration{room.SQLMigration("one", table)}},
		"sql with a row":       {migrations: []room.Migration{room.SQLMigration("one", table+row)}},
		"a function":           {migrations: []room.Migration{by(table+row, 0)}},
		"an alarm":             {migrations: []room.Migration{by(table, time.Hour)}, stays: true},
		"an index of texts":    {migrations: []room.Migration{room.SQLMigration("one", `CREATE VIRTUAL TABLE f USING fts5 (x)`)}},
		"a migration fails":    {migrations: []room.Migration{by(table+row, 0), room.SQLMigration("two", "CREATE NONSENSE")}, fails: true},
		"it does not start":    {start: table + "CREATE NONSENSE", fails: true},
		"it starts and cannot": {start: fill(100) + "CREATE NONSENSE", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newDesert(t)
			space := strings.ToLower(strings.NewReplacer(" ", "-", ",", "").Replace(name))
			err := p.Register(space, func() room.Handler { return &camper{camp: &c} }, room.Migrations(c.migrations...))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []string{"a", "b", "a"} {
				key := room.Key{Namespace: space, Room: r}
				s, err := p.Connect(t.Context(), key, room.ConnectRequest{Link: new(noise)})
				if (err != nil) != c.fails {
					t.Fatal(err)
				}
				if s != nil {
					s.Close(1001, "")
				}
				if err := errors.Join(inner.OfHost(p).Settle(t.Context(), key), p.Sleep(t.Context(), key)); err != nil && !c.fails {
					t.Fatal(err)
				}
			}
			files := slices.DeleteFunc(p.disk.Files(), func(name string) bool { return !strings.HasPrefix(name, "/data/"+space) })
			if (len(files) > 0) != c.stays {
				t.Errorf("the rooms' files are %q", files)
			}
		})
	}
}
