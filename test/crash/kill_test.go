package crash

import (
	"context"
	"errors"
	"flag"
	"fmt"
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
	roundsPerRooms  = 10                     // after so many kills there are new clients, and the rooms are left alone
	longestLoad     = 250 * time.Millisecond // from the first action to the kill
	longestRecovery = 50 * time.Millisecond  // from the start to the kill of one that may not even recover
	roundTime       = time.Minute            // a round that takes longer hangs
)

// TestInvariantGateKill9: whatever a client was told, by a reply, a broadcast or a snapshot, is there after a kill -9;
// what it was not told is there wholly or not at all; what it sends again counts once; and when it comes back it gets
// what it lacks.
func TestInvariantGateKill9(t *testing.T) {
	limits := settings(t)
	t.Logf("seed %d, %d loops; again with -seed %d", limits.seed, limits.loops, limits.seed)
	c := &crasher{t: t, binary: build(t), data: t.TempDir(), kept: map[string]map[string]row{}}
	began := time.Now()
	for round := 0; round < limits.loops && (limits.duration == 0 || time.Since(began) < limits.duration); round++ {
		c.round(round, rand.New(rand.NewPCG(limits.seed, uint64(round))))
	}
	c.atTheEnd()
	t.Logf("%d kills and %d recoveries cut short in %v: %d actions sent, %d acknowledged, %d sent again, of which %d had been applied",
		c.kills, c.cutShort, time.Since(began).Round(time.Millisecond), c.sent, c.acked, c.again, c.applied)
	if c.acked == 0 || c.sent == c.acked || c.again == 0 {
		t.Error("no kill came in the middle of the work, so nothing was tested")
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

	writers []*writer                 // the clients of these rounds
	kept    map[string]map[string]row // of the rooms that are left alone: room → rows

	kills, cutShort             int
	sent, acked, again, applied int // again: sent once more; applied: those of them that had been applied
}

// round looks at what the last kill left, has the clients come back, loads the server, and kills it.
func (c *crasher) round(round int, rng *rand.Rand) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), roundTime)
	defer cancel()
	if rng.IntN(10) == 0 {
		c.cut(ctx, round, rng)
	}
	s := c.start()
	rooms := c.check(ctx, round, s)
	if round%roundsPerRooms == 0 {
		c.retire(rooms)
		c.recruit(round, rng)
		rooms = c.check(ctx, round, s)
	}
	c.resume(ctx, s, rooms)
	delay := time.Duration(rng.Int64N(int64(longestLoad)))
	if rng.IntN(10) == 0 {
		delay = 0 // now and then before there is anything to do
	}
	c.load(ctx, s, delay)
}

