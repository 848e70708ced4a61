package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A kind is what an event does. What an event needs besides is in its numbers, and drawn from its dice: so a history is
// still a history when some of its events are taken out, and the others do what they did.
type kind uint8

const (
	evAct         kind = iota // a client acts, connected or not
	evRun                     // nothing but some moves
	evSettle                  // moves until there are none
	evConnect                 // a client connects, if it has no link
	evBreak                   // a link breaks, and what was on its way is lost
	evLeave                   // a client goes away; what it sent before arrives
	evPing                    // the server asks a client whether it is there
	evRetry                   // a client sends again what it has no answer to
	evRemount                 // a client forgets everything, as a page that is loaded again
	evAdvance                 // time passes
	evStep                    // the machine's clock is set
	evSleepRoom               // a room goes to sleep
	evCrashRoom               // a room's life ends as by a fault
	evPowerCut                // the machine loses power now
	evFuse                    // the machine loses power in the middle of some write to come
	evKill                    // the process is killed
	evFault                   // the disk begins to fail
	evHeal                    // the disk is well again
	evReopen                  // the server is shut down and started again
	evBackup                  // a copy of a room is taken
	evRestore                 // a room is replaced by a copy of it that was taken before
	evCutAt                   // the machine loses power at some operation of one kind to come
	evHarm                    // calls of one kind begin to fail
	evHarmSync                // a sync of a room's file or WAL fails
	evHarmNames               // what is done to names in a room's directory fails: syncs of it most of the time
	evAtRename                // when a file takes the place of a room\'s: the sync of the directory fails, or the power goes about then
	evFull                    // the disk is full, for some files or all
	evBig                     // a client acts, and the action is larger than most
	evBurst                   // clients act many times, and what comes of it
	evStateAt                 // a copy of a room is taken as it was
	evMigrate                 // the server is started again with one more migration
	evDelete                  // an operator deletes a room's files while the server is down
	evFlip                    // bits of rooms' files and backups flip at rest while the server is down
	evFlipLog                 // a bit of the commit log
	evFlipCurrent             // bits of the file that says which the log's files are
	evWreck                   // the beginning of a room\'s file is overwritten while the server is down
	evLoseLog                 // a part of the commit log is lost while the server is down
	evPut                     // an operator copies a backup to where a room's file is, while the server is down
	evImport                  // a room is replaced by what an export of a copy of it holds
	evCompact                 // a room's file is written again without its free pages
	kinds
)

func (k kind) String() string {
	return [kinds]string{"act", "run", "settle", "connect", "break", "leave", "ping", "retry", "remount", "advance", "step",
		"sleep room", "crash room", "power cut", "power cut to come", "kill", "fault", "heal", "reopen", "backup", "restore",
		"cut at", "harm", "harm sync", "harm names", "at rename", "full", "big", "burst", "state at", "migrate", "delete", "flip", "flip log", "flip current", "wreck", "lose log", "put", "import", "compact"}[k]
}

// An event is one step of a history.
type event struct {
	kind kind
	who  int    // which client, room or the like, modulo how many there are
	dice uint64 // what chance decides in it and in the moves after it
}

func (e event) String() string { return fmt.Sprintf("%s %d (%016x)", e.kind, e.who, e.dice) }

func (e event) rng() *rand.Rand { return rand.New(rand.NewPCG(e.dice, uint64(e.kind))) }

// A history is what a run does; it is a function of the seed.
type history []event

func (h history) String() string {
	var b strings.Builder
	for i, e := range h {
		fmt.Fprintf(&b, "\t%3d %s\n", i, e)
	}
	return b.String()
}

// A climate is how often what happens in a history: a run with many power cuts finds other mistakes than one with many
// actions.
type climate struct {
	name    string
	weights [kinds]int
	scripts [][]kind // of events that belong together; nil: none come
	every   int      // one comes for so many events
}

// climates are drawn from by the seed. What a climate does not name is not in it.
var climates = []climate{
	{"calm", weights(map[kind]int{evAct: 60, evRun: 10, evSettle: 6, evConnect: 6, evBreak: 6, evLeave: 2, evPing: 6, evRetry: 2, evAdvance: 2}), nil, 0},
	{"links", weights(map[kind]int{evAct: 45, evRun: 10, evSettle: 3, evConnect: 14, evBreak: 16, evLeave: 4, evPing: 10, evRetry: 4, evAdvance: 3, evRemount: 1}), nil, 0},
	{"lives", weights(map[kind]int{evAct: 45, evRun: 10, evSettle: 4, evConnect: 8, evBreak: 6, evPing: 4, evRetry: 4, evAdvance: 3, evSleepRoom: 6, evCrashRoom: 6, evReopen: 2, evBackup: 5, evRestore: 6}), nil, 0},
	{"power", weights(map[kind]int{evAct: 50, evRun: 10, evSettle: 4, evConnect: 8, evBreak: 3, evPing: 4, evRetry: 3, evAdvance: 2, evPowerCut: 3, evFuse: 6, evKill: 3, evCrashRoom: 2, evReopen: 1, evBackup: 4, evRestore: 5}), nil, 0},
	{"disk", weights(map[kind]int{evAct: 50, evRun: 10, evSettle: 4, evConnect: 8, evBreak: 3, evPing: 3, evRetry: 3, evAdvance: 6, evFault: 6, evHeal: 6, evFuse: 2, evPowerCut: 2, evCrashRoom: 1, evBackup: 3, evRestore: 3}), nil, 0},
	{"ages", weights(map[kind]int{evAct: 45, evRun: 8, evSettle: 5, evConnect: 10, evBreak: 8, evLeave: 3, evPing: 6, evRetry: 3, evAdvance: 10, evStep: 3, evSleepRoom: 4, evCrashRoom: 1, evReopen: 1, evPowerCut: 1, evBackup: 3, evRestore: 3}), nil, 0},
	{"all", weights(map[kind]int{evAct: 50, evRun: 10, evSettle: 4, evConnect: 8, evBreak: 6, evLeave: 2, evPing: 5, evRetry: 3, evAdvance: 4, evStep: 1,
		evSleepRoom: 2, evCrashRoom: 2, evPowerCut: 1, evFuse: 2, evKill: 1, evFault: 2, evHeal: 2, evReopen: 1, evRemount: 1, evBackup: 4, evRestore: 4}), nil, 0},
}

func weights(of map[kind]int) (w [kinds]int) {
	for k, n := range of {
		w[k] = n
	}
	return w
}

// draw makes a seed's history.
func draw(rng *rand.Rand, c climate, length int) history {
	for k := range kinds {
		if without(k) {
			c.weights[k] = 0
		}
	}
	total := 0
	for _, n := range c.weights {
		total += n
	}
	var h history
	for len(h) < length {
		if c.scripts != nil && rng.IntN(c.every) == 0 {
			h = append(h, c.script(rng)...)
			continue
		}
		at := rng.IntN(total)
		k := kind(0)
		for at >= c.weights[k] {
			at -= c.weights[k]
			k++
		}
		h = append(h, event{kind: k, who: rng.IntN(64), dice: rng.Uint64()})
	}
	return h
}

// script draws events that belong together, or none.
func (c climate) script(rng *rand.Rand) (h history) {
	who := rng.IntN(64)
	for _, k := range c.scripts[rng.IntN(len(c.scripts))] {
		if c.weights[k] == 0 {
			return nil
		}
		h = append(h, event{kind: k, who: who, dice: rng.Uint64()})
	}
	return h
}
