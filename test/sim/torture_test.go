package sim

// The torture of whole nodes: the same runs in a harsher world. Several rooms share a log whose segments are small;
// actions are larger than these; the power goes at operations of every kind, and calls of every kind fail; operators take
// copies of what was, restore them, delete files, start newer programs; bits flip. What must hold is the same, and more:
// a copy of a room as it was is exactly that, and a room is refused only where its own bytes were damaged.

import (
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage/faultdisk"
)

var (
	tortureFlag = flag.Int("sim.torture", 0, "how many runs TestTorture makes; 0: 500, 50 with -short, 5 under the race detector")
	withoutFlag = flag.String("sim.without", "", "kinds of events that are left out of histories, as in \"flip,delete\"")
)

// without reports whether a kind of event is left out.
func without(k kind) bool {
	for name := range strings.SplitSeq(*withoutFlag, ",") {
		if name == k.String() {
			return true
		}
	}
	return false
}

// tortures are the climates of the torture.
var tortures = []climate{
	{"cuts", weights(map[kind]int{evAct: 40, evBig: 6, evBurst: 3, evRun: 10, evSettle: 4, evConnect: 8, evBreak: 2, evRetry: 3, evAdvance: 3, evPowerCut: 2, evFuse: 5,
		evCutAt: 10, evAtRename: 2, evKill: 2, evCompact: 3, evSleepRoom: 6, evCrashRoom: 2, evReopen: 2, evBackup: 3, evStateAt: 3, evRestore: 4, evMigrate: 1}), scripts(), 8},
	{"failures", weights(map[kind]int{evAct: 40, evBig: 5, evBurst: 3, evRun: 10, evSettle: 4, evConnect: 8, evBreak: 2, evRetry: 4, evAdvance: 6, evHarm: 8, evHarmSync: 3, evHarmNames: 3, evAtRename: 3, evFull: 3, evHeal: 9,
		evCutAt: 4, evPowerCut: 2, evCompact: 3, evSleepRoom: 5, evCrashRoom: 1, evReopen: 2, evBackup: 3, evStateAt: 2, evRestore: 3, evMigrate: 1}), scripts(), 8},
	{"the past", weights(map[kind]int{evAct: 40, evBig: 5, evBurst: 3, evRun: 10, evSettle: 5, evConnect: 8, evBreak: 2, evRetry: 3, evAdvance: 5, evStep: 1, evSleepRoom: 6,
		evReopen: 3, evPowerCut: 2, evCutAt: 2, evKill: 1, evBackup: 6, evStateAt: 12, evCompact: 6, evRestore: 5, evMigrate: 2}), scripts(), 8},
	{"restores", weights(map[kind]int{evAct: 40, evBig: 3, evBurst: 3, evRun: 10, evSettle: 5, evConnect: 8, evRetry: 3, evAdvance: 3, evSleepRoom: 4, evReopen: 1,
		evPowerCut: 5, evFuse: 3, evCutAt: 4, evKill: 2, evPut: 1, evImport: 3, evHarm: 2, evHarmSync: 1, evHarmNames: 2, evAtRename: 2, evHeal: 2, evBackup: 6, evStateAt: 5, evRestore: 12}), scripts(), 8},
	{"operators", weights(map[kind]int{evAct: 45, evBig: 4, evBurst: 3, evRun: 10, evSettle: 5, evConnect: 8, evRetry: 3, evAdvance: 4, evSleepRoom: 5, evReopen: 2,
		evPowerCut: 2, evKill: 2, evCutAt: 2, evBackup: 4, evStateAt: 3, evRestore: 4, evMigrate: 4, evDelete: 4, evPut: 3, evImport: 3}), scripts(), 8},
	{"rot", weights(map[kind]int{evAct: 50, evBig: 4, evBurst: 3, evRun: 10, evSettle: 5, evConnect: 8, evRetry: 3, evAdvance: 4, evSleepRoom: 5, evReopen: 2,
		evPowerCut: 2, evKill: 2, evBackup: 3, evStateAt: 2, evRestore: 3, evFlip: 3, evFlipLog: 3, evFlipCurrent: 2, evWreck: 3, evLoseLog: 1}), scripts(), 8},
	{"names", weights(map[kind]int{evAct: 45, evRun: 8, evSettle: 8, evConnect: 8, evRetry: 3, evBig: 1, evHarmNames: 2, evAtRename: 3, evHeal: 5, evSleepRoom: 4,
		evReopen: 1, evBackup: 4, evRestore: 4, evPowerCut: 3}), nameScripts(), 3},
	{"rewrites", weights(map[kind]int{evAct: 45, evBurst: 3, evRun: 8, evSettle: 8, evConnect: 8, evRetry: 3, evHarmSync: 3, evAtRename: 2, evHeal: 5,
		evSleepRoom: 5, evCrashRoom: 2, evReopen: 1, evFuse: 3, evPowerCut: 2}), rewriteScripts(), 3},
	{"full", weights(map[kind]int{evAct: 45, evBig: 5, evRun: 8, evSettle: 8, evConnect: 8, evRetry: 4, evFull: 4, evHeal: 6, evSleepRoom: 5, evReopen: 2,
		evBackup: 2, evRestore: 1, evPowerCut: 2, evKill: 2}), fullScripts(), 3},
	{"everything", weights(map[kind]int{evAct: 50, evBig: 5, evBurst: 3, evRun: 10, evSettle: 4, evConnect: 8, evBreak: 3, evLeave: 1, evPing: 2, evRetry: 3, evRemount: 1, evAdvance: 4,
		evStep: 1, evSleepRoom: 4, evCrashRoom: 2, evPowerCut: 2, evFuse: 2, evCutAt: 4, evKill: 1, evHarm: 3, evHarmSync: 1, evHarmNames: 1, evAtRename: 1, evFull: 1, evHeal: 4, evReopen: 2, evBackup: 4, evStateAt: 3,
		evRestore: 4, evMigrate: 2, evDelete: 1, evFlip: 1, evFlipLog: 1, evFlipCurrent: 1, evWreck: 1, evLoseLog: 1, evPut: 1, evImport: 1}), scripts(), 8},
}

