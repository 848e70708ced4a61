package sim

// The room under test. Every action that changes something writes one row into the table journal, numbered 1, 2, 3 …,
// and stamps each other row that it writes with that number and with its own name. So from any row that a client was
// ever shown it can be told which action it came from, and whether that action is still there.

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/denrooms/den/room"
)

const namespace = "sim"

// channels are the ledger's. Each row begins with id, by, n.
func channels() []string { return []string{"journal", "items", "notes", "counters"} }

// A ledger is the room's handler.
type ledger struct {
	room.Base
	outside  *outside
	Items    room.Table[item]
	Counters room.Table[counter]
}

type item struct {
	ID   string
	By   string
	N    int64
	Text string
	room.Stamps
}

type counter struct {
	ID    string
	By    string
	N     int64
	Value int64
	room.Stamps
}

// An order is the payload of every action.
type order struct {
	By    string `json:"by"` // the action's name: who, and which one of his
	Key   string `json:"key"`
	Other string `json:"other"`
	Text  string `json:"text"`
	Many  int    `json:"many"`
}

// done is what an action answers with: its number in the journal; 0 where it changed nothing.
type done struct {
	N int64 `json:"n"`
}

// outside is what slow actions depend on: it lets each of them down once.
type outside struct {
	restless bool          // alarms fail now and then
	wakes    bool          // a client that goes wakes its room; else it may have a row again when it is back
	release  chan struct{} // closed at the end: hooks that hang return
	asked    map[string]bool
	last     map[string]int64 // by room: the highest number that was ever given out
	base     map[string]int64 // what that was at the last restore
}

func newOutside() *outside {
	return &outside{release: make(chan struct{}), asked: make(map[string]bool), last: make(map[string]int64), base: make(map[string]int64)}
}

// first reports whether an action asks for the first time.
func (o *outside) first(action string) bool {
	first := !o.asked[action]
	o.asked[action] = true
	return first
}

func register(h *room.Host, outside *outside, version int) error {
	options := []room.Option{
		room.Synced("journal", "notes"),
		room.Call("put", (*ledger).put),
		room.Call("insert", (*ledger).insert),
		room.Call("edit", (*ledger).edit),
		room.Call("drop", (*ledger).drop),
		room.Call("count", (*ledger).count),
	}
	if version > 0 {
		options = append(options, room.Migrations(migrations(version, outside)...))
	}
	if outside.wakes {
		options = append(options, room.WakeOnClose())
	}
	return h.Register(namespace, func() room.Handler { return &ledger{outside: outside} }, options...)
}

// OnStart makes the tables that are plain SQL.
func (l *ledger) OnStart(c *room.Context) error {
	_, err := c.Exec(`
		CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY, by TEXT NOT NULL, n INTEGER NOT NULL, kind TEXT NOT NULL,
			created_at INTEGER, updated_at INTEGER, deleted_at INTEGER);
		CREATE TABLE IF NOT EXISTS notes (id TEXT PRIMARY KEY, by TEXT NOT NULL, n INTEGER NOT NULL, body TEXT,
			created_at INTEGER, updated_at INTEGER, deleted_at INTEGER);
		CREATE TABLE IF NOT EXISTS private (id INTEGER PRIMARY KEY AUTOINCREMENT, by TEXT NOT NULL);`)
	return err
}

// enter writes the journal and gives the number.
func (l *ledger) enter(c *room.Context, by, kind string) (n int64, err error) {
	if err := c.QueryRow(`SELECT coalesce(max(id), 0) + 1 FROM journal`, nil, &n); err != nil {
		return 0, err
	}
	name := c.Key().Room
	n = max(n, l.outside.base[name]+1)
	l.outside.last[name] = max(l.outside.last[name], n)
	now := c.Now().UnixMilli()
	if _, err := c.Exec(`INSERT INTO journal VALUES (?1, ?2, ?1, ?3, ?4, ?4, NULL)`, n, by, kind, now); err != nil {
		return 0, err
	}
	_, err = c.Exec(`INSERT INTO private (by) VALUES (?)`, by)
	return n, err
}

