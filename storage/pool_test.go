package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/internal/walfile"
	"github.com/denrooms/den/storage/pool"
)

// poolRig opens rooms of one kind with one log.
type poolRig struct {
	t    *testing.T
	dir  string
	pool *Pool
	log  Log
	now  time.Time
}

func newPoolRig(t *testing.T) *poolRig {
	s := &poolRig{t: t, dir: t.TempDir(), log: newMemLog(), now: time.Unix(1e9, 0)}
	wals := filepath.Join(s.dir, "wals")
	if err := ClearWALs(HostFS(), wals); err != nil {
		t.Fatal(err)
	}
	s.pool = NewPool(PoolOptions{WALs: wals})
	t.Cleanup(func() {
		s.pool.Close()
		if names, err := HostFS().Names(wals); err != nil || len(names) > 0 {
			t.Errorf("WALs are left: %q, %v", names, err)
		}
	})
	return s
}

func (s *poolRig) options(name string) Options {
	return Options{Path: filepath.Join(s.dir, name), Namespace: "n", Room: name, Pool: s.pool, Log: s.log, Now: func() time.Time { return s.now }}
}

func (s *poolRig) open(name string) *DB {
	s.t.Helper()
	return openTest(s.t, s.options(name))
}

// make makes a room by a script, and closes it.
func (s *poolRig) make(name, script string) {
	s.t.Helper()
	d := s.open(name)
	mustExec(s.t, d, script)
	s.close(d)
}