// scripts are events that come one after the other now and then, for the same room: what each of them is needed for is seen
// too seldom otherwise. One that has a kind that the climate has not does not come.
func scripts() [][]kind {
	return slices.Concat([][]kind{
		{evBackup, evSettle, evRestore, evSettle, evBurst, evPowerCut},
		{evBackup, evSettle, evRestore, evSettle, evAct, evFuse, evBurst, evSettle},
		{evBackup, evSettle, evRestore, evSettle, evBurst, evStateAt, evSettle, evRestore, evSettle, evBurst, evCutAt, evBurst},
		{evSleepRoom, evSettle, evBurst, evBig, evSettle, evPowerCut},
		{evSleepRoom, evSettle, evBurst, evSleepRoom, evSettle, evBurst, evPowerCut},
		{evHarm, evBurst, evHeal, evSleepRoom, evSettle, evFuse, evBurst},
		{evHarm, evBurst, evSleepRoom, evSettle, evHeal, evBurst, evPowerCut},
		{evBig, evSettle, evSleepRoom, evSettle, evCutAt, evBig, evSettle},
		{evSleepRoom, evFlip, evSettle, evBurst, evReopen},
		{evBurst, evFlipLog, evSettle, evBurst, evReopen},
		{evBackup, evSettle, evBurst, evSleepRoom, evSettle, evWreck, evRestore, evSettle, evConnect, evBurst, evSleepRoom, evSettle, evWreck, evRestore, evSettle, evBurst},
	}, nameScripts(), rewriteScripts(), fullScripts())
}

// fullScripts are about disks without space.
func fullScripts() [][]kind {
	return [][]kind{
		{evFull, evBig, evSettle, evHeal, evSettle, evBurst},
		{evFull, evBig, evSettle, evPowerCut, evSettle},
		{evBurst, evFull, evBurst, evPowerCut},
		{evFull, evBurst, evHeal, evSleepRoom, evBig, evSettle},
		{evSleepRoom, evSettle, evFull, evBig, evSettle, evHeal, evSettle},
	}
}

