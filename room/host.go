package room

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/hibernate/alarm"
	"github.com/denrooms/den/room/internal/alarms"
	"github.com/denrooms/den/room/internal/awake"
	"github.com/denrooms/den/room/internal/machine"
	"github.com/denrooms/den/room/internal/recent"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/syncproto"
)

// A Key names a room: its fields are Namespace and Room, the name within the namespace, both strings and decoded.
type Key = actor.Key

// An Identity says who a client is: Subject, a string, is the user's id, and Claims, a map[string]any, is what else
// authentication found out, as plain data. The zero Identity is anybody.
type Identity = hibernate.Identity

// A Link carries messages to one client; a Frame is such a message.
type (
	Link  = hibernate.Link
	Frame = hibernate.Frame
)

// A Host serves the rooms of one data directory. Its methods are safe from any
// goroutine.
type Host struct {
	// Immutable.

	opts       Options
	gatherMost int       // a test lowers it before there are rooms
	began      time.Time // see uptime
	seed       [32]byte
	run        int64        // the process's number, see roster.go
	hashes     maphash.Seed // of the senders of plain requests
	unlock     func() error
	actors     *actor.System
	log        *storage.NodeLog // nil: each room's file is durable by itself
	conns      hibernate.Registry
	memory     *hibernate.Memory
	shares     *hibernate.Shares // nil: the clock is not the machine's
	outside    *hibernate.Memory // a part of memory: requests that have no place in a mailbox yet
	alarms     *alarm.Clock
	zones      alarms.Zones

	presence hibernate.Presence

	stopping atomic.Bool
	ending   atomic.Pointer[context.Context] // of the Shutdown in work
	workLost atomic.Uint64                   // see WorkLost
	owed     owed
	graces   graces
	awake    awake.Set
	failures failures
	hangs    recent.Hangs
	losses   recent.Losses
	quiet    recent.Quiet
	culprits recent.Panics
	recovery sync.Mutex // held while rooms take what a crash has left, and at the end
	looks    looks
	offline  offlineTasks

	compactor compactor
	reminding reminding
	slowAt    atomic.Int64 // when the operator was told that clients are read slowly, Unix nanoseconds; 0: never
	refusedAt atomic.Int64 // when the operator was told that there is no memory, Unix nanoseconds; 0: never

	panics        sync.Map // of jobs of the host's own: by the job, what the last one said
	alarmFailures alarmFailures
	scanned       sync.Map // of namespaces: the index of alarms knows all of their rooms

	mu         sync.RWMutex
	namespaces map[string]*namespace // filled by Register, read by all

	releasing sync.Mutex // held while the host's own files are closed
	released  bool       // the directory's lock has been given back; protected by releasing
}

// Open opens a data directory. It fails with an error that says what to do where
// the directory cannot be written, or another process has it.
func Open(o Options) (*Host, error) {
	o.setDefaults()
	if o.Dir == "" {
		return nil, errors.New("room: Options.Dir is empty")
	}
	if err := o.checkDescriptors(machine.Descriptors()); err != nil {
		return nil, err
	}
	unlock, err := storage.LockDir(o.FS, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("room: the data directory: %w", err)
	}
	h := &Host{opts: o, unlock: unlock, gatherMost: gatherMost, began: o.Clock.Now(), hashes: maphash.MakeSeed(), memory: hibernate.NewMemory(o.Memory), namespaces: make(map[string]*namespace)}
	h.outside = h.memory.Part(o.Memory / outsideShare)
	if _, real := o.Clock.(systemClock); real {
		h.shares = hibernate.NewShares(h.tellCongested)
	}
	h.seed, h.run = hostSeed(o.Seed), newRun()
	if err := storage.ClearWALs(o.FS, filepath.Join(o.Dir, walsDir)); err != nil {
		return nil, errors.Join(fmt.Errorf("room: the directory of unused WALs: %w", err), unlock())
	}
	if err := h.openLog(); err != nil {
		return nil, errors.Join(err, unlock())
	}
	h.actors = actor.NewSystem(h.newLife, actor.Options{
		MailboxSize:  o.MailboxSize,
		MailboxBytes: o.MailboxBytes,
		Admit:        h.admit,
		Keep:         h.memory.Take,
		Release:      h.memory.Give,
		MaxBatch:     o.MaxBatch,
		FirstBatch:   firstMessages,
		Now:          o.Clock.Now,
		Logger:       o.Logger,
		Dispatcher:   o.inner.Dispatcher,
	})
	h.awake.Init(awake.Options{
		Now: o.Clock.Now, AfterFunc: func(d time.Duration, f func()) awake.Timer { return o.Clock.AfterFunc(d, f) },
		After: o.IdleAfter, Most: o.MaxAwake, Waits: o.inner.Dispatcher == nil, Retire: h.actors.Retire,
		Contain: func(f func()) { h.contain("putting rooms to sleep", f) },
	})
	h.presence.Panicked = h.linkPanicked
	h.sweepPast()
	h.sweepReplacedLater(replacedFirst)
	if err := h.openAlarms(); err != nil {
		h.stopping.Store(true)
		return nil, errors.Join(err, h.closeLog(), unlock())
	}
	return h, nil
}

