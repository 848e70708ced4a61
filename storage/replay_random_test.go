package storage

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// replayed is a random history of a room whose file is lost now and then.
type replayed struct {
	t    *testing.T
	rnd  *rand.Rand
	d    *DB
	o    Options
	log  *memLog
	said []string

	number  uint64           // of the newest transaction
	atSeq   map[Seq][32]byte // the pages of the newest state that had it
	older   []func()         // bring back a copy of the file
	tables  int              // made so far
	spilled int
}

// A file put back to any earlier copy of itself has all of its pages again when the log has
// been played into it, and CopyAt gives the pages of every earlier seq: whatever the
// transactions did, with a cache that is too small for them, with savepoints that were taken
// back after pages had gone to the WAL, over refused commits and checkpoints.
func TestReplayOfRandomHistories(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (repeat with -seed)", seed)
	histories, steps := shorter(8, 3), 40
	lost, spilled := 0, 0
	for i := range histories {
		h := &replayed{t: t, rnd: rand.New(rand.NewPCG(seed, uint64(i))), log: newMemLog(), atSeq: make(map[Seq][32]byte)}
		h.o = testOptions(t)
		h.o.Log = h.log
		h.o.CacheBytes = []int64{16 << 10, 64 << 10, 256 << 10, 2 << 20}[h.rnd.IntN(4)]
		lost += h.run(steps)
		spilled += h.spilled
		if t.Failed() {
			t.Fatalf("history %d of seed %d, its end:\n%s", i, seed, strings.Join(h.said[max(0, len(h.said)-40):], "\n"))
		}
	}
	if lost == 0 || spilled == 0 {
		t.Errorf("%d files were lost, %d transactions spilled pages: the histories test nothing", lost, spilled)
	}
}

func (h *replayed) run(steps int) (lost int) {
	h.open()
	defer func() { h.d.Close() }()
	mustExec(h.t, h.d, todosTable+`; CREATE TABLE wide (id INTEGER PRIMARY KEY AUTOINCREMENT, k, v); CREATE INDEX wide_k ON wide (k)`)
	h.sync()
	mustExec(h.t, h.d, `CREATE VIRTUAL TABLE words USING fts5 (text)`)
	h.keep()
	h.older = append(h.older, rememberFile(h.t, h.o))
	for range steps {
		switch n := h.rnd.IntN(20); {
		case n < 14:
			h.batch()
		case n == 14:
			h.say("checkpoint: %v", h.d.Checkpoint())
		case n == 15:
			h.say("a copy at %d", h.d.store.number)
			h.older = append(h.older, rememberFile(h.t, h.o))
		case n == 16:
			h.say("close: %v", h.d.Close())
			h.open()
			h.sync()
			h.keep()
		case n == 17:
			h.lose()
			lost++
		case n == 18:
			h.copyAt()
		default:
			if r, err := h.d.Query("SELECT id FROM wide ORDER BY k LIMIT 2000"); err == nil { // open over a commit
				r.Next()
				h.batch()
				h.say("checkpoint with rows open: %v", h.d.Checkpoint())
				r.Close()
			}
		}
		if h.t.Failed() {
			return lost
		}
	}
	h.lose()
	for range 10 {
		h.copyAt()
	}
	checkConsistent(h.t, h.d)
	return lost + 1
}

func (h *replayed) say(format string, args ...any) {
	h.said = append(h.said, fmt.Sprintf(format, args...))
}

func (h *replayed) open() {
	d, err := Open(h.o)
	if err != nil {
		h.t.Fatalf("%v\n%s", err, strings.Join(h.said[max(0, len(h.said)-40):], "\n"))
	}
	h.d = d
}

func (h *replayed) sync() {
	if err := h.d.Sync("todos"); err != nil {
		h.t.Fatal(err)
	}
}

// keep notes the pages as they are now.
func (h *replayed) keep() {
	h.number = h.d.store.number
	h.atSeq[h.d.Seq()] = sha256.Sum256(pagesOf(h.t, h.d))
	for _, r := range h.log.rooms {
		if n := len(r.entries); r.entries[0].Number != 1 || r.entries[n-1].Number != uint64(n) || uint64(n) != h.number {
			h.t.Errorf("the log has %d entries, up to number %d; the file is at %d", n, r.entries[n-1].Number, h.number)
		}
	}
}

