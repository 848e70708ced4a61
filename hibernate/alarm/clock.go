package alarm

// What the clock knows about each room, in memory: its next alarm, and the bound that the index has.

import (
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/denrooms/den/storage"
)

// DefaultMaxCalls is how many rooms run alarms at the same time if Options.MaxCalls is 0.
const DefaultMaxCalls = 16

// never is later than the time of every alarm, in Unix milliseconds.
const never = math.MaxInt64

// A Timer is a call to a function that is due later, as [time.AfterFunc] makes it.
type Timer interface {
	// Stop and Reset are those of [time.Timer].
	Stop() bool
	Reset(d time.Duration) bool
}

// Options are what a Clock works with. Now, AfterFunc, Known, Send and Open are required.
type Options struct {
	// Now returns the time. AfterFunc calls f in its own goroutine after d.
	Now       func() time.Time
	AfterFunc func(d time.Duration, f func()) Timer
	// Known reports whether rooms of a namespace can be woken. Rooms of other namespaces are held until Release.
	Known func(namespace string) bool
	// Send gives a call to its room. It must not block. If it returns nil, call.Done must be called once, from another
	// goroutine or after Send has returned. If it returns an error, call.Done must not be called.
	Send func(call Call) error
	// Open opens the file of the index, and creates it if it does not exist. The clock closes it.
	Open func() (*storage.DB, error)
	// Replace is called with the error of an Open after the first one. If no Open will ever succeed, Replace removes the file from
	// its name and returns true. May be nil.
	Replace func(cause error) bool
	// Exists says that the file exists, so that the clock reads it when it is opened.
	Exists bool
	// MaxCalls is how many rooms run alarms at the same time. The default is DefaultMaxCalls. If it is negative, no room
	// is called and the alarms wait.
	MaxCalls int
	// Logger gets what an operator should know. The default is slog.Default().
	Logger *slog.Logger
}

// A Call tells a room to run the alarms that are due.
type Call struct {
	// Room is "namespace/name".
	Room string
	// CountFirst tells the room to count a try durably before it runs the alarm. It is set if the room's last call
	// failed, or if the last process died before it had called all rooms whose alarms it had missed.
	CountFirst bool
	// Done takes the result: nil if the room has run its alarms and has called Set with the next one.
	Done func(err error)
}

// A Clock calls rooms at their times. Its methods may be called from several goroutines at once, but Lower and Set of one
// room one after another. Lower, MarkIncomplete, Sync, Reminders, RemoveReminders and Close wait for the disk.
type Clock struct {
	o      Options
	opened int64 // when the clock was opened, Unix ms; earlier alarms were missed

	indexMu sync.Mutex // held while the index is read or written; locked before mu
	db      *storage.DB

	mu       sync.Mutex // protects what follows; never held while waiting for the disk
	rooms    map[string]*entry
	queue    queue            // entries that wait for their time
	held     map[string]queue // due entries of namespaces that are not known, by namespace
	running  int              // rooms that run alarms now
	failing  int              // rooms whose last call failed
	timer    Timer
	checkAt  int64         // when to check the time and the index at the latest, Unix ms; 0 if there is nothing to check
	finished chan struct{} // closed when the next call ends; nil if nobody waits
	closed   bool
	warned   bool // about alarms of namespaces that are not registered

	missed     int             // rooms whose alarm was missed and that were not called since
	starts     int64           // starts in a row that did not call all rooms with missed alarms
	complete   map[string]bool // namespaces of which the index has all rooms
	states     []state         // to be written with the next group
	group      *group          // what the next transaction writes; nil if nothing
	dirty      []*entry        // entries whose bound in the index is earlier than need be
	reminders  []reminderEdit  // to be written with the next group
	flushed    int64           // when the index was last brought up to date, Unix ms
	checkpoint bool            // the index's WAL is to be checkpointed
}

// An entry is what the clock knows about one room: about 130 bytes with its places in map and queue.
type entry struct {
	room     string
	due      int64 // the room's next alarm, Unix ms; never if it has none
	bound    int64 // what the index has; never if that is nothing, or is not known
	callAt   int64 // when to call the room: due, or later after a call that failed
	position int32 // in the queue; -1 if it is not there
	failures uint8 // calls in a row that failed
	running  bool
	held     bool
	missed   bool
	dirty    bool
	lowered  bool // Lower was called since the last Set, so the bound must not be raised
}

