package faultdisk

// SQLite's own promises, held against the disk: a workload whose state after k
// commits can be computed, power cuts anywhere in it, and a look at what is left.

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/sqlite"
)

var (
	seedFlag = flag.Uint64("seed", 0, "first seed of the crash tests; 0 takes the fixed ones")
	lifeFlag = flag.Int("lives", 0, "disks that each crash test uses up; 0 takes 250, and 25 with -race or -short")
)

const (
	crashesPerDisk = 8
	ids            = 40
)

// workload is a database whose commit k is known from k alone.
type workload struct {
	pragmas string
	setup   string // sets the journal mode, and is the first of each life
}

var (
	walFull = workload{"PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 12", "PRAGMA journal_mode = WAL"}
	// walFullChecked leaves no recovered frame in the WAL.
	walFullChecked = workload{walFull.pragmas, "PRAGMA wal_checkpoint(TRUNCATE); " + walFull.setup}
	walNormal      = workload{"PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 12", "PRAGMA journal_mode = WAL"}
	// journal: with FULL the deletion of the journal, which is the commit, isn't synced.
	journalExtra = workload{"PRAGMA synchronous = EXTRA", "PRAGMA journal_mode = DELETE"}
	journalFull  = workload{"PRAGMA synchronous = FULL", "PRAGMA journal_mode = DELETE"}
)

// errBroken is an answer of the disk, or of SQLite, that breaks a promise.
var errBroken = errors.New("promise broken")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errBroken, fmt.Sprintf(format, args...))
}

// touched are the rows that commit k writes, and how long they become.
func touched(k int) map[int]int {
	r := rand.New(rand.NewPCG(uint64(k), 7))
	rows := map[int]int{}
	for range 1 + r.IntN(4) {
		rows[r.IntN(ids)] = r.IntN(1500) * (1 + 5*(r.IntN(8)/7))
	}
	return rows
}

// commitSQL is commit k as attempt makes it. Without the attempt's number a commit
// that is made again after a cut has the same bytes as the lost one, and SQLite
// finds the ones after that in the WAL again, whole and with matching checksums.
func commitSQL(k, attempt int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "BEGIN IMMEDIATE; UPDATE head SET k = %d, attempt = %d;", k, attempt)
	rows := touched(k)
	for id := range ids {
		if size, ok := rows[id]; ok {
			fmt.Fprintf(&b, "INSERT OR REPLACE INTO t VALUES (%d, %d, zeroblob(%d));", id, k, size)
		}
	}
	return b.String() + "COMMIT;"
}

// wanted is the content after commit k.
func wanted(k int) string {
	var rows [ids]string
	for i := 1; i <= k; i++ {
		for id, size := range touched(i) {
			rows[id] = fmt.Sprintf("%d %d %d\n", id, i, size)
		}
	}
	return strings.Join(rows[:], "")
}

// look opens the database, checks it, and returns the commit that it is at; the
// connection is closed if there is an error.
func (w workload) look(vfs string) (c *conn, k int, err error) {
	c, err = dial(vfs, "room.db")
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if err := c.exec(w.pragmas); err != nil {
		return c, 0, err
	}
	check, err := c.query("PRAGMA integrity_check")
	if err != nil {
		return c, 0, err
	}
	if len(check) != 1 || check[0][0] != "ok" {
		return c, 0, broken("integrity_check: %v", check)
	}
	tables, err := c.query("SELECT count(*) FROM sqlite_schema WHERE name IN ('t', 'head')")
	if err != nil || tables[0][0] == "0" {
		return c, 0, err
	}
	head, err := c.query("SELECT k FROM head")
	if err != nil {
		return c, 0, err
	}
	fmt.Sscan(head[0][0], &k)
	rows, err := c.query("SELECT id, k, length(v) FROM t ORDER BY id")
	if err != nil {
		return c, 0, err
	}
	got := ""
	for _, r := range rows {
		got += strings.Join(r, " ") + "\n"
	}
	if got != wanted(k) {
		return c, 0, broken("at commit %d the content is\n%s\nnot\n%s", k, got, wanted(k))
	}
	return c, k, nil
}

