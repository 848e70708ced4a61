package sim

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"log/slog"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

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

	host    *room.Host    // nil while the server is down
	passed  time.Duration // in all
	starts  int           // of the server
	crashes int           // of the disk, as far as they were noticed
	halted  bool          // by a kill: the disk is off and no power cut is counted
	queue   []func()      // runs that the rooms' actors wait for
	workers []*worker
	outside *outside
	calls   []*call // in the background
	clients []*client
	open    []*link // that the server may still know of

	sum     hash.Hash
	log     *strings.Builder // nil: nobody reads it
	failure string           // the first thing that was wrong
	stats   stats
}

// stats say what a run was made of, so that a simulation that does nothing is seen.
type stats struct {
	Moves, Acts, Acked, Refused, Resent, Frames, Breaks, Cuts, Kills, Faults, Lives, Resets, Resumes int
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
}

// An outcome is what a run came to.
type outcome struct {
	failure string // "" where everything held
	sum     string // of all that happened, and of the disk at the end
	log     string
	climate string
	history history
	stats   stats
}

// A plan is a run to be made.
type plan struct {
	seed    uint64
	history history // nil: the seed's own
	verbose bool
}

// run makes a run in a bubble of its own, in which goroutines can be awaited.
func run(t *testing.T, p plan) (o outcome) {
	t.Helper()
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
		if err := unregister(); err != nil {
			w.failf("SQLite's files: %v", err)
		}
		o = outcome{failure: w.failure, sum: w.digest(), climate: climate, history: events, stats: w.stats}
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
		outside: newOutside(),
	}
	w.vfs = fmt.Sprintf("sim-%p", w.disk) // a run that left files open has kept its name
	if p.verbose {
		w.log = new(strings.Builder)
	}
	w.options = room.Options{
		Dir: "/data", FS: w.disk.FS(w.vfs), Clock: w.clock,
		Dispatcher: func(run func()) { w.queue = append(w.queue, run) },
		Logger:     slog.New(slog.DiscardHandler),
		MaxBatch:   []int{1, 3, 256}[w.rng.IntN(3)],
		History:    []int{5, 50, 100_000}[w.rng.IntN(3)],
		TimeTravel: []time.Duration{-1, 24 * time.Hour}[w.rng.IntN(2)],
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
	for i := range 1 + w.rng.IntN(2) {
		w.rooms = append(w.rooms, fmt.Sprintf("room%d", i))
	}
	for i := range 2 + w.rng.IntN(3) {
		w.clients = append(w.clients, newClient(w, i))
	}
	events := draw(w.rng, climate, 20+w.rng.IntN(60))
	if p.history != nil {
		events = p.history
	}
	w.start()
	for _, c := range w.clients {
		w.connect(c)
	}
	return events, climate.name
}

// play does the events, ends them, and looks at what is there.
func (w *world) play(events history) {
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
		w.failure = fmt.Sprintf(format, args...)
		w.tracef("FAILED: %s", w.failure)
	}
}

