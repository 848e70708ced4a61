package room_test

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
)

// taskNext is task as the next version of a program has it: all that is new can be left out.
type taskNext struct {
	ID    string
	Color *string `den:",unique"`
	Text  string
	State string `den:",default='it''s, (open',index,check=length(state) < 20"`
	room.Stamps
}

// TestOlderProgram: the last version of a program opens a room that the next one has widened, works in it, and leaves
// what it does not know alone; also where it makes the table again for a reason of its own.
func TestOlderProgram(t *testing.T) {
	type checked struct { // the last version with a fix
		ID   string
		Text string `den:",check=text <> ''"`
		room.Stamps
	}
	red := "red"
	do := func(tasks string) string { return `UPDATE tasks SET ` + tasks }
	v := newVersions(t)
	c, err := become(v, func(c *room.Context, tasks *room.Table[taskNext]) (any, error) {
		return nil, tasks.Insert(c, taskNext{ID: "new", Text: "x", Color: &red, State: "done"})
	})
	must(t, c, err)
	mustSucceed(t, c.Do("tasks", "hook", nil))

	c, err = become(v, func(c *room.Context, tasks *room.Table[task]) (any, error) {
		for _, err := range []error{
			tasks.Insert(c, task{ID: "old", Text: "y"}), tasks.Insert(c, task{ID: "gone", Text: "y"}), tasks.Delete(c, "gone"),
			tasks.Update(c, task{ID: "new", Text: "changed"}), tasks.Upsert(c, task{ID: "new", Text: "twice"}),
			tasks.Patch(c, "old", map[string]any{"text": "patched"}),
		} {
			if err != nil {
				return nil, err
			}
		}
		rows, err := tasks.All(c)
		return len(rows), err
	})
	must(t, c, err)
	if e := mustSucceed(t, c.Do("tasks", "hook", nil)); string(e.Value) != "2" {
		t.Errorf("it reads %s rows", e.Value)
	}
	export, backup, key := new(bytes.Buffer), filepath.Join(t.TempDir(), "copy.db"), room.Key{Namespace: "tasks", Room: "r"}
	if err := v.Export(context.Background(), key, export, room.LinesFormat); err != nil || !strings.Contains(export.String(), red) {
		t.Errorf("the export: %v: %s", err, export)
	}
	if err := v.Backup(context.Background(), key, backup); err != nil {
		t.Error(err)
	}
	if _, err := v.Restore(context.Background(), key, backup); err != nil {
		t.Error(err)
	}

	c, err = become[checked](v, nil)
	must(t, c, err)
	mustRefuse(t, c.Do("tasks", "sql", do(`text = ''`)), "conflict")

	c, err = become(v, func(c *room.Context, tasks *room.Table[taskNext]) (any, error) {
		rows, err := tasks.All(c)
		var all []string
		for _, r := range rows {
			color := "-"
			if r.Color != nil {
				color = *r.Color
			}
			all = append(all, r.ID+" "+r.Text+" "+color+" "+r.State)
		}
		return strings.Join(all, ";"), err
	})
	must(t, c, err)
	if e := mustSucceed(t, c.Do("tasks", "hook", nil)); string(e.Value) != `"new twice red done;old patched - it's, (open"` {
		t.Errorf("the newer program finds %s", e.Value)
	}
	mustRefuse(t, c.Do("tasks", "sql", do(`color = 'red'`)), "conflict")
	mustRefuse(t, c.Do("tasks", "sql", do(`state = 'much longer than it may be'`)), "conflict")
	if rows := c.Sync("tasks"); len(rows) != 2 || len(rows[0]) != 7 || rows[0][1] != "red" {
		t.Errorf("on the wire: %v", rows)
	}
}

// What an older program cannot leave alone it refuses, and what may be a rename.
func TestOlderProgramIsRefused(t *testing.T) {
	type renamed struct {
		ID   string
		Body *string
		room.Stamps
	}
	type original struct {
		ID   string
		Text *string
		room.Stamps
	}
	v := newVersions(t)
	c, err := become[original](v, nil)
	must(t, c, err)
	mustSucceed(t, c.Do("tasks", "sql", `INSERT INTO tasks VALUES ('a', 'old', 1, 2, NULL)`))
	if _, err = become[renamed](v, nil); err == nil || !strings.Contains(err.Error(), "the file has the column text TEXT, for which the struct has no field") {
		t.Errorf("a rename: %v", err)
	}
	c, err = become[original](v, nil)
	must(t, c, err)
	if rows := c.Sync("tasks"); len(rows) != 1 || rows[0][1] != "old" {
		t.Errorf("after that: %v", rows)
	}
}