func hostSeed(seed uint64) (s [32]byte) {
	if seed == 0 {
		rand.Read(s[:]) // never fails (crypto/rand)
		return s
	}
	for i := range 8 {
		s[i] = byte(seed >> (8 * i))
	}
	return s
}

// Register makes a namespace known. create makes the handler of one life of a
// room; it must give a new pointer to a struct each time, and do no more than
// that. It may be called at any time, but once for a name.
func (h *Host) Register(name string, create func() Handler, opts ...Option) error {
	ns, err := newNamespace(name, create, opts)
	if err != nil {
		return err
	}
	if !h.add(ns) {
		return fmt.Errorf("room: the namespace %q is registered twice", name)
	}
	h.registered(name)
	return nil
}

// add makes a namespace known, if there is none of that name.
func (h *Host) add(ns *namespace) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.namespaces[ns.name] != nil {
		return false
	}
	ns.host, ns.rooms = h, h.conns.Rooms()
	ns.pool = h.newPool()
	h.namespaces[ns.name] = ns
	return true
}

// HasNamespace tells whether a namespace is registered.
func (h *Host) HasNamespace(name string) bool { return h.namespace(name) != nil }

func (h *Host) namespace(name string) *namespace {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.namespaces[name]
}

// check refuses keys that no room can have, before anything is woken.
func (h *Host) check(key Key) error {
	if !h.HasNamespace(key.Namespace) {
		return &Error{Code: syncproto.CodeUnknownNamespace, Message: "There is no such namespace."}
	}
	if _, err := roomfile.Escape(key.Room); err != nil {
		return &Error{Code: syncproto.CodeBadRoomName, Message: "A room's name has 1 to 256 bytes of UTF-8.", cause: err}
	}
	return nil
}

// Connections is the number of connections to all rooms.
func (h *Host) Connections() int { return h.conns.Len() }

// Awake is the number of rooms that have a life now.
func (h *Host) Awake() int { return h.actors.Awake() }

// Sleep puts a room to sleep when what waits for it is done, whatever it has under way;
// the next message wakes it. Its connections stay.
func (h *Host) Sleep(ctx context.Context, key Key) error { return h.actors.Stop(ctx, key) }

// Shutdown takes no more messages, finishes those that the rooms have, closes all
// connections with 1001, then the databases, and gives the directory back. When
// ctx ends first it returns ctx's error and the rest goes on by itself.
func (h *Host) Shutdown(ctx context.Context) error {
	h.ending.Store(&ctx)
	h.stopping.Store(true)
	h.wakeToClose(ctx)
	h.shares.Stop()
	h.presence.Close()
	h.awake.Close()
	h.alarms.Stop()
	h.compactor.stop()
	err := h.actors.Shutdown(ctx)
	if err != nil {
		return fmt.Errorf("room: shutdown: %w", err)
	}
	for _, c := range h.conns.All() { // of rooms that have no life
		h.courier(Key{Room: c.Room()}).close(c, closeGoingAway, goingAway)
	}
	released := make(chan error, 1)
	go func() { released <- h.release() }() // ends when the last file is closed, or at once if that has been done
	select {
	case err := <-released:
		return err
	case <-ctx.Done():
	}
	grace := time.NewTimer(releaseGrace)
	defer grace.Stop()
	select {
	case err := <-released:
		return err
	case <-grace.C:
		return fmt.Errorf("room: shutdown: closing the last files: %w", context.Cause(ctx))
	}
}

// releaseGrace is how long Shutdown waits for the host's own files although its context has ended: mostly they are
// closed within milliseconds.
const releaseGrace = time.Second

// release closes what is not a room's, and gives the directory back. The second call waits for the first.
func (h *Host) release() error {
	h.releasing.Lock()
	defer h.releasing.Unlock()
	if h.released {
		return nil
	}
	h.released = true
	h.recovery.Lock() // until the group of rooms in work has been seen to
	defer h.recovery.Unlock()
	h.compactor.stop()
	h.compactor.work.Lock() // until it has given way
	defer h.compactor.work.Unlock()
	h.closePools()
	return errors.Join(protect(h.closeAlarms), protect(h.closeLog), h.unlock()) // each, whatever the others do
}

// uptime is how long ago the host was opened. It takes a third of the memory of a time, and a wall clock that is set
// changes nothing of it either.
func (h *Host) uptime() time.Duration { return h.opts.Clock.Now().Sub(h.began) }

// Descriptors tells how many descriptors the process may have, 0 where there is no limit, and
// how many of them the rooms may take.
func (h *Host) Descriptors() (limit, rooms int) {
	return machine.Descriptors(), h.opts.MaxAwake*descriptorsPerRoom + descriptorsBeside
}

// courier tells the operator which of a room's connections has a link that panics.
func (h *Host) courier(key Key) courier {
	return courier{func(c *hibernate.Connection, value any, stack []byte) {
		h.opts.Logger.Error("a connection's link panicked",
			"namespace", key.Namespace, "room", key.Room, "connection", c.ID(), "panic", value, "stack", string(stack))
	}}
}

// newRun makes the number of a process.
func newRun() int64 {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return int64(binary.LittleEndian.Uint64(b[:]) >> 1)
}
