package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"log/slog"
	"maps"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage/faultdisk"
)

// A world is a run: one machine with its disk and its clock, the server on it, clients and links. The driver's goroutine
// does everything one after another; what the server does in others is awaited, so nothing happens at the same time.
type world struct {
	seed    uint64
	rng     *rand.Rand // of the world's making, not of its events
	disk    *faultdisk.Disk
	vfs     string
	clock   *roomtest.Clock
	options room.Options
	rooms   []string

	host    *room.Host        // nil while the server is down
	passed  time.Duration     // in all
	starts  int               // of the server
	wals    map[string]string // what the run calls the WALs that connections keep
	crashes int               // of the disk, as far as they were noticed
	halted  bool              // by a kill: the disk is off and no power cut is counted
	queue   []func()          // runs that the rooms' actors wait for
	workers []*worker
	outside *outside
	calls   []*call // in the background
	clients []*client
	open    []*link // that the server may still know of

	turn      turnstile
	copies    []*copied
	restoring *restore // nil: none
	renamed   bool     // its file has taken the room's place, and the clients are not told
	rewinds   map[string][]*rewind
	imported  map[string]bool // rooms that an export has replaced: it has no alarms

	sleep    sleepMode
	torture  bool
	harmed                       // by bits that flipped
	past                         // what is known of earlier states
	large    bool                // actions and rooms are larger than what is done in one piece
	atRename *rand.Rand          // what is to happen when a file takes the place of a room's is drawn from it; nil: nothing
	chores   []func()            // what is done before the server starts again
	version  int                 // how many migrations the program has
	heard    map[string][]string // what each client got, where that is to be compared

	sum     hash.Hash
	log     *strings.Builder // nil: nobody reads it
	failure string           // the first thing that was wrong
	where   string           // in what, where that is not the run itself
	stats   stats
}

// stats say what a run was made of, so that a simulation that does nothing is seen.
type stats struct {
	Moves, Acts, Acked, Refused, Resent, Frames, Breaks, Cuts, Kills, Faults, Lives, Resets, Resumes, Restores, Alarms int
	Copies, Flips, Deletes, Audits                                                                                     int
	CutAt, Failed                                                                                                      map[string]int // power cuts that were set, and calls that failed, by the kind of operation
}

func (s *stats) add(o stats) {
	s.Moves += o.Moves
	s.Acts += o.Acts
	s.Acked += o.Acked
	s.Refused += o.Refused
	s.Resent += o.Resent
	s.Frames += o.Frames
	s.Breaks += o.Breaks
	s.Cuts += o.Cuts
	s.Kills += o.Kills
	s.Faults += o.Faults
	s.Lives += o.Lives
	s.Resets += o.Resets
	s.Resumes += o.Resumes
	s.Restores += o.Restores
	s.Alarms += o.Alarms
	s.Copies += o.Copies
	s.Audits += o.Audits
	s.CutAt, s.Failed = plus(s.CutAt, o.CutAt), plus(s.Failed, o.Failed)
	s.Flips += o.Flips
	s.Deletes += o.Deletes
}

func plus(a, b map[string]int) map[string]int {
	sum := maps.Clone(a)
	if sum == nil {
		sum = make(map[string]int)
	}
	for what, n := range b {
		sum[what] += n
	}
	return sum
}

// measure notes what the disk has been through.
func (s *stats) measure(d faultdisk.Stats) {
	s.CutAt, s.Failed = make(map[string]int), make(map[string]int)
	for _, op := range faultdisk.AllOps() {
		s.CutAt[op.String()], s.Failed[op.String()] = d.CutAt[op], d.Failed[op]
	}
}

// An outcome is what a run came to.
type outcome struct {
	failure string // "" where everything held
	sum     string // of all that happened, and of the disk at the end
	log     string
	climate string
	history history
	stats   stats
	heard   map[string][]string
}

// A plan is a run to be made.
type plan struct {
	seed    uint64
	history history // nil: the seed's own
	verbose bool
	sleep   sleepMode
	torture bool
}

// run makes a run in a bubble of its own, in which goroutines can be awaited.
func run(t *testing.T, p plan) (o outcome) {
	t.Helper()
	actor.NewSystem(nil, actor.Options{}) // the first one of a process draws random numbers, which are to be those of no run
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, p.seed+1)
		defer faultdisk.SeedSQLite(uint32(p.seed)*2 + 1)()
		w := newWorld(p)
		unregister, err := w.disk.Register(w.vfs)
		if err != nil {
			t.Fatal(err)
		}
		events, climate := w.prepare(p)
		w.play(events)
		w.close()
		w.stats.measure(w.disk.Stats())
		if err := unregister(); err != nil {
			w.failf("SQLite's files: %v", err)
		}
		o = outcome{failure: w.failure, sum: w.digest(), climate: climate, history: events, stats: w.stats, heard: w.heard}
		if w.log != nil {
			o.log = w.log.String()
		}
	})
	return o
}

