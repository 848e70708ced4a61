package storage

// The torture of this package: rooms on one log on a disk in memory, random events from a seed, and
// a disk that fails and loses power at any of its operations. A model keeps what was acknowledged; after each
// crash every room must have it, exactly.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/roomfile"
)

var (
	tortureFlag    = flag.Int("torture", 0, "how many seeds TestTorture takes; 0: 500, 60 with -short, 12 under the race detector")
	tortureForFlag = flag.Duration("torture.for", 0, "for how long TestTorture takes seeds")
)

// TestTorture takes seeds one after the other. `-run TestTorture$ -seed N` shows one of them.
func TestTorture(t *testing.T) {
	if *seedFlag != 0 {
		if err := torture(t, *seedFlag, t.Logf); err != nil {
			t.Errorf("seed %d: %v", *seedFlag, err)
		}
		return
	}
	first, count := uint64(time.Now().UnixNano()), 500
	if text := os.Getenv("DEN_TORTURE_FIRST"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first = n
	}
	switch {
	case *tortureFlag > 0:
		count = *tortureFlag
	case raceEnabled:
		count = 12
	case testing.Short():
		count = 60
	}
	began := time.Now()
	var next, failed atomic.Uint64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for failed.Load() < 20 {
				n := next.Add(1) - 1
				if *tortureForFlag > 0 && time.Since(began) > *tortureForFlag || *tortureForFlag == 0 && n >= uint64(count) {
					return
				}
				if err := torture(t, first+n, nil); err != nil {
					failed.Add(1)
					t.Errorf("seed %d: %v", first+n, err)
				}
			}
		})
	}
	workers.Wait()
	t.Logf("seeds from %d on, %v", first, time.Since(began).Round(time.Second))
}

// state is what a room holds.
type state struct {
	rows map[int]string
	seq  Seq
}

func (s state) is(rows map[int]string, seq Seq) bool { return s.seq == seq && maps.Equal(s.rows, rows) }

func (s state) String() string { return fmt.Sprintf("%d rows at %d", len(s.rows), s.seq) }

// tortured is a room of the model.
type tortured struct {
	name    string
	d       *DB              // nil: it is not open
	now     state            // what was acknowledged
	maybe   []state          // what may be there instead, because an outcome is unknown
	past    []state          // of this epoch, oldest first
	backups map[string]state // by path; of which seq does not count
	highest Seq              // that the room has answered with, in any epoch
	columns int              // that were added to the table
	gone    bool             // its own bytes were damaged, and it is not restored yet
}

// machine runs one seed.
type machine struct {
	*rig
	rng     *rand.Rand
	rooms   []*tortured
	logf    func(string, ...any)
	crashes int  // of the disk, seen so far
	failing bool // faults are set
	files   int  // names for backups
	rotten  int  // how many bits of the log were flipped
	random  *rand.ChaCha8
}

func torture(t testing.TB, seed uint64, logf func(string, ...any)) (err error) {
	r := newRig(t, seed)
	m := &machine{rig: r, rng: rand.New(rand.NewPCG(seed, 99)), logf: logf, random: rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, stack())
			return // the disk is left as it is
		}
		m.stop(m.open()...)
		if failed := r.unregister(); failed != nil && err == nil {
			err = failed
		}
	}()
	r.keep, r.alone = m.rng.IntN(2) == 0, m.rng.IntN(5) == 0
	r.segment = int64(4<<10) << m.rng.IntN(6)
	r.history = []time.Duration{0, time.Hour, 1000 * time.Hour}[m.rng.IntN(3)]
	r.logRandom = m.random
	if r.history > 0 {
		r.past = "/data/_past"
	}
	for i := range 1 + m.rng.IntN(3) {
		m.rooms = append(m.rooms, &tortured{name: fmt.Sprint("room", i), backups: map[string]state{}, now: state{rows: map[int]string{}}})
	}
	if err := m.start(); err != nil {
		return err
	}
	for range 20 + m.rng.IntN(60) {
		if err := m.event(); err != nil {
			return err
		}
	}
	m.disk.Heal()
	m.say("the end")
	if m.rng.IntN(2) == 0 {
		m.crash()
	} else if err := m.quit(); err != nil {
		return err
	}
	if err := m.verify(); err != nil {
		return err
	}
	return m.inspect()
}

