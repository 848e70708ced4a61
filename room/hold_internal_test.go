package room

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room/internal/pages"
)

// What is kept of holds, which nobody outside sees.

// A handClock stands still until it is moved on.
type handClock struct {
	mu  sync.Mutex
	now time.Time
	due map[*handTimer]time.Time
}

type handTimer struct {
	clock *handClock
	call  func()
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) AfterFunc(d time.Duration, f func()) Timer {
	t := &handTimer{c, f}
	t.Reset(d)
	return t
}

func (t *handTimer) Reset(d time.Duration) bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	_, was := t.clock.due[t]
	t.clock.due[t] = t.clock.now.Add(d)
	return was
}

func (t *handTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	_, was := t.clock.due[t]
	delete(t.clock.due, t)
	return was
}

// timers is how many are set.
func (c *handClock) timers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.due)
}

// advance moves the clock on, and calls what is due then, in the order in which it is due.
func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	var calls []*handTimer
	for t, at := range c.due {
		if !at.After(c.now) {
			calls = append(calls, t)
		}
	}
	slices.SortFunc(calls, func(a, b *handTimer) int { return c.due[a].Compare(c.due[b]) })
	for _, t := range calls {
		delete(c.due, t)
	}
	c.mu.Unlock()
	for _, t := range calls {
		t.call()
	}
}

// A countingLink counts the updates that leave by it.
type countingLink struct{ updates atomic.Int32 }

func (l *countingLink) Send(frames ...*hibernate.Frame) {
	for _, f := range frames {
		if bytes.Contains(f.Payload(), []byte(`"update"`)) {
			l.updates.Add(1)
		}
	}
}

func (*countingLink) Close(int, string) {}

type heldRow struct {
	ID string
	Stamps
}

type heldRoom struct {
	Base
	Items, Marks Table[heldRow]
}

var heldKey = Key{Namespace: "held", Room: "r"}

func openHeld(t *testing.T) (*Host, *handClock) {
	t.Helper()
	clock := &handClock{now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), due: make(map[*handTimer]time.Time)}
	h, err := Open(Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Clock: clock, Durability: Unsynced})
	if err == nil {
		err = h.Register("held", func() Handler { return new(heldRoom) },
			Action("mark", func(r *heldRoom, c *Context, in struct{ ID string }) error {
				return r.Marks.Insert(c, heldRow{ID: in.ID})
			}))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return h, clock
}

