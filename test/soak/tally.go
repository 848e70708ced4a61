package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// shownFaults is how many faults are told in words.
const shownFaults = 10

// A tally is what the clients have done and seen, together. Its methods are safe from any goroutine.
type tally struct {
	mu sync.Mutex
	counts
	refusals map[string]int // by code
	shown    []string       // the first faults
	took     []time.Duration
}

// counts go up only.
type counts struct {
	acts     int // actions that were answered with success
	refused  int // actions, syncs and connections that were answered with a code
	connects int
	leaves   int // with a close frame
	drops    int // without
	rows     int // that were read
	faults   int
}

func (t *tally) add(what func(*counts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	what(&t.counts)
}

func (t *tally) acted(took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.acts++
	t.took = append(t.took, took)
}

func (t *tally) refuse(code string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refusals == nil {
		t.refusals = make(map[string]int)
	}
	t.refused++
	t.refusals[code]++
}

func (t *tally) fault(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults++
	if len(t.shown) < shownFaults {
		t.shown = append(t.shown, fmt.Sprintf(format, args...))
	}
}

// interval gives what there is, and the times of the actions since the last call, in order.
func (t *tally) interval() (counts, []time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	took := t.took
	t.took = nil
	slices.Sort(took)
	return t.counts, took
}

// refusalsByCode are words for all refusals.
func (t *tally) refusalsByCode() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var words []string
	for _, code := range slices.Sorted(maps.Keys(t.refusals)) {
		words = append(words, fmt.Sprintf("%s %d", code, t.refusals[code]))
	}
	return strings.Join(words, ", ")
}

// firstFaults are the first faults, in words.
func (t *tally) firstFaults() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.shown)
}