func (l *ledger) put(c *room.Context, o order) (done, error) {
	n, err := l.enter(c, o.By, "put")
	if err != nil {
		return done{}, err
	}
	return done{n}, l.Items.Upsert(c, item{ID: o.Key, By: o.By, N: n, Text: o.Text})
}

// insert is a conflict where the key is there. After a deletion it is free.
func (l *ledger) insert(c *room.Context, o order) (done, error) {
	n, err := l.enter(c, o.By, "insert")
	if err != nil {
		return done{}, err
	}
	return done{n}, l.Items.Insert(c, item{ID: o.Key, By: o.By, N: n, Text: o.Text})
}

func (l *ledger) edit(c *room.Context, o order) (done, error) {
	n, err := l.enter(c, o.By, "edit")
	if err != nil {
		return done{}, err
	}
	return done{n}, l.Items.Update(c, item{ID: o.Key, By: o.By, N: n, Text: o.Text})
}

func (l *ledger) drop(c *room.Context, o order) (done, error) {
	n, err := l.enter(c, o.By, "drop")
	if err != nil {
		return done{}, err
	}
	return done{n}, l.Items.Delete(c, o.Key)
}

// count is where an action that is applied twice shows without the journal.
func (l *ledger) count(c *room.Context, o order) (done, error) {
	n, err := l.enter(c, o.By, "count")
	if err != nil {
		return done{}, err
	}
	value, err := l.Counters.Get(c, o.Key)
	if errors.Is(err, room.ErrNotFound) {
		value, err = counter{ID: o.Key}, nil
	}
	if err != nil {
		return done{}, err
	}
	value.By, value.N, value.Value = o.By, n, value.Value+1
	return done{n}, l.Counters.Upsert(c, value)
}

// OnAction takes the actions in plain SQL, and those that fail.
func (l *ledger) OnAction(c *room.Context, _ string, a room.ActionRequest) (any, error) {
	var o order
	if err := a.Decode(&o); err != nil {
		return nil, err
	}
	if a.Type == "look" {
		return done{}, nil
	}
	n, err := l.enter(c, o.By, a.Type)
	if err != nil {
		return nil, err
	}
	return done{n}, l.write(c, a.Type, o, n)
}

// alarmOf is the name of an action's alarm, under which that writes its row of the journal.
func alarmOf(by string) string { return "alarm of " + by }

// OnAlarm writes into the journal, and breaks down now and then the first time that it is tried.
func (l *ledger) OnAlarm(c *room.Context, alarm room.Alarm) error {
	if _, err := l.enter(c, alarm.Name, "alarm"); err != nil {
		return err
	}
	if sum := len(alarm.Name) + int(alarm.Name[len(alarm.Name)-1]); alarm.Attempt == 1 && l.outside.restless {
		switch sum % 5 {
		case 0:
			return c.Abort("not_yet", "Later.")
		case 1:
			panic("an alarm went off")
		}
	}
	return nil
}

