package crash

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var seedFlag = flag.Uint64("seed", 0, "repeat the choices of a run of TestInvariantGateKill9")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	roundsPerRooms = 10                     // after so many kills the rooms are left alone until the end
	longestLoad    = 250 * time.Millisecond // from the first action to the kill
	roundTime      = time.Minute            // a round that takes longer hangs
)

// TestInvariantGateKill9: whatever a client was told, by a reply, a broadcast or a snapshot, is there after a kill -9;
// what it was not told is there wholly or not at all.
func TestInvariantGateKill9(t *testing.T) {
	limits := settings(t)
	t.Logf("seed %d, %d loops; again with -seed %d", limits.seed, limits.loops, limits.seed)
	c := &crasher{t: t, binary: build(t), data: t.TempDir(), kept: map[string]map[string]row{}}
	began := time.Now()
	for round := 0; round < limits.loops && (limits.duration == 0 || time.Since(began) < limits.duration); round++ {
		c.round(round, rand.New(rand.NewPCG(limits.seed, uint64(round))))
	}
	c.atTheEnd()
	t.Logf("%d kills in %v: %d actions sent, %d acknowledged, %d present without an acknowledgement, %d broadcast rows ahead of their acknowledgement",
		c.kills, time.Since(began).Round(time.Millisecond), c.sent, c.acked, c.extra, c.ahead)
	if c.acked == 0 || c.sent == c.acked {
		t.Errorf("%d sent and %d acknowledged: no kill came in the middle of the work, so nothing was tested", c.sent, c.acked)
	}
}

type limits struct {
	loops    int
	duration time.Duration // 0: only the loops count
	seed     uint64
}

func settings(t *testing.T) limits {
	t.Helper()
	l := limits{loops: 5, seed: *seedFlag}
	var err error
	if v := os.Getenv("DEN_CRASH_LOOPS"); v != "" {
		if l.loops, err = strconv.Atoi(v); err != nil || l.loops < 1 {
			t.Fatalf("DEN_CRASH_LOOPS=%s: want a number of kills", v)
		}
	}
	if v := os.Getenv("DEN_CRASH_FOR"); v != "" {
		if l.duration, err = time.ParseDuration(v); err != nil {
			t.Fatalf("DEN_CRASH_FOR: %v", err)
		}
	}
	if v := os.Getenv("DEN_CRASH_SEED"); v != "" && l.seed == 0 {
		if l.seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("DEN_CRASH_SEED: %v", err)
		}
	}
	if l.seed == 0 {
		l.seed = rand.Uint64()
	}
	return l
}

// A crasher is the run: one data directory, one process after another over it.
type crasher struct {
	t            *testing.T
	binary, data string

	kept                             map[string]map[string]row // room → rows, as they were found after the last kill that it was written before
	kills, sent, acked, extra, ahead int
}

// round loads a server, kills it, and looks at what a new one shows.
func (c *crasher) round(round int, rng *rand.Rand) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), roundTime)
	defer cancel()
	s := c.start()
	writers := c.writers(ctx, s, round, rng)
	if rng.IntN(10) == 0 {
		c.load(ctx, s, writers, 0) // now and then before there is anything to do
	} else {
		c.load(ctx, s, writers, time.Duration(rng.Int64N(int64(longestLoad))))
	}
	c.check(ctx, round, writers)
}

func (c *crasher) start() *server {
	c.t.Helper()
	s, err := startServer(c.binary, c.data)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *crasher) writers(ctx context.Context, s *server, round int, rng *rand.Rand) []*writer {
	c.t.Helper()
	var writers []*writer
	var ledgers []*ledger
	for r := range 1 + rng.IntN(3) {
		for range 2 + rng.IntN(3) {
			l := newLedger(fmt.Sprintf("r%dc%d", round, len(writers)), rand.New(rand.NewPCG(rng.Uint64(), 0)))
			ledgers = append(ledgers, l)
			writers = append(writers, &writer{room: fmt.Sprintf("crash %d/%d", round/roundsPerRooms, r), window: 1 + rng.IntN(16), ledger: l})
		}
	}
	for _, w := range writers {
		w.ledgers = ledgers
		conn, err := dial(ctx, s.base, w.room, w.ledger.client)
		if err != nil {
			s.kill()
			c.t.Fatalf("round %d: %v\n%s", round, err, s.logText())
		}
		w.conn = conn
	}
	return writers
}