func (c *crasher) start() *server {
	c.t.Helper()
	s, err := startServer(c.binary, c.data)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// cut kills a server while it takes up what the last one left: a recovery can be cut short.
func (c *crasher) cut(ctx context.Context, round int, rng *rand.Rand) {
	c.t.Helper()
	s := c.start()
	killed := time.AfterFunc(time.Duration(rng.Int64N(int64(longestRecovery))), s.kill)
	for i, w := range c.writers {
		if _, err := readRoom(ctx, s.base, w.room, fmt.Sprintf("cut%d.%d", round, i)); err != nil {
			break // it is dead: every other error is met again by the next
		}
	}
	if killed.Stop() {
		s.kill()
	}
	<-s.done
	c.cutShort++
}

// recruit makes the clients and the rooms of the next rounds.
func (c *crasher) recruit(round int, rng *rand.Rand) {
	c.writers = nil
	var ledgers []*ledger
	for r := range 2 + rng.IntN(2) {
		for range 2 + rng.IntN(3) {
			l := newLedger(fmt.Sprintf("r%dc%d", round, len(c.writers)), rand.New(rand.NewPCG(rng.Uint64(), 0)))
			ledgers = append(ledgers, l)
			w := &writer{
				kind: numbered, room: fmt.Sprintf("crash %d/%d", round/roundsPerRooms, r), window: 1 + rng.IntN(16),
				ledger: l, shows: map[string]row{},
			}
			if rng.IntN(3) == 0 {
				w.kind = stock
			}
			c.writers = append(c.writers, w)
		}
	}
	for _, w := range c.writers {
		w.ledgers = ledgers
	}
}

// retire leaves the rooms of the last rounds alone: they must not change any more.
func (c *crasher) retire(rooms map[string]map[string]row) {
	for _, w := range c.writers {
		c.sent += len(w.ledger.ops)
		c.acked += w.ledger.acked
	}
	for name, rows := range rooms {
		c.kept[name] = rows
	}
}

// resume has every client come back, and compares what it shows then with what is there.
func (c *crasher) resume(ctx context.Context, s *server, rooms map[string]map[string]row) {
	c.t.Helper()
	for _, w := range c.writers {
		err := w.resume(ctx, s.base)
		if err == nil {
			err = w.catchUp(ctx, rooms[w.room])
		}
		if err != nil {
			s.kill()
			c.t.Fatalf("room %q, %s: %v\n%s", w.room, w.kind, err, s.logText())
		}
		c.again += w.ledger.inFlight()
		c.applied += w.ledger.there - w.ledger.acked
	}
}

// load lets the writers work for a while, kills the server, and waits until they have read all that had been sent.
func (c *crasher) load(ctx context.Context, s *server, delay time.Duration) {
	c.t.Helper()
	killed := time.AfterFunc(delay, s.kill)
	errs := make([]error, len(c.writers))
	var all sync.WaitGroup
	for i, w := range c.writers {
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
	for i, err := range errs {
		if lost := (*lostError)(nil); !errors.As(err, &lost) {
			c.t.Errorf("before the kill, room %q, %s: %v", c.writers[i].room, c.writers[i].kind, err)
		}
	}
	for _, line := range s.complaints() {
		c.t.Errorf("den wrote: %s", line)
	}
	if ctx.Err() != nil {
		c.t.Errorf("the round did not end in %v", roundTime)
	}
	if c.t.Failed() {
		c.t.Fatalf("the server's log:\n%s", s.logText())
	}
}

// check reads the rooms of the writers and compares them with what the writers did and were told.
func (c *crasher) check(ctx context.Context, round int, s *server) map[string]map[string]row {
	c.t.Helper()
	rooms, accounted := map[string]map[string]row{}, map[string]int{}
	for _, w := range c.writers {
		rows := rooms[w.room]
		if rows == nil {
			var err error
			if rows, err = readRoom(ctx, s.base, w.room, fmt.Sprintf("reader%d", round)); err != nil {
				s.kill()
				c.t.Fatalf("round %d, room %q, after the kill: %v\n%s", round, w.room, err, s.logText())
			}
			rooms[w.room] = rows
		}
		there, err := w.ledger.applied(rows)
		if err != nil {
			c.t.Errorf("round %d, room %q, %s: %v", round, w.room, w.kind, err)
		}
		w.ledger.there = there
		for id := range rows {
			if w.ledger.owns(id) {
				accounted[w.room]++
			}
		}
	}
	for name, rows := range rooms {
		if len(rows) != accounted[name] {
			c.t.Errorf("round %d, room %q: %d rows, of which %d are nobody's", round, name, len(rows), len(rows)-accounted[name])
		}
	}
	if c.t.Failed() {
		s.kill()
		c.t.Fatalf("round %d: the server's log:\n%s", round, s.logText())
	}
	return rooms
}

// atTheEnd looks at every room once more.
func (c *crasher) atTheEnd() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), roundTime)
	defer cancel()
	s := c.start()
	defer s.kill()
	c.retire(c.check(ctx, c.kills, s))
	for name, before := range c.kept {
		rows, err := readRoom(ctx, s.base, name, "lastreader")
		if err != nil {
			c.t.Fatal(err)
		}
		for id, r := range before {
			if rows[id].json != r.json {
				c.t.Errorf("room %q: row %s was %q when the room was left alone and is %q now", name, id, r.json, rows[id].json)
			}
		}
		if len(rows) != len(before) {
			c.t.Errorf("room %q: %d rows at the end instead of %d", name, len(rows), len(before))
		}
	}
}