// run commits from k on until an error comes or the count is reached, and returns
// the last commit that was acknowledged.
func (w workload) run(c *conn, k, commits, attempt int) (acked int, err error) {
	mode, err := c.query(w.setup)
	if err != nil {
		return k, err
	}
	if want := strings.ToLower(w.setup[strings.LastIndex(w.setup, " ")+1:]); mode[len(mode)-1][0] != want {
		return k, fmt.Errorf("the journal mode is %s, not %s", mode[len(mode)-1][0], want)
	}
	if k == 0 {
		err := c.exec("BEGIN; CREATE TABLE IF NOT EXISTS head (k INTEGER, attempt INTEGER); INSERT INTO head SELECT 0, 0 WHERE NOT EXISTS (SELECT 1 FROM head);" +
			"CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, k INTEGER, v BLOB); CREATE INDEX IF NOT EXISTS tk ON t (k); COMMIT")
		if err != nil {
			return 0, err
		}
	}
	for i := 1; i <= commits; i++ {
		if err := c.exec(commitSQL(k+i, attempt)); err != nil {
			return k + i - 1, err
		}
	}
	return k + commits, nil
}

// losses counts what cuts took of what was acknowledged.
type losses struct{ crashes, behind, ahead int }

// live uses up one disk: power cuts at random changes, a check after each.
func (w workload) live(t testing.TB, seed uint64, traits ...Trait) (*Disk, losses, error) {
	d := New(seed, traits...)
	vfs := fmt.Sprintf("%s %d", t.Name(), seed)
	unregister, err := d.Register(vfs)
	if err != nil {
		return d, losses{}, err
	}
	defer func() {
		if err := unregister(); err != nil {
			t.Error(err)
		}
	}()
	r, total, acked := rand.New(rand.NewPCG(seed, 3)), losses{}, 0
	for crash := range crashesPerDisk {
		c, k, err := w.look(vfs)
		if err != nil {
			return d, total, fmt.Errorf("seed %d, behind crash %d, acknowledged %d: %w", seed, crash, acked, err)
		}
		switch {
		case k < acked:
			total.behind++
		case k > acked: // the one that was cut off, or more than was ever written
			if total.ahead++; k > acked+1 {
				c.close()
				return d, total, broken("seed %d: commit %d was never begun: %d", seed, k, acked)
			}
		}
		d.CrashAfter(1 + r.IntN(1+r.IntN(150)))
		if r.IntN(6) == 0 { // in the middle of opening, recovering and checkpointing
			c.close()
			if c, _, err = w.look(vfs); err != nil {
				acked = k
				if errors.Is(err, errBroken) {
					return d, total, err
				}
				total.crashes++
				if err := d.Restart(); err != nil {
					return d, total, err
				}
				continue
			}
		}
		acked, err = w.run(c, k, 400, crash)
		c.close()
		if d.Stats().Crashes == total.crashes { // the cut didn't come
			if err != nil {
				return d, total, fmt.Errorf("seed %d: without a cut: %w", seed, err)
			}
			d.Crash()
		}
		total.crashes++
		if err := d.Restart(); err != nil {
			return d, total, err
		}
	}
	return d, total, nil
}

// TestSmashedSectorsReachRecoveredFrames: SQLite pads what it syncs, but not what it
// recovers: the next commit begins in the sector in which a recovered one ends.
func TestSmashedSectorsReachRecoveredFrames(t *testing.T) {
	t.Parallel()
	if total, _ := crashTest(t, walFull, SmashSectors); total.behind == 0 && rare() {
		t.Error("no cut took anything: SQLite has become better, or the disk too kind")
	}
}

func lives() int {
	switch {
	case *lifeFlag > 0:
		return *lifeFlag
	case raceEnabled || testing.Short():
		return 25
	}
	return 250
}

// rare says whether enough lives are lived for what is rare to be seen.
func rare() bool { return lives() >= 250 }

// seeds calls fn for every seed of a crash test.
func seeds(t testing.TB, fn func(seed uint64)) {
	first := *seedFlag
	if first == 0 {
		first = 1
	}
	for i := range lives() {
		if fn(first + uint64(i)); t.Failed() {
			return
		}
	}
}

