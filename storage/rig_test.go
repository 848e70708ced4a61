package storage

// A node on a disk in memory, for the tests that break things: a commit log, a kind of room, rooms.

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/roomfile"
)

var rigs atomic.Int64 // disks that were registered, for their names

type rig struct {
	t          testing.TB
	disk       *faultdisk.Disk
	fs         FS
	now        time.Time // moved by tests
	log        *NodeLog
	pool       *Pool // nil: rooms share nothing
	unregister func() error

	alone   bool // rooms share nothing
	keep    bool // connections keep their WALs
	relaxed bool
	noLinks bool   // the file system has none
	past    string // Options.Past
	history time.Duration
	segment int64

	logRandom io.Reader // nil: crypto/rand
}

func newRig(t testing.TB, seed uint64) *rig {
	t.Helper()
	r := &rig{t: t, disk: faultdisk.New(seed, faultdisk.PowersafeOverwrite), now: time.UnixMilli(clock), segment: 64 << 10}
	name := fmt.Sprintf("rig-%d", rigs.Add(1))
	unregister, err := r.disk.Register(name)
	if err != nil {
		t.Fatal(err)
	}
	r.unregister, r.fs = unregister, r.disk.FS(name)
	return r
}

// start opens the log, as a process does.
func (r *rig) start() error {
	r.pool = nil
	if _, is := r.fs.(noLinks); r.noLinks && !is {
		r.fs = noLinks{r.fs}
	}
	if !r.alone {
		r.pool = new(Pool)
	}
	if r.keep && !r.alone {
		const dir = "/data/_wals"
		if err := ClearWALs(r.fs, dir); err != nil {
			return err
		}
		r.pool = NewPool(PoolOptions{WALs: dir})
	}
	if r.past != "" {
		if _, err := SweepPast(r.fs, r.past, r.now.Add(-r.history), r.now); err != nil {
			return err
		}
	}
	log, err := OpenLog(LogOptions{Dir: "/data/_log", FS: r.fs, SegmentBytes: r.segment, History: r.history, Relaxed: r.relaxed, Random: r.logRandom,
		Now: func() time.Time { return r.now }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err == nil {
		r.log = log
	}
	return err
}

func (r *rig) mustStart() {
	r.t.Helper()
	if err := r.start(); err != nil {
		r.t.Fatal(err)
	}
}

// stop ends the process in good order, where rooms still are open by fencing them.
func (r *rig) stop(open ...*DB) (err error) {
	for _, d := range open {
		if d != nil {
			d.Fence()
		}
	}
	if r.log != nil {
		err = r.log.Close()
		r.log = nil
	}
	if r.pool != nil {
		r.pool.Close()
	}
	return err
}

// cut takes the power away, and gives it back to a machine on which nothing runs.
func (r *rig) cut(open ...*DB) {
	r.t.Helper()
	r.disk.Crash()
	r.off(open...)
}

// kill ends the process as kill -9 does.
func (r *rig) kill(open ...*DB) {
	r.t.Helper()
	r.disk.Kill()
	r.off(open...)
}

func (r *rig) off(open ...*DB) {
	r.t.Helper()
	r.stop(open...)
	if err := r.disk.Restart(); err != nil {
		r.t.Fatal(err)
	}
	r.disk.Heal()
}

func (r *rig) close() {
	r.t.Helper()
	if err := r.unregister(); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) options(room string) Options {
	path, err := roomfile.Path("/data", "n", room)
	if err != nil {
		r.t.Fatal(err)
	}
	return Options{Path: path, Namespace: "n", Room: room, Pool: r.pool, Log: r.log, FS: r.fs, Past: r.past, Now: func() time.Time { return r.now }}
}

// open opens a room with the table todos.
func (r *rig) open(room string) (*DB, error) { return openWithTodos(r.options(room)) }

func (r *rig) mustOpen(room string) *DB {
	r.t.Helper()
	d, err := r.open(room)
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

func openWithTodos(o Options) (*DB, error) {
	d, err := Open(o)
	if err != nil {
		return nil, err
	}
	if _, err = d.Exec(todosTable2); err == nil {
		err = d.Sync("todos")
	}
	if err != nil {
		d.Fence()
		return nil, err
	}
	return d, nil
}

// shorter is how often something is tried: n times, or, with -short and under the race detector, short times.
func shorter(n, short int) int {
	if testing.Short() || raceEnabled {
		return short
	}
	return n
}

// noLinks is a file system on which a file has one name.
type noLinks struct{ FS }

func (noLinks) Link(string, string) error { return errors.ErrUnsupported }

func powerRoom(t testing.TB, o Options) *DB {
	t.Helper()
	d, err := openWithTodos(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// put sets a row in an action of its own.
func put(d *DB, id int, text string) error {
	b, err := d.Begin()
	if err != nil {
		return err
	}
	_, err = b.Do(clock, func() error {
		_, err := d.Exec(`INSERT OR REPLACE INTO todos VALUES (?, ?, 0, 0, NULL)`, id, text)
		return err
	})
	if err != nil {
		return errors.Join(err, b.Rollback())
	}
	return b.Commit()
}

// rowsOf reads what a room holds.
func rowsOf(d *DB) (map[int]string, error) {
	rows, err := d.Query(`SELECT id, text FROM todos`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	m := make(map[int]string)
	for rows.Next() {
		m[int(rows.Int(0))] = string(rows.Bytes(1))
	}
	return m, rows.Err()
}

// sound has SQLite look through a room.
func sound(d *DB) error {
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	return d.sql.Check("PRAGMA integrity_check(1)")
}

// randomText has up to max bytes and 8 that no other has.
func randomText(rng *rand.Rand, max int) string {
	return fmt.Sprintf("%08x", rng.Uint32()) + strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(max))
}