// load lets the writers work for a while, kills the server, and waits until they have read all that had been sent.
func (c *crasher) load(ctx context.Context, s *server, writers []*writer, delay time.Duration) {
	c.t.Helper()
	killed := time.AfterFunc(delay, s.kill)
	errs := make([]error, len(writers))
	var all sync.WaitGroup
	for i, w := range writers {
		all.Go(func() {
			errs[i] = w.run(ctx)
			w.conn.CloseNow()
		})
	}
	all.Wait()
	if killed.Stop() {
		s.kill() // the clients ended first
		c.t.Errorf("all clients ended before the kill")
	}
	<-s.done
	c.kills++
	for _, err := range errs {
		if lost := (*lostError)(nil); !errors.As(err, &lost) {
			c.t.Errorf("before the kill: %v", err)
		}
	}
	for _, line := range s.complaints() {
		c.t.Errorf("den wrote: %s", line)
	}
	if ctx.Err() != nil {
		c.t.Fatalf("the round did not end in %v\n%s", roundTime, s.logText())
	}
}

// check starts a server over what the kill left, compares, and kills that one too: a recovery can be cut short.
func (c *crasher) check(ctx context.Context, round int, writers []*writer) {
	c.t.Helper()
	s := c.start()
	defer s.kill()
	rooms := map[string]map[string]row{}
	for _, w := range writers {
		if rooms[w.room] == nil {
			rows, err := readRoom(ctx, s.base, w.room, fmt.Sprintf("reader%d", round))
			if err != nil {
				c.t.Fatalf("round %d, after the kill: %v\n%s", round, err, s.logText())
			}
			rooms[w.room] = rows
		}
	}
	accounted := map[string]int{}
	for _, w := range writers {
		k, err := w.ledger.applied(rooms[w.room])
		if err != nil {
			c.t.Errorf("round %d, room %q: %v", round, w.room, err)
			continue
		}
		c.sent += len(w.ledger.ops)
		c.acked += w.ledger.acked
		c.extra += k - w.ledger.acked
		c.ahead += max(0, w.ledger.seen-w.ledger.acked)
		for id := range rooms[w.room] {
			if w.ledger.owns(id) {
				accounted[w.room]++
			}
		}
	}
	for name, rows := range rooms {
		c.unchanged(name, rows)
		if want := accounted[name] + len(c.kept[name]); len(rows) != want && !c.t.Failed() {
			c.t.Errorf("round %d, room %q: %d rows, of which %d are nobody's", round, name, len(rows), len(rows)-want)
		}
		c.kept[name] = maps.Clone(rows)
	}
	if c.t.Failed() {
		c.t.Fatalf("round %d: the server's log:\n%s", round, s.logText())
	}
}

// unchanged: what earlier rounds left in a room is as they left it.
func (c *crasher) unchanged(name string, rows map[string]row) {
	c.t.Helper()
	for id, before := range c.kept[name] {
		if rows[id].json != before.json {
			c.t.Errorf("room %q: row %s was %q after an earlier kill and is %q now", name, id, before.json, rows[id].json)
		}
	}
}

// atTheEnd looks at every room once more.
func (c *crasher) atTheEnd() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), roundTime)
	defer cancel()
	s := c.start()
	defer s.kill()
	for name, before := range c.kept {
		rows, err := readRoom(ctx, s.base, name, "lastreader")
		if err != nil {
			c.t.Fatal(err)
		}
		c.unchanged(name, rows)
		if len(rows) != len(before) {
			c.t.Errorf("room %q: %d rows at the end instead of %d", name, len(rows), len(before))
		}
	}
}