// comeIn lets the published client in, n times.
func comeIn(t *testing.T, h *Host, from, n int) (sessions []*Session) {
	t.Helper()
	for i := range n {
		s, err := h.Connect(t.Context(), heldKey, ConnectRequest{ID: fmt.Sprint("visitor", from+i), Stock: true, Link: new(countingLink)})
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	return sessions
}

// keptHolds counts the connections that are held, and the holds that they have.
func keptHolds(h *Host) (held, holds int) {
	all := make(map[*hibernate.Connection]*hold)
	var kept []*hold
	for _, conn := range h.node.namespace("held").rooms.Connections("r") {
		if one := holdOf(conn); one != nil {
			all[conn] = one
			kept = append(kept, one)
		}
	}
	slices.SortFunc(kept, func(a, b *hold) int { return a.until.Compare(b.until) })
	return len(all), len(slices.Compact(kept))
}

func expectHolds(t *testing.T, h *Host, when string, held, holds int) {
	t.Helper()
	if gotHeld, gotHolds := keptHolds(h); gotHeld != held || gotHolds != holds {
		t.Errorf("%s: %d connections are held by %d holds, want %d by %d", when, gotHeld, gotHolds, held, holds)
	}
}

// Connections that come together share a hold, which is for 10 s after the last of them. A room that sleeps lets go
// of what is over, without being woken for it.
func TestHoldsOfASleepingRoom(t *testing.T) {
	h, clock := openHeld(t)
	comeIn(t, h, 0, 50)
	clock.advance(sharedHoldSpan / 2)
	comeIn(t, h, 50, 50)
	expectHolds(t, h, "within a second", 100, 1)
	for _, conn := range h.node.namespace("held").rooms.Connections("r") {
		if !holdOf(conn).holds(0, clock.Now().Add(holdFor-1)) {
			t.Fatalf("%s is held for less than 10 s", conn.ID())
		}
	}
	clock.advance(sharedHoldSpan)
	comeIn(t, h, 100, 50)
	expectHolds(t, h, "after a second", 150, 2)
	if err := h.Sleep(t.Context(), heldKey); err != nil {
		t.Fatal(err)
	}
	clock.advance(holdFor - sharedHoldSpan)
	expectHolds(t, h, "before the end", 150, 2)
	clock.advance(sharedHoldSpan)
	expectHolds(t, h, "asleep, after the end", 0, 0)
	if n := h.Awake(); n != 0 {
		t.Errorf("%d rooms are awake", n)
	}
}

// In a room that stays awake, those that come drop the holds of those before.
func TestHoldsOfABusyRoom(t *testing.T) {
	h, clock := openHeld(t)
	for i := range 100 {
		comeIn(t, h, i, 1)
		clock.advance(sharedHoldSpan)
	}
	if held, holds := keptHolds(h); held > 20 || holds > 20 {
		t.Errorf("%d connections are held by %d holds after 100 s", held, holds)
	}
}

// What is kept back outlives the room's life, and comes when the hold ends. The timer that a life has left
// behind drops nothing that a later one has kept back: neither of a hold that was shared, nor of one whose client has
// asked for one of two channels.
func TestHoldKeptBackAsleep(t *testing.T) {
	h, clock := openHeld(t)
	sessions := comeIn(t, h, 0, 2)
	say := func(s *Session, message string) {
		t.Helper()
		if err := s.Receive([]byte(message), false); err != nil {
			t.Fatal(err)
		}
		if err := inner.OfHost(h).Quiet(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	say(sessions[1], `{"channel":"items","sync":true,"from":null}`)
	expectHolds(t, h, "when one has asked for one channel", 2, 2)
	if err := h.Sleep(t.Context(), heldKey); err != nil {
		t.Fatal(err)
	}
	say(sessions[0], `{"id":"1","channel":"items","rpc":true,"action":{"type":"mark","payload":{"id":"1"}}}`)
	links := [2]*countingLink{sessions[0].conn.Link.(*countingLink), sessions[1].conn.Link.(*countingLink)}
	for i, l := range links {
		if n := l.updates.Load(); n != 0 {
			t.Errorf("visitor %d got %d updates while it was held", i, n)
		}
	}
	clock.advance(holdFor)
	if err := inner.OfHost(h).Quiet(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, l := range links {
		if n := l.updates.Load(); n != 1 {
			t.Errorf("visitor %d got %d updates, want 1", i, n)
		}
	}
	expectHolds(t, h, "when the rows were sent", 0, 0)
}

// A client that asks for nothing, in a room in which nothing happens, is no longer held after 10 s. But its question
// may have been lost, as long as no pong has come since it was sent rows without it.
func TestHoldOverUnasked(t *testing.T) {
	h, clock := openHeld(t)
	s := comeIn(t, h, 0, 1)[0]
	clock.advance(holdFor)
	inner.OfSession(s).Confirm(inner.OfSession(s).Mark())
	if got := s.conn.Waits; got != waitsSync {
		t.Errorf("after 10 s it waits for %d", got)
	}
	other := comeIn(t, h, 1, 1)[0]
	mark := func(id string) {
		t.Helper()
		err := other.Receive(fmt.Appendf(nil, `{"id":"%s","channel":"items","rpc":true,"action":{"type":"mark","payload":{"id":"%[1]s"}}}`, id), false)
		if err == nil {
			err = inner.OfHost(h).Quiet(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	mark("1")
	if n := s.conn.Link.(*countingLink).updates.Load(); n != 1 {
		t.Errorf("it got %d updates, want 1", n)
	}
	if got := s.conn.Waits; got != waitsSyncOrPong || inner.OfSession(s).Received() {
		t.Errorf("when it was sent rows it waits for %d", got)
	}
	mark("2")
	if got := s.conn.Waits; got != waitsSyncOrPong {
		t.Errorf("without a pong it waits for %d", got)
	}
	inner.OfSession(s).Confirm(inner.OfSession(s).Mark())
	mark("3")
	if got := s.conn.Waits; got != 0 {
		t.Errorf("after a pong it waits for %d", got)
	}
}

// A hold ends by itself only on channels of which nothing was kept back, and for which no answer was ever begun.
func TestHoldEndsByItself(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	soon, past := now.Add(1), now
	for name, test := range map[string]struct {
		hold        hold
		holds, over bool
	}{
		"shared":             {hold{until: soon}, true, false},
		"shared, over":       {hold{until: past}, false, true},
		"own":                {hold{channels: []heldChannel{{until: soon}}}, true, false},
		"own, over":          {hold{channels: []heldChannel{{until: past}}}, false, true},
		"kept back":          {hold{channels: []heldChannel{{until: past, kept: true}}}, true, false},
		"expected":           {hold{channels: []heldChannel{{until: past, expected: true}}}, true, false},
		"answered":           {hold{channels: []heldChannel{{ended: true}}}, false, true},
		"another channel":    {hold{channels: []heldChannel{{ended: true}, {until: soon}}}, false, false},
		"another, over":      {hold{channels: []heldChannel{{ended: true}, {until: past}}}, false, true},
		"another, kept back": {hold{channels: []heldChannel{{ended: true}, {until: past, kept: true}}}, false, false},
		"a reply that waits": {hold{channels: []heldChannel{{ended: true}}, replies: make([]heldReply, 1)}, false, false},
	} {
		if got := test.hold.holds(0, now); got != test.holds {
			t.Errorf("%s: the first channel is held: %v", name, got)
		}
		if got := test.hold.expired(now); got != test.over {
			t.Errorf("%s: it is over: %v", name, got)
		}
	}
}

// A client that is held and sends many actions has one timer, and 64 replies wait for it; the older ones have gone out without their
// rows. All have gone out when their time is over.
func TestHeldRepliesAreFew(t *testing.T) {
	h, clock := openHeld(t)
	s := comeIn(t, h, 0, 1)[0]
	before := clock.timers()
	const sent = 200
	for i := range sent {
		action := fmt.Appendf(nil, `{"id":"%d","channel":"marks","rpc":true,"action":{"type":"mark","payload":{"id":"%[1]d"}}}`, i)
		if err := s.Receive(action, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := inner.OfHost(h).Quiet(t.Context()); err != nil {
		t.Fatal(err)
	}
	held := holdOf(&s.conn)
	if held == nil || len(held.replies) != maxHeldReplies {
		t.Fatalf("held by %+v, want %d replies", held, maxHeldReplies)
	}
	if first := string(held.replies[0].frame.Payload()); !strings.Contains(first, fmt.Sprintf(`"id":"%d"`, sent-maxHeldReplies)) {
		t.Errorf("the oldest that waits is %s", first)
	}
	if n := clock.timers() - before; n > sent/20 { // some are of the host itself
		t.Errorf("%d actions have set %d timers", sent, n)
	}
	clock.advance(replyWait)
	if err := inner.OfHost(h).Quiet(t.Context()); err != nil {
		t.Fatal(err)
	}
	if held := holdOf(&s.conn); held != nil && len(held.replies) > 0 {
		t.Errorf("after 5 s %d replies wait", len(held.replies))
	}
}

// A large channel's rows are read few at a time where they are long, so that the turn's time is looked at between them.
func TestNextPick(t *testing.T) {
	for _, of := range []struct{ rows, bytes, left, want int }{
		{4, 400, pages.TurnBytes, 8},
		{40, 4000, pages.TurnBytes, pickRows},
		{4, 4 * 32 << 10, pages.TurnBytes, 2},
		{1, 1 << 20, pages.TurnBytes, 1},
		{16, 1600, 800, 8},
		{16, 1600, -5, 1},
		{16, 0, pages.TurnBytes, 32},
	} {
		if got := nextPick(of.rows, of.bytes, of.left); got != of.want {
			t.Errorf("after %d rows of %d bytes, with %d left: %d, want %d", of.rows, of.bytes, of.left, got, of.want)
		}
	}
}

// What is kept back from a connection that has gone is not read for it.
func TestHoldOfOneWhoHasGone(t *testing.T) {
	h, clock := openHeld(t)
	sessions := comeIn(t, h, 0, 2)
	if err := sessions[0].Receive([]byte(`{"id":"1","channel":"marks","rpc":true,"action":{"type":"mark","payload":{"id":"1"}}}`), false); err != nil {
		t.Fatal(err)
	}
	quiet := func() {
		t.Helper()
		if err := inner.OfHost(h).Quiet(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	quiet()
	gone := &sessions[1].conn
	if held := holdOf(gone); held == nil || len(held.channels) == 0 {
		t.Fatalf("held by %+v: the test shows nothing", held)
	}
	sessions[1].Close(1000, "")
	quiet()
	clock.advance(holdFor)
	quiet()
	if n := gone.Link.(*countingLink).updates.Load(); n != 0 {
		t.Errorf("one who has gone was sent %d updates", n)
	}
	if n := sessions[0].conn.Link.(*countingLink).updates.Load(); n != 1 {
		t.Errorf("the other one was sent %d updates, want 1", n)
	}
}
