package alarm

// The alarm clock: which sleeping room is to be woken when. A room keeps its alarms in its own
// database; the clock has one time a room, the earliest, and an index of those times on the disk
// (index.go), so that a start need not look into every room.
//
// What the disk holds of a room is a lower bound: never later than the room's next alarm. A
// room that is woken too early looks, and nothing happens; one that is not woken would forget.

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/denrooms/den/storage"
)

const (
	// checkEvery is how long the clock trusts its timer: a machine's clock may be set, and stands
	// still for timers while the machine sleeps.
	checkEvery = time.Minute
	// firstPause and lastPause are how long a room is left alone that could not be woken: twice as
	// long each time.
	firstPause, lastPause = time.Second, time.Minute
	// DefaultAtOnce is how many rooms run alarms at the same time.
	DefaultAtOnce = 16
)

// never is later than every time that an alarm can have, in Unix milliseconds.
const never = math.MaxInt64

// A Timer is a call that a clock will make. See [time.Timer].
type Timer interface {
	// Stop takes the call back; Reset sets it anew. Both tell whether it was still to come.
	Stop() bool
	Reset(d time.Duration) bool
}

// Options say what an Clock works with. Now, AfterFunc, Known, Ring and Open are required.
type Options struct {
	// Now is the time; AfterFunc calls f in its own goroutine when d has passed.
	Now       func() time.Time
	AfterFunc func(d time.Duration, f func()) Timer
	// Known tells whether rooms of a namespace can be woken. Those of others wait for Release.
	Known func(namespace string) bool
	// Ring has a room run its alarms. It must not block. On an error nothing was sent; else
	// call.Done is called once, from another goroutine or later.
	Ring func(call Call) error
	// Open opens the index's file, and makes it where there is none. The clock closes it.
	Open func() (*storage.DB, error)
	// Exists says that there is such a file, from an earlier process.
	Exists bool
	// AtOnce is how many rooms run alarms at the same time. Default 16; negative: none, the alarms wait.
	AtOnce int
	// Logger gets what an operator should know. Default: slog.Default().
	Logger *slog.Logger
}

// A Call asks a room to run the alarms that are due.
type Call struct {
	Room string // "namespace/name"
	// Careful: the room's last call came to no end, or the process died under such calls again
	// and again. The room is to count a try before it begins.
	Careful bool
	// Done says what came of it: nil if the room has run its alarms and told Set what is next.
	Done func(err error)
}

// An Clock wakes rooms at their times. Its methods are safe from any goroutine; Lower,
// Flush and Close wait for the disk. For one room Lower and Set are called one after another.
type Clock struct {
	o      Options
	opened int64 // when; alarms from before are missed ones

	writer sync.Mutex // held by who writes the index
	db     *storage.DB

	mu        sync.Mutex // protects the rest; never held while the disk is waited for
	rooms     map[string]*bell
	queue     bells            // those that wait for their time
	held      map[string]bells // by namespace: those whose namespace is not known
	ringing   int              // rooms that run alarms now
	failing   int              // rooms whose last call came to no end
	timer     Timer
	flushed   int64         // when the index was last brought up to date
	settled   chan struct{} // closed and made anew when a room is done; nil if nobody waits
	closed    bool
	relieving bool // the index's file is to be written down
	nagged    bool // it was said that namespaces are missing

	missed  int   // rooms of before the start that were not called yet
	starts  int64 // how many starts in a row did not get through those
	covered map[string]bool
	states  states
	group   *group  // of writes that wait
	dirty   []*bell // whose row on the disk is earlier than it need be

	reminders []noted // that are not written yet
}

// A bell is what the clock knows of one room: about 130 bytes with its places in map and queue.
type bell struct {
	room    string
	due     int64 // the room's next alarm, Unix ms; never: it has none
	stored  int64 // the bound on the disk; never: there is none, or it is not known
	at      int64 // when to call: due, or later where the room could not be woken
	place   int32 // in the queue; -1: it is not there
	fails   uint8 // calls in a row that came to no end
	ringing bool
	held    bool
	missed  bool
	dirty   bool
	lowered bool // since the last Set: the row must not be raised
}

func namespaceOf(room string) string {
	namespace, _, _ := strings.Cut(room, "/")
	return namespace
}