func namespaceOf(room string) string {
	namespace, _, _ := strings.Cut(room, "/")
	return namespace
}

// Open returns a clock with what the index holds. It calls no room before Start.
func Open(o Options) (*Clock, error) {
	if o.MaxCalls == 0 {
		o.MaxCalls = DefaultMaxCalls
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	now := o.Now().UnixMilli()
	c := &Clock{o: o, opened: now, flushed: now, rooms: make(map[string]*entry), held: make(map[string]queue), complete: make(map[string]bool)}
	if o.Exists {
		if err := c.load(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Start starts the clock. It calls the rooms that are due, except those of namespaces that are not known.
func (c *Clock) Start() error {
	if c.missed > 0 && c.o.MaxCalls > 0 {
		c.starts++ // durable before the first call, which may be what ends the process
		if err := c.writeState(stateStarts, c.starts); err != nil {
			return err
		}
	}
	c.callDue()
	return nil
}

// Release calls the rooms of a namespace that were held because the namespace was not known.
func (c *Clock) Release(namespace string) {
	c.mu.Lock()
	held := c.held[namespace]
	delete(c.held, namespace)
	for _, e := range held {
		e.held = false
		c.enqueue(e)
	}
	c.mu.Unlock()
	c.callDue()
}

// Next returns the time of a room's next alarm, and whether the clock knows of one.
func (c *Clock) Next(room string) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.rooms[room]
	if e == nil || e.due == never {
		return time.Time{}, false
	}
	return time.UnixMilli(e.due), true
}

// Rooms returns the rooms that have alarms, in the order in which they will be called.
func (c *Clock) Rooms() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all queue
	for _, e := range c.rooms {
		if e.due != never {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, byTime)
	names := make([]string, len(all))
	for i, e := range all {
		names[i] = e.room
	}
	return names
}

// Failing returns the rooms whose last call failed, sorted by name.
func (c *Clock) Failing() (rooms []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failing == 0 {
		return nil
	}
	for _, e := range c.rooms {
		if e.failures > 0 {
			rooms = append(rooms, e.room)
		}
	}
	slices.Sort(rooms)
	return rooms
}

// Set sets the time of a room's next alarm; the zero time means that the room has none. It is called after the room's
// commit is durable, and after Lower if the time is earlier than before.
func (c *Clock) Set(room string, due time.Time) {
	at := int64(never)
	if !due.IsZero() {
		at = due.UnixMilli()
	}
	c.mu.Lock()
	e := c.rooms[room]
	if e == nil && at == never || c.closed {
		c.mu.Unlock()
		return
	}
	if e == nil {
		e = c.add(room)
	}
	e.lowered = false
	if e.due != at {
		e.due, e.callAt = at, at
		if !e.running && !e.held {
			c.enqueue(e)
		}
	}
	c.markDirty(e)
	c.forget(e)
	urgent := e.position == 0 && at <= c.o.Now().UnixMilli()
	if !urgent {
		c.setTimer()
	}
	c.mu.Unlock()
	if urgent {
		c.callDue()
	}
}

// add makes an entry for a room that has none. c.mu is held.
func (c *Clock) add(room string) *entry {
	e := &entry{room: strings.Clone(room), due: never, bound: never, callAt: never, position: -1}
	c.rooms[e.room] = e
	return e
}

// forget drops the entry of a room that has no alarms, once the index has none either. c.mu is held.
func (c *Clock) forget(e *entry) {
	if e.due == never && e.bound == never && !e.running && !e.held && !e.dirty && !e.lowered {
		if e.failures > 0 {
			c.failing--
		}
		delete(c.rooms, e.room)
	}
}

// Stop ends the calls. Lower and Set still work, until Close.
func (c *Clock) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.o.MaxCalls = -1
	if c.timer != nil {
		c.timer.Stop()
	}
}

// Close brings the index up to date and closes it. All rooms must have ended.
func (c *Clock) Close() error {
	c.Stop()
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	if c.starts > 0 {
		c.states = append(c.states, state{stateStarts, 0})
	}
	c.mu.Unlock()
	err := c.writeRest()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.closeIndex(err)
}
