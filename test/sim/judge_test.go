package sim

// The end of a run: everything is well again, all come back and get what they lack, and then it must be true what the
// invariants say.

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
	_ "modernc.org/sqlite" // what the files hold is read without Den
)

// converge heals everything and lets all clients come to rest: twice, with time between for what hangs to be given up.
func (w *world) converge() {
	w.tracef("— the end")
	rng := rand.New(rand.NewPCG(w.seed, 9))
	w.disk.Heal()
	w.atRename = nil // or the cut that it sets would meet those who judge
	if w.host == nil {
		w.start()
	}
	const rounds = 60
	waits, quiet := "", 0
	for round := 0; round < rounds && quiet < 2 && w.failure == ""; round++ {
		if waits = w.round(rng); waits == "" {
			quiet++
		}
		w.pass(time.Second << min(round, 5))
		if quiet == 1 {
			w.pass(12 * time.Second)
		}
	}
	if quiet < 2 {
		w.failf("it does not come to an end: %s", waits)
	}
	w.settle(rng)
	for range 8 { // all alarms are due, and are tried again where they failed
		w.pass(time.Minute)
		w.settle(rng)
	}
}

// round lets all come back and try again, and wakes the rooms: one that broke tells what it owes to its connections when
// it lives again. It tells what somebody waits for still.
func (w *world) round(rng *rand.Rand) (waits string) {
	for _, name := range w.rooms {
		if host := w.host; host != nil {
			w.background(func() error {
				return inner.OfHost(host).Settle(context.Background(), room.Key{Namespace: namespace, Room: name})
			})
			w.wait()
		}
	}
	for _, c := range w.clients {
		w.connect(c)
		c.retry()
	}
	w.settle(rng)
	for _, c := range w.clients {
		if w.damaged[c.room] {
			continue
		}
		if !c.connected() {
			waits = c.name + " waits for its connection"
		} else if what := c.speech.waits(); what != "" {
			waits = c.name + " waits for " + what
		}
	}
	return waits
}

// judge compares what everybody holds with what is on the disk.
func (w *world) judge() {
	for _, c := range w.clients {
		if c.link != nil {
			c.link.leave()
		}
	}
	rng := rand.New(rand.NewPCG(w.seed, 10))
	w.settle(rng)
	if w.torture {
		w.recall(rng)
		w.scrub(rng)
	}
	w.shutdown(rng)
	if w.torture {
		w.verify(w.disk, w.options.FS)
	}
	log, err := w.openLog(w.options.FS)
	if err != nil {
		w.failf("the commit log: %v", err)
		return
	}
	defer log.Close()
	for _, name := range w.rooms {
		if w.damaged[name] {
			continue
		}
		truth, err := w.read(w.options.FS, log, name)
		if err != nil {
			w.failf("%s cannot be read: %v", name, err)
			return
		}
		w.judgeRoom(name, truth)
	}
}

// A truth is what a room's file holds.
type truth struct {
	rows       map[string]map[string]string // the live rows as JSON, by channel and key as JSON
	by         map[int64]string             // who wrote the journal's rows, by number
	started    bool                         // it has its tables
	seq        storage.Seq
	newest     time.Time // of the journal's newest row
	applied    int       // migrations
	bulk       []bulk
	increments int // in the journal
	counted    int // in the counters
}

func (w *world) judgeRoom(name string, t *truth) {
	// A migration is a commit, too. An import brings the journal of many actions in one commit.
	if more := int(t.seq) - len(t.by); more < 0 && !w.imported[name] || more > 0 && len(w.rewinds[name]) == 0 && w.version == 0 {
		w.failf("%s is at seq %d, with %d actions in its journal", name, t.seq, len(t.by))
	}
	if t.applied != w.version {
		w.failf("%s has been through %d of %d migrations", name, t.applied, w.version)
	}
	w.judgeRewinds(name, t)
	w.judgeDeleted(name, t)
	if t.increments != t.counted {
		w.failf("%s: %d increments in the journal, and the counters come to %d", name, t.increments, t.counted)
	}
	times := make(map[string]int)
	for _, by := range t.by {
		times[by]++
	}
	for by, n := range times {
		alarm, is := strings.CutPrefix(by, alarmOf(""))
		if is && (n > 1 || times[alarm] == 0) {
			w.failf("%s: %s ran %d times, and what set it is there %d times", name, by, n, times[alarm])
		}
	}
	for _, c := range w.clients {
		if c.room == name {
			c.judgeAlarms(t, times)
			c.judgeState(t)
			c.judgeShown(t)
			c.judgeActions(t, times)
		}
	}
}