func newWorld(p plan) *world {
	w := &world{
		seed: p.seed, rng: rand.New(rand.NewPCG(p.seed, 7)),
		disk: faultdisk.New(p.seed, faultdisk.PowersafeOverwrite), clock: roomtest.NewClock(), sum: sha256.New(),
		outside: newOutside(), rewinds: make(map[string][]*rewind), wals: make(map[string]string), imported: make(map[string]bool), harmed: harmed{bits: make(map[string]int)}, sleep: p.sleep, torture: p.torture,
	}
	w.outside.wakes = p.sleep != sleepByTime || p.seed%2 == 0
	w.outside.restless = p.sleep == sleepByTime
	w.vfs = fmt.Sprintf("sim-%p", w.disk) // a run that left files open has kept its name
	if p.verbose {
		w.log = new(strings.Builder)
	}
	w.options = room.Options{
		Dir: "/data", FS: files{w.disk.FS(w.vfs), w}, Clock: clock{w.clock, w},
		Logger:          slog.New(slog.DiscardHandler),
		MaxBatch:        []int{1, 3, 256}[w.rng.IntN(3)],
		History:         []int{5, 50, 100_000}[w.rng.IntN(3)],
		CheckpointBytes: []int64{8 << 10, 32 << 10, 4 << 20}[w.rng.IntN(3)],
		LogSegmentBytes: []int64{8 << 10, 64 << 10, 8 << 20}[w.rng.IntN(3)],
		TimeTravel:      []time.Duration{-1, 24 * time.Hour}[w.rng.IntN(2)],
		ScrubEvery:      24 * time.Hour,
	}
	inner.OfOptions(&w.options).Dispatcher = func(run func()) { w.queue = append(w.queue, run) }
	if w.sleep != sleepByTime {
		w.options.IdleAfter, w.heard = -1, make(map[string][]string)
	}
	if w.torture {
		w.tighten()
	}
	if w.log != nil {
		w.options.Logger = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{ReplaceAttr: withoutStack}))
	}
	return w
}

func withoutStack(_ []string, a slog.Attr) slog.Attr {
	if a.Key == "stack" || a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// prepare makes rooms and clients, and draws the history where the plan has none.
func (w *world) prepare(p plan) (history, string) {
	climate := climates[w.rng.IntN(len(climates))]
	if w.sleep != sleepByTime {
		climate = lockstep
	}
	rooms, clients := 1+w.rng.IntN(2), 2+w.rng.IntN(3)
	if w.torture {
		climate = tortures[w.rng.IntN(len(tortures))]
		rooms, clients = 1+w.rng.IntN(4), 4
	}
	for i := range rooms {
		w.rooms = append(w.rooms, fmt.Sprintf("room%d", i))
	}
	for i := range clients {
		w.clients = append(w.clients, newClient(w, i))
	}
	events := draw(w.rng, climate, 20+w.rng.IntN(60))
	if p.history != nil {
		events = p.history
	}
	if w.torture {
		w.greet()
	}
	w.start()
	w.check()
	for _, c := range w.clients {
		w.connect(c)
	}
	return events, climate.name
}

// play does the events, ends them, and looks at what is there.
func (w *world) play(events history) {
	if w.sleep != sleepByTime {
		w.march(events)
		return
	}
	for i, e := range events {
		if w.failure != "" {
			return
		}
		w.tracef("— %d %s", i, e)
		rng := e.rng()
		w.happen(e, rng)
		for range rng.IntN(6) {
			w.move(rng)
		}
	}
	if w.failure == "" {
		w.converge()
	}
	if w.failure == "" {
		w.judge()
	}
}

// failf notes what is wrong. Only the first counts: what follows from it says nothing.
func (w *world) failf(format string, args ...any) {
	if w.failure == "" {
		w.failure = w.where + fmt.Sprintf(format, args...)
		w.tracef("FAILED: %s", w.failure)
	}
}

// probes are files that storage tries to make where SQLite cannot open one; their names are chance's.
var probes = regexp.MustCompile(`\.den-probe-[0-9]+`)

func (w *world) tracef(format string, args ...any) {
	line := probes.ReplaceAllString(fmt.Sprintf(format, args...), ".den-probe")
	w.sum.Write([]byte(line))
	if w.log == nil {
		return
	}
	if len(line) > 400 {
		line = line[:400] + "…"
	}
	w.log.WriteString(line)
	w.log.WriteByte('\n')
}

// digest is a hash of all that happened and of what is on the disk.
func (w *world) digest() string {
	for _, name := range w.disk.Files() {
		content, err := w.disk.Read(name)
		fmt.Fprintf(w.sum, "%s %d %v\n", name, len(content), err)
		w.sum.Write(content)
	}
	return hex.EncodeToString(w.sum.Sum(nil))
}

// happen does one event.
func (w *world) happen(e event, rng *rand.Rand) {
	c := w.clients[e.who%len(w.clients)]
	key := room.Key{Namespace: namespace, Room: w.rooms[e.who%len(w.rooms)]}
	switch e.kind {
	case evAct:
		for range 1 + rng.IntN(3) {
			c.act(rng)
		}
	case evRun:
		for range 5 + rng.IntN(20) {
			w.move(rng)
		}
	case evSettle:
		w.settle(rng)
	case evConnect:
		w.connect(c)
	case evBreak:
		if c.link != nil {
			w.stats.Breaks++
			w.tracef("%s breaks", c.name)
			c.link.drop()
		}
	case evLeave:
		if c.link != nil {
			w.tracef("%s leaves", c.name)
			c.link.leave()
		}
	case evPing:
		if c.link != nil {
			c.link.ping()
		}
	case evRetry:
		c.retry()
	case evRemount:
		c.remount()
	case evAdvance:
		w.advance(rng)
	case evStep:
		w.clock.Step(time.Duration(rng.IntN(240)-120) * time.Second)
	default:
		w.trouble(e.kind, key, rng)
	}
}