// crashTest lives many lives and sums up.
func crashTest(t *testing.T, w workload, traits ...Trait) (total losses, stats Stats) {
	began := time.Now()
	seeds(t, func(seed uint64) {
		d, got, err := w.live(t, seed, traits...)
		if err != nil {
			t.Fatal(err)
		}
		total.crashes += got.crashes
		total.behind += got.behind
		total.ahead += got.ahead
		addStats(&stats, d.Stats())
	})
	t.Logf("%d power cuts, %.0f a second; behind what was acknowledged %d, ahead by the one that was cut off %d; %+v",
		total.crashes, float64(total.crashes)/time.Since(began).Seconds(), total.behind, total.ahead, stats)
	return total, stats
}

func addStats(sum *Stats, s Stats) {
	for i := range sum.Ops {
		sum.Ops[i] += s.Ops[i]
	}
	for i := range sum.Fates {
		sum.Fates[i] += s.Fates[i]
	}
	sum.Changes += s.Changes
	sum.Crashes += s.Crashes
	sum.Kept, sum.Torn, sum.Lost = sum.Kept+s.Kept, sum.Torn+s.Torn, sum.Lost+s.Lost
	sum.EntriesKept, sum.EntriesLost = sum.EntriesKept+s.EntriesKept, sum.EntriesLost+s.EntriesLost
}

// TestWALFullLosesNothing, whatever the disk promises about writes beside others.
func TestWALFullLosesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		workload
		traits []Trait
	}{
		"plain":               {walFull, nil},
		"powersafe overwrite": {walFull, []Trait{PowersafeOverwrite}},
		"smashed sectors":     {walFullChecked, []Trait{SmashSectors}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			total, stats := crashTest(t, test.workload, test.traits...)
			if total.behind > 0 {
				t.Errorf("%d cuts took acknowledged commits", total.behind)
			}
			if stats.Torn == 0 || stats.Lost == 0 || stats.Kept == 0 {
				t.Errorf("writes torn %d, lost %d, kept %d: the disk is too kind", stats.Torn, stats.Lost, stats.Kept)
			}
		})
	}
}

// TestWALNormalIsAPrefix: acknowledged commits go, and nothing breaks.
func TestWALNormalIsAPrefix(t *testing.T) {
	t.Parallel()
	if total, _ := crashTest(t, walNormal); total.behind == 0 {
		t.Error("no cut took anything: the disk is too kind")
	}
}

// TestJournalExtraLosesNothing: the rollback journal's promise.
func TestJournalExtraLosesNothing(t *testing.T) {
	t.Parallel()
	if total, _ := crashTest(t, journalExtra); total.behind > 0 {
		t.Errorf("%d cuts took acknowledged commits", total.behind)
	}
}

// TestJournalFullLosesTheLast: a commit is the deletion of its journal there, and
// FULL doesn't sync the directory, so the journal may come back.
func TestJournalFullLosesTheLast(t *testing.T) {
	t.Parallel()
	if total, _ := crashTest(t, journalFull); total.behind == 0 {
		t.Error("no journal came back: directories are too kind")
	}
}

// TestLyingDiskIsCaught: on a disk whose syncs do nothing the test of FULL fails.
func TestLyingDiskIsCaught(t *testing.T) {
	t.Parallel()
	lost, malformed, lived := 0, 0, 0
	seeds(t, func(seed uint64) {
		lived++
		_, total, err := walFull.live(t, seed, IgnoreSync)
		var e *sqlite.Error
		switch {
		case errors.As(err, &e) && (e.Code.Primary() == sqlite.ResultCorrupt || e.Code.Primary() == sqlite.ResultNotADB), errors.Is(err, errBroken):
			malformed++
		case err != nil && !errors.As(err, &e):
			t.Fatal(err)
		case total.behind > 0:
			lost++
		}
	})
	t.Logf("of %d disks %d lost acknowledged commits, %d were malformed", lived, lost, malformed)
	if lost+malformed < lived*9/10 {
		t.Errorf("only %d of %d lying disks were caught", lost+malformed, lived)
	}
}
