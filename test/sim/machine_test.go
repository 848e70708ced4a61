package sim

// The machine and the server on it: starts and ends of all kinds, the disk's troubles, the time.

import (
	"context"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage/faultdisk"
)

// dead reports whether the machine has lost power, or the process was killed: nothing leaves it any more.
func (w *world) dead() bool { return w.halted || w.disk.Stats().Crashes > w.crashes }

// check looks after the machine, and forgets links that are over.
func (w *world) check() {
	w.follow()
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
	cut := !w.halted
	if cut {
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
	if cut && w.torture {
		w.audit()
	}
	w.work()
	w.start()
}

// work does what was to be done while the server is down.
func (w *world) work() {
	for _, chore := range w.chores {
		chore()
	}
	w.chores = nil
}

// start starts the server. Where the disk does not let it, it is down until the next time.
func (w *world) start() {
	w.starts++
	w.options.Seed = w.seed*1000 + uint64(w.starts)
	host, err := room.Open(w.options)
	if err == nil {
		err = register(host, w.outside, w.version)
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
	if rng := rand.New(rand.NewPCG(w.seed, uint64(w.starts)<<32)); rng.IntN(4) > 0 {
		w.warm(rng)
	}
}

// warm wakes a room that nobody uses, and puts it to sleep. Rooms that are new in this process begin as copies of the first one
// in it: after this all do, and so have no file at first.
func (w *world) warm(rng *rand.Rand) {
	host, key := w.host, room.Key{Namespace: namespace, Room: "model"}
	w.finish(w.background(func() error { return inner.OfHost(host).Settle(context.Background(), key) }), rng, "waking the first room")
	w.finish(w.background(func() error { return host.Sleep(context.Background(), key) }), rng, "stopping the first room")
	w.wait()
}

// shutdown ends the server, if it runs. The rooms are stopped one after another before: the order in which a host stops
// them is chance's, and not the seed's.
func (w *world) shutdown(rng *rand.Rand) {
	if w.host == nil {
		return
	}
	host := w.host
	if n := host.Damaged(); n > 0 && len(w.damaged) == 0 && w.disk.Stats().Faults == 0 {
		w.failf("the scrub has found %d damaged pages, and there are none", n)
	}
	for _, name := range w.rooms {
		stopped := w.background(func() error { return host.Sleep(context.Background(), room.Key{Namespace: namespace, Room: name}) })
		w.finish(stopped, rng, "stopping a room")
	}
	ended := w.background(func() error { return host.Shutdown(context.Background()) })
	w.finish(ended, rng, "the shutdown")
	w.wait()
	w.tracef("the server ends: %v", ended.err)
	if ended.err != nil && w.disk.Stats().Faults == 0 && !w.dead() && len(w.damaged) == 0 {
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
	if n := w.disk.OpenFiles(); n != 0 {
		w.failf("the server has left %d files open", n)
	}
}

// trouble does the events of the server's and the machine's.
func (w *world) trouble(k kind, key room.Key, rng *rand.Rand) {
	switch k {
	case evSleepRoom, evCrashRoom:
		if w.host != nil {
			host, end := w.host, w.host.Sleep
			if k == evCrashRoom {
				end = inner.OfHost(host).Crash
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
	case evBackup:
		w.backup(key)
	case evRestore:
		w.restore(key, rng)
	default:
		w.torment(k, key, rng)
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
		w.work()
		w.start()
	}
}

// advance lets time pass: some milliseconds mostly, now and then so long that something is forgotten.
func (w *world) advance(rng *rand.Rand) {
	d := []time.Duration{time.Millisecond, 50 * time.Millisecond, time.Second, 20 * time.Second, time.Minute, time.Hour, 30 * time.Hour}[rng.IntN(7)]
	if rng.IntN(12) == 0 {
		d = 8 * 24 * time.Hour
	}
	if w.sleep != sleepByTime { // when what is old is forgotten, is a room's own affair
		d = min(d, time.Hour)
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