func stack() string {
	b := make([]byte, 8<<10)
	return string(b[:runtime.Stack(b, false)])
}

func (m *machine) say(format string, args ...any) {
	if m.logf != nil {
		m.logf(format, args...)
	}
}

// open are the rooms' open files.
func (m *machine) open() (all []*DB) {
	for _, r := range m.rooms {
		if r.d != nil {
			all = append(all, r.d)
		}
	}
	return all
}

// start is the start of a process.
func (m *machine) start() error {
	if err := m.rig.start(); err != nil {
		return fmt.Errorf("the log: %w", err)
	}
	return nil
}

// crash ends the process, with a power cut or without, and heals the disk.
func (m *machine) crash() {
	if m.disk.Stats().Crashes == m.crashes {
		if m.rng.IntN(3) == 0 {
			m.disk.Kill()
		} else {
			m.disk.Crash()
		}
	}
	m.say("crash %d", m.disk.Stats().Crashes)
	m.off(m.open()...)
	for _, r := range m.rooms {
		r.d = nil
	}
	m.crashes, m.failing = m.disk.Stats().Crashes, false
}

// quit is a good end of the process.
func (m *machine) quit() error {
	for _, r := range m.rooms {
		if err := m.sleep(r); err != nil {
			return err
		}
	}
	m.say("quit")
	if err := m.rig.stop(); err != nil && !m.trouble(err) {
		return fmt.Errorf("closing the log: %w", err)
	}
	if m.disk.Stats().Crashes != m.crashes {
		m.crash()
	}
	return nil
}

// trouble reports whether an error is what a disk that fails gives, and no room is refused.
func (m *machine) trouble(err error) bool {
	for _, never := range []error{ErrCorrupt, ErrNotDatabase, ErrLogMismatch, ErrLogMissing, ErrWrongRoom, ErrNewer} {
		if errors.Is(err, never) {
			return false
		}
	}
	return (m.failing || m.disk.Stats().Crashes != m.crashes) && (errors.Is(err, ErrIO) || errors.Is(err, ErrFull) || errors.Is(err, ErrClosed))
}

// again starts the process again where the power has gone, and looks at the rooms.
func (m *machine) again() error {
	if m.disk.Stats().Crashes == m.crashes {
		return nil
	}
	m.crash()
	return m.afterCrash()
}