func (s *poolRig) close(d *DB) {
	s.t.Helper()
	if err := d.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// empty closes the connections that wait.
func (s *poolRig) empty() {
	s.pool.Close()
	s.pool = NewPool(s.pool.conns.Options)
}

func (s *poolRig) want(n int, when string) {
	s.t.Helper()
	if got := s.pool.conns.Len(); got != n {
		s.t.Errorf("%s %d connections wait, want %d", when, got, n)
	}
}

// moved reports whether a DB has a connection that served another file before.
func moved(d *DB) bool { return d.sql.Conn.Files.Moved() }

// verify looks at a file with a new connection.
func (s *poolRig) verify(name string, rows int64) {
	s.t.Helper()
	o := s.options(name)
	o.Pool = nil
	d := openTest(s.t, o)
	defer d.Close()
	checkConsistent(s.t, d)
	if got := ownQuery(s.t, d, "PRAGMA integrity_check"); len(got) != 1 || got[0][0] != "ok" {
		s.t.Errorf("%s: %v", name, got)
	}
	if got := query(s.t, d, "SELECT count(*) FROM t"); got[0][0] != rows {
		s.t.Errorf("%s has %v rows, want %d", name, got, rows)
	}
}

const pooledTable = `CREATE TABLE t (id INTEGER PRIMARY KEY, x)`

// A room's connection goes to the next one with the same schema, and each of them has its own
// content, epoch and numbers.
func TestPooled(t *testing.T) {
	s := newPoolRig(t)
	names := []string{"a", "b", "c"}
	epochs := map[string]string{}
	for _, name := range names {
		s.make(name, pooledTable)
	}
	s.empty()
	for round := range 4 {
		for i, name := range names {
			d := s.open(name)
			if was := epochs[name]; was != "" && was != d.Epoch() {
				t.Errorf("%s: its epoch was %s and is %s", name, was, d.Epoch())
			}
			epochs[name] = d.Epoch()
			if want := round+i > 0; moved(d) != want {
				t.Errorf("round %d, %s: a used connection: %v, want %v", round, name, moved(d), want)
			}
			if id := query(t, d, "SELECT last_insert_rowid()")[0][0]; id != int64(0) {
				t.Errorf("%s: another room's rowid %v", name, id)
			}
			if n := query(t, d, "SELECT count(*) FROM t")[0][0]; n != int64(round) {
				t.Errorf("%s: %v rows, want %d", name, n, round)
			}
			if n := query(t, d, "SELECT count(*) FROM t WHERE x <> ?", name)[0][0]; n != int64(0) {
				t.Errorf("%s has %v rows of another room", name, n)
			}
			if d.Seq() != Seq(round) {
				t.Errorf("%s is at %d, want %d", name, d.Seq(), round)
			}
			mustExec(t, d, "INSERT INTO t (x) VALUES (?)", name)
			s.close(d)
			s.want(1, "behind "+name)
			if names, err := filepath.Glob(filepath.Join(s.dir, name+"-*")); err != nil || len(names) > 0 {
				t.Errorf("left behind: %q, %v", names, err)
			}
		}
	}
	for i := range 6 { // of lives that change nothing
		d := s.open(names[i%3])
		if n := query(t, d, "SELECT count(*) FROM t WHERE x = ?", names[i%3])[0][0]; n != int64(4) {
			t.Errorf("%s: %v rows, want 4", names[i%3], n)
		}
		s.close(d)
	}
	for _, name := range names {
		s.verify(name, 4)
	}
}

// A connection does not go to a file with another schema, not even where SQLite's own count of
// schema changes is the same.
func TestPooledOfAnotherSchema(t *testing.T) {
	s := newPoolRig(t)
	s.make("a", pooledTable)
	s.make("b", `CREATE TABLE u (y, z)`)
	s.make("c", pooledTable+`; CREATE INDEX i ON t (x)`)
	s.empty()
	counts := map[string]int64{}
	for _, name := range []string{"a", "b", "c", "b", "a"} {
		d := s.open(name)
		counts[name] = d.sql.SchemaVersion
		s.close(d)
	}
	if counts["a"] != counts["b"] || counts["a"] == counts["c"] {
		t.Fatalf("SQLite's counts are %v: this tests nothing", counts)
	}
	s.want(3, "with three schemas")
	b := s.open("b")
	mustExec(t, b, `INSERT INTO u VALUES (1, 2); ALTER TABLE u ADD COLUMN more`)
	if got := query(t, b, "SELECT * FROM u"); !reflect.DeepEqual(got, [][]Value{{int64(1), int64(2), nil}}) {
		t.Errorf("b has %v", got)
	}
	s.close(b)
	s.want(3, "behind a change of a schema")
	a := s.open("a")
	mustExec(t, a, `INSERT INTO t VALUES (1, 'a')`)
	s.close(a)
	b = s.open("b")
	if got := query(t, b, "SELECT y, z, more FROM u"); !reflect.DeepEqual(got, [][]Value{{int64(1), int64(2), nil}}) {
		t.Errorf("b has %v", got)
	}
	s.close(b)
	s.verify("a", 1)
}

// Nor to one whose schema needs several pages and differs in one of them, whichever that is.
func TestPooledOfAnotherLargeSchema(t *testing.T) {
	const tables = 60
	script := func(other int) string { // of which one table has another column
		var b strings.Builder
		for i := range tables {
			column := "x"
			if i == other {
				column = "y"
			}
			fmt.Fprintf(&b, "CREATE TABLE t%02d (%s, padding CHECK (padding <> 'so that the schema needs several pages'));", i, column)
		}
		return b.String()
	}
	for other := 0; other < tables; other += 12 {
		s := newPoolRig(t)
		s.make("a", script(-1))
		s.close(s.open("a"))
		alone := openTest(t, Options{Path: filepath.Join(s.dir, "b"), Namespace: "n", Room: "b", Log: s.log, Now: func() time.Time { return s.now }})
		mustExec(t, alone, script(other))
		s.close(alone)
		d := s.open("b")
		if moved(d) {
			t.Errorf("table %d differs: it has the connection of another schema", other)
		}
		mustExec(t, d, fmt.Sprintf("INSERT INTO t%02d (y) VALUES (1)", other))
		s.close(d)
		if d = s.open("a"); !moved(d) {
			t.Error("a connection of the same schema is not used: this tests nothing")
		}
		s.close(d)
	}
}

// Nor to one whose settings are others, nor from a file with a virtual table, whose module may
// remember something.
func TestPooledNotForAll(t *testing.T) {
	s := newPoolRig(t)
	s.make("a", pooledTable)
	s.want(1, "behind a")
	o := s.options("a")
	o.MaxBytes = 1 << 20
	d := openTest(t, o)
	if moved(d) {
		t.Error("a connection with another limit")
	}
	s.close(d)
	s.empty()
	s.make("words", `CREATE VIRTUAL TABLE words USING fts5 (text)`)
	s.want(0, "behind a virtual table")
	s.make("large", pooledTable+`; CREATE TABLE wide (x CHECK (x <> '`+strings.Repeat("x", 5000)+`'))`)
	s.want(0, "behind a schema that goes on in other pages")
	d = s.open("a")
	mustExec(t, d, `INSERT INTO t VALUES (1, 1)`)
	d.Fence()
	s.want(0, "behind a life that was fenced")
	s.log.(*memLog).crashed++
	d = s.open("a")
	if n := query(t, d, "SELECT count(*) FROM t")[0][0]; n != int64(1) {
		t.Errorf("behind a fence: %v rows", n)
	}
	s.close(d)
	s.want(1, "at last")
}

// A file that is open through a used connection is locked like any other.
func TestPooledLocks(t *testing.T) {
	s := newPoolRig(t)
	s.make("a", pooledTable)
	s.make("b", pooledTable)
	d := s.open("a")
	if !moved(d) {
		t.Fatal("no used connection")
	}
	o := s.options("a")
	o.Pool = nil
	_, err := Open(o)
	wantError(t, err, ErrInUse)
	s.close(d)
	s.verify("a", 0)
}

// A room that moved in makes no WAL until it rests, and what it committed meanwhile is in the log.
func TestPooledMakesItsWALLate(t *testing.T) {
	for _, rest := range []bool{false, true} {
		s := newPoolRig(t)
		s.make("a", pooledTable)
		s.make("b", pooledTable)
		d := s.open("a")
		there := func() bool {
			_, err := os.Stat(filepath.Join(s.dir, "a-wal"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			return err == nil
		}
		mustExec(t, d, "INSERT INTO t VALUES (1, 1)")
		if there() {
			t.Error("a WAL before it rests")
		}
		if rest {
			if d.AfterCommit(); !there() {
				t.Error("no WAL when it rests")
			}
		}
		restore := rememberFile(t, s.options("a")) // the process dies here
		d.Fence()
		restore()
		s.log.(*memLog).crashed++
		if rest {
			o := s.options("a")
			o.Log = nil
			_, err := Open(o)
			wantError(t, err, ErrLogMissing)
		}
		s.verify("a", 1)
	}
}

// A connection keeps its WAL from one room to the next, if it is not large, and what is in it is
// nobody's then.
func TestPooledKeepsItsWAL(t *testing.T) {
	s := newPoolRig(t)
	kept := func() []string {
		names, err := HostFS().Names(s.pool.conns.WALs)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	s.make("a", pooledTable)
	s.make("b", pooledTable)
	a, b := s.open("a"), s.open("b") // their first lives were in memory
	for _, d := range []*DB{a, b} {
		mustExec(t, d, "INSERT INTO t VALUES (2, 2)")
		d.AfterCommit()
		s.close(d)
	}
	if n := len(kept()); n != 2 {
		t.Fatalf("%d WALs are kept, want 2", n)
	}
	for _, name := range kept() {
		if b, err := os.ReadFile(filepath.Join(s.pool.conns.WALs, name)); err != nil || len(b) <= walfile.HeaderSize || strings.Trim(string(b[:walfile.HeaderSize]), "\x00") != "" {
			t.Errorf("%s begins with %x, %v", name, b[:min(len(b), walfile.HeaderSize)], err)
		}
	}
	d := s.open("a")
	mustExec(t, d, "INSERT INTO t VALUES (1, 1)")
	if n := len(kept()); n != 2 {
		t.Errorf("%d WALs while nothing is written, want 2", n)
	}
	d.AfterCommit()
	if n := len(kept()); n != 1 {
		t.Errorf("%d WALs while a is in use, want 1", n)
	}
	s.close(d)
	d = s.open("a")
	d.Fence() // one that was not in use goes with its connection
	if n := len(kept()); n != 1 {
		t.Errorf("%d WALs behind a life that was fenced, want 1", n)
	}
	d = s.open("a")
	mustExec(t, d, fmt.Sprintf("INSERT INTO t (x) VALUES (zeroblob(%d))", 2<<20))
	s.close(d)
	if n := len(kept()); n != 0 {
		t.Errorf("%d WALs behind a large one, want none", n)
	}
	s.verify("a", 3)
}

// A disk on which the WAL cannot be made takes nothing from what was acknowledged.
func TestPooledWithoutAWAL(t *testing.T) {
	s := newPoolRig(t)
	s.make("a", pooledTable)
	s.make("b", pooledTable)
	d := s.open("a")
	if err := os.Mkdir(filepath.Join(s.dir, "a-wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	mustExec(t, d, "INSERT INTO t VALUES (1, 1)")
	d.AfterCommit()
	mustExec(t, d, "INSERT INTO t VALUES (2, 2)")
	wantError(t, d.Checkpoint(), ErrIO)
	wantError(t, d.Close())
	s.want(1, "behind a close that failed") // b's
	if err := os.Remove(filepath.Join(s.dir, "a-wal")); err != nil {
		t.Fatal(err)
	}
	s.log.(*memLog).crashed++
	s.verify("a", 2)
}

// Random rooms of a few schemas, whose connections go from one to the other, have what they
// should at any time.
func TestPooledRandom(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (repeat with -seed)", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	s := newPoolRig(t)
	scripts := []string{
		pooledTable, pooledTable, pooledTable + `; CREATE INDEX i ON t (x)`, `CREATE TABLE u (id); ` + pooledTable,
		pooledTable + `; CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET x = new.x || '!' WHERE id = new.id; END`,
	}
	content := make([]map[int64]string, 12)
	dbs := make([]*DB, len(content))
	ddl, again := 0, 0
	name := func(i int) string { return fmt.Sprint("room", i) }
	for i := range content {
		content[i] = make(map[int64]string)
		s.make(name(i), scripts[i%len(scripts)])
	}
	check := func(i int) {
		t.Helper()
		got := make(map[int64]string)
		for _, row := range query(t, dbs[i], "SELECT id, x FROM t") {
			got[row[0].(int64)] = strings.TrimSuffix(fmt.Sprint(row[1]), "!")
		}
		if !reflect.DeepEqual(got, content[i]) {
			t.Fatalf("seed %d: room %d has %d rows, want %d", seed, i, len(got), len(content[i]))
		}
	}
	for range 1500 {
		i := rng.IntN(len(dbs))
		d := dbs[i]
		if d == nil {
			dbs[i] = s.open(name(i))
			if moved(dbs[i]) {
				again++
			}
			if rng.IntN(2) == 0 {
				check(i)
			}
			continue
		}
		switch n := rng.IntN(20); {
		case n < 8:
			id, x := rng.Int64N(200), strings.Repeat("x", rng.IntN(2000))
			mustExec(t, d, "DELETE FROM t WHERE id = ?", id)
			mustExec(t, d, "INSERT INTO t VALUES (?, ?)", id, x)
			content[i][id] = x
		case n < 9: // more than is gathered
			for id := range int64(100) {
				mustExec(t, d, "INSERT OR REPLACE INTO t VALUES (?, ?)", id, strings.Repeat("y", 900))
				content[i][id] = strings.Repeat("y", 900)
			}
		case n < 10:
			mustExec(t, d, fmt.Sprintf("CREATE TABLE extra%d (x)", ddl))
			ddl++
		case n < 12:
			d.AfterCommit()
		case n < 13:
			if err := d.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		case n < 14:
			d.Fence()
			dbs[i] = nil
		default:
			if rng.IntN(2) == 0 {
				check(i)
			}
			s.close(d)
			dbs[i] = nil
		}
	}
	for i, d := range dbs {
		if d != nil {
			s.close(d)
		}
		s.verify(name(i), int64(len(content[i])))
	}
	if again < 100 {
		t.Errorf("only %d lives had a used connection", again)
	}
}

// Over power cuts at every operation of the disk, rooms that take over each other's connections
// lose nothing that was acknowledged.
func TestPowerCutPooled(t *testing.T) {
	stride := 12 / shorter(12, 1)
	for after := 1; ; after += stride {
		cut := false
		for seed := range uint64(2) {
			cut = cutPooled(t, after, seed) || cut
		}
		if !cut {
			if after < 20 {
				t.Errorf("after %d operations all was done: this tests nothing", after)
			}
			return
		}
	}
}

// cutPooled has the power go after some operations, and reports whether it went before the end.
func cutPooled(t *testing.T, after int, seed uint64) (cut bool) {
	disk := faultdisk.New(uint64(after)<<8+seed, faultdisk.PowersafeOverwrite)
	name := fmt.Sprintf("pooled-%d-%d", after, seed)
	unregister, err := disk.Register(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unregister(); err != nil {
			t.Error(err)
		}
	}()
	acknowledged := map[string]int64{}
	life := func(do func(open func(string) (*DB, error)) error) error {
		log, err := OpenLog(LogOptions{Dir: "/_log", FS: disk.FS(name)})
		if err != nil {
			return err
		}
		var o PoolOptions
		if (uint64(after)+seed)%4 != 0 {
			o.WALs = "/wals"
			if err := ClearWALs(disk.FS(name), o.WALs); err != nil {
				return errors.Join(err, log.Close())
			}
		}
		p := NewPool(o)
		defer p.Close()
		err = do(func(room string) (*DB, error) {
			return Open(Options{Path: "/" + room + "/file", Namespace: "n", Room: room, FS: disk.FS(name), Log: log, Pool: p})
		})
		return errors.Join(err, log.Close())
	}
	rooms := []string{"a", "b", "c"}
	visit := func(open func(string) (*DB, error), room string, do func(*DB) error) (*DB, error) {
		d, err := open(room)
		if err != nil {
			return nil, err
		}
		return d, errors.Join(do(d), d.Close())
	}
	if err := life(func(open func(string) (*DB, error)) error {
		for _, room := range rooms {
			if _, err := visit(open, room, func(d *DB) error { _, err := d.Exec(pooledTable); return err }); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	disk.CrashAfter(after)
	again := 0
	err = life(func(open func(string) (*DB, error)) error {
		for round := range 2 {
			for _, room := range rooms {
				d, err := visit(open, room, func(d *DB) error {
					for i := range 2 {
						rows := 1 + 79*round*i // the last time it is more than is gathered
						if _, err := d.Exec(`WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
							INSERT INTO t (x) SELECT hex(zeroblob(500)) || ?1 FROM n`, room, rows); err != nil {
							return err
						}
						acknowledged[room] += int64(rows)
						if i == 0 {
							d.AfterCommit()
						}
					}
					return nil
				})
				if d != nil && d.created {
					t.Error("a room was made again")
				}
				if err != nil {
					return err
				}
				again++
			}
		}
		return nil
	})
	disk.CrashAfter(0)
	if err == nil && again != 2*len(rooms) {
		t.Errorf("%d visits", again)
	}
	disk.Crash()
	if err := disk.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := life(func(open func(string) (*DB, error)) error {
		for _, room := range rooms {
			if _, err := visit(open, room, func(d *DB) error {
				checkConsistent(t, d)
				if n := query(t, d, "SELECT count(*) FROM t WHERE x NOT LIKE '%' || ?", room)[0][0]; n != int64(0) {
					t.Errorf("cut after %d, seed %d: %s has %v rows of other rooms", after, seed, room, n)
				}
				if n := query(t, d, "SELECT count(*) FROM t")[0][0].(int64); n != acknowledged[room] && n != acknowledged[room]+1 && n != acknowledged[room]+80 {
					t.Errorf("cut after %d, seed %d: %s has %d rows, %d were acknowledged", after, seed, room, n, acknowledged[room])
				}
				return nil
			}); err != nil {
				return fmt.Errorf("%s: %w", room, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatalf("cut after %d, seed %d: %v", after, seed, err)
	}
	return err != nil
}

// inBackground collects what a nursery's Pool would do in the background.
func (n *nursery) inBackground() *[]func() {
	work := new([]func())
	n.pool.conns.Background = func(f func()) { *work = append(*work, f) }
	return work
}

// Where rooms begin and none sleeps, connections are prepared for those that come next, with the
// statements that the kind uses, and no more of them than are wanted.
func TestWarm(t *testing.T) {
	n := newNursery(t)
	work := n.inBackground()
	a := n.logOnly("a") // takes the only connection
	if got := n.pool.conns.Len(); got != 0 {
		t.Fatalf("%d connections wait", got)
	}
	if a.AfterCommit(); len(*work) != 0 {
		t.Error("connections are prepared before a room has used anything")
	}
	const mine = `SELECT count(*) FROM todos WHERE text = ?`
	add(t, a, 1, "x")
	query(t, a, mine, "x")
	if a.AfterCommit(); len(*work) != 1 {
		t.Fatal("nothing to do")
	}
	b := n.logOnly("b") // while it is under way
	add(t, b, 1, "x")
	if b.AfterCommit(); len(*work) != 1 {
		t.Error("the same work twice")
	}
	(*work)[0]()
	if got := n.pool.conns.Len(); got != pool.Idle {
		t.Errorf("%d connections wait, want %d", got, pool.Idle)
	}
	c := n.logOnly("c")
	if a.AfterCommit(); len(*work) != 1 {
		t.Error("a DB does it twice")
	}
	if got := n.pool.conns.Len(); got != pool.Idle-1 {
		t.Errorf("%d connections wait, want %d", got, pool.Idle-1)
	}
	for _, sql := range []string{mine} {
		if s := c.sql.Caches[session.Handler].Get(sql); s == nil {
			t.Errorf("%s is not compiled", sql)
		} else {
			s.Release()
		}
	}
	if c.sql.Controls[session.Commit] == nil {
		t.Error("COMMIT is not compiled")
	}
	add(t, c, 2, "y")
	if got := query(t, c, mine, "x")[0][0]; got != int64(0) {
		t.Errorf("c has %v rows of a", got)
	}
	if got := query(t, c, mine, "y")[0][0]; got != int64(1) || c.Seq() != 1 {
		t.Errorf("c has %v rows of its own at %d", got, c.Seq())
	}
	for name, d := range map[string]*DB{"a": a, "b": b, "c": c} {
		checkConsistent(t, d)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		checkConsistent(t, n.open(name))
	}
}

// Work that comes to its end after the Pool's leaves nothing.
func TestWarmAfterTheEnd(t *testing.T) {
	n := newNursery(t)
	work := n.inBackground()
	d := n.logOnly("a")
	add(t, d, 1, "x")
	d.AfterCommit()
	d.Fence()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		n.pool.Close() // waits for the work
	}()
	(*work)[0]()
	<-closed
	if got := n.pool.conns.Len(); got != 0 {
		t.Errorf("%d connections wait", got)
	}
}
