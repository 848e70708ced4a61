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
)

// spares opens rooms of one kind with one log.
type spares struct {
	t   *testing.T
	dir string
	k   Kind
	log Log
	now time.Time
}

func newSpares(t *testing.T) *spares {
	s := &spares{t: t, dir: t.TempDir(), log: newMemLog(), now: time.Unix(1e9, 0)}
	wals := filepath.Join(s.dir, "wals")
	if err := ClearWALs(HostFS(), wals); err != nil {
		t.Fatal(err)
	}
	s.k.KeepWALs(wals)
	t.Cleanup(func() {
		s.k.Close()
		if names, err := HostFS().Names(wals); err != nil || len(names) > 0 {
			t.Errorf("WALs are left: %q, %v", names, err)
		}
	})
	return s
}

func (s *spares) options(name string) Options {
	return Options{Path: filepath.Join(s.dir, name), Namespace: "n", Room: name, Kind: &s.k, Log: s.log, Now: func() time.Time { return s.now }}
}

func (s *spares) open(name string) *DB {
	s.t.Helper()
	return openTest(s.t, s.options(name))
}

// make makes a room by a script, and closes it.
func (s *spares) make(name, script string) {
	s.t.Helper()
	d := s.open(name)
	mustExec(s.t, d, script)
	s.close(d)
}