func (w *world) tracef(format string, args ...any) {
	if w.log == nil {
		fmt.Fprintf(w.sum, format, args...)
		return
	}
	line := fmt.Sprintf(format, args...)
	w.sum.Write([]byte(line))
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

// A worker runs actors, so that one that hangs does not take the driver with it.
type worker struct {
	work chan func()
	busy bool
}

// A call is a call of the host's that waits for something.
type call struct {
	done bool
	err  error
}

func (w *world) wait() { synctest.Wait() }

// background calls something that the driver must not wait for.
func (w *world) background(f func() error) *call {
	c := new(call)
	w.calls = append(w.calls, c)
	go func() { // ends when the room answers, or the server has shut down
		c.err = f()
		c.done = true
	}()
	return c
}

// exec lets a worker do a run, and waits until it is done or waits for something itself.
func (w *world) exec(run func()) {
	var idle *worker
	for _, k := range w.workers {
		if !k.busy {
			idle = k
		}
	}
	if idle == nil {
		idle = &worker{work: make(chan func())}
		w.workers = append(w.workers, idle)
		go func() { // ends when close closes work
			for run := range idle.work {
				run()
				idle.busy = false
			}
		}()
	}
	idle.busy = true
	idle.work <- run
	w.wait()
}

// move lets one of the things happen that may. It tells whether there was one.
func (w *world) move(rng *rand.Rand) bool {
	w.check()
	var list []move
	for i := range w.queue {
		list = append(list, move{4, func() { w.runActor(i) }})
	}
	for _, l := range w.open {
		list = l.moves(list)
	}
	if len(list) == 0 {
		return false
	}
	total := 0
	for _, m := range list {
		total += m.weight
	}
	at := rng.IntN(total)
	for _, m := range list {
		if at -= m.weight; at < 0 {
			w.stats.Moves++
			m.do()
			break
		}
	}
	w.check()
	return true
}

func (w *world) runActor(i int) {
	run := w.queue[i]
	w.queue = append(w.queue[:i:i], w.queue[i+1:]...)
	w.tracef("run %d", i)
	w.exec(run)
}

// settle lets everything happen, until nothing more can.
func (w *world) settle(rng *rand.Rand) {
	for range 20_000 {
		if !w.move(rng) || w.failure != "" {
			return
		}
	}
	w.failf("the system does not come to rest")
}

// finish lets everything happen until a call has returned.
func (w *world) finish(c *call, rng *rand.Rand, what string) {
	w.wait()
	for range 20_000 {
		if c.done {
			return
		}
		if len(w.queue) > 0 {
			w.runActor(rng.IntN(len(w.queue)))
			continue
		}
		if !w.busy() {
			break
		}
		w.clock.Advance(time.Second) // until the room goes on without the hook that hangs
		w.wait()
	}
	w.failf("%s does not end", what)
}

// busy tells whether a hook hangs.
func (w *world) busy() bool {
	for _, k := range w.workers {
		if k.busy {
			return true
		}
	}
	return false
}

// dead tells whether the machine has lost power, or the process was killed: nothing leaves it any more.
func (w *world) dead() bool { return w.halted || w.disk.Stats().Crashes > w.crashes }

// check looks after the machine, and forgets links that are over.
func (w *world) check() {
	if w.dead() {
		w.restart()
	}
	kept := w.open[:0:0]
	for _, l := range w.open {
		if !l.over() || !l.noticed || !l.call.done {
			kept = append(kept, l)
		}
	}
	w.open = kept
}

// restart follows the loss of power: what the server had sent before may still arrive, then every link is broken; what
// is left of the process is cleared away, and the machine goes on with what is on its disk.
func (w *world) restart() {
	w.tracef("the machine is down")
	if !w.halted {
		w.stats.Cuts++
	}
	rng := rand.New(rand.NewPCG(w.seed, uint64(w.stats.Moves)))
	for _, l := range w.open {
		for range rng.IntN(4) {
			if !l.broken && !l.left && l.joined && len(l.down) > 0 {
				l.deliverDown()
			}
		}
		l.drop()
		l.noticed = true
	}
	w.shutdown(rng)
	w.open = nil
	w.disk.Heal()
	w.crashes, w.halted = w.disk.Stats().Crashes, false
	if err := w.disk.Restart(); err != nil {
		w.failf("the server has files open after its end: %v", err)
		return
	}
	w.start()
}

// start starts the server. Where the disk does not let it, it is down until the next time.
func (w *world) start() {
	w.starts++
	w.options.Seed = w.seed*1000 + uint64(w.starts)
	host, err := room.Open(w.options)
	if err == nil {
		err = register(host, w.outside)
	}
	w.wait()
	w.tracef("the server starts: %v", err)
	if err != nil {
		if w.disk.Stats().Faults == 0 && !w.dead() {
			w.failf("the server does not start: %v", err)
		}
		return
	}
	w.host = host
}

// shutdown ends the server, if it runs. The rooms are stopped one after another before: the order in which a host stops
// them is chance's, and not the seed's.
func (w *world) shutdown(rng *rand.Rand) {
	if w.host == nil {
		return
	}
	host := w.host
	for _, name := range w.rooms {
		stopped := w.background(func() error { return host.Restart(context.Background(), room.Key{Namespace: namespace, Room: name}) })
		w.finish(stopped, rng, "stopping a room")
	}
	ended := w.background(func() error { return host.Shutdown(context.Background()) })
	w.finish(ended, rng, "the shutdown")
	w.wait()
	w.tracef("the server ends: %v", ended.err)
	if ended.err != nil && w.disk.Stats().Faults == 0 && !w.dead() {
		w.failf("the shutdown: %v", ended.err)
	}
	w.host, w.queue = nil, nil
}

// close ends the run, whatever state it is in, so that no goroutine is left.
func (w *world) close() {
	rng := rand.New(rand.NewPCG(w.seed, 8))
	for _, l := range w.open { // one after another: the order in which they would end together is chance's
		l.cancel()
		w.wait()
	}
	w.shutdown(rng)
	close(w.outside.release)
	w.wait()
	for _, k := range w.workers {
		if k.busy {
			w.failf("an actor's run does not end")
			continue
		}
		close(k.work)
	}
	for _, c := range w.calls {
		if !c.done {
			w.failf("a call does not end")
		}
	}
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

// trouble does the events of the server's and the machine's.
func (w *world) trouble(k kind, key room.Key, rng *rand.Rand) {
	switch k {
	case evRestartRoom, evCrashRoom:
		if w.host != nil {
			host, end := w.host, w.host.Restart
			if k == evCrashRoom {
				end = host.Crash
			}
			w.stats.Lives++
			w.background(func() error { return end(context.Background(), key) })
			w.wait()
		}
	case evPowerCut:
		w.disk.Crash()
	case evFuse:
		w.disk.CrashAfter(1 + rng.IntN(60))
	case evKill:
		w.stats.Kills++
		w.halted = true
		w.disk.Kill()
	case evFault:
		w.stats.Faults++
		f := fault(rng)
		w.tracef("%+v", f)
		w.disk.Fail(f)
	case evHeal:
		w.disk.Heal()
		if w.host == nil {
			w.start()
		}
	case evReopen:
		w.reopen(rng)
	}
	w.check()
}

// reopen shuts the server down and starts it again.
func (w *world) reopen(rng *rand.Rand) {
	w.shutdown(rng)
	for _, l := range w.open { // every connection was closed by the server
		for range rng.IntN(8) {
			if !l.broken && !l.left && l.joined && len(l.down) > 0 {
				l.deliverDown()
			}
		}
		l.drop()
		l.noticed = true
	}
	w.check()
	if w.host == nil {
		w.start()
	}
}

// advance lets time pass: some milliseconds mostly, now and then so long that something is forgotten.
func (w *world) advance(rng *rand.Rand) {
	d := []time.Duration{time.Millisecond, 50 * time.Millisecond, time.Second, 20 * time.Second, time.Minute, time.Hour, 30 * time.Hour}[rng.IntN(7)]
	if rng.IntN(12) == 0 {
		d = 8 * 24 * time.Hour
	}
	if d >= time.Hour {
		w.quieten(rng)
	}
	w.tracef("%v pass", d)
	w.pass(d)
}

// quieten lets what the server has begun come to its end, and breaks links that have something on the way: nothing is on
// its way for an hour.
func (w *world) quieten(rng *rand.Rand) {
	for len(w.queue) > 0 {
		w.runActor(rng.IntN(len(w.queue)))
		w.check()
	}
	for _, l := range w.open {
		if len(l.up)+len(l.down) > 0 || !l.call.done {
			l.drop()
		}
	}
}

func (w *world) pass(d time.Duration) {
	w.passed += d
	w.clock.Advance(d)
	w.wait()
	w.check()
}

// fault draws how the disk fails.
func fault(rng *rand.Rand) faultdisk.Fault {
	f := faultdisk.Fault{
		Op:     []faultdisk.Op{faultdisk.OpSync, faultdisk.OpWrite, faultdisk.OpWrite, faultdisk.OpRead, faultdisk.OpOpen, faultdisk.OpTruncate, faultdisk.OpSyncDir, faultdisk.OpDelete, faultdisk.OpRename}[rng.IntN(9)],
		Suffix: []string{"", "", "-wal", ".db", ".log"}[rng.IntN(5)],
		After:  rng.IntN(12),
		Times:  1 + rng.IntN(3),
	}
	if f.Op == faultdisk.OpWrite && rng.IntN(2) == 0 {
		f.Err, f.Times = syscall.ENOSPC, -1
	}
	return f
}