// judgeState: the client holds what the room does.
func (c *client) judgeState(t *truth) {
	for _, ch := range channels() {
		for _, key := range slices.Sorted(maps.Keys(c.rows[ch])) {
			r := c.rows[ch][key]
			if want, there := t.rows[ch][key]; !there {
				c.failf("%s holds a row of %s that is not there: %s", c.name, ch, r.raw)
			} else if want != r.raw {
				c.failf("%s holds of %s %s, the room has %s", c.name, ch, r.raw, want)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(t.rows[ch])) {
			want := t.rows[ch][key]
			if _, held := c.rows[ch][key]; !held {
				c.failf("%s lacks a row of %s: %s", c.name, ch, want)
			}
		}
	}
}

// judgeShown: what was shown to anybody is there.
func (c *client) judgeShown(t *truth) {
	for _, n := range slices.Sorted(maps.Keys(c.shown)) {
		if t.by[n] != c.shown[n] && (t.by[n] != "" || !c.w.lost(c.room, n)) {
			c.failf("%s was shown what %s did as number %d, which is not there", c.name, c.shown[n], n)
		}
	}
}

// judgeActions: what was acknowledged is there once, what was refused is not, and the rest is there once at the most.
func (c *client) judgeActions(t *truth, times map[string]int) {
	for _, a := range c.actions {
		want, n := "0 or 1 times", times[a.name]
		right := n <= 1
		switch {
		case c.w.imported[c.room] && n > 0 && a.fate == refused: // after the import it was refused, and an earlier try was in the export
			want, right = "less often than it was sent", n < a.sent
		case c.w.imported[c.room] && n > 1: // an export does not say what was applied, and so it was again
			right = n <= a.sent
		case a.fate == applied && a.n != 0 && t.by[a.n] != a.name && c.w.lost(c.room, a.n):
			// It is gone with a restore; an earlier try of it may have come back with another.
		case a.fate == applied && a.n != 0:
			want, right = "once", n == 1 && t.by[a.n] == a.name
		case a.fate == applied && a.kind == "look", a.fate == refused:
			want, right = "not at all", n == 0
		}
		if a.nothing && n > 0 && !c.w.lost(c.room, a.n) {
			c.failf("%s is there %d times, and its client was told that nothing was changed: %s in %s", a.name, n, a.kind, a.channel)
		}
		if !right {
			c.failf("%s is there %d times instead of %s: %s in %s, %d times sent, %s", a.name, n, want, a.kind, a.channel, a.sent, a.fate)
		}
	}
}

// judgeAlarms: each alarm that was set has run.
func (c *client) judgeAlarms(t *truth, times map[string]int) {
	for _, a := range c.actions {
		if a.kind != "remind" || times[a.name] == 0 {
			continue
		}
		c.w.stats.Alarms++
		if n := times[alarmOf(a.name)]; n > 1 || n == 0 && !c.w.unrung && !c.w.imported[c.room] {
			c.failf("the alarm of %s has run %d times", a.name, times[alarmOf(a.name)])
		}
	}
}

func (f fate) String() string {
	return [...]string{"without an answer", "acknowledged", "refused", "given up"}[f]
}

// path is where a room's file is.
func (w *world) path(name string) (string, error) {
	return roomfile.Path(w.options.Dir, namespace, name)
}

// columns are the channels' tables.
func columns(channel string) string {
	own := map[string]string{"journal": "kind", "items": "text", "notes": "body", "counters": "value"}
	return "id, by, n, " + own[channel] + ", created_at, updated_at, deleted_at"
}

func (w *world) openLog(fsys storage.FS) (*storage.NodeLog, error) {
	return storage.OpenLog(storage.LogOptions{Dir: filepath.Join(w.options.Dir, "_log"), FS: fsys, Now: w.clock.Now})
}

// file says where a room is.
func (w *world) file(fsys storage.FS, log storage.Log, name string) (storage.Options, error) {
	path, err := w.path(name)
	return storage.Options{Path: path, Namespace: namespace, Room: name, FS: fsys, Now: w.clock.Now, Log: log}, err
}

// read reads a room's file, by Den for its seq and with SQLite alone for the rest.
func (w *world) read(fsys storage.FS, log storage.Log, name string) (*truth, error) {
	o, err := w.file(fsys, log, name)
	if err != nil {
		return nil, err
	}
	t := &truth{rows: make(map[string]map[string]string)}
	d, err := storage.Open(o)
	if err != nil {
		return nil, err
	}
	t.seq = d.Seq()
	if err := d.Close(); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", "file:"+o.Path+"?_pragma=locking_mode(EXCLUSIVE)&vfs="+fsys.SQLite())
	if err != nil {
		return nil, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	return t, t.fill(db)
}

func (t *truth) fill(db *sql.DB) error {
	var verdict string
	if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		return fmt.Errorf("integrity_check: %s %w", verdict, err)
	}
	if err := db.QueryRow(`SELECT coalesce(max(last), 0) FROM _den_changes`).Scan(&t.seq); err != nil {
		return err
	}
	if there, err := exists(db, "journal"); err != nil || !there { // it has never started
		return errors.Join(err, t.fillMigrations(db))
	}
	t.started = true
	for _, ch := range channels() {
		rows, err := pairs(db, `SELECT json_quote(id), json_array(`+columns(ch)+`) FROM `+ch+` WHERE deleted_at IS NULL`)
		if err != nil {
			return err
		}
		t.rows[ch] = make(map[string]string, len(rows))
		for _, r := range rows {
			t.rows[ch][r[0]] = r[1]
		}
	}
	journal, err := pairs(db, `SELECT id, by FROM journal ORDER BY id`)
	if err != nil {
		return err
	}
	t.by = make(map[int64]string, len(journal))
	for _, r := range journal {
		n, err := strconv.ParseInt(r[0], 10, 64)
		if err != nil {
			return err
		}
		t.by[n] = r[1]
	}
	var newest int64
	if err := db.QueryRow(`SELECT coalesce(max(created_at), 0) FROM journal`).Scan(&newest); err != nil {
		return err
	}
	t.newest = time.UnixMilli(newest)
	if err := db.QueryRow(`SELECT (SELECT count(*) FROM journal WHERE kind = 'count'), (SELECT coalesce(sum(value), 0) FROM counters)`).Scan(&t.increments, &t.counted); err != nil {
		return err
	}
	return errors.Join(t.fillBulk(db), t.fillMigrations(db))
}

func pairs(db *sql.DB, query string) (list [][2]string, err error) {
	rows, err := db.Query(query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p [2]string
		if err := rows.Scan(&p[0], &p[1]); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}