func (l *ledger) write(c *room.Context, kind string, o order, n int64) error {
	now := c.Now().UnixMilli()
	switch kind {
	case "note", "half", "bomb":
		_, err := c.Exec(`INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?, ?, ?, NULL)`, o.Key, o.By, n, o.Text, now, now)
		if err != nil || kind == "note" {
			return err
		}
		if kind == "bomb" {
			panic("a bomb went off")
		}
		return c.Abort("half_way", "Half of it was done.")
	case "erase":
		_, err := c.Exec(`DELETE FROM notes WHERE id = ?`, o.Key)
		return err
	case "wipe":
		_, err := c.Exec(`DELETE FROM notes`)
		return err
	case "rename":
		_, err := c.Exec(`UPDATE OR REPLACE notes SET id = ?, by = ?, n = ?, updated_at = ? WHERE id = ?`, o.Other, o.By, n, now, o.Key)
		return err
	case "hide": // a tombstone by hand
		_, err := c.Exec(`UPDATE notes SET deleted_at = ?, updated_at = ?, by = ?, n = ? WHERE id = ?`, now, now, o.By, n, o.Key)
		return err
	case "many":
		return l.many(c, o, n, now)
	case "stall": // until its time is over
		if l.outside.first(o.By) {
			<-c.Done()
		}
		return c.Err()
	case "hang":
		if l.outside.first(o.By) {
			<-l.outside.release
		}
		return nil
	case "bulk":
		return l.bulk(c, o, n)
	case "index", "redefine":
		return l.redefine(c, kind, n)
	case "remind":
		return c.SetAlarm(alarmOf(o.By), c.Now().Add([]time.Duration{0, 500 * time.Millisecond, 20 * time.Second, 5 * time.Minute}[o.Many%4]))
	}
	return fmt.Errorf("no such action: %s", kind)
}

// many writes rows of two channels in turns, one of them twice.
func (l *ledger) many(c *room.Context, o order, n, now int64) error {
	for i := range o.Many {
		key := fmt.Sprintf("%s-%d", o.Key, i%7)
		if _, err := c.Exec(`INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?, ?, ?, NULL)`, key, o.By, n, o.Text, now, now); err != nil {
			return err
		}
		if i%3 == 0 {
			if err := l.Items.Upsert(c, item{ID: key, By: o.By, N: n, Text: o.Text}); err != nil {
				return err
			}
		}
	}
	return nil
}

// redefine changes the schema: an index of a synced table that comes and goes, a table of the room's own.
func (l *ledger) redefine(c *room.Context, kind string, n int64) error {
	sql := `CREATE INDEX IF NOT EXISTS notes_by ON notes (by)`
	switch {
	case kind == "redefine":
		sql = fmt.Sprintf(`CREATE TABLE extra_%d (a, b); INSERT INTO extra_%[1]d VALUES (%[1]d, 'x')`, n)
	case n%2 == 0:
		sql = `DROP INDEX IF EXISTS notes_by`
	}
	_, err := c.Exec(sql)
	return err
}

// A template is a kind of action and how often clients do it.
type template struct {
	action, channel string
	weight          int
}

func templates() []template {
	return []template{
		{"put", "items", 20}, {"insert", "items", 10}, {"edit", "items", 10}, {"drop", "items", 12}, {"count", "counters", 20},
		{"note", "notes", 16}, {"erase", "notes", 10}, {"wipe", "notes", 2}, {"rename", "notes", 5}, {"hide", "notes", 4},
		{"many", "notes", 6}, {"half", "notes", 5}, {"bomb", "notes", 3}, {"look", "journal", 4}, {"index", "notes", 2},
		{"redefine", "journal", 2}, {"put", "nowhere", 1}, {"unheard", "items", 1}, {"count", "journal", 4},
		{"stall", "notes", 1}, {"hang", "notes", 1}, {"remind", "journal", 5},
	}
}

// payload makes an action's payload; one in some is of the wrong form.
func payload(by string, dice dice) json.RawMessage {
	if dice.IntN(40) == 0 {
		return json.RawMessage(`{"by":7}`)
	}
	o := order{By: by, Key: fmt.Sprintf("k%d", dice.IntN(9)), Other: fmt.Sprintf("k%d", dice.IntN(9)), Text: text(dice), Many: 1 + dice.IntN(20)}
	data, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return data
}

// text is short most of the time, and now and then so long that it fills pages of the file and of an answer.
func text(dice dice) string {
	size := dice.IntN(20)
	switch dice.IntN(30) {
	case 0:
		size = 3000 + dice.IntN(3000)
	case 1:
		size = 20000
	}
	return strings.Repeat(string(rune('a'+dice.IntN(26))), size)
}

type dice interface{ IntN(int) int }