// nameScripts are about names of files that are not durable.
func nameScripts() [][]kind {
	return [][]kind{
		{evHarmNames, evBackup, evSettle, evRestore, evSettle, evHeal, evAct, evSettle, evPowerCut},
		{evBackup, evSettle, evHarmNames, evRestore, evSettle, evHeal, evAct, evSettle, evPowerCut},
		{evBackup, evSettle, evAtRename, evRestore, evSettle, evHeal, evAct, evSettle, evPowerCut},
		{evBackup, evSettle, evAtRename, evRestore, evSettle, evHeal, evAct, evRun, evPowerCut},
		{evAtRename, evAct, evSettle, evSleepRoom, evSettle, evHeal, evAct, evSettle, evPowerCut},
		{evHarmNames, evBurst, evBig, evSleepRoom, evSettle, evHeal, evAct, evSettle, evPowerCut},
	}
}

// rewriteScripts are about files under which the disk has failed.
func rewriteScripts() [][]kind {
	return [][]kind{
		{evHarmSync, evBurst, evSettle, evSleepRoom, evSettle, evHeal, evFuse, evAct, evSettle},
		{evHarmSync, evBurst, evSettle, evCrashRoom, evSettle, evHeal, evFuse, evBurst},
		{evHarmSync, evBurst, evSettle, evSleepRoom, evSettle, evHeal, evAtRename, evAct, evSettle},
		{evHarmSync, evBurst, evSettle, evCrashRoom, evSettle, evHeal, evAtRename, evAct, evSettle},
	}
}

// TestTorture makes runs of the torture. `-sim.seed n` shows one.
func TestTorture(t *testing.T) {
	if part := os.Getenv(shardVariable); part != "" {
		shard(t, part)
		return
	}
	if *seedFlag != 0 {
		show(t, plan{seed: *seedFlag, verbose: true, torture: true})
		return
	}
	began := time.Now()
	s := limits(t, began)
	s.Torture = true
	switch {
	case *forFlag > 0:
	case *tortureFlag > 0:
		s.Count = *tortureFlag
	case raceEnabled:
		s.Count = 5
	case testing.Short():
		s.Count = 50
	default:
		s.Count = 500
	}
	total := simulate(t, s)
	for _, f := range total.Failures {
		t.Error(f)
	}
	t.Logf("%d runs in %v: %+v", total.Runs, time.Since(began).Round(time.Millisecond), total.Stats)
	total.Stats.complainOfTorture(t, total.Runs)
}

// complainOfTorture fails the test when the runs were too kind.
func (s stats) complainOfTorture(t *testing.T, runs int) {
	t.Helper()
	if runs < 300 || *withoutFlag != "" {
		return
	}
	for what, n := range map[string]int{"acknowledged actions": s.Acked / 10, "power cuts": s.Cuts, "other outcomes of cuts": s.Audits, "kills": s.Kills, "disk faults": s.Faults,
		"ends of rooms' lives": s.Lives, "restores": s.Restores, "copies": s.Copies, "flipped bits": s.Flips * 5, "deletes": s.Deletes * 5, "alarms": s.Alarms} {
		if n < runs/2 {
			t.Errorf("%d runs had too few %s: %+v", runs, what, s)
		}
	}
	for _, op := range faultdisk.AllOps() {
		if s.Failed[op.String()] == 0 {
			t.Errorf("no %v has failed", op)
		}
	}
	for _, op := range cutOps() {
		if s.CutAt[op.String()] == 0 {
			t.Errorf("no power cut came at an operation of the kind %v", op)
		}
	}
}

// TestTortureDeterministic: the same seed gives the same run.
func TestTortureDeterministic(t *testing.T) {
	n := 30
	if raceEnabled || testing.Short() {
		n = 2
	}
	sameAgain(t, n, plan{torture: true})
}

