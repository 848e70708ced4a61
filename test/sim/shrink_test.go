package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// shrinkTime bounds how long a failing history is made shorter.
const shrinkTime = 20 * time.Second

// explain says all that somebody needs to look at a failing seed: itself, a history as short as could be found in which
// something is wrong still, and the end of what happened in it.
func explain(t *testing.T, p plan, o outcome) string {
	p.verbose = false
	p.history = shrink(o.history, time.Now().Add(shrinkTime), func(h history) bool {
		p := p
		p.history = h
		return run(t, p).failure != ""
	})
	p.verbose = true
	again := run(t, p)
	return fmt.Sprintf("seed %d (%s): %s\nagain with -run %s -sim.seed %d\nshrunk from %d events to %d:\n%s\tthen: %s\n%s",
		p.seed, o.climate, o.failure, t.Name(), p.seed, len(o.history), len(p.history), p.history, again.failure, tail(again.log, *linesFlag))
}

func tail(text string, lines int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// shrink takes events out of a history, large parts first, as long as what is left still fails (delta debugging).
func shrink(h history, until time.Time, fails func(history) bool) history {
	for size := len(h) / 2; size > 0; size /= 2 {
		for at := 0; at < len(h); {
			if !time.Now().Before(until) {
				return h
			}
			shorter := slices.Delete(slices.Clone(h), at, min(at+size, len(h)))
			if fails(shorter) {
				h = shorter
			} else {
				at += size
			}
		}
	}
	return h
}

// TestShrink: what matters stays and nothing else does, wherever it stands.
func TestShrink(t *testing.T) {
	h := make(history, 57)
	for i := range h {
		h[i].who = i
	}
	got := shrink(h, time.Now().Add(time.Hour), func(h history) bool {
		has := func(n int) bool { return slices.ContainsFunc(h, func(e event) bool { return e.who == n }) }
		return has(3) && has(40) && has(41)
	})
	if len(got) != 3 || got[0].who != 3 || got[1].who != 40 || got[2].who != 41 {
		t.Errorf("shrunk to %v", got)
	}
}