// Open makes a clock with what the index holds. It calls nothing before Start.
func Open(o Options) (*Clock, error) {
	if o.AtOnce == 0 {
		o.AtOnce = DefaultAtOnce
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	now := o.Now().UnixMilli()
	c := &Clock{o: o, opened: now, flushed: now, rooms: make(map[string]*bell), held: make(map[string]bells), covered: make(map[string]bool)}
	if o.Exists {
		if err := c.load(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Start lets the clock run: what is due is called for, in rooms of namespaces that are known.
func (c *Clock) Start() error {
	if c.missed > 0 && c.o.AtOnce > 0 {
		c.starts++ // durable before the first call: it may be what ends the process
		if err := c.keepState(stateStarts, c.starts); err != nil {
			return err
		}
	}
	c.ring()
	return nil
}

// careful tells that the process died again and again before it had called for what it had
// missed: then rooms are called one at a time, and count their tries beforehand.
func (c *Clock) careful() bool { return c.missed > 0 && c.starts > 1 }

// Release calls for the rooms of a namespace that has become known.
func (c *Clock) Release(namespace string) {
	c.mu.Lock()
	held := c.held[namespace]
	delete(c.held, namespace)
	for _, b := range held {
		b.held = false
		c.enqueue(b)
	}
	c.mu.Unlock()
	c.ring()
}

// Next is a room's next alarm as far as the clock knows, and whether it has one.
func (c *Clock) Next(room string) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.rooms[room]
	if b == nil || b.due == never {
		return time.Time{}, false
	}
	return time.UnixMilli(b.due), true
}

// Rooms are those that have alarms, the earliest first.
func (c *Clock) Rooms() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all bells
	for _, b := range c.rooms {
		if b.due != never {
			all = append(all, b)
		}
	}
	all.sort()
	names := make([]string, len(all))
	for i, b := range all {
		names[i] = b.room
	}
	return names
}

// Failing are the rooms whose last call came to no end.
func (c *Clock) Failing() (rooms []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failing == 0 {
		return nil
	}
	for _, b := range c.rooms {
		if b.fails > 0 {
			rooms = append(rooms, b.room)
		}
	}
	slices.Sort(rooms)
	return rooms
}

// Set says when a room's next alarm is, the zero time if it has none. It follows what has
// become durable in the room, and Lower where the time is earlier than before.
func (c *Clock) Set(room string, due time.Time) {
	at := int64(never)
	if !due.IsZero() {
		at = due.UnixMilli()
	}
	c.mu.Lock()
	b := c.rooms[room]
	if b == nil && at == never || c.closed {
		c.mu.Unlock()
		return
	}
	if b == nil {
		b = c.add(room)
	}
	b.lowered = false
	if b.due != at {
		b.due, b.at = at, at
		if !b.ringing && !b.held {
			c.enqueue(b)
		}
	}
	c.mark(b)
	c.forget(b)
	urgent := b.place == 0 && at <= c.o.Now().UnixMilli()
	if !urgent {
		c.arm()
	}
	c.mu.Unlock()
	if urgent {
		c.ring()
	}
}

// add makes the bell of a room that has none. The lock is held.
func (c *Clock) add(room string) *bell {
	b := &bell{room: strings.Clone(room), due: never, stored: never, at: never, place: -1}
	c.rooms[b.room] = b
	return b
}

// forget drops a room that has no alarms, here and on the disk. The lock is held.
func (c *Clock) forget(b *bell) {
	if b.due == never && b.stored == never && !b.ringing && !b.held && !b.dirty && !b.lowered {
		if b.fails > 0 {
			c.failing--
		}
		delete(c.rooms, b.room)
	}
}

// enqueue puts a bell where its time belongs. The lock is held.
func (c *Clock) enqueue(b *bell) {
	if b.at == never {
		c.queue.remove(b)
		return
	}
	c.queue.put(b)
}

// ring calls for the rooms that are due, as many as may run at once.
func (c *Clock) ring() {
	for again := true; again; {
		again = false
		c.mu.Lock()
		calls := c.take()
		c.arm()
		c.mu.Unlock()
		for _, call := range calls {
			if err := c.o.Ring(call); err != nil {
				c.done(call.Room, err)
				again = true // its place is free
			}
		}
	}
}

// take takes those out of the queue whose turn it is. The lock is held.
func (c *Clock) take() (calls []Call) {
	now := c.o.Now().UnixMilli()
	for !c.closed && c.ringing < c.limit() && len(c.queue) > 0 && c.queue[0].at <= now {
		b := c.queue[0]
		c.queue.remove(b)
		if namespace := namespaceOf(b.room); !c.o.Known(namespace) {
			c.held[namespace] = append(c.held[namespace], b)
			b.held = true
			continue
		}
		b.ringing = true
		c.ringing++
		room := b.room
		calls = append(calls, Call{Room: room, Careful: c.careful() || b.fails > 0, Done: func(err error) {
			c.done(room, err)
			c.ring()
		}})
	}
	return calls
}

func (c *Clock) limit() int {
	if c.careful() {
		return min(c.o.AtOnce, 1)
	}
	return c.o.AtOnce
}

// done takes what came of a call.
func (c *Clock) done(room string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.rooms[room]
	c.ringing--
	b.ringing = false
	b.at = b.due
	if b.fails > 0 {
		c.failing--
	}
	if err == nil {
		b.fails = 0
	} else {
		c.failing++
		pause := min(firstPause<<min(b.fails, 6), lastPause)
		b.fails = min(b.fails+1, 100)
		b.at = max(b.at, c.o.Now().Add(pause).UnixMilli())
		c.o.Logger.Debug("a room did not run its alarms, and is called again", "room", room, "in", pause, "err", err)
	}
	c.reached(b)
	if b.due != never {
		c.enqueue(b)
	}
	c.forget(b)
	c.arm() // before those hear of it who let time pass
	if c.settled != nil {
		close(c.settled)
		c.settled = nil
	}
}

// reached notes that a room was called for, or cannot be. The lock is held.
func (c *Clock) reached(b *bell) {
	if !b.missed {
		return
	}
	b.missed = false
	if c.missed--; c.missed == 0 && c.starts > 0 {
		c.starts = 0
		c.states = append(c.states, state{stateStarts, 0})
	}
}

// arm sets the timer to what comes next. The lock is held.
func (c *Clock) arm() {
	wait := time.Duration(-1)
	if len(c.queue) > 0 || c.late() || len(c.held) > 0 && !c.nagged {
		wait = checkEvery
	}
	if len(c.queue) > 0 && c.ringing < c.limit() {
		wait = min(wait, max(time.UnixMilli(c.queue[0].at).Sub(c.o.Now()), 0))
	}
	switch {
	case c.closed || wait < 0:
		if c.timer != nil {
			c.timer.Stop()
		}
	case c.timer == nil:
		c.timer = c.o.AfterFunc(wait, c.tick)
	default:
		c.timer.Reset(wait)
	}
}

// tick runs in the timer's goroutine.
func (c *Clock) tick() {
	c.mu.Lock()
	now := c.o.Now().UnixMilli()
	flush := !c.closed && c.late() && (now-c.flushed >= checkEvery.Milliseconds() || now < c.flushed)
	if now-c.opened >= checkEvery.Milliseconds() {
		c.nag()
	}
	c.mu.Unlock()
	if flush {
		if err := c.Flush(); err != nil {
			c.o.Logger.Error("the index of alarms was not written", "err", err)
		}
	}
	c.ring()
}

// nag says that namespaces are not registered whose rooms have alarms, once, when the program has
// had the time to do so. The lock is held.
func (c *Clock) nag() {
	if len(c.held) == 0 || c.nagged {
		return
	}
	c.nagged = true
	for _, namespace := range slices.Sorted(maps.Keys(c.held)) {
		held := c.held[namespace]
		c.o.Logger.Warn("alarms are due in rooms of a namespace that is not registered, and wait", "namespace", namespace, "rooms", len(held))
		for _, b := range held {
			c.reached(b)
		}
	}
}

// Settled waits until no room is called for, and none is due. ctx ends the waiting.
func (c *Clock) Settled(ctx context.Context) error {
	for {
		c.mu.Lock()
		due := c.limit() > 0 && len(c.queue) > 0 && c.queue[0].at <= c.o.Now().UnixMilli()
		if c.closed || c.ringing == 0 && !due {
			c.mu.Unlock()
			return nil
		}
		if c.settled == nil {
			c.settled = make(chan struct{})
		}
		settled := c.settled
		c.mu.Unlock()
		if due {
			c.ring()
		}
		select {
		case <-settled:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Stop calls for no room any more. Lower and Set still work, until Close.
func (c *Clock) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.o.AtOnce = -1
	if c.timer != nil {
		c.timer.Stop()
	}
}

func byTime(a, b *bell) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.room, b.room)) }