// tighten makes everything small, so that what happens seldom happens often.
func (w *world) tighten() {
	w.disk.KeepMoments()
	w.large = w.rng.IntN(12) == 0
	w.options.CheckpointBytes = []int64{8 << 10, 32 << 10, 256 << 10, 4 << 20}[w.rng.IntN(4)]
	w.options.LogSegmentBytes = []int64{4 << 10, 16 << 10, 64 << 10, 1 << 20}[w.rng.IntN(4)]
	w.options.TimeTravel = []time.Duration{-1, time.Hour, 24 * time.Hour, 24 * time.Hour}[w.rng.IntN(4)]
}

// greet lets the trouble begin before the server does, now and then: some directories and files are made only then.
func (w *world) greet() {
	switch w.rng.IntN(6) {
	case 0:
		w.cutAt(w.rng)
	case 1:
		w.harm(w.rng)
	case 2:
		w.disk.CrashAfter(1 + w.rng.IntN(60))
	}
}

// torment does the events that are only in the torture.
func (w *world) torment(k kind, key room.Key, rng *rand.Rand) {
	switch k {
	case evCutAt:
		w.cutAt(rng)
	case evHarm:
		w.harm(rng)
	case evHarmSync:
		w.fail(faultdisk.Fault{Op: faultdisk.OpSync, Suffix: []string{".db", "-wal"}[rng.IntN(2)], After: rng.IntN(3),
			Err: []syscall.Errno{syscall.EIO, syscall.ENOSPC}[rng.IntN(2)]})
	case evAtRename:
		w.atRename = rng
	case evFull:
		w.full(rng)
	case evHarmNames:
		w.harmNames(key, rng)
	case evBig:
		w.big(key, rng)
	case evStateAt:
		w.stateAt(key, rng)
	case evBurst:
		for range 10 + rng.IntN(30) {
			w.clients[w.in(key.Room, rng)].act(rng)
		}
		w.settle(rng)
	case evCompact:
		w.compact(key)
	case evMigrate:
		w.version++
		w.reopen(rng)
	case evDelete:
		which := []func(file, room string) bool{everyFile, databaseFiles}[rng.IntN(2)]
		w.whileDown(rng, func() { w.deleteFiles(key, which) })
	case evFlip:
		n, suffix := 1+rng.IntN(3)/2*rng.IntN(8), []string{".db", ".db", "-wal", ".seq", ".entries", ".whole", "/0", "/1"}[rng.IntN(8)]
		w.whileDown(rng, func() { w.flip(suffix, n) })
	case evWreck:
		w.whileDown(rng, func() { w.wreck(key) })
	case evFlipLog: // one bit: several in one record may look like a write that a power cut has torn
		w.whileDown(rng, func() { w.flip(".log", 1) })
	case evFlipCurrent:
		w.whileDown(rng, func() { w.harmCurrent(rng) })
	case evLoseLog:
		w.whileDown(rng, func() { w.loseLog(rng) })
	case evPut:
		w.whileDown(rng, func() { w.put(key, rng) })
	case evImport:
		w.importOver(key, rng)
	}
}

// whileDown ends the server, in order or not, does something, and starts it again.
func (w *world) whileDown(rng *rand.Rand, chore func()) {
	w.chores = append(w.chores, chore)
	if rng.IntN(2) == 0 {
		w.stats.Kills++
		w.halted = true
		w.disk.Kill()
		return
	}
	w.reopen(rng)
}

// suffixes are the ends of files' names, by what they are for.
func suffixes() []string {
	return []string{"", "", ".db", "-wal", "-journal", ".log", "CURRENT", ".suspect", ".fresh", ".whole", ".seq", ".entries"}
}

// cutOps are the operations at which power cuts are set.
func cutOps() []faultdisk.Op {
	return []faultdisk.Op{faultdisk.OpOpen, faultdisk.OpWrite, faultdisk.OpTruncate, faultdisk.OpSync, faultdisk.OpSyncDir, faultdisk.OpDelete,
		faultdisk.OpRename, faultdisk.OpMkdir, faultdisk.OpRead}
}