// batch runs some actions, of which some fail, and ends them in one of many ways.
func (h *replayed) batch() {
	b, err := h.d.Begin()
	if err != nil {
		h.t.Fatal(err)
	}
	before := h.d.Seq()
	for range 1 + h.rnd.IntN(4) {
		_, err := b.Do(clock+int64(h.d.Seq()), h.action)
		h.say("  action: %v", err)
		if errors.Is(err, ErrBatchLost) {
			h.t.Error(err)
			return
		}
	}
	if h.d.store.wal.Entry.Len() > 0 {
		h.spilled++
	}
	switch h.rnd.IntN(12) {
	case 0:
		h.say("rollback: %v", b.Rollback())
	case 1:
		h.log.fail = fmt.Errorf("%w: injected", ErrFull)
		err := b.Commit()
		h.log.fail = nil
		h.say("refused: %v", err)
	default:
		err := b.Commit()
		h.say("commit: %v", err)
		if err != nil {
			h.t.Errorf("commit: %v", err)
		}
		h.keep()
		return
	}
	if h.d.Seq() != before || h.d.store.number != h.number {
		h.t.Errorf("seq %d, number %d behind a transaction that did not happen; want %d, %d", h.d.Seq(), h.d.store.number, before, h.number)
	}
	if got := sha256.Sum256(pagesOf(h.t, h.d)); got != h.atSeq[before] {
		h.t.Error("a transaction that did not happen changed the file")
	}
}

func (h *replayed) action() error {
	for range 1 + h.rnd.IntN(3) {
		sql := h.statement()
		if _, err := h.d.Exec(sql); err != nil {
			h.say("    %s; -- %v", sql, err)
			return err
		}
		h.say("    %s", sql)
	}
	if h.rnd.IntN(4) == 0 {
		return errRefused
	}
	return nil
}

// statement changes one page or hundreds.
func (h *replayed) statement() string {
	rows := []int{1, 1, 3, 30, 400}[h.rnd.IntN(5)]
	series := fmt.Sprintf("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)", rows)
	some := fmt.Sprintf("id IN (SELECT id FROM wide ORDER BY random() LIMIT %d)", rows)
	switch h.rnd.IntN(12) {
	case 0, 1, 2:
		return fmt.Sprintf("%s INSERT INTO wide (k, v) SELECT random(), randomblob(%d) FROM n", series, []int{10, 100, 400, 9000 / rows}[h.rnd.IntN(4)])
	case 3, 4:
		return "UPDATE wide SET k = random() WHERE " + some
	case 5:
		return "UPDATE wide SET v = randomblob(length(v) + abs(random()) % 50) WHERE " + some
	case 6, 7:
		return "DELETE FROM wide WHERE " + some
	case 8:
		return series + " INSERT INTO words SELECT hex(randomblob(20)) || ' ' || i FROM n"
	case 9:
		h.tables++
		return fmt.Sprintf("CREATE TABLE made%d AS SELECT * FROM wide LIMIT %d", h.tables, rows)
	case 10:
		if h.tables > 0 {
			return fmt.Sprintf("DROP TABLE IF EXISTS made%d", 1+h.rnd.IntN(h.tables))
		}
	}
	return series + " INSERT OR REPLACE INTO todos (id, text, created_at, updated_at) SELECT 'k' || (random() % 500), hex(randomblob(50)), 1, 1 FROM n"
}

// lose puts a copy from earlier in the file's place.
func (h *replayed) lose() {
	want, seq := h.atSeq[h.d.Seq()], h.d.Seq()
	h.d.Fence()
	i := h.rnd.IntN(len(h.older))
	h.older[i]()
	h.log.crashed++
	h.say("the file is copy %d of %d", i, len(h.older))
	h.open()
	if h.d.Seq() != seq || h.d.store.number != h.number {
		h.t.Errorf("seq %d, number %d; want %d, %d", h.d.Seq(), h.d.store.number, seq, h.number)
	}
	if sha256.Sum256(pagesOf(h.t, h.d)) != want {
		h.t.Error("the pages behind a replay are others")
	}
	h.sync()
	h.keep()
}

// copyAt goes back to a seq and compares.
func (h *replayed) copyAt() {
	var seqs []Seq
	for seq := range h.atSeq {
		if seq > 0 {
			seqs = append(seqs, seq)
		}
	}
	if len(seqs) == 0 {
		return
	}
	slices.Sort(seqs)
	seq := seqs[h.rnd.IntN(len(seqs))]
	path := filepath.Join(h.t.TempDir(), "copy.db")
	if err := h.d.CopyAt(path, Point{Seq: seq}); err != nil {
		h.t.Errorf("back to seq %d: %v", seq, err)
		return
	}
	if sha256.Sum256(pagesIn(h.t, path)) != h.atSeq[seq] {
		h.t.Errorf("back at seq %d the pages are others", seq)
	}
}
