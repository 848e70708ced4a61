package sim

// Copies of rooms as they were. Each copy that is taken is looked at, and what it holds is the state of its room at its
// seq: whoever asks for that state later must get exactly that.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage"
)

// past is what is known of earlier states. Its zero value is ready.
type past struct {
	states []*state
	highs  map[string]map[string]int64 // the highest seq that clients were told, by room and epoch
}

// A state is what a room was once.
type state struct {
	room    string
	rewinds int // of the room, until then
	seq     storage.Seq
	digest  string
	at      time.Time // of its newest action; the state may have come later
}

// digest is a hash of what a file holds.
func (t *truth) digest() string {
	data, err := json.Marshal([]any{t.rows, t.by, t.counted, t.bulk})
	if err != nil {
		panic(err)
	}
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:8])
}

// stateAt begins to copy a room as it was: at a seq that is known, at any, or at a time.
func (w *world) stateAt(key room.Key, rng *rand.Rand) {
	if w.host == nil || w.busyCopying() {
		return
	}
	b := w.newCopy(key)
	b.asked = new(room.Point)
	var known []*state
	for _, s := range w.states {
		if s.room == key.Room && s.rewinds == b.rewinds && s.seq > 0 { // a Point's 0 means any
			known = append(known, s)
		}
	}
	switch what := rng.IntN(4); {
	case what < 2 && len(known) > 0:
		b.wanted = known[rng.IntN(len(known))]
		b.asked.Seq = b.wanted.seq
	case what == 2:
		b.asked.Time = w.clock.Now().Add(-time.Duration(rng.Int64N(int64(w.passed) + 1)))
	default:
		b.asked.Seq = room.Seq(1 + rng.Int64N(w.outside.last[key.Room]+1))
	}
	host := w.host
	w.tracef("a copy of %s at seq %d, time %v", key.Room, b.asked.Seq, b.asked.Time)
	b.call = w.background(func() error { return host.StateAt(context.Background(), key, *b.asked, b.path) })
	w.copies = append(w.copies, b)
	w.wait()
}

// busyCopying reports whether a copy is under way.
func (w *world) busyCopying() bool {
	return len(w.copies) > 0 && !w.copies[len(w.copies)-1].call.done
}

// look looks at copies that are done.
func (w *world) look() {
	if !w.torture {
		return
	}
	for _, b := range w.copies {
		if b.seen || !b.call.done {
			continue
		}
		b.seen = true
		if b.call.err != nil {
			w.tracef("the copy %s of %s: %v", b.path, b.room, b.call.err)
			w.judgeNoCopy(b)
			continue
		}
		w.stats.Copies++
		t, err := w.inspect(b.path)
		switch {
		case w.damaged[b.room]:
			b.spoiled = true
		case err != nil:
			w.failf("the copy %s of %s cannot be read: %v", b.path, b.room, err)
		default:
			w.judgeCopy(b, t)
		}
	}
}

// judgeNoCopy: a state that was seen is there for as long as history is kept.
func (w *world) judgeNoCopy(b *copied) {
	kept := w.options.TimeTravel - 10*time.Minute // the clock is set now and then
	if b.wanted == nil || !errors.Is(b.call.err, storage.ErrNoHistory) || w.damaged[b.room] || w.options.TimeTravel < 0 {
		return
	}
	if len(w.rewinds[b.room]) == b.rewinds && w.clock.Now().Sub(b.wanted.at) < kept {
		w.failf("the state of %s at seq %d is not there any more: %v", b.room, b.wanted.seq, b.call.err)
	}
}

// judgeCopy compares a copy with what is known of its seq, and with what is known of every state.
func (w *world) judgeCopy(b *copied, t *truth) {
	w.tracef("the copy %s of %s is at seq %d: %s", b.path, b.room, t.seq, t.digest())
	if t.increments != t.counted {
		w.failf("a copy of %s: %d increments in the journal, and the counters come to %d", b.room, t.increments, t.counted)
	}
	if len(w.rewinds[b.room]) != b.rewinds || !t.started {
		return // before or after a restore, who knows; or before its first start, which is no commit
	}
	at := int64(0)
	for _, n := range slices.Sorted(maps.Keys(t.by)) {
		if n != at+1 && !slices.ContainsFunc(w.rewinds[b.room], func(r *rewind) bool { return r.base == n-1 }) {
			w.failf("a copy of %s: the journal goes on with %d behind %d", b.room, n, at)
		}
		at = n
	}
	if p := b.asked; p != nil && p.Seq != 0 && t.seq > p.Seq {
		w.failf("%s was asked for as it was at seq %d, and is at %d", b.room, p.Seq, t.seq)
	}
	if s := b.wanted; s != nil && (t.seq != s.seq || t.digest() != s.digest) {
		w.failf("%s as it was at seq %d was %s, and now is %s at seq %d", b.room, s.seq, s.digest, t.digest(), t.seq)
	}
	for _, s := range w.states {
		if s.room == b.room && s.rewinds == b.rewinds && s.seq == t.seq {
			if s.digest != t.digest() {
				w.failf("%s at seq %d was %s, and in another copy is %s", b.room, s.seq, s.digest, t.digest())
			}
			return
		}
	}
	w.states = append(w.states, &state{room: b.room, rewinds: b.rewinds, seq: t.seq, digest: t.digest(), at: t.newest})
}

// cursors are what a frame says of where the room is: its history's name and the seq in it.
var cursors = regexp.MustCompile(`"(?:cursor|at)":"([^".]+)\.([0-9a-z]+)"`)

// witnessCursor: the first seq of an epoch is above all that the room has told anybody in an earlier one. A room whose files
// were deleted knows nothing of these. It is called in the order in which the room sends.
func (w *world) witnessCursor(c *client, message []byte) {
	m := cursors.FindSubmatch(message)
	if !w.torture || m == nil || bytes.Contains(message, []byte(`"success"`)) { // a reply may be a stored one
		return
	}
	epoch := string(m[1])
	seq, err := strconv.ParseInt(string(m[2]), 36, 64)
	if err != nil {
		return
	}
	if w.highs == nil {
		w.highs = make(map[string]map[string]int64)
	}
	highs := w.highs[c.room]
	if highs == nil {
		highs = make(map[string]int64)
		w.highs[c.room] = highs
	}
	deleted := slices.ContainsFunc(w.rewinds[c.room], func(r *rewind) bool { return r.deleted != nil })
	if _, there := highs[epoch]; !there && !deleted {
		for other, high := range highs {
			if seq <= high {
				c.failf("%s was told seq %d of epoch %s, and before that %d of epoch %s", c.name, seq, epoch, high, other)
			}
		}
	}
	highs[epoch] = max(highs[epoch], seq)
}

// recall asks for all states that are known, at the end.
func (w *world) recall(rng *rand.Rand) {
	if w.host == nil {
		return
	}
	for _, s := range slices.Clone(w.states) {
		if w.failure != "" || s.seq == 0 || w.damaged[s.room] || s.rewinds != len(w.rewinds[s.room]) {
			continue
		}
		host, key := w.host, room.Key{Namespace: namespace, Room: s.room}
		b := w.newCopy(key)
		b.wanted, b.asked = s, &room.Point{Seq: s.seq}
		b.call = w.background(func() error { return host.StateAt(context.Background(), key, *b.asked, b.path) })
		w.copies = append(w.copies, b)
		w.finish(b.call, rng, "a copy of a room as it was")
		if b.call.err != nil && !errors.Is(b.call.err, storage.ErrNoHistory) {
			w.failf("a copy of %s as it was at seq %d: %v", s.room, s.seq, b.call.err)
		}
		w.look()
	}
}