// cutAt sets a power cut at some operation of one kind.
func (w *world) cutAt(rng *rand.Rand) {
	kinds := cutOps()
	op, suffix := kinds[rng.IntN(len(kinds))], suffixes()[rng.IntN(len(suffixes()))]
	if op == faultdisk.OpSyncDir || op == faultdisk.OpMkdir {
		suffix = ""
	}
	n := 1 + rng.IntN(1+rng.IntN(20))
	if op == faultdisk.OpMkdir || op == faultdisk.OpRename || op == faultdisk.OpDelete {
		n = 1 + rng.IntN(4)
	}
	w.tracef("a power cut at %v %d of %q", op, n, suffix)
	w.disk.CrashAt(op, suffix, n)
}

// harm has calls of one kind fail: once, some times, or until the disk is healed.
func (w *world) harm(rng *rand.Rand) {
	all := faultdisk.AllOps()
	f := faultdisk.Fault{
		Op:     all[rng.IntN(len(all))],
		Suffix: suffixes()[rng.IntN(len(suffixes()))],
		After:  rng.IntN(12),
		Times:  []int{1, 1, 1, 2, 3, -1}[rng.IntN(6)],
	}
	switch f.Op {
	case faultdisk.OpSyncDir, faultdisk.OpMkdir, faultdisk.OpList:
		f.Suffix, f.After = "", rng.IntN(4)
	case faultdisk.OpDelete, faultdisk.OpRename:
		f.After = rng.IntN(3)
	}
	switch f.Op {
	case faultdisk.OpRead:
		f.Short = rng.IntN(2) == 0
		if f.Short && rng.IntN(2) == 0 {
			f.Err = syscall.EIO
		}
	case faultdisk.OpStat, faultdisk.OpList:
	default:
		f.Err = []syscall.Errno{syscall.EIO, syscall.ENOSPC}[rng.IntN(2)]
	}
	w.fail(f)
}

// full lets the disk have no space left: for the WALs, where a large action is written in some pieces, or for other files.
func (w *world) full(rng *rand.Rand) {
	f := faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, Suffix: "-wal", After: rng.IntN(8), Times: []int{1, 1, 3, -1}[rng.IntN(4)]}
	if rng.IntN(3) == 0 {
		f.Suffix, f.After = []string{".log", ".db", ""}[rng.IntN(3)], rng.IntN(1+rng.IntN(40))
	}
	w.fail(f)
}

func (w *world) fail(f faultdisk.Fault) {
	w.stats.Faults++
	w.tracef("%+v", f)
	w.disk.Fail(f)
}

// renames does what was to be done when a file takes the place of a room's.
func (w *world) renames(to string) {
	rng := w.atRename
	if rng == nil || filepath.Ext(to) != ".db" || filepath.Base(filepath.Dir(to)) == "_alarms" {
		return
	}
	w.atRename = nil
	switch n := 1 + rng.IntN(3); rng.IntN(5) {
	case 0, 1, 2:
		w.fail(faultdisk.Fault{Op: faultdisk.OpSyncDir, Suffix: filepath.Dir(to)})
	case 3:
		w.tracef("a power cut at the sync of the directory, %d", n)
		w.disk.CrashAt(faultdisk.OpSyncDir, filepath.Dir(to), n)
	default:
		w.tracef("a power cut at change %d from now", n)
		w.disk.CrashAfter(n)
	}
}

// harmNames has something fail that is done to names in a room's directory.
func (w *world) harmNames(key room.Key, rng *rand.Rand) {
	path, err := w.path(key.Room)
	if err != nil {
		w.failf("%v", err)
		return
	}
	f := faultdisk.Fault{Op: faultdisk.OpSyncDir, Suffix: filepath.Dir(path), After: rng.IntN(6), Times: 1 + rng.IntN(2)}
	switch rng.IntN(8) {
	case 0:
		f = faultdisk.Fault{Op: faultdisk.OpRename, After: rng.IntN(4)}
	case 1:
		f = faultdisk.Fault{Op: faultdisk.OpDelete, After: rng.IntN(6)}
	}
	w.fail(f)
}
