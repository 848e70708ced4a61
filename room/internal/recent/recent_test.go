package recent

import (
	"fmt"
	"testing"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/room/internal/replies"
)

// What a host remembers of clients and rooms has limits, and the newest are remembered.
func TestLimits(t *testing.T) {
	var q Unsubscribed
	client := func(i int) Client { return Client{ID: fmt.Sprint(i)} }
	for i := range maxUnsubscribed {
		q.Note(client(i))
	}
	q.Note(client(0)) // noted again: its first place is over
	if !q.Has(client(0)) || !q.Has(client(1)) || len(q.order) != maxUnsubscribed {
		t.Errorf("the limit: %v, %v, %d places", q.Has(client(0)), q.Has(client(1)), len(q.order))
	}
	q.Note(client(maxUnsubscribed))
	if !q.Has(client(0)) || q.Has(client(1)) || !q.Has(client(2)) || !q.Has(client(maxUnsubscribed)) {
		t.Error("beyond the limit it is not the oldest that is forgotten")
	}
	if q.Forget(client(2)); q.Has(client(2)) || !q.Has(client(3)) {
		t.Error("what was forgotten is known, or another is not")
	}

	var l Losses
	room := func(i int) actor.Key { return actor.Key{Namespace: "n", Room: fmt.Sprint(i)} }
	l.Put(room(0), 0)
	if l.alone != nil {
		t.Error("a room that has lost nothing is remembered")
	}
	for i := range maxLosses {
		l.Put(room(i), i+1)
	}
	if got := l.Take(room(0)); got != 1 || l.Take(room(0)) != 0 {
		t.Errorf("the first room: %d, or twice", got)
	}
	l.Put(room(0), 5)
	l.Put(room(maxLosses), 6)
	if len(l.alone) != 1 || l.Take(room(maxLosses)) != 6 {
		t.Errorf("beyond the limit %d are remembered", len(l.alone))
	}

	var h Hangs
	note := func(client string, mutation uint64) {
		h.Note(Client{Room: room(1), ID: client}, mutation, replies.Digest{})
	}
	if !h.None() {
		t.Error("some hang from the beginning")
	}
	note("a", 1)
	note("a", 1)
	of := Client{room(1), "a", ""}
	if last, there := h.Of(of); !there || last.Tries != 2 || last.Counted != 0 || h.None() {
		t.Errorf("twice: %+v, %v", last, there)
	}
	h.Count(of)
	note("a", 1)
	if last, _ := h.Of(of); last.Tries != 3 || last.Counted != 2 {
		t.Errorf("counted, and once more: %+v", last)
	}
	note("a", 2)
	if last, _ := h.Of(of); last.Tries != 1 || last.Counted != 0 || last.Mutation != 2 {
		t.Errorf("the next number: %+v", last)
	}
	h.Count(Client{room(2), "a", ""})
	if _, there := h.Of(Client{room(2), "a", ""}); there {
		t.Error("who never hung is there when he is counted")
	}
	h.Forget(of)
	if _, there := h.Of(of); there {
		t.Error("it is there when it was forgotten")
	}
	for i := range maxHangs {
		note(fmt.Sprint(i), 1)
	}
	if _, there := h.Of(Client{room(1), "0", ""}); !there || len(h.last) != maxHangs {
		t.Errorf("at the limit %d are remembered", len(h.last))
	}
	if note("x", 1); len(h.last) != 1 {
		t.Errorf("beyond it %d are", len(h.last))
	}
}

// The panic that disables an action is the third alone.
func TestPanicThatDisables(t *testing.T) {
	var p Panics
	var disables []bool
	for range maxPanics + 1 {
		disables = append(disables, p.Note(Caller{Action: "a", Subject: "s"}, time.UnixMilli(1_700_000_000_000)))
	}
	if got := fmt.Sprint(disables); got != "[false false true false]" {
		t.Errorf("panics of one user disable the action: %s", got)
	}
}