func (s *spares) close(d *DB) {
	s.t.Helper()
	if err := d.Close(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *spares) want(n int, when string) {
	s.t.Helper()
	if got := s.k.count(); got != n {
		s.t.Errorf("%s there are %d spare connections, want %d", when, got, n)
	}
}

// moved tells whether a DB has a connection that served another file before.
func moved(d *DB) bool { return d.files.Moved() }

// verify looks at a file with a new connection.
func (s *spares) verify(name string, rows int64) {
	s.t.Helper()
	o := s.options(name)
	o.Kind = nil
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

const spareTable = `CREATE TABLE t (id INTEGER PRIMARY KEY, x)`

// A room's connection goes to the next one with the same schema, and each of them has its own
// content, epoch and numbers.
func TestSpare(t *testing.T) {
	s := newSpares(t)
	names := []string{"a", "b", "c"}
	epochs := map[string]string{}
	for _, name := range names {
		s.make(name, spareTable)
	}
	s.k.Close()
	s.k.closed = false
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
func TestSpareOfAnotherSchema(t *testing.T) {
	s := newSpares(t)
	s.make("a", spareTable)
	s.make("b", `CREATE TABLE u (y, z)`)
	s.make("c", spareTable+`; CREATE INDEX i ON t (x)`)
	s.k.Close()
	s.k.closed = false
	counts := map[string]int64{}
	for _, name := range []string{"a", "b", "c", "b", "a"} {
		d := s.open(name)
		counts[name] = d.schemaVersion
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
func TestSpareOfAnotherLargeSchema(t *testing.T) {
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
		s := newSpares(t)
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
func TestSpareNotForAll(t *testing.T) {
	s := newSpares(t)
	s.make("a", spareTable)
	s.want(1, "behind a")
	o := s.options("a")
	o.MaxBytes = 1 << 20
	d := openTest(t, o)
	if moved(d) {
		t.Error("a connection with another limit")
	}
	s.close(d)
	s.k.Close()
	s.k.closed = false
	s.make("words", `CREATE VIRTUAL TABLE words USING fts5 (text)`)
	s.want(0, "behind a virtual table")
	s.make("large", spareTable+`; CREATE TABLE wide (x CHECK (x <> '`+strings.Repeat("x", 5000)+`'))`)
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

// There are 32 of them at most, and those that nobody wants go, but for two.
func TestSpareLimits(t *testing.T) {
	s := newSpares(t)
	var dbs []*DB
	for i := range maxSpares + 3 {
		d := s.open(fmt.Sprint("room", i))
		mustExec(t, d, spareTable)
		dbs = append(dbs, d)
	}
	for _, d := range dbs {
		s.close(d)
	}
	s.want(maxSpares, "at most")
	s.now = s.now.Add(spareTime - 1)
	if !s.k.Tend(s.now) {
		t.Error("there are no more of them, although it is not time yet")
	}
	s.want(maxSpares, "before their time")
	s.close(s.open("room1"))
	s.now = s.now.Add(1)
	if s.k.Tend(s.now) {
		t.Error("there are more of them than two")
	}
	s.want(fewSpares, "when nobody wants them")
	d := s.open("room1")
	if !moved(d) {
		t.Error("the one that was used last is not there any more")
	}
	s.k.Close()
	s.want(0, "at the end")
	s.close(d)
	s.want(0, "behind the end")
}

// A file that is open through a used connection is locked like any other.
func TestSpareLocks(t *testing.T) {
	s := newSpares(t)
	s.make("a", spareTable)
	s.make("b", spareTable)
	d := s.open("a")
	if !moved(d) {
		t.Fatal("no used connection")
	}
	o := s.options("a")
	o.Kind = nil
	_, err := Open(o)
	wantError(t, err, ErrInUse)
	s.close(d)
	s.verify("a", 0)
}

// A room that moved in makes no WAL until it rests, and what it committed meanwhile is in the log.
func TestSpareMakesItsWALLate(t *testing.T) {
	for _, rest := range []bool{false, true} {
		s := newSpares(t)
		s.make("a", spareTable)
		s.make("b", spareTable)
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
			if d.Rest(); !there() {
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
func TestSpareKeepsItsWAL(t *testing.T) {
	s := newSpares(t)
	parked := func() []string {
		names, err := HostFS().Names(s.k.wals)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	s.make("a", spareTable)
	s.make("b", spareTable)
	a, b := s.open("a"), s.open("b") // their first lives were in memory
	for _, d := range []*DB{a, b} {
		mustExec(t, d, "INSERT INTO t VALUES (2, 2)")
		d.Rest()
		s.close(d)
	}
	if n := len(parked()); n != 2 {
		t.Fatalf("%d WALs are kept, want 2", n)
	}
	for _, name := range parked() {
		if b, err := os.ReadFile(filepath.Join(s.k.wals, name)); err != nil || len(b) <= walHeaderSize || strings.Trim(string(b[:walHeaderSize]), "\x00") != "" {
			t.Errorf("%s begins with %x, %v", name, b[:min(len(b), walHeaderSize)], err)
		}
	}
	d := s.open("a")
	mustExec(t, d, "INSERT INTO t VALUES (1, 1)")
	if n := len(parked()); n != 2 {
		t.Errorf("%d WALs while nothing is written, want 2", n)
	}
	d.Rest()
	if n := len(parked()); n != 1 {
		t.Errorf("%d WALs while a is in use, want 1", n)
	}
	s.close(d)
	d = s.open("a")
	d.Fence() // one that was not in use goes with its connection
	if n := len(parked()); n != 1 {
		t.Errorf("%d WALs behind a life that was fenced, want 1", n)
	}
	d = s.open("a")
	mustExec(t, d, fmt.Sprintf("INSERT INTO t (x) VALUES (zeroblob(%d))", 2*maxParked))
	s.close(d)
	if n := len(parked()); n != 0 {
		t.Errorf("%d WALs behind a large one, want none", n)
	}
	s.verify("a", 3)
}

// A disk on which the WAL cannot be made takes nothing from what was acknowledged.
func TestSpareWithoutAWAL(t *testing.T) {
	s := newSpares(t)
	s.make("a", spareTable)
	s.make("b", spareTable)
	d := s.open("a")
	if err := os.Mkdir(filepath.Join(s.dir, "a-wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	mustExec(t, d, "INSERT INTO t VALUES (1, 1)")
	d.Rest()
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
func TestSpareRandom(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (repeat with -seed)", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	s := newSpares(t)
	scripts := []string{
		spareTable, spareTable, spareTable + `; CREATE INDEX i ON t (x)`, `CREATE TABLE u (id); ` + spareTable,
		spareTable + `; CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET x = new.x || '!' WHERE id = new.id; END`,
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
			d.Rest()
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
func TestPowerCutSpare(t *testing.T) {
	stride := 12 / shorter(12, 1)
	for after := 1; ; after += stride {
		cut := false
		for seed := range uint64(2) {
			cut = cutSpare(t, after, seed) || cut
		}
		if !cut {
			if after < 20 {
				t.Errorf("after %d operations all was done: this tests nothing", after)
			}
			return
		}
	}
}

// cutSpare has the power go after some operations, and tells whether it went before the end.
func cutSpare(t *testing.T, after int, seed uint64) (cut bool) {
	disk := faultdisk.New(uint64(after)<<8+seed, faultdisk.PowersafeOverwrite)
	name := fmt.Sprintf("spare-%d-%d", after, seed)
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
		var k Kind
		defer k.Close()
		if (uint64(after)+seed)%4 != 0 {
			if err := ClearWALs(disk.FS(name), "/wals"); err != nil {
				return errors.Join(err, log.Close())
			}
			k.KeepWALs("/wals")
		}
		err = do(func(room string) (*DB, error) {
			return Open(Options{Path: "/" + room + "/file", Namespace: "n", Room: room, FS: disk.FS(name), Log: log, Kind: &k})
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
			if _, err := visit(open, room, func(d *DB) error { _, err := d.Exec(spareTable); return err }); err != nil {
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
							d.Rest()
						}
					}
					return nil
				})
				if d != nil && d.created {
					t.Error("a room was made anew")
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
