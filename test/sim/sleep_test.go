package sim

// Sleep is invisible: a history in which all rooms go to sleep after every event is, to its clients, the same history as
// one in which they never do. To compare the two nothing may depend on chance that sleep would shift, so events are done
// in lockstep: what may happen next happens in a fixed order, until all is at rest, and then comes the next event.

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
)

// sleepMode says when rooms sleep.
type sleepMode uint8

const (
	sleepByTime sleepMode = iota // when they have had nothing to do, as always
	sleepNever
	sleepAlways // after every event
)

// lockstep is the climate of histories that are compared. Faults of the room and the machine are not in it: how long
// a room that breaks again and again stays down depends on how old its life was.
var lockstep = climate{"lockstep", weights(map[kind]int{evAct: 60, evConnect: 10, evBreak: 6, evLeave: 4, evPing: 8, evRetry: 4,
	evRemount: 1, evAdvance: 6, evStep: 1, evReopen: 1}), nil, 0}

// breaks reports whether the action ends a life, or may.
func (t template) breaks() bool { return slices.Contains([]string{"bomb", "hang", "stall"}, t.action) }

// march does the events in lockstep.
func (w *world) march(events history) {
	w.rest()
	for i, e := range events {
		if w.failure != "" {
			return
		}
		w.tracef("— %d %s", i, e)
		w.happen(e, e.rng())
		w.rest()
		if w.sleep == sleepAlways && w.host != nil {
			w.lull()
		}
	}
}

// lull puts all rooms to sleep.
func (w *world) lull() {
	for _, name := range w.rooms {
		host := w.host
		w.stats.Lives++
		w.background(func() error { return host.Sleep(context.Background(), room.Key{Namespace: namespace, Room: name}) })
		w.wait()
		w.rest()
	}
	if n := w.host.Awake(); n != 0 {
		w.failf("%d rooms do not sleep", n)
	}
}

// rest lets everything happen in a fixed order until nothing more can.
func (w *world) rest() {
	for range 20_000 {
		if w.check(); !w.next() || w.failure != "" {
			return
		}
	}
	w.failf("the system does not come to rest")
}

// next does what comes first: what clients have sent, the rooms' work, the rest.
func (w *world) next() bool {
	for _, l := range w.open {
		if !l.broken && l.session != nil && len(l.up) > 0 {
			l.deliverUp()
			return true
		}
	}
	if len(w.queue) > 0 {
		w.runActor(0)
		return true
	}
	for _, l := range w.open {
		if moves := l.moves(nil); len(moves) > 0 {
			moves[0].do()
			return true
		}
	}
	return false
}

// histories begin with a name of their own, which is chance's.
var histories = regexp.MustCompile(`"(cursor|at)":"[^".]+\.`)

// hear notes what a client got.
func (w *world) hear(c *client, message []byte) {
	if w.heard != nil {
		w.heard[c.name] = append(w.heard[c.name], histories.ReplaceAllString(string(message), `"$1":"epoch.`))
	}
}

// TestInvariantSleepIsInvisible compares histories of always sleeping rooms with those of never sleeping ones.
func TestInvariantSleepIsInvisible(t *testing.T) {
	n := 80
	if raceEnabled || testing.Short() {
		n = 10
	}
	total := stats{}
	for i := range n {
		seed := *firstFlag + uint64(i)
		never, always := run(t, plan{seed: seed, sleep: sleepNever}), run(t, plan{seed: seed, sleep: sleepAlways})
		for _, o := range []outcome{never, always} {
			if o.failure != "" {
				t.Errorf("seed %d: %s", seed, o.failure)
			}
		}
		for name, want := range never.heard {
			if at, a, b := firstDifference(want, always.heard[name]); at >= 0 {
				t.Errorf("seed %d: message %d of %s is\n%.1000s\nwithout sleep, and with it\n%.1000s", seed, at, name, a, b)
			}
		}
		total.add(always.stats)
		if t.Failed() {
			return
		}
	}
	if total.Lives < n*20 || total.Acked < n*20 || total.Frames < n*50 || total.Breaks < n {
		t.Errorf("the runs are not what they should be: %+v", total)
	}
	t.Logf("%d pairs of runs: %+v", n, total)
}

// firstDifference is where two lists begin to differ, -1 for nowhere.
func firstDifference(a, b []string) (at int, inA, inB string) {
	for i := range max(len(a), len(b)) {
		inA, inB = "nothing", "nothing"
		if i < len(a) {
			inA = a[i]
		}
		if i < len(b) {
			inB = b[i]
		}
		if inA != inB {
			return i, strings.ToValidUTF8(inA, "?"), strings.ToValidUTF8(inB, "?")
		}
	}
	return -1, "", ""
}