func (m *machine) afterCrash() error {
	if m.rng.IntN(4) == 0 {
		if err := m.verify(); err != nil {
			return err
		}
	}
	if err := m.start(); err != nil {
		return err
	}
	for _, r := range m.rooms {
		if m.rng.IntN(3) > 0 { // the others are looked at when they wake
			if err := m.wake(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *machine) options(r *tortured) Options {
	o := m.rig.options(r.name)
	o.CheckpointBytes, o.Random = 16<<10, m.random
	return o
}

// wake opens a room and compares it with the model.
func (m *machine) wake(r *tortured) error {
	if r.d != nil || r.gone {
		return nil
	}
	d, err := Open(m.options(r))
	if err != nil {
		m.say("%s: open: %v", r.name, err)
		if m.trouble(err) {
			return nil
		}
		return fmt.Errorf("%s is refused: %w", r.name, err)
	}
	r.d = d
	if err := m.compare(r); err != nil {
		return err
	}
	if r.d == nil {
		return nil
	}
	if _, err = d.Exec(todosTable2); err == nil {
		err = d.Sync("todos")
	}
	if err == nil && r.name == "room0" {
		err = d.MakeTemplate("todos")
	}
	if failed := m.settle(r, err, r.now, fmt.Sprintf("making the table of %s", r.name)); failed != nil {
		return failed
	}
	if err != nil && r.d != nil {
		m.drop(r)
	}
	return nil
}

// compare decides between what may be there, and fails where it is none of that.
func (m *machine) compare(r *tortured) error {
	rows := map[int]string{}
	there := false
	seq := r.d.Seq()
	d := r.d
	d.sql.Mu.Lock()
	err := d.sql.Each("SELECT 1 FROM sqlite_schema WHERE name = 'todos'", func(*Rows) { there = true })
	d.sql.Mu.Unlock()
	if err == nil && there {
		rows, err = rowsOf(r.d)
	}
	if err == nil && m.rng.IntN(3) == 0 {
		err = sound(r.d)
	}
	if err != nil {
		if m.trouble(err) {

			m.drop(r)
			return nil
		}
		return fmt.Errorf("%s: reading: %w", r.name, err)
	}
	for _, s := range append([]state{r.now}, r.maybe...) {
		if s.is(rows, seq) {
			if !s.is(r.now.rows, r.now.seq) || len(r.maybe) > 0 {
				r.past = append(slices.DeleteFunc(r.past, func(p state) bool { return p.seq >= s.seq }), s)
			}
			r.now, r.maybe = s, nil
			r.highest = max(r.highest, seq)
			return nil
		}
	}
	return fmt.Errorf("%s has %v, want %v or one of %v: %s", r.name, state{rows, seq}, r.now, r.maybe, difference(r.now.rows, rows))
}

// drop ends a life whose disk has failed.
func (m *machine) drop(r *tortured) {
	r.d.Fence()
	r.d = nil
}

// settle notes how a transaction ended that makes next of what was there.
func (m *machine) settle(r *tortured, err error, next state, what string) error {
	m.say("%s: %v", what, err)
	switch {
	case err == nil:
		r.now = next
		r.past = append(r.past, next)
		r.highest = max(r.highest, next.seq)
		return nil
	case m.disk.Stats().Crashes != m.crashes:
		r.maybe = append(r.maybe, next)
		return nil
	case errors.Is(err, ErrIO) && errors.Is(err, ErrFull):
		return fmt.Errorf("%s: full and unknown at once: %w", what, err)
	case !m.trouble(err):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, ErrFull): // certainly not written
		return nil
	}
	r.maybe = append(r.maybe, next)
	m.drop(r)
	return nil
}

func (m *machine) sleep(r *tortured) error {
	if r.d == nil {
		return nil
	}
	err := r.d.Close()
	m.say("%s sleeps: %v", r.name, err)
	r.d = nil
	if err != nil && !m.trouble(err) {
		return fmt.Errorf("closing %s: %w", r.name, err)
	}
	return nil
}

// event does one thing.
func (m *machine) event() error {
	if err := m.again(); err != nil {
		return err
	}
	r := m.rooms[m.rng.IntN(len(m.rooms))]
	if m.log == nil {
		return m.start()
	}
	m.now = m.now.Add(time.Duration(m.rng.IntN(1000)) * time.Millisecond)
	switch n := m.rng.IntN(100); {
	case n < 36:
		return m.act(r)
	case n < 38:
		return m.suspect(r)
	case n < 40:
		return m.crowd(r)
	case n < 42:
		return m.unreadable(r)
	case n < 47:
		return m.sleep(r)
	case n < 50:
		return m.checkpoint(r)
	case n < 52:
		return m.compact(r)
	case n < 55:
		return m.alter(r)
	case n < 62:
		return m.backup(r)
	case n < 68:
		return m.replace(r)
	case n < 72:
		return m.travel(r)
	case n < 77:
		m.harm()
	case n < 80:
		m.disk.Heal()
		m.failing = false
	case n < 90:
		m.fuse()
	case n < 93:
		m.crash()
		return m.afterCrash()
	case n < 95:
		m.disk.Heal()
		if err := m.quit(); err != nil || m.log != nil {
			return err
		}
		return m.start()
	case n < 97:
		return m.remove(r)
	case n < 98:
		return m.rot(r)
	case n < 99:
		return m.rotLog()
	default:
		if r.d != nil {
			r.d.AfterCommit()
		}
	}
	return nil
}

// act runs a batch of actions.
func (m *machine) act(r *tortured) error {
	if err := m.wake(r); err != nil || r.d == nil {
		return err
	}
	next := state{maps.Clone(r.now.rows), r.now.seq}
	b, err := r.d.Begin()
	if err != nil {
		return m.settle(r, err, r.now, "begin")
	}
	for range 1 + m.rng.IntN(4) {
		before := maps.Clone(next.rows)
		refuse := m.rng.IntN(8) == 0
		var c Commit
		c, err = b.Do(m.rig.now.UnixMilli(), func() error {
			for range 1 + m.rng.IntN(3) {
				id, size := m.rng.IntN(40), []int{50, 500, 3000, 60_000}[m.rng.IntN(4)]
				sql, args := `INSERT OR REPLACE INTO todos (id, text, created_at, updated_at) VALUES (?, ?, 0, 0)`, []any{id, randomText(m.rng, size)}
				if m.rng.IntN(4) == 0 {
					sql, args = `DELETE FROM todos WHERE id = ?`, []any{id}
					delete(next.rows, id)
				} else {
					next.rows[id] = args[1].(string)
				}
				if _, err := r.d.Exec(sql, args...); err != nil {
					return err
				}
			}
			if refuse {
				return errHandler
			}
			return nil
		})
		if err != nil {
			next.rows = before
			if errors.Is(err, errHandler) {
				err = nil
				continue
			}
			break
		}
		if c.Seq != 0 {
			next.seq = c.Seq
		}
	}
	if err != nil {
		if rolled := b.Rollback(); rolled != nil && !m.trouble(rolled) && m.disk.Stats().Crashes == m.crashes {
			return fmt.Errorf("rollback: %w", rolled)
		}
		return m.settle(r, err, r.now, fmt.Sprintf("%s: an action", r.name))
	}
	err = b.Commit()
	if err := m.settle(r, err, next, fmt.Sprintf("%s: %v", r.name, next)); err != nil {
		return err
	}
	if r.d != nil && m.rng.IntN(2) == 0 {
		r.d.AfterCommit()
	}
	return nil
}

var errHandler = errors.New("the handler refuses")

func (m *machine) checkpoint(r *tortured) error {
	if r.d == nil {
		return nil
	}
	err := r.d.Checkpoint()
	m.say("%s: checkpoint: %v", r.name, err)
	if err == nil {
		return nil
	}
	if !m.trouble(err) {
		return fmt.Errorf("checkpoint of %s: %w", r.name, err)
	}
	m.drop(r)
	return nil
}

// alter changes the schema.
func (m *machine) alter(r *tortured) error {
	if err := m.wake(r); err != nil || r.d == nil {
		return err
	}
	r.columns++
	sql := []string{
		fmt.Sprintf("CREATE INDEX i%d ON todos (text)", r.columns),
		fmt.Sprintf("CREATE TABLE t%d AS SELECT id, text FROM todos", r.columns),
		fmt.Sprintf("CREATE TABLE other%d (a PRIMARY KEY, b) WITHOUT ROWID", r.columns),
	}[m.rng.IntN(3)]
	if m.rng.IntN(3) == 0 {
		sql = "DROP INDEX IF EXISTS i" + fmt.Sprint(r.columns-1)
	}
	_, err := r.d.Exec(sql)
	next := r.now
	if err == nil {
		next.seq = r.d.Seq()
	}
	if err != nil && strings.Contains(err.Error(), "already exists") {
		return nil
	}
	// Whether it takes a seq is not the model's business: both are tried.
	if err != nil {
		r.maybe = append(r.maybe, state{r.now.rows, r.now.seq + 1})
	}
	return m.settle(r, err, next, r.name+": "+sql)
}

// backup copies a room while it goes on.
func (m *machine) backup(r *tortured) error {
	if err := m.wake(r); err != nil || r.d == nil {
		return err
	}
	m.files++
	path := fmt.Sprintf("/backup/%d.db", m.files)
	b, err := archived.begin(r.d, path)
	if err != nil {
		return m.settle(r, err, r.now, "backup")
	}
	steps := 0
	for done := false; err == nil && !done; steps++ {
		if done, err = b.Step(1 + m.rng.IntN(20)); done || err != nil || steps > 40 {
			if steps > 40 && err == nil {
				_, err = b.Step(-1)
			}
			break
		}
		if m.rng.IntN(4) == 0 {
			if err := m.act(r); err != nil {
				return err
			}
			if r.d == nil {
				b.Close()
				return nil
			}
		}
	}
	copied := r.now
	if err == nil {
		err = b.Finish()
	}
	b.Close()
	m.say("%s: backup %s of %v: %v", r.name, path, copied, err)
	switch {
	case err == nil:
		r.backups[path] = copied
	case !m.trouble(err):
		return fmt.Errorf("backup of %s: %w", r.name, err)
	case errors.Is(err, ErrIO) && r.d != nil && r.d.sql.Broken != nil:
		m.drop(r)
	}
	return nil
}

// replace restores one of a room's backups.
func (m *machine) replace(r *tortured) error {
	paths := slices.Sorted(maps.Keys(r.backups))
	if len(paths) == 0 {
		return nil
	}
	path := paths[m.rng.IntN(len(paths))]
	if r.gone || m.rng.IntN(3) > 0 {
		return m.restoreFrom(r, path, r.backups[path])
	}
	// The sync of the name fails, and then the power.
	dir := filepath.Base(filepath.Dir(m.rig.options(r.name).Path))
	m.failing = true
	m.disk.Fail(faultdisk.Fault{Op: faultdisk.OpSyncDir, Suffix: dir, After: m.rng.IntN(7)})
	if err := m.restoreFrom(r, path, r.backups[path]); err != nil {
		return err
	}
	if err := m.act(r); err != nil {
		return err
	}
	m.crash()
	return m.afterCrash()
}

func (m *machine) restoreFrom(r *tortured, path string, copied state) error {
	if err := m.sleep(r); err != nil {
		return err
	}
	p, err := archived.restore(m.options(r), path)
	if err != nil {
		m.say("%s: preparing %s: %v", r.name, path, err)
		if !m.trouble(err) {
			return fmt.Errorf("preparing a restore of %s: %w", r.name, err)
		}
		return nil
	}
	kept, err := p.Install()
	m.say("%s: restored %v from %s, kept %s: %v", r.name, copied, path, kept, err)
	p.Discard()
	if err != nil && !m.trouble(err) {
		return fmt.Errorf("restoring %s: %w", r.name, err)
	}
	if r.gone && err != nil {
		return nil // it still may be damaged
	}
	return m.restored(r, copied, err)
}

// restored opens a room after a restore, whose seq is new.
func (m *machine) restored(r *tortured, copied state, failed error) error {
	if m.disk.Stats().Crashes != m.crashes {
		m.crash()
		if err := m.start(); err != nil {
			return err
		}
	}
	m.disk.Heal()
	m.failing = false
	d, err := Open(m.options(r))
	if err != nil {
		return fmt.Errorf("%s is refused after a restore: %w", r.name, err)
	}
	rows, err := rowsOf(d)
	if err != nil && strings.Contains(err.Error(), "no such table") {
		rows, err = map[int]string{}, nil
	}
	if err != nil {
		d.Fence()
		return fmt.Errorf("%s after a restore: %w", r.name, err)
	}
	is := state{rows, d.Seq()}
	d.Fence()
	if failed != nil && (r.now.is(rows, is.seq) || slices.ContainsFunc(r.maybe, func(s state) bool { return s.is(rows, is.seq) })) {
		return nil
	}
	if !maps.Equal(rows, copied.rows) {
		return fmt.Errorf("%s was restored to %v, and has %v: %s", r.name, copied, is, difference(copied.rows, rows))
	}
	if is.seq <= r.highest {
		return fmt.Errorf("%s was restored to seq %d, and had answered with %d", r.name, is.seq, r.highest)
	}
	r.now, r.maybe, r.past, r.highest, r.gone = is, nil, []state{is}, is.seq, false
	return nil
}

// travel copies a room as it was, and compares; now and then it restores that.
func (m *machine) travel(r *tortured) error {
	if err := m.wake(r); err != nil || r.d == nil || len(r.past) == 0 || m.history == 0 {
		return err
	}
	then := r.past[m.rng.IntN(len(r.past))]
	if then.seq == 0 {
		return nil
	}
	for _, s := range r.past { // the newest of that seq
		if s.seq == then.seq {
			then = s
		}
	}
	m.files++
	path := fmt.Sprintf("/backup/%d.db", m.files)
	err := archived.writeAt(r.d, path, Point{Seq: then.seq})
	m.say("%s as it was, %v: %v", r.name, then, err)
	switch {
	case errors.Is(err, ErrNoHistory) && (m.history < 1000*time.Hour || m.rotten > 0):
		return nil
	case errors.Is(err, ErrLogMismatch) && m.rotten > 1: // one bit of an entry is put right, two are not
		return nil
	case err != nil && m.trouble(err):
		if errors.Is(err, ErrIO) && r.d.sql.Broken != nil {
			m.drop(r)
		}
		return nil
	case err != nil:
		return fmt.Errorf("%s as it was at %d: %w", r.name, then.seq, err)
	}
	r.backups[path] = then
	if m.rng.IntN(3) == 0 {
		return m.restoreFrom(r, path, then)
	}
	rows, err := m.readCopy(path)
	if err != nil {
		if m.trouble(err) {
			return nil
		}
		return fmt.Errorf("reading %s as it was: %w", r.name, err)
	}
	if !maps.Equal(rows, then.rows) {
		return fmt.Errorf("%s as it was at %d: %s", r.name, then.seq, difference(then.rows, rows))
	}
	return nil
}

// readCopy reads what a copy holds.
func (m *machine) readCopy(path string) (map[int]string, error) {
	d, err := openBeside(m.fs, path)
	if err != nil {
		return nil, diagnose(path, err)
	}
	defer d.Close()
	rows, err := rowsOf(d)
	if err == nil {
		err = sound(d)
	}
	return rows, err
}

// harm has calls fail.
func (m *machine) harm() {
	ops := faultdisk.AllOps()
	f := faultdisk.Fault{
		Op: ops[m.rng.IntN(len(ops))], Err: []syscall.Errno{syscall.EIO, syscall.ENOSPC}[m.rng.IntN(2)], After: m.rng.IntN(12), Times: 1 + m.rng.IntN(3),
		Suffix: []string{"", "", "", ".db", "-wal", ".log", "CURRENT.tmp", ".new", "_log"}[m.rng.IntN(9)],
	}
	if f.Op == faultdisk.OpRead {
		f.Short = m.rng.IntN(2) == 0
	}
	if m.rng.IntN(8) == 0 {
		f.Times = -1
	}
	m.say("harm: %+v", f)
	m.disk.Fail(f)
	m.failing = true
}

// fuse has the power go at an operation to come.
func (m *machine) fuse() {
	if m.rng.IntN(2) == 0 {
		m.disk.CrashAfter(1 + m.rng.IntN(40))
		return
	}
	ops := []faultdisk.Op{faultdisk.OpWrite, faultdisk.OpSync, faultdisk.OpRename, faultdisk.OpDelete, faultdisk.OpMkdir, faultdisk.OpSyncDir, faultdisk.OpOpen, faultdisk.OpTruncate}
	op, suffix := ops[m.rng.IntN(len(ops))], []string{"", "", ".db", "-wal", ".log"}[m.rng.IntN(5)]
	m.say("fuse: %v %s", op, suffix)
	m.disk.CrashAt(op, suffix, 1+m.rng.IntN(6))
}

// remove has an operator remove a room's files, which was closed well, while nothing runs.
func (m *machine) remove(r *tortured) error {
	m.disk.Heal()
	m.failing = false
	for _, r := range m.rooms { // while a crash is not settled the log may bring the file back
		if err := m.wake(r); err != nil || r.d == nil {
			return err
		}
	}
	if err := m.quit(); err != nil {
		return err
	}
	if m.log != nil || len(r.maybe) > 0 {
		return nil
	}
	path := m.rig.options(r.name).Path
	for _, name := range m.disk.Files() {
		if strings.HasPrefix(name, path) {
			if err := m.disk.Remove(name); err != nil {
				return err
			}
		}
	}
	if err := m.fs.SyncDir(filepath.Dir(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	m.say("%s: the files are removed", r.name)
	r.now, r.past, r.maybe, r.highest, r.backups = state{rows: map[int]string{}}, nil, nil, 0, map[string]state{}
	return m.start()
}

// rot flips a bit of a room's file while nothing runs. The room may be refused, and is restored if there is a backup;
// no other one is.
func (m *machine) rot(r *tortured) error {
	m.disk.Heal()
	m.crash()
	path := m.rig.options(r.name).Path
	size, err := m.disk.Size(path)
	if err == nil && size > 0 && !r.gone {
		at := int64(m.rng.IntN(int(size)))
		if m.rng.IntN(3) == 0 {
			at = int64(m.rng.IntN(100))
		}
		if err := m.disk.Corrupt(path, at, []byte{1 << m.rng.IntN(8)}); err != nil {
			return err
		}
		m.say("%s: a bit is flipped at %d", r.name, at)
		r.gone = true
	}
	if err := m.start(); err != nil {
		return err
	}
	if r.gone { // knocked at, and refused or not
		if d, err := Open(m.options(r)); err == nil {
			d.Fence()
		}
	}
	return m.replace(r)
}

// rotLog flips a bit of the log while nothing runs. The room whose entry it hits may be refused, and no other.
func (m *machine) rotLog() error {
	m.disk.Heal()
	m.crash()
	suffix := ".log"
	if m.rng.IntN(3) == 0 {
		suffix = "/CURRENT"
	}
	flips := m.disk.FlipBits(suffix, 1)
	m.rotten += len(flips)
	m.say("bits are flipped: %v", flips)
	if err := m.start(); err != nil {
		return fmt.Errorf("%v are flipped: %w", flips, err)
	}
	refused := 0
	for _, r := range m.rooms {
		err := m.wake(r)
		switch {
		case err != nil && (errors.Is(err, ErrLogMismatch) || errors.Is(err, ErrLogMissing)):
			m.say("%s: %v", r.name, err)
			refused++
			r.gone = true
		case err != nil:
			return err
		}
	}
	if refused > 1 {
		return fmt.Errorf("%v are flipped, and %d rooms are refused", flips, refused)
	}
	return nil
}

// suspect has a sync fail under a checkpoint, and the power go while the file is written again.
func (m *machine) suspect(r *tortured) error {
	if err := m.wake(r); err != nil || r.d == nil {
		return err
	}
	m.disk.Heal()
	m.failing = true
	m.disk.Fail(faultdisk.Fault{Op: faultdisk.OpSync, Suffix: []string{".db", "-wal"}[m.rng.IntN(2)]})
	for range 3 {
		if r.d != nil {
			if err := m.act(r); err != nil {
				return err
			}
		}
	}
	if err := m.checkpoint(r); err != nil {
		return err
	}
	if err := m.sleep(r); err != nil {
		return err
	}
	m.disk.Heal()
	m.failing = false
	if m.rng.IntN(3) == 0 {
		m.disk.CrashAfter(1 + m.rng.IntN(30))
	} else {
		m.disk.CrashAt([]faultdisk.Op{faultdisk.OpSyncDir, faultdisk.OpDelete, faultdisk.OpRename}[m.rng.IntN(3)], "", 1+m.rng.IntN(5))
	}
	return m.wake(r)
}

// compact has a room's file written again without its free pages, and may have the disk fail or the power go meanwhile.
func (m *machine) compact(r *tortured) error {
	if err := m.wake(r); err != nil || r.d == nil {
		return err
	}
	next := state{map[int]string{}, r.now.seq + 1}
	for id, text := range r.now.rows {
		if id%3 == 0 {
			next.rows[id] = text
		}
	}
	if len(next.rows) < len(r.now.rows) && m.rng.IntN(3) > 0 {
		_, err := r.d.Exec(`DELETE FROM todos WHERE id % 3 > 0`)
		if err := m.settle(r, err, next, r.name+": most rows are deleted"); err != nil || r.d == nil {
			return err
		}
	}
	if err := m.sleep(r); err != nil {
		return err
	}
	switch m.rng.IntN(5) {
	case 0:
		m.disk.CrashAfter(1 + m.rng.IntN(80))
	case 1:
		op := []faultdisk.Op{faultdisk.OpSyncDir, faultdisk.OpDelete, faultdisk.OpRename, faultdisk.OpSync, faultdisk.OpWrite}[m.rng.IntN(5)]
		m.disk.CrashAt(op, "", 1+m.rng.IntN(8))
	case 2:
		m.harm()
	}
	done, err := Compact(context.Background(), m.options(r), nil)
	m.say("%s is compacted: %+v: %v", r.name, done, err)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !m.trouble(err) {
		return fmt.Errorf("compacting %s: %w", r.name, err)
	}
	if m.disk.Stats().Crashes != m.crashes {
		return m.again()
	}
	return m.wake(r)
}

// crowd has a large transaction meet a disk that becomes full while it is written.
func (m *machine) crowd(r *tortured) error {
	if err := m.wake(r); err != nil || r.d == nil {
		return err
	}
	m.failing = true
	m.disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, Suffix: "-wal", After: m.rng.IntN(50), Times: -1})
	next := state{maps.Clone(r.now.rows), r.now.seq + 1}
	next.rows[50] = randomText(m.rng, 300_000)
	err := put(r.d, 50, next.rows[50])
	if err := m.settle(r, err, next, r.name+": a large action on a disk that gets full"); err != nil {
		return err
	}
	m.disk.Heal()
	m.failing = false
	return m.sleep(r)
}

// unreadable spoils a room's file, and restores it.
func (m *machine) unreadable(r *tortured) error {
	if len(r.backups) == 0 || r.gone {
		return nil
	}
	m.disk.Heal()
	m.crash()
	path := m.rig.options(r.name).Path
	if there, err := roomfile.Exists(m.fs, path); err == nil && there {
		if err := m.disk.Corrupt(path, 0, []byte{0xff}); err != nil {
			return err
		}
		m.say("%s: the file is spoiled", r.name)
		r.gone = true
	}
	if err := m.start(); err != nil {
		return err
	}
	return m.replace(r)
}

// verify runs what `den verify` does.
func (m *machine) verify() error {
	if m.log != nil {
		return nil
	}
	damaged := map[string]bool{}
	for _, r := range m.rooms {
		damaged[r.name] = r.gone
	}
	var found []string
	v, err := NewVerifier(VerifyOptions{FS: m.fs, LogDir: "/data/_log", PastDir: m.past, Report: func(f Finding) {
		ofLog := f.Check == "log" || f.Check == "history"
		if f.Severity == Problem && !damaged[f.Room] && !(m.rotten > 0 && ofLog) {
			found = append(found, f.String())
		}
	}})
	if err != nil {
		return err
	}
	err = v.Dir(context.Background(), "/data", "n")
	if _, closed := v.Close(); err == nil {
		err = closed
	}
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("den verify: %s", strings.Join(found, "\n"))
	}
	return err
}

// inspect opens all rooms once more.
func (m *machine) inspect() error {
	if err := m.start(); err != nil {
		return err
	}
	for _, r := range m.rooms {
		if err := m.wake(r); err != nil {
			return err
		}
		if r.d != nil {
			if err := sound(r.d); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	return m.quit()
}
